"""Files of electrocardiographs, through ecgdatakit: Philips XML, GE MUSE XML, HL7 aECG, SCP-ECG,
DICOM, ISHNE, MFER, EDF.

Its amplitudes, leads and rates were compared with the files' own numbers on the files named in
docs/data.md. One thing is mended here: Philips' files end in a calibration pulse, the same in
every lead, which is cut off.
"""

from pathlib import Path

import numpy as np

from common.files import UserError, need_file, need_memory
from records.lead_names import canonical_lead
from records.recording import Asked, Columns, Recording, from_columns

SUFFIXES = (
    ".xml",
    ".dcm",
    ".scp",
    ".ecg",
    ".mwf",
    ".mfer",
    ".edf",
    ".ishne",
    ".bdf",
)
PER_BYTE = 20  # bytes of memory for each of a file: numbers as text, as numbers, and in mV


def read_vendor_recording(path: str | Path, asked: Asked) -> Recording:
    """Read the rhythm strip of a vendor's file; UserError where it cannot be read."""
    record = _parse(Path(path))
    leads = [lead for lead in record.leads if asked.lead_names or canonical_lead(lead.label)]
    if not leads:
        raise UserError(
            f"{path} has no lead that is known by name; it has "
            f"{', '.join(lead.label for lead in record.leads) or 'no signals'}"
        )
    rates = {float(lead.sampling_rate) for lead in leads}
    lengths = {len(lead.samples) for lead in leads}
    if len(rates) > 1 or len(lengths) > 1:
        raise UserError(f"{path} has leads of different rates or lengths, which are not read")
    values = np.stack([_physical(lead, path) for lead in leads], axis=1)
    if record.source_format.startswith(("sierra", "philips")):
        values = without_calibration(values)
    columns = Columns(
        values,
        [lead.label for lead in leads],
        asked.rate or rates.pop(),
        [lead.units or None for lead in leads],
        _facts(record),
    )
    return from_columns(columns, path, asked)


def _parse(path):
    try:
        from ecgdatakit import FileParser
    except ImportError:
        raise UserError(
            f"{path} needs the package ecgdatakit: pip install -r requirements.txt"
        ) from None
    _check_size(need_file(path))
    try:
        return FileParser().parse(path)
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a file that is read ({type(error).__name__}: {reason})"
        ) from None


def _check_size(path):
    """UserError where a file cannot be unpacked within what it may honestly hold: of DICOM the
    whole may be compressed, and says nothing of how large it is.
    """
    size = path.stat().st_size
    need_memory(PER_BYTE * size, path, "take a shorter recording")
    with open(path, "rb") as file:
        head = file.read(132)
    if head[128:] != b"DICM":
        return
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception as error:
        raise UserError(f"{path} is not a file that is read ({type(error).__name__})") from None
    if syntax == DeflatedExplicitVRLittleEndian:
        raise UserError(f"{path} is compressed as a whole, which is not unpacked: save it plain")


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
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}
