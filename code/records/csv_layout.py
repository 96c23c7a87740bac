"""How a text file of one recording is written: encoding, separator, where its table begins, the
names and units of its columns, and what stands above them.

Only the beginning of a file is looked at. A line of data is one whose cells are mostly numbers;
what stands above the first is the head: comments, pairs such as `Sample Rate,512 hertz`, names,
units.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.files import UserError
from records.lead_names import canonical_lead
from records.units import mv_per

HEAD_BYTES = 1 << 18
LETTERS = 8  # bytes: four letters of UTF-16
MOST_LETTERS = 1000  # of a pair or a name: patterns take the square of it
TIME_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunden"), 1.0),
    **dict.fromkeys(("ms", "msec", "milliseconds", "millisecond"), 1e-3),
    **dict.fromkeys(("us", "µs", "\N{GREEK SMALL LETTER MU}s", "microseconds"), 1e-6),
}
TIME_NAMES = (
    *("time", "times", "t", "timestamp", "timestamps", "datetime", "elapsed", "elapsed time"),
    *("elapsedtime", "seconds", "sec", "zeit", "temps", "tiempo", "tempo"),
)
INDEX_NAMES = ("", "index", "sample", "samples", "sample #", "sample_number", "n", "nr", "no")
MISSING = ("", "-", "--", "nan", "na", "n/a", "null", "none", "#nv", "#n/a", "inf", "-inf")
SEPARATORS = (";", "\t", "|", ",", " ")
RATE_KEYS = (
    *("sample rate", "sampling rate", "samplerate", "samplingrate", "abtastrate", "rate", "fs"),
    *("sampling frequency", "sampling freq", "sample frequency", "frequency", "frequenz"),
    "messrate",
)
INTERVAL_KEYS = ("interval", "sampling interval", "sample interval", "abtastintervall")
# of LabChart's text: what the first cell of a line says of the columns
TITLES, TITLE_UNITS = "channeltitle", "unitname"
UNIT_KEYS = ("unit", "units", "einheit")
LEAD_KEYS = ("lead", "ableitung")
LEPU = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*F-\d+-\d+\s*,"
)  # records/text_exports.py
PER_SAMPLE = re.compile(rb"(?:^|[\r\n])[^\w\r\n]*\d[\d.,]*\s*\w{1,4}\s*/\s*sample\b")
WATCH_KEYS = ("recorded date", "classification")  # of an export that names no device
# words of columns that hold what was measured, not what was recorded
MEASURED = re.compile(
    r"\b(heart ?rate|bpm|pulse|steps?|classification|hrv|sdnn|calories|spo2|oxygen|systolic|"
    r"diastolic|voltage ?measurements|rr|qtc?|sleep)\b"
)
RECORDED = re.compile(
    r"\b(ecg|ekg|volts?|voltage|leads?|[mu\u00b5\u03bcn]v|signal|amplitude|value)\b"
)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")
_NUMBER = re.compile(r"[-+\u2212]?(\d[\d.,]*|[.,]\d+)(e[-+]?\d+)?", re.I)
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d[T ])?\d+:\d\d(:\d\d)?([.,]\d+)?Z?|\d{4}-\d\d-\d\d[T ].*")
_WITH_UNIT = re.compile(r"^(.*?)\s*(?:\(([^()]+)\)|\[([^\[\]]+)\])$")
_TRAILING_UNIT = re.compile(r"^(.*?)[_\s.]+(mv|uv|µv|ms|us|s|sec|seconds)$", re.I)
_INTERVAL = re.compile(r"(\d+(?:[.,]\d+)?(?:e-?\d+)?)\s*(\D+)", re.I)
_PAIR = re.compile(r"^\W*([^\W\d_][\w .()'\u2019-]*?)\s*[,;:=\t]\s*(.*?)\s*$")
# a rate in the words of a watch's language: 512 hertz, 512 Hz, 512 hercios, 512ヘルツ
_HERTZ = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:hz|her[tzc]\w*|ヘルツ|赫[兹茲]|헤르츠|гц|герц\w*)\b", re.I
)


class Layout(NamedTuple):
    """first  line of data (0 is the file's first);  names, units  of the columns ("" and None
    where nothing is said);  named  whether the file names its columns
    pairs  what the head says, keys in small;  in_rows  each lead is a line
    """

    encoding: str
    separator: str
    first: int
    names: list[str]
    units: list[str | None]
    named: bool
    pairs: dict[str, str]
    in_rows: bool


def read_layout(path: str | Path) -> Layout:
    """Look at the beginning of a file; UserError where there is no table in it."""
    lines, encoding = first_lines(path)
    separator = _separator(lines)
    first = _first_data(lines, separator)
    if first is None:
        refuse_measurements(cells(separator.join(lines[:3]), separator), path)
        raise UserError(f"{path} is not a readable table: no line of it holds numbers")
    if _leads_are_rows(lines[first:], separator):
        return Layout(encoding, separator, first, [], [], False, _pairs(lines[:first]), True)
    head = lines[:first]
    names, units, named = _names(head, lines[first], separator)
    return Layout(encoding, separator, first, names, units, named, _pairs(head), False)


def first_lines(path: str | Path) -> tuple[list[str], str]:
    """The lines that a file begins with, and its encoding; UserError where it is no text."""
    with open(path, "rb") as file:
        raw = file.read(HEAD_BYTES)
        whole = not file.read(1)
    encoding = encoding_of(raw)
    text = raw.decode(encoding, "replace")
    lines = re.split(r"\r\n|\n|\r", text)
    if not whole and len(lines) > 1:
        lines = lines[:-1]  # cut off within a line
    if not text.strip() or "\0" in text[:1000]:
        raise UserError(f"{path} is not a readable table")
    return lines, encoding


def refuse_measurements(columns: Sequence[str], path: str | Path) -> None:
    """UserError where columns hold what an app measured (heart rates, classes, steps), and none of
    them a signal.
    """
    plain = [re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", one)) for one in columns]
    plain = [name.lower().strip() for name in plain]
    measured = [name for name, one in zip(columns, plain, strict=True) if MEASURED.search(one)]
    recorded = [one for one in plain if RECORDED.search(one) and not MEASURED.search(one)]
    if measured and not recorded:
        raise UserError(
            f"{path} is a table of what an app measured ({', '.join(measured[:4])[:100]}), not a "
            "recording: export the ECG with its samples (of an Apple Watch "
            "electrocardiograms/ecg_*.csv in Apple Health's own export)"
        )


def encoding_of(raw: bytes) -> str:
    """utf-16 by its mark or its zeros, utf-8 where it is that, else Windows' western one (its µ is
    no UTF-8).
    """
    if found := _utf16(raw):
        return found
    try:
        raw[: HEAD_BYTES - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(raw) - 8:
            return "cp1252"
    return "utf-8-sig"


def _utf16(raw):
    """The kind of UTF-16 that a text is in: by its mark, else by the zeros of its first letters."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    even, odd = raw[:LETTERS:2], raw[1:LETTERS:2]
    for kind, letters, zeros in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if len(raw) >= LETTERS and all(letters) and not any(zeros):
            return kind
    return None


