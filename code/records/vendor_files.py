"""Files of electrocardiographs, through ecgdatakit: Philips XML, GE MUSE XML, HL7 aECG, SCP-ECG,
DICOM, ISHNE, MFER, EDF, Mortara's XML, Kardia's JSON; GE CardioSoft's XML by
records/cardiosoft.py, Schiller's by records/schiller.py, BDF by records/bdf.py.

Its amplitudes, leads and rates were compared with the files' own numbers on the files named in
docs/data.md, and with files made from the formats' specifications (tests/made_files.py). What it
only warns of is refused here where the samples are not what they seem to be (gaps, leads that do
not begin together), else said. Philips' files end in a calibration pulse, the same in every lead,
which is cut off.
"""

import re
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.files import UserError, need_file, need_memory
from records.cardiosoft import maker_of, read_cardiosoft
from records.csv_layout import as_utf8
from records.lead_names import canonical_lead, check_lead_names
from records.recording import Asked, Columns, Recording, ends_before, from_columns

SUFFIXES = (
    ".xml",
    ".aecg",
    ".dcm",
    ".dicom",
    ".scp",
    ".ecg",
    ".mwf",
    ".mfer",
    ".mfr",
    ".edf",
    ".ishne",
    ".bdf",
)
PER_BYTE = 20  # bytes of memory for each of a file: numbers as text, as numbers, and in mV
MISLEADING = {  # in a warning of the parser -> why the samples cannot be used
    "has gaps between data records": "has gaps in this stretch: --record_start names another",
    "without a gap": "is interrupted: its parts do not follow each other",
    "redefine the channels": "changes its leads, rate or scale within the recording",
}
WORTH_SAYING = (
    *("mismatch", "truncated", "missing sample", "not applied", "ignored", "experimental"),
    *("no waveform data", "using the MFER default"),
)
# in a warning of the parser that names another recording of the file, which is not read
LEFT_OUT = re.compile(r"rhythm \S+ (found|in the).*only the first|[Aa]dditional rhythm|not loaded")
# of DICOM: length of group 2, version; length of group 8, character set, image type, class
FIRST_ELEMENTS = (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0016, 0x0018, 0x0020)
STARTS = ("start_sample", "LeadTimeOffset", "LeadOffsetFirstSample")  # of SCP-ECG, GE MUSE
REFERENCE = re.compile(r"[;,]? ?\(?see raw_metadata\[[^]]*\]\)?")
LISTED = re.compile(r"\[([^],]*),[^]]*\]")
HEAD_BYTES = 4096
MOST_WORDS = 200  # letters of a parser's own words in a message
DECLARED = re.compile(rb"<!--.*?-->|<[?!][^>]*>", re.S)  # before the root of XML
ROOT = re.compile(rb"\W*<([A-Za-z][\w:.-]{0,60})")
OURS = re.compile(rb"<([\w.-]+[:.])?(AnnotatedECG|RestingECG|CardiologyXML|SchillerEDI)[\s>]")
OTHER_XML = {  # root -> what the file is, and what to do
    b"HealthData": "Apple Health's table of measurements, not a recording: the ECGs lie beside it, "
    "electrocardiograms/ecg_*.csv",
    **dict.fromkeys(
        (b"Bundle", b"Observation"), "a FHIR resource, which is not read: save its samples as csv"
    ),
}
PACKED = (b"\x1f\x8b", b"PK\x03\x04")
TIMED = "dicom_waveform"  # the parser gives whole Hz, but the length in s exactly
AECG = "hl7_aecg"  # the parser gives whole Hz, but keeps the step of time
MFER = "mfer"  # the parser gives whole Hz, but keeps the rate of each lead
NEAR = 2e-4  # share of a rate that rounded steps of time may be beside a whole number
NUMBERED = re.compile(r"_\d+$")  # ecgdatakit numbers leads of one name
BDF_MAGIC = b"\xffBIOSEMI"
BOM = b"\xef\xbb\xbf"
MAGIC = (b"ISHNE1.0", b"0       ", BDF_MAGIC)


