"""Which waveform of a GE MUSE file is the recording, where several could be: more than one rhythm,
or waveforms that do not say their type (the first of them is a median beat as a rule).
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from records.aecg_series import choose
from records.lead_names import canonical_lead

WAVEFORM = re.compile(rb"<Waveform[\s>]")
TYPE = re.compile(rb"<WaveformType>\s*(\w*)\s*</WaveformType>", re.I)
RHYTHM = "Rhythm"


def may_hold_several(content: bytes) -> bool:
    """Whether more than one waveform is a rhythm, or may be."""
    types = [found.upper() for found in TYPE.findall(content) if found]
    n_waveforms = len(WAVEFORM.findall(content))
    return n_waveforms > 1 and (len(types) < n_waveforms or types.count(b"RHYTHM") > 1)


def one_rhythm(content: bytes, part: int | None, path: str | Path) -> tuple[bytes, list[str]]:
    """The file with the rhythm that is read alone beside its other kinds of waveforms, and the
    others in words. Of several the one with most seconds of signal (leads times length) is read.

    part  number of the rhythm from 1 on;  UserError where there are fewer
    """
    from ecgdatakit.parsing.helpers.xml import parse_xml_root

    root = parse_xml_root(content)
    found = [one for one in root.findall("Waveform") if _type(one) in ("", RHYTHM.upper())]
    if not found:
        return content, []  # the parser says what is missing
    said = [one for one in found if _type(one)]
    rhythms = said or found  # a waveform without a type is no rhythm beside one that says so
    number = choose([_signal(one) for one in rhythms], part, path)
    others = []
    for waveform in found:
        if waveform is not rhythms[number]:
            root.remove(waveform)
    for k, waveform in enumerate(rhythms):
        if k != number:
            others.append(f"part {k + 1} (waveform of {len(waveform.findall('LeadData'))} leads)")
    if not said:
        for old in rhythms[number].findall("WaveformType"):
            rhythms[number].remove(old)
        ElementTree.SubElement(rhythms[number], "WaveformType").text = RHYTHM
    return ElementTree.tostring(root, encoding="utf-8"), others


def _type(waveform):
    return (waveform.findtext("WaveformType") or "").strip().upper()


def _signal(waveform):
    """Leads times samples, over Hz: letters of base64 count for samples."""
    try:
        rate = float(waveform.findtext("SampleBase") or 0)
        rate *= 10 ** float(waveform.findtext("SampleExponent") or 0)
    except (ValueError, OverflowError):
        rate = 0.0
    leads = [
        len((lead.findtext("WaveFormData") or "").strip())
        for lead in waveform.findall("LeadData")
        if canonical_lead((lead.findtext("LeadID") or "").strip())
    ]
    return sum(leads) / rate if rate > 0 else 0.0
