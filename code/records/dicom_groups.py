"""The groups of channels of a DICOM waveform: which of them are the recording, and whether its
channels begin together.

A file may hold the median beat, breathing or a second strip beside the recording. Labels that tell
them apart are optional (PS3.3 C.10.9). Groups that say the same start (Multiplex Group Time
Offset), rate and length and hold different leads are one recording. Of several recordings that
with most seconds of signal (leads times length) is read, or the one of `--record_part`. Groups that
do not say when they begin may lie one after the other, as on paper, and are not put together.
"""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import UserError
from records.aecg_series import choose
from records.lead_names import canonical_lead

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SKEW_S = 0.001  # channels that begin further apart are not simultaneous
BEATS = ("MEDIAN", "REPRESENTATIVE", "AVERAGE")  # in the label of a group that is one beat
LAYOUT = (  # what groups must share to be put together
    *("NumberOfWaveformSamples", "SamplingFrequency", "WaveformBitsAllocated"),
    *("WaveformSampleInterpretation", "WaveformPaddingValue"),
)
OFFSET = "MultiplexGroupTimeOffset"
WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9."  # the beginning of classes that hold waveforms


def check_compression(path: str | Path) -> None:
    """UserError where the whole file is compressed, which says nothing of how large it is."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception as error:
        raise UserError(f"{path} is not a file that is read ({type(error).__name__})") from None
    if syntax == DeflatedExplicitVRLittleEndian:
        raise UserError(f"{path} is compressed as a whole, which is not unpacked: save it plain")


def recording_alone(
    path: Path, folder: Path, part: int | None = None, preamble: bool = True
) -> tuple[Path, list[str]]:
    """The file, or where it has other groups a copy in `folder` in which the recording is the one
    group; and the others, but for beats, in words.

    part      number of the recording from 1 on (None: the one with most signal)
    preamble  whether the file begins with the 128 bytes and DICM that a file of DICOM should
    UserError where there is no such part, or the recording's channels do not begin together.
    """
    import pydicom

    data = pydicom.dcmread(path, force=not preamble)
    groups = list(data.get("WaveformSequence") or [])
    if not preamble:
        _check_waveforms(data, groups, path)
    strips = [group for group in groups if not _is_beat(group)] or groups
    if not strips:
        return path, []  # the parser says what is missing
    recordings = _together(strips)
    number = choose([_signal_seconds(one) for one in recordings], part, path)
    recording = recordings[number]
    for group in recording:
        _check_skew(group, path)
    others = [_words(k, one) for k, one in enumerate(recordings) if k != number]
    alike = [one for one in recordings if _unsaid(one) and _shape(one) == _shape(recording)]
    if _unsaid(recording) and len(alike) > 1:
        others.append("groups that do not say when they begin are not put together")
    if preamble and len(strips) == 1:
        return path, []
    data.WaveformSequence = [recording[0] if len(recording) == 1 else _joined(recording)]
    copy = folder / path.name
    data.save_as(copy, **({} if preamble else _whole_file(data)))
    return copy, others


def _check_waveforms(data, groups, path):
    """UserError where a file that is read as DICOM without saying so is none with waveforms."""
    kind = str(data.get("SOPClassUID") or WAVEFORMS)
    if not groups or not kind.startswith(WAVEFORMS):
        raise UserError(
            f"{path} is not what its ending says, or holds no waveforms: save it as csv"
        )


def _whole_file(data: "FileDataset"):
    """What writing a file with its preamble takes; the syntax, where none is said, is the one it
    was read with.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = data.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta = getattr(data, "file_meta", None) or FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    meta.MediaStorageSOPClassUID = data.get("SOPClassUID") or f"{WAVEFORMS}1.1"
    meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID") or "1.2.3"
    data.file_meta = meta
    return {"enforce_file_format": True}


def _is_beat(group: "Dataset") -> bool:
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    return any(word in label for word in BEATS)


