"""Schiller's XML (root `com.xiriuz.sema.xml.schillerEDI.SchillerEDI`): the recorded rhythm.

There is no public description; the layout is that of four readers by others, which agree: an event
holds `wavedata` of several types, of which ECG_RHYTHMS is the recording. Its `resolution` has
`samplerate` (value, exponent) and `yres` (units, unitperbit); each `channel` has its name and whole
numbers parted by commas. What they do not tell (an exponent other than 1, samples written in
another way) is refused.
"""

import re
from pathlib import Path

import numpy as np

from common.files import UserError
from records.aecg_series import choose
from records.cardiosoft import parse_xml, whole_numbers
from records.lead_names import canonical_lead
from records.recording import Asked, Columns, Recording, from_columns
from records.units import mv_per

RHYTHM = "ECG_RHYTHMS"
PARTED_BY_COMMAS = ("", "COMMASEPARATE", "COMMASEPARATED")
WAY_OUT = "export it as HL7 aECG, DICOM or SCP-ECG"


def read_schiller(path: str | Path, asked: Asked) -> Recording:
    """Read the rhythm; UserError where there is none, or it is written in another way."""
    root = parse_xml(path)
    strips = [one for one in root.iter("wavedata") if _text(one, "type").upper() == RHYTHM]
    if not strips:
        raise UserError(f"{path} is Schiller's XML without a rhythm (wavedata {RHYTHM}): {WAY_OUT}")
    rates = [_rate(strip, path) for strip in strips]
    seconds = [_samples_of_leads(strip) / rate for strip, rate in zip(strips, rates, strict=True)]
    number = choose(seconds, asked.part, path)
    strip = strips[number]
    step = _number(strip, "resolution/yres/unitperbit", path)
    unit = _text(strip, "resolution/yres/units")
    names, rows = [], []
    for channel in strip.findall("channel"):
        names.append(_text(channel, "name"))
        rows.append(_samples(channel, path))
    if len({len(row) for row in rows}) != 1:
        raise UserError(f"{path} has leads of different lengths, which are not read, or none")
    if unit and mv_per(unit) is None and not asked.unit:
        raise UserError(f"{path} is in {unit}, which is no unit of voltage")
    values = np.stack(rows, axis=1) * step * (mv_per(unit) or 1)
    facts = _facts(root)
    if others := [f"part {k + 1} (rhythm)" for k in range(len(strips)) if k != number]:
        facts["left_out"] = "; ".join(others)
    said = ["mV" if unit else None] * len(names)
    return from_columns(
        Columns(values, names, asked.rate or rates[number], said, facts), path, asked
    )


def _text(element, where):
    return (element.findtext(where) or "").strip()


def _number(element, where, path):
    try:
        found = float(_text(element, where).replace(",", "."))
    except ValueError:
        found = 0.0
    if not (np.isfinite(found) and found > 0):
        raise UserError(f"{path} is Schiller's XML and does not say its {where}: {WAY_OUT}")
    return found


def _rate(strip, path):
    """Hz; the exponent is 1 in all files that the readers by others know."""
    exponent = _text(strip, "resolution/samplerate/exponent")
    if exponent not in ("", "1"):
        raise UserError(
            f"{path} is Schiller's XML with an exponent {exponent[:20]} of its sampling rate, of "
            f"which the meaning is not known: {WAY_OUT}"
        )
    return _number(strip, "resolution/samplerate/value", path)


def _samples_of_leads(strip):
    counts = [
        _text(channel, "data").count(",") + 1
        for channel in strip.findall("channel")
        if canonical_lead(_text(channel, "name"))
    ]
    return sum(counts)


def _samples(channel, path):
    name, kind = _text(channel, "name"), _text(channel, "datastype").upper()
    text = _text(channel, "data")
    if kind not in PARTED_BY_COMMAS or not re.match(r"[-+]?\d+(?:\.\d+)?\s*,", text):
        raise UserError(
            f"{path} is Schiller's XML whose lead {name} is not written as numbers parted by "
            f"commas: {WAY_OUT}"
        )
    samples = whole_numbers(text, name, path)
    stated = _text(channel, "samplecount")
    if stated.isdigit() and int(stated) != len(samples):
        raise UserError(f"{path}: lead {name} holds {len(samples)} samples and says {stated}")
    return samples


def _facts(root):
    """Sex and patient, where the file says them in a way that is understood."""
    found = {"patient_id": _text(root, ".//patdata/id")}
    if (sex := _text(root, ".//patdata/gender").upper()) in ("M", "F", "MALE", "FEMALE"):
        found["sex"] = sex[0]
    return {name: value for name, value in found.items() if value}
