"""The recordings of an HL7 aECG: which of several series and sets of sequences is read.

A file holds one rhythm series as a rule, with one set of sequences and a representative beat that
was derived from it. Some hold several strips, and some put each lead, or each three, into a set of
its own. Sets that say the same start, step of time and length and hold different leads are one
recording; of several recordings that with most seconds of signal (leads times length) is read, or
the one of `--record_part`. A representative beat is never a recording.
"""

import re
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from common.files import UserError
from records.lead_names import canonical_lead

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SETS = re.compile(rb"<(?:[\w.-]+:)?sequenceSet[\s>]")
DERIVED = re.compile(rb"<(?:[\w.-]+:)?derivedSeries[\s>]")
BEAT = "REPRESENTATIVE_BEAT"
LEAD = "_ECG_LEAD_"
STEPS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}  # s


class Strip(NamedTuple):
    """A set of sequences: its series, number of that, the set, its leads, samples of each, seconds,
    and what it says of its time (None: nothing that could be compared).
    """

    series: "Element"
    number: int
    sequences: "Element"
    leads: tuple[str, ...]
    n_samples: int
    seconds: float
    time: tuple | None


def may_hold_several(content: bytes) -> bool:
    """Whether a file has more sets of sequences than those of its derived series."""
    return len(SETS.findall(content)) > 1 + len(DERIVED.findall(content))


def one_recording(content: bytes, part: int | None, path: str | Path) -> tuple[bytes, list[str]]:
    """The file with the recording that is read alone, and the others in words.

    part  number of the recording from 1 on (None: the one with most signal)
    UserError where there are fewer.
    """
    from ecgdatakit.parsing.helpers.xml import parse_xml_root

    root = parse_xml_root(content)
    recordings = _together(_strips(root))
    if not recordings:
        return content, []  # the parser says what is missing
    chosen = choose([_signal_seconds(strips) for strips in recordings], part, path)
    kept = recordings[chosen]
    first = kept[0]
    for strip in kept[1:]:
        for component in strip.sequences.findall("component"):
            if LEAD in _code(component.find("sequence")):
                first.sequences.append(component)
    _remove_others(root, first)
    others = [_words(k, strips) for k, strips in enumerate(recordings) if k != chosen]
    return ElementTree.tostring(root, encoding="utf-8"), others


def choose(seconds: Sequence[float | tuple], part: int | None, path: str | Path) -> int:
    """The place of the recording to read: the one of number `part`, else the first of those with
    most seconds of signal. UserError where there are fewer.
    """
    if part is None:
        return seconds.index(max(seconds))
    if part > len(seconds):
        raise UserError(f"--record_part {part}: {path} holds {len(seconds)} recordings")
    return part - 1


def _strips(root):
    """All sets of sequences with a lead, in the file's order."""
    found = []
    for number, series in enumerate(root.findall("component/series")):
        if _code(series) == BEAT:
            continue
        for sequences in series.findall("component/sequenceSet"):
            strip = _strip(series, number, sequences)
            if strip.leads:
                found.append(strip)
    return found


def _strip(series, number, sequences):
    leads, n_samples, seconds, time = [], 0, 0.0, None
    for sequence in sequences.findall("component/sequence"):
        code, value = _code(sequence), sequence.find("value")
        if LEAD in code:
            leads.append(code.partition(LEAD)[2])
            n_samples = n_samples or len((sequence.findtext("value/digits") or "").split())
        elif code.startswith("TIME_") and value is not None and time is None:
            seconds = _step(value.find("increment"))
            time = _time(code, value, seconds, number)
    return Strip(series, number, sequences, tuple(leads), n_samples, n_samples * seconds, time)


def _code(element):
    """The code of a series or a sequence in capitals."""
    code = None if element is None else element.find("code")
    return "" if code is None else (code.get("code") or "").strip().upper()


def _step(increment):
    """Seconds between samples; 0 where they are not said."""
    if increment is None:
        return 0.0
    try:
        return float(increment.get("value") or 0) * STEPS.get(increment.get("unit"), 0.0)
    except ValueError:
        return 0.0


def _time(code, value, seconds, number):
    """What two sets must share to begin together: times that count from a series' own start are
    only compared within it.
    """
    head = value.find("head")
    said = "" if head is None else (head.get("value") or "").strip()
    return (code, said, seconds, None if code == "TIME_ABSOLUTE" else number) if said else None


def _together(strips):
    """Strips that begin and end together and share no lead, as lists."""
    recordings: list[list[Strip]] = []
    for strip in strips:
        fitting = (
            others
            for others in recordings
            if strip.time is not None
            and (others[0].time, others[0].n_samples) == (strip.time, strip.n_samples)
            and not set(strip.leads) & set(_leads(others))
        )
        found = next(fitting, None)
        if found is None:
            recordings.append([strip])
        else:
            found.append(strip)
    return recordings


def _signal_seconds(strips):
    return strips[0].seconds * sum(canonical_lead(lead) is not None for lead in _leads(strips))


def _leads(strips):
    return list(chain.from_iterable(strip.leads for strip in strips))


def _remove_others(root, kept):
    """Leave the kept set alone in its series, and that alone in the file, with its derived beat."""
    for component in root.findall("component"):
        series = component.find("series")
        if series is not None and series is not kept.series:
            root.remove(component)
    for component in kept.series.findall("component"):
        found = component.find("sequenceSet")
        if found is not None and found is not kept.sequences:
            kept.series.remove(component)


def _words(place, strips):
    """A recording that is left out, in words."""
    leads = len(_leads(strips))
    numbers = [str(number + 1) for number, _ in groupby(strip.number for strip in strips)]
    return (
        f"part {place + 1} (series {' and '.join(numbers)}: {leads} "
        f"lead{'s' * (leads > 1)} of {strips[0].seconds:.4g} s)"
    )
