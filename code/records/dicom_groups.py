"""The groups of channels of a DICOM waveform: which of them is the recording, and whether its
channels begin together.

A file may hold the median beat, breathing or a second strip beside the recording. Labels that tell
them apart are optional (PS3.3 C.10.9), so the recording is the group with most seconds of signal
(leads times length).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from common.files import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SKEW_S = 0.001  # channels that begin further apart are not simultaneous
BEATS = ("MEDIAN", "REPRESENTATIVE", "AVERAGE")  # in the label of a group that is one beat


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


def recording_first(path: Path, folder: Path) -> Path:
    """The file, or where another group stands before the recording a copy in `folder` in which it
    does not: the parser takes the first group that is not called a beat.

    UserError where the recording's channels do not begin together.
    """
    import pydicom

    data = pydicom.dcmread(path)
    groups = list(data.get("WaveformSequence") or [])
    strips = [group for group in groups if not _is_beat(group)] or groups
    if not strips:
        return path  # the parser says what is missing
    recording = max(strips, key=_signal_seconds)
    _check_skew(recording, path)
    if recording is strips[0]:
        return path
    data.WaveformSequence = [recording, *(group for group in groups if group is not recording)]
    data.save_as(folder / path.name)
    return folder / path.name


def _is_beat(group: "Dataset") -> bool:
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    return any(word in label for word in BEATS)


def _signal_seconds(group: "Dataset") -> float:
    """Channels times length in s; 0 where the group does not say them."""
    names = ("NumberOfWaveformChannels", "NumberOfWaveformSamples", "SamplingFrequency")
    channels, samples, rate = (float(group.get(name) or 0) for name in names)
    return channels * samples / rate if rate > 0 else 0.0


def _check_skew(group, path):
    """UserError where the channels of a group do not begin together (C.10.9.1.4.5)."""
    skews = [
        float(channel.get("ChannelTimeSkew") or 0) + float(channel.get("ChannelOffset") or 0)
        for channel in group.get("ChannelDefinitionSequence") or []
    ]
    if skews and max(skews) - min(skews) > SKEW_S:
        raise UserError(
            f"{path} has channels that begin up to {max(skews) - min(skews):g} s apart, which are "
            "not read"
        )