def as_utf8(raw: bytes) -> bytes:
    """Text in UTF-16 as UTF-8, without what XML says of its own encoding; other bytes as they
    are.
    """
    encoding = _utf16(raw)
    if not encoding:
        return raw
    return _DECLARATION.sub("", raw.decode(encoding, "replace")).encode()


def cells(line: str, separator: str) -> list[str]:
    """The cells of a line, without quotes."""
    parts = line.split() if separator == " " else _split(line, separator)
    return [part.strip().strip("'\"").strip() for part in parts]


def _split(line, separator):
    """At separators outside of quotes."""
    if '"' not in line and "'" not in line:
        return line.split(separator)
    pattern = rf"""(?:"[^"]*"|'[^']*'|[^{re.escape(separator)}"']+|["'])*"""
    return re.findall(rf"({pattern})(?:{re.escape(separator)}|$)", line)[
        : line.count(separator) + 1
    ]


def is_number(text: str) -> bool:
    """Whether a cell is a number, with a point or a comma."""
    return bool(_NUMBER.fullmatch(text))


def program_of(path: str | Path) -> str | None:
    """Which program's own layout a file begins with, in any encoding: `lepu`, `acqknowledge`, None
    for any other.
    """
    with open(path, "rb") as file:
        head = file.read(1000).replace(b"\0", b"")
    if LEPU.match(head):
        return "lepu"
    return "acqknowledge" if PER_SAMPLE.search(head) else None


def is_value(text: str) -> bool:
    """Whether a cell may stand in a table of samples: a number, a time, or none."""
    return text.lower() in MISSING or is_number(text) or bool(_CLOCK.fullmatch(text.strip("[]")))