def _together(strips):
    """Groups that say one start, rate and length and share no lead, as lists."""
    recordings: list[list[Dataset]] = []
    for group in strips:
        found = next((others for others in recordings if _fits(group, others)), None)
        if found is None:
            recordings.append([group])
        else:
            found.append(group)
    return recordings


def _fits(group, others):
    offset = group.get(OFFSET)
    if offset is None or others[0].get(OFFSET) != offset:
        return False
    if any(group.get(name) != others[0].get(name) for name in LAYOUT):
        return False
    return not set(_leads(group)) & set(_all_leads(others))


def _unsaid(recording):
    """Whether a recording does not say when it begins."""
    return recording[0].get(OFFSET) is None


def _shape(recording):
    return [recording[0].get(name) for name in LAYOUT[:2]]


def _leads(group):
    """The names of a group's channels: leads as LEADS has them, others as the file calls them."""
    names = []
    for channel in group.get("ChannelDefinitionSequence") or []:
        source = next(iter(channel.get("ChannelSourceSequence") or []), {})
        words = [source.get("CodeValue"), source.get("CodeMeaning"), channel.get("ChannelLabel")]
        words = [str(word) for word in words if word]
        names.append(next(filter(None, map(canonical_lead, words)), " ".join(words)))
    return names


def _all_leads(recording):
    return list(chain.from_iterable(map(_leads, recording)))


def _joined(recording: "list[Dataset]") -> "Dataset":
    """One group of the channels of several, sample by sample."""
    from copy import deepcopy

    first = recording[0]
    n_bytes = int(first.WaveformBitsAllocated) // 8
    n_samples = int(first.NumberOfWaveformSamples)
    parts, channels = [], []
    for group in recording:
        size = n_samples * int(group.NumberOfWaveformChannels) * n_bytes
        samples = np.frombuffer(bytes(group.WaveformData)[:size], np.uint8)
        if len(samples) < size:
            raise UserError("a group of channels holds fewer samples than it says")
        parts.append(samples.reshape(n_samples, -1))
        channels += list(group.ChannelDefinitionSequence)
    joined = deepcopy(first)
    joined.NumberOfWaveformChannels = len(channels)
    joined.ChannelDefinitionSequence = channels
    joined.WaveformData = np.concatenate(parts, axis=1).tobytes()
    return joined


def _seconds(group: "Dataset") -> float:
    """Length in s; 0 where the group does not say it."""
    samples, rate = (
        float(group.get(name) or 0) for name in ("NumberOfWaveformSamples", "SamplingFrequency")
    )
    return samples / rate if rate > 0 else 0.0


def _signal_seconds(recording: "list[Dataset]") -> tuple[float, float]:
    """Length in s times leads, and times all channels."""
    names = _all_leads(recording)
    n_channels = sum(int(group.get("NumberOfWaveformChannels") or 0) for group in recording)
    seconds = _seconds(recording[0])
    return seconds * sum(canonical_lead(name) is not None for name in names), seconds * n_channels


def _words(place, recording):
    """A recording that is left out, in words."""
    names = _all_leads(recording)
    label = str(recording[0].get("MultiplexGroupLabel") or "").strip()
    many = f"{len(names)} channels" if len(names) > 4 else ", ".join(names) or "no channel"
    return (
        f"part {place + 1} ({label + ': ' if label else ''}{many}, {_seconds(recording[0]):.4g} s)"
    )


def _check_skew(group, path):
    """UserError where the channels of a group do not begin together (C.10.9.1.4.5)."""
    rate = float(group.get("SamplingFrequency") or 0) or 1.0
    skews = [
        float(channel.get("ChannelTimeSkew") or 0)
        + float(channel.get("ChannelOffset") or 0)
        + float(channel.get("ChannelSampleSkew") or 0) / rate
        for channel in group.get("ChannelDefinitionSequence") or []
    ]
    if skews and max(skews) - min(skews) > SKEW_S:
        raise UserError(
            f"{path} has channels that begin up to {max(skews) - min(skews):g} s apart, which are "
            "not read"
        )