def read_vendor_recording(path: str | Path, asked: Asked) -> Recording:
    """Read the rhythm strip of a vendor's file; UserError where it cannot be read."""
    path = need_file(path)
    if (maker := maker_of(path)) == "schiller":
        from records.schiller import read_schiller  # a rare file

        _check_size(path)
        return read_schiller(path, asked)
    if maker == "cardiosoft":
        check_part(path, asked.part)
        _check_size(path)
        return read_cardiosoft(path, asked)
    with open(path, "rb") as file:
        is_bdf = file.read(len(BDF_MAGIC)) == BDF_MAGIC
    if is_bdf:
        from records.bdf import read_bdf  # a rare file

        check_part(path, asked.part)
        return read_bdf(path, asked)
    read = None if asked.seconds is None else _read_stretch(path, asked)
    if read is None:
        _check_size(path)
        read = _recording(_parse(path, asked.part), path, asked)
    return read


def _read_stretch(path, asked, clock=1.0):
    """The stretch that is asked for, of a file that can be cut; None of another.

    clock  seconds by the file's rate in one by the rate that is asked for
    """
    from records.stretches import stretch_of  # of long files alone

    part = stretch_of(path, asked.start * clock, asked.seconds * clock)
    if part is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        shorter = Path(folder) / path.name
        shorter.write_bytes(part.content)
        record = _parse(shorter, asked.part, path)
    rates = _rates(record, _chosen(record, path, asked)[0])
    own = rates.pop() if len(rates) == 1 else None
    if own and asked.rate not in (None, own) and clock == 1.0:
        return _read_stretch(path, asked, asked.rate / own)
    if asked.start * clock >= part.seconds:
        raise ends_before(path, part.seconds / clock, asked)
    begin = asked.start - part.skipped / clock
    read = _recording(record, path, replace(asked, start=begin))
    return read._replace(start=asked.start, seconds=part.seconds / clock)


def check_part(path: str | Path, part: int | None) -> None:
    """UserError where another part than the first is asked for of a file that has one."""
    if part and part > 1:
        raise UserError(
            f"--record_part {part}: {path} holds one recording, or of several the first alone is "
            "read: parts are chosen of aECG, DICOM, GE MUSE and Schiller's XML"
        )


def looks_like_one(path: str | Path) -> bool:
    """Whether a file without a known suffix begins as a vendor's file does."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    text = as_utf8(head).removeprefix(BOM).lstrip()
    kardia = text[:1] == b"{" and b'"recordedAt"' in text
    points_to_itself = head[22:24] == b"\0\0" and head[28:32] == b"\7\0\0\0"  # in older SCP-ECG
    scp = head[8:10] == b"\0\0" and (head[16:22] == b"SCPECG" or points_to_itself)
    xml = text.startswith(b"<?xml") or (text[:1] == b"<" and OURS.search(text) is not None)
    other = head[128:132] == b"DICM" or head[2:6] == b"MFR "
    return head.startswith(MAGIC) or xml or other or scp or kardia or _may_be_dicom(path)


def _recording(record, path, asked):
    """What ecgdatakit read, as a recording in mV."""
    leads, names = _chosen(record, path, asked)
    if not leads:
        raise UserError(
            f"{path} has no lead that is known by name; it has "
            f"{', '.join(lead.label for lead in record.leads) or 'no signals'}: --lead_names says "
            "what they are"
        )
    rates = _rates(record, leads)
    lengths = {len(lead.samples) for lead in leads}
    starts = {_start(lead) for lead in leads}
    if len(rates) > 1 or len(lengths) > 1 or len(starts) > 1:
        raise UserError(
            f"{path} has leads of different rates, lengths or starts, which are not read"
        )
    values = np.stack([_physical(lead, path) for lead in leads], axis=1)
    if record.source_format.startswith(("sierra", "philips")):
        values = without_calibration(values)
    if record.source_format == "ishne_holter":
        values = _without_faults(values, leads)
    if record.source_format == AECG:
        from records.aecg_patient import NO_ID, patient_of  # a rare file

        if record.patient.patient_id in NO_ID:
            record.patient.patient_id = patient_of(path)
    columns = Columns(
        values,
        names,
        asked.rate or rates.pop(),
        [lead.units or None for lead in leads],
        _facts(record),
    )
    return from_columns(columns, path, replace(asked, lead_names=None))


def _start(lead):
    """What a file says of when a lead begins."""
    return tuple(map(lead.annotations.get, STARTS))


def _chosen(record, path, asked):
    """The leads to read and their names: those that are known by name, or as --lead_names says."""
    if not asked.lead_names:
        _check_once(record, path)
        leads = [lead for lead in record.leads if canonical_lead(lead.label)]
        return leads, [lead.label for lead in leads]
    given = check_lead_names(asked.lead_names, len(record.leads), path)
    kept = [k for k, name in enumerate(given) if name != "-"]
    return [record.leads[k] for k in kept], [given[k] for k in kept]


def _check_once(record, path):
    """UserError where a lead stands twice."""
    labels = {lead.label for lead in record.leads}
    for label in sorted(labels):
        name = NUMBERED.sub("", label)
        if name != label and name in labels and canonical_lead(name):
            raise UserError(
                f"{path} has lead {name} twice: name the signals with --lead_names, - for one to "
                "leave out"
            )


def _rates(record, leads):
    """The different rates (Hz) of some leads."""
    exact = _exact_rates(record)
    return {exact.get(lead.label, float(lead.sampling_rate)) for lead in leads}


def _exact_rates(record):
    """Lead -> Hz, where a file's rate is no whole number."""
    if record.source_format == AECG:
        rate = record.raw_metadata["rhythm_time"]["sampling_rate_exact"]
        rates = {lead.label: round(rate, 3) for lead in record.leads}
    elif record.source_format == MFER:
        stated = record.raw_metadata.get("sampling_rates", [])
        rates = {lead.label: rate for lead, rate in zip(record.leads, stated, strict=False)}
    elif record.source_format == TIMED and (duration := record.recording.duration):
        seconds = duration.total_seconds()
        rates = {lead.label: round(len(lead.samples) / seconds, 3) for lead in record.leads}
    else:
        return dict(record.raw_metadata.get("exact_sampling_rates", {}))
    return {name: rate for name, rate in rates.items() if abs(rate - round(rate)) > NEAR * rate}