def _separator(lines):
    """The first of ; tab | , blank that the file's lines of data have equally often."""
    body = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "%"))]
    body = body[len(body) // 2 :][:40] or body
    if all(len(line.split()) > 1 for line in body) and all(
        re.fullmatch(r"[-+]?\d+,\d+", word) for line in body for word in line.split()
    ):
        return " "
    if _one_column_of_decimal_commas(lines, body):
        return "\t"
    for separator in SEPARATORS[:-1]:
        counts = {_count(line, separator) for line in body}
        if min(counts) > 0 and max(counts) - min(counts) <= 1:
            return separator
    return " " if all(len(line.split()) > 1 for line in body) else ","


def _one_column_of_decimal_commas(lines, body):
    """One lead, as watches write it in countries of the decimal comma: its head has pairs."""
    pairs = stated_rate(_pairs(lines[:20])) is not None
    numbers = all(re.fullmatch(r"[-+\u2212]?\d+(,\d+)?", line.strip()) for line in body)
    return pairs and numbers and any("," in line for line in body)


def _count(line, separator):
    return re.sub(r'"[^"]*"', "", line).count(separator)


def _first_data(lines, separator):
    """The first line that is data, as those after it are."""
    for number, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith(("#", "%")):
            continue
        row = cells(line, separator)
        told = sum(is_number(cell) or bool(_CLOCK.fullmatch(cell)) for cell in row)
        values = sum(is_value(cell) for cell in row)
        if not told or 2 * values <= len(row) or _is_pair(row) or _counts_columns(row):
            continue
        if _key(row):
            continue
        following = [cells(one, separator) for one in lines[number + 1 : number + 4] if one.strip()]
        if all(abs(len(one) - len(row)) <= 1 for one in following):
            return number
    return None


def _is_pair(row):
    """Whether a line is a key and its value."""
    return len(row) == 2 and row[0][:1].isalpha() and canonical_lead(row[0]) is None


def _key(row):
    """What a line of LabChart's head is of, `Range=` in its first cell; "" for another line."""
    return row[0][:-1].lower() if row[0][1:].endswith("=") else ""


def _counts_columns(row):
    """Whether a line numbers the columns: 0, 1, 2, ... or 1, 2, 3, ..., as data frames write it."""
    numbers = row[1:] if row and not row[0] else row
    for begin in (0, 1):
        if len(numbers) > 2 and numbers == [str(k + begin) for k in range(len(numbers))]:
            return True
    return False


def _leads_are_rows(lines, separator):
    """Whether there are at most 16 lines, each as long as a recording."""
    body = [line for line in lines if line.strip()]
    if len(body) > 16 or len(body) < 1:
        return False
    lengths = {len(cells(line, separator)) for line in body}
    return min(lengths) > 200 and max(lengths) - min(lengths) <= 1


def _names(head, data, separator):
    """Names and units of the columns, from the last lines of the head that have as many cells."""
    n = len(cells(data, separator))
    rows = [cells(line.lstrip("#% "), separator) for line in head if line.strip()]
    keyed = {_key(row): row[1:] for row in rows}
    if TITLES in keyed:
        return _titled(keyed, n)
    rows = [row for row in rows[-2:] if abs(len(row) - n) <= 1]
    if n == 1:
        rows = [row for row in rows if len(row) == 1 and not _pair(row[0])]
    if n == 2:
        rows = [row for row in rows if not _is_pair(row) or _known(row)]
    unit_line = rows.pop() if rows and _is_unit_line(rows[-1]) else None
    given = next((row for row in reversed(rows) if _known(row)), rows[-1] if rows else [])
    if not given or _counts_columns(given):
        return [""] * n, _fitted(unit_line and list(map(_bare, unit_line)), n, None), False
    split = [name_and_unit(name) for name in _fitted(given, n, "")]
    names, units = [name for name, _ in split], [unit for _, unit in split]
    if unit_line:
        below = _fitted([_bare(cell) for cell in unit_line], n, None)
        units = [unit or other for unit, other in zip(units, below, strict=True)]
    return names, units, True


def _titled(keyed, n):
    """Names and units of LabChart's columns, of which the last n have titles: times come first."""
    titles = keyed[TITLES][:n]
    before = n - len(titles)
    units = [_bare(cell) for cell in keyed.get(TITLE_UNITS, ())][: len(titles)]
    return ["time", *[""] * n][:before] + titles, _fitted([None] * before + units, n, None), True


def _known(row):
    """Whether a line names a time or leads."""
    named = [name_and_unit(cell)[0] for cell in row]
    return any(is_time(name) or canonical_lead(name) for name in named)


def _fitted(row, n, blank):
    return ((row or []) + [blank] * n)[:n]


def _bare(text):
    """A unit without its brackets, None where it is none."""
    word = text.strip("()[] ").lower()
    return word if word in TIME_UNITS or mv_per(word) is not None else None


def _is_unit_line(row):
    """Whether a line says the columns' units; `Range,10 mV,10 mV` says something else."""
    first = row[0].strip("()[] ").lower()
    other = first.isalpha() and not first.startswith(UNIT_KEYS) and not _bare(first)
    return not other and any(mv_per(cell.strip("()[] ")) is not None for cell in row)


def name_and_unit(text: str) -> tuple[str, str | None]:
    """'I (mV)' -> ('I', 'mV'); what is no unit stays in the name."""
    if len(text) > MOST_LETTERS:
        return text, None
    match = _WITH_UNIT.match(text)
    unit = match and (match[2] or match[3]).strip()
    if match and (mv_per(unit) is not None or unit.lower() in TIME_UNITS):
        return match[1], unit
    match = _TRAILING_UNIT.match(text)
    if match and (mv_per(match[2]) is not None or is_time(match[1])):
        return match[1], match[2]
    return text, None


def is_time(name: str) -> bool:
    """Whether a column of this name holds times."""
    return re.sub(r"[\s_]+", " ", name.strip().lower()) in TIME_NAMES


def is_index(name: str) -> bool:
    """Whether a column of this name counts the samples."""
    return name.strip().lower() in INDEX_NAMES or name.startswith("Unnamed")


def _pairs(head: Iterable[str]) -> dict[str, str]:
    """What the head says in pairs, as 'Sample Rate,512 hertz' or '# fs = 500'."""
    found = map(_pair, head)
    return {pair[1].lower(): pair[2].strip("\"' ") for pair in found if pair}


def _pair(line):
    """A line as key and value, or None."""
    return _PAIR.match(line) if len(line) <= MOST_LETTERS else None


def stated_rate(pairs: dict[str, str]) -> float | None:
    """The sampling rate (Hz) that the head says: by its name, by the time between two samples, or
    by its unit in any language.
    """
    for key, value in pairs.items():
        plain = re.sub(r"[\s_]+", " ", re.sub(r"\(.*?\)", "", key)).strip()
        between = _INTERVAL.fullmatch(value) if plain in INTERVAL_KEYS else None
        if between and between[2].lower() in TIME_UNITS:
            seconds = float(between[1].replace(",", ".")) * TIME_UNITS[between[2].lower()]
            return round(1 / seconds, 3) if seconds > 0 else None
        number = re.match(r"(\d+(?:[.,]\d+)?)\s*(k?)", value)
        if plain in RATE_KEYS and number:
            return float(number[1].replace(",", ".")) * (1000 if number[2] else 1)
    found = [match for match in map(_HERTZ.fullmatch, pairs.values()) if match]
    return float(found[0][1].replace(",", ".")) if len(found) == 1 else None


def stated_unit(pairs: dict[str, str]) -> str | None:
    """The one unit of voltage that the head says; a watch's microvolts."""
    found = [pairs[key] for key in UNIT_KEYS if mv_per(pairs.get(key))] or list(pairs.values())
    found = {value for value in found if not is_number(value) and mv_per(value)}
    if len(found) == 1:
        return found.pop()
    return "uV" if is_of_watch(pairs) else None


def stated_lead(pairs: dict[str, str]) -> str | None:
    """The lead that the head says, as in `Lead,Lead I` or `Dérivation,Dérivation I`; a watch
    measures from arm to arm.
    """
    for key, value in pairs.items():
        if value.lower().startswith(key) and canonical_lead(value[len(key) :]):
            return value[len(key) :].strip()
        if key in LEAD_KEYS and canonical_lead(value):
            return value
    return "I" if is_of_watch(pairs) else None


def is_of_watch(pairs: dict[str, str]) -> bool:
    """Whether the head is that of an Apple Watch's export, whose device is "Watch6,1"."""
    named = any(re.match(r"Watch\d", value) for value in pairs.values())
    return named or all(key in pairs for key in WATCH_KEYS)
