"""GE CardioSoft's XML (`CardiologyXML`, as UK Biobank has it): the rhythm strip of 12 leads.

StripData has SampleRate (Hz), Resolution (uVperLsb) and, for each lead, whole numbers separated by
commas. The median beat beside it (MedianSamples) is not read.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import UserError
from records.csv_layout import as_utf8
from records.recording import Asked, Columns, Recording, from_columns
from records.units import mv_per

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

HEAD_BYTES = 4096
UNIT_PER_STEP = {"uvperlsb": "uV", "mvperlsb": "mV", "nvperlsb": "nV"}


def maker_of(path: str | Path) -> str | None:
    """Whose XML of those that are read here a file begins as: `cardiosoft`, `schiller`, None for
    others.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES).replace(b"\0", b"")  # of UTF-16 every second byte
    found = re.search(rb"<(CardiologyXML|[\w.]*\bSchillerEDI)[\s>]", head)
    return found and ("cardiosoft" if found[1] == b"CardiologyXML" else "schiller")


def read_cardiosoft(path: str | Path, asked: Asked) -> Recording:
    """Read the rhythm strip; UserError where there is none, or a lead has another length."""
    root = parse_xml(path)
    strip = root.find(".//StripData")
    leads = [] if strip is None else strip.findall("WaveformData")
    if not leads:
        raise UserError(f"{path} has no rhythm strip (StripData)")
    rate, step = _number(strip, "SampleRate", path), _number(strip, "Resolution", path)
    unit = UNIT_PER_STEP.get((strip.find("Resolution").get("units") or "").lower())
    rows = [whole_numbers(lead.text, lead.get("lead"), path) for lead in leads]
    if len({len(row) for row in rows}) > 1:
        raise UserError(f"{path} has leads of different lengths, which are not read")
    names = [lead.get("lead") or "" for lead in leads]
    values = np.stack(rows, axis=1) * step * (mv_per(unit) or 1)
    said = ["mV" if unit else None] * len(names)
    columns = Columns(values, names, asked.rate or rate, said, _facts(root))
    return from_columns(columns, path, asked)


def parse_xml(path: str | Path) -> "Element":
    """The root of a file of XML; entities, which may hide a bomb, are refused."""
    try:
        from ecgdatakit.parsing.helpers.xml import parse_xml_root
    except ImportError:
        raise UserError(
            f"{path} needs the package ecgdatakit: pip install -r requirements.txt"
        ) from None
    try:
        return parse_xml_root(as_utf8(Path(path).read_bytes()))
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a file that is read ({type(error).__name__}: {reason})"
        ) from None


def _number(strip, name, path):
    try:
        return float(strip.findtext(name, "").replace(",", "."))
    except ValueError:
        raise UserError(f"{path} does not say its {name}") from None


def whole_numbers(text: str | None, name: str | None, path: str | Path) -> np.ndarray:
    """The samples of a lead, parted by commas or blanks."""
    try:
        return np.array(re.split(r"[\s,]+", (text or "").strip(" \t\r\n,")), dtype=float)
    except ValueError:
        raise UserError(f"{path}: lead {name} holds what is no number") from None


def _age(element):
    """As the file says it: `52`, or `6 months`."""
    if element is None:
        return ""
    text, unit = (element.text or "").strip(), (element.get("units") or "").strip()
    return text if not text or unit.lower() in ("", "years", "year") else f"{text} {unit}"


def _facts(root):
    """Age, sex and patient, where the file says them."""
    patient = root.find(".//PatientInfo")
    if patient is None:
        return {}
    found = {
        "age": _age(patient.find("Age")),
        "sex": patient.findtext("Gender", "").strip(),
        "patient_id": patient.findtext("PID", "").strip(),
    }
    return {name: value for name, value in found.items() if value}