def _without_faults(values, leads):
    """NaN for the lowest number of int16, which ISHNE proposes as the mark of a lost lead."""
    lowest = np.array([-32768 * (lead.resolution or 1) / 1000 for lead in leads])
    return np.where(np.isclose(values, lowest, rtol=1e-9), np.nan, values)


def _parse(path, part, shown=None):
    """What ecgdatakit makes of the recording of a file that messages call `shown`."""
    shown = shown or path
    try:
        from ecgdatakit import FileParser
    except ImportError:
        raise UserError(
            f"{shown} needs the package ecgdatakit: pip install -r requirements.txt"
        ) from None
    try:
        with warnings.catch_warnings(record=True) as said, tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("always")
            alone, others = _alone(path, Path(folder), part, shown)
            record = FileParser.parse(alone)
    except (MemoryError, UserError):
        raise
    except Exception as error:
        raise UserError(_refusal(error, path, shown)) from None
    others += _heed([str(one.message) for one in said], shown)
    record.raw_metadata["left_out"] = "; ".join(others)
    return record


def _alone(path, folder, part, shown):
    """A file that holds the recording alone, in `folder` where the given one does not, and what
    else that holds, in words.
    """
    if _is_dicom(path) or _may_be_dicom(path):
        from records.dicom_groups import recording_alone  # a rare file

        return recording_alone(path, folder, part, _is_dicom(path))
    with open(path, "rb") as file:
        head = as_utf8(file.read(HEAD_BYTES)).removeprefix(BOM).lstrip()
    if head[:1] in (b"<", b"{"):
        return _text_alone(path, folder, part, shown)
    check_part(shown, part)
    return path, []


def _text_alone(path, folder, part, shown):
    """As `_alone`, of XML and JSON: in UTF-8, and of HL7 aECG with one recording."""
    whole = path.read_bytes()
    content, others = as_utf8(whole), []
    if b"AnnotatedECG" in content[:HEAD_BYTES]:
        from records.aecg_series import may_hold_several, one_recording  # a rare file

        if part or may_hold_several(content):
            content, others = one_recording(content, part, shown)
    elif re.search(rb"<RestingECG[\s>]", content[:HEAD_BYTES]):
        from records import muse_rhythm  # a rare file

        if part or muse_rhythm.may_hold_several(content):
            content, others = muse_rhythm.one_rhythm(content, part, shown)
    else:
        check_part(shown, part)
    if content is whole:
        return path, []
    copy = folder / path.name
    copy.write_bytes(content)
    return copy, others


