"""The pages that people open: one self-contained file each, no request to anywhere.

Works from a file, in light and dark, on paper and on a phone. The HTML is in assets/, filled in by
jinja2, which escapes every text that comes from data.
"""

import base64
import io
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from common.words import (
    COLUMNS,
    MEANINGS,
    method_in_words,
    probability_in_words,
    representation_in_words,
)

ASSETS = Path(__file__).with_name("assets")
_TEMPLATES = Environment(
    loader=FileSystemLoader(ASSETS),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_PARTS = _TEMPLATES.get_template("parts.html").module
_NUMBERS = itertools.count(1)
PX_PER_INCH = 144  # of a figure on the page; CSS has 96 an inch


@dataclass(frozen=True)
class PageSection:
    """One section of a page: its anchor, its heading, its inner HTML, and how the contents call it
    (else as the heading).
    """

    name: str
    title: str
    inner: Markup
    short: str = ""


def page(title: str, subtitle: str, sections: list[PageSection]) -> str:
    """The whole document."""
    return _TEMPLATES.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        style=Markup(_asset("page.css")),
        scripts=[Markup(_asset(name)) for name in ("page.js", "viewer.js")],
    )


def _asset(name):
    return (ASSETS / name).read_text(encoding="utf-8")


def join(fragments: list[Markup]) -> Markup:
    """Fragments one after the other."""
    return Markup("\n").join(fragments)


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph; kind 'how' (how to read it), 'warn' (a check failed) or 'soft'."""
    return _PARTS.paragraph(text, kind)


def heading(text: str, name: str = "") -> Markup:
    """Heading of a part of a section; `name`: its anchor."""
    return _PARTS.heading(text, name)


def tiles(values: dict[str, str]) -> Markup:
    """Large numbers with a caption above each."""
    return _PARTS.tiles(values)


PROBABILITIES = ("probability", "threshold", "lowest", "highest")  # columns


def cell(value: object, column: str = "") -> str:
    """A table cell: three significant digits for numbers, a dash for blanks, and of a probability
    never 0 or 1.
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if column in PROBABILITIES:
        return probability_in_words(value, 3)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:z.3g}" if abs(value) < 999.5 else f"{value:,.0f}"
    return str(value)


def table(frame: pd.DataFrame, limit: int | None = None, where: str = "the csv file") -> Markup:
    """A table that sorts and filters; where `limit` leaves rows out it says in which file they
    are.
    """
    shown = frame.head(limit) if limit else frame
    names = list(map(str, shown.columns))
    heads = [(head(name), COLUMNS.get(name, "")) for name in names]
    as_text = [is_text(frame.iloc[:, place]) for place in range(len(names))]
    rows = [
        list(zip(map(_explained, names, record), as_text, strict=True))
        for record in shown.astype(object).itertuples(index=False, name=None)
    ]
    name = f"table{next(_NUMBERS)}"
    columns = list(zip(heads, as_text, strict=True))
    return _PARTS.table(name, columns, rows, len(frame) - len(shown), where)


def head(name: str) -> str:
    """Name of a column as a heading."""
    return name.replace("_", " ")


def is_text(column: pd.Series) -> bool:
    """Whether a column holds words, which stand at the left, not numbers."""
    return not pd.api.types.is_numeric_dtype(column)


def _explained(column, value):
    """Text of a cell and, for a class, a concept, a segment or a method, what it means."""
    text = cell(value, column)
    if column == "method":
        return method_in_words(text), text
    if column == "representation":
        return representation_in_words(text), text
    return text, MEANINGS.get(text, "")


# names that stand in sentences: with a capital or a hyphen, so that no common word is taken for one
_NAMES = re.compile(
    "|".join(
        rf"(?<![\w-]){re.escape(name)}(?![\w-])"
        for name in sorted(MEANINGS, key=len, reverse=True)
        if len(name) > 2 and name != "Sex" and not name.islower() and "(" not in name
    )
)


def with_meanings(text: str) -> Markup:
    """A sentence, its classes, concepts and segments explained on hover, its options unbroken."""
    parts, last = [], 0
    for found in _NAMES.finditer(text):
        before = _unbroken(text[last : found.start()])
        parts += [before, _PARTS.word(found[0], MEANINGS[found[0]])]
        last = found.end()
    return Markup("").join([*parts, _unbroken(text[last:])])


def _unbroken(text):
    """Text whose options (`--control`) stay on one line."""
    words = re.split(r"(?<!\w)(--\w+)", text)
    return Markup("").join(
        _PARTS.option(word) if place % 2 else escape(word) for place, word in enumerate(words)
    )


def figure(path: Path, caption: str, max_width: int = 1600) -> Markup:
    """A picture, inlined; scaled down to `max_width` pixels and to 256 colours to keep the page
    small, and shown half as large again as in print, so that a column's figure fills no screen.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            dpi = float(image.info.get("dpi", (0,))[0])
            inches = image.width / dpi if dpi > 1 else None
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return paragraph(f"{path.name} is no readable picture ({type(error).__name__}).", "warn")
    if picture.width > max_width:
        size = (max_width, round(picture.height * max_width / picture.width))
        picture = picture.resize(size, Image.Resampling.HAMMING)  # a third of the time of Lanczos
    buffer = io.BytesIO()
    width = min(picture.width, round(PX_PER_INCH * inches)) if inches else picture.width
    # an octree takes a seventh of the time of a median cut and looks the same; optimize=True: twice
    # the time for 3 % of the size
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    height = round(picture.height * width / picture.width)
    return _PARTS.figure(caption, width, height, data)


def details(summary: str, inner: Markup) -> Markup:
    """Something folded away until it is asked for."""
    return _PARTS.details(summary, inner)


def code_block(text: str) -> Markup:
    """Preformatted text."""
    return _PARTS.code_block(text)


def findings_list(sentences: list) -> Markup:
    """Findings, one line each, with a link to the section that holds the evidence."""
    return _PARTS.findings([(one, with_meanings(one.text)) for one in sentences])


def glossary(entries: list[tuple[str, str]]) -> Markup:
    """Words and what they mean."""
    return _PARTS.glossary(entries)


def viewer(book: Markup, label: str) -> Markup:
    """The interactive ECG; `book` is what reporting.viewer.book makes."""
    return _PARTS.viewer(book, label)