def _may_be_dicom(path):
    """Whether a file begins as DICOM without its first 132 bytes does: with an element of group 2
    or 8.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    known = element in FIRST_ELEMENTS and (head[4:6].isupper() or head[6:8] == b"\0\0")
    return group in (2, 8) and len(head) == 8 and known


def _is_dicom(path):
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _refusal(error, path, shown):
    """Why a file is not read, in one line of which the parser's own words are a part."""
    reason = " ".join(str(error).split())
    if "bimodal" in reason:
        return (
            f"{shown} is compressed bimodally, which is not read: write it without, or as HL7 "
            "aECG, as the C# ECG Toolkit does (sourceforge.net/projects/ecgtoolkit-cs)"
        )
    if "EntitiesForbidden" in reason:
        return (
            f"{shown} is not a file that is read: it declares entities (<!ENTITY ...>), which "
            "could name other files; take the <!DOCTYPE ...> out"
        )
    if "No parser found" in reason:
        return _unknown(path, shown)
    return f"{shown} is not a file that is read ({type(error).__name__}: {_cut(reason)})"


def _unknown(path, shown):
    """What is wrong with a file of which no format is recognised."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return f"{shown} is empty"
    if head.startswith(PACKED):
        return f"{shown} is packed (gzip or zip): unpack it"
    text = head.replace(b"\0", b"")  # of UTF-16 every second byte
    if root := ROOT.match(DECLARED.sub(b"", text)):
        if why := OTHER_XML.get(root[1]):
            return f"{shown} is {why}"
        return (
            f"{shown} is XML of a kind that is not read (<{root[1].decode('latin-1')}>): read are "
            "HL7 aECG, GE MUSE and CardioSoft, Philips, Mortara and Schiller"
        )
    return f"{shown} is not what its ending says, or of a kind that is not read: save it as csv"


def _cut(text):
    """A text of a length for one line."""
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}..."


def _heed(messages, path):
    """UserError for a warning that the samples are not what they seem; others worth it are said.
    What they say was left out of the recording is given back.
    """
    for message in messages:
        for sign, why in MISLEADING.items():
            if sign in message:
                raise UserError(f"{path} {why}")
    left_out = []
    for message in dict.fromkeys(messages):
        if LEFT_OUT.search(message):
            left_out.append(_shorter(message))
        elif any(sign in message for sign in WORTH_SAYING):
            print(f"warning: {path}: {_shorter(message)}", file=sys.stderr)
    return left_out


def _shorter(message):
    """A parser's warning in one line: of a list the first, nothing of where it keeps the rest."""
    message = REFERENCE.sub("", " ".join(message.split()))
    return _cut(LISTED.sub(r"\1, ...", message))


def _check_size(path):
    """UserError where a file cannot be unpacked within what it may honestly hold: of DICOM the
    whole may be compressed, and says nothing of how large it is.
    """
    size = path.stat().st_size
    need_memory(PER_BYTE * size, path, "take a shorter recording")
    if _is_dicom(path):
        from records.dicom_groups import check_compression  # a rare file

        check_compression(path)


def _physical(lead, path):
    samples = np.asarray(lead.samples, dtype=float)
    if not lead.is_raw:
        return samples
    if not lead.resolution:
        raise UserError(f"{path} does not say how many mV a unit of lead {lead.label} is")
    return samples * lead.resolution + (lead.offset or 0)


def without_calibration(values: np.ndarray) -> np.ndarray:
    """(T, n) without the stretch at its end in which all leads are equal: zeros and a pulse."""
    differ = np.flatnonzero(np.ptp(values, axis=1) > 0)
    if not len(differ):
        return values
    end = int(differ[-1]) + 1
    tail = values[end:]
    return values[:end] if len(tail) and np.ptp(tail) > 0 else values


def _facts(record):
    patient = record.patient
    facts = {
        "age": patient.age,
        "sex": patient.sex,
        "patient_id": patient.patient_id,
        "left_out": record.raw_metadata.get("left_out"),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}
