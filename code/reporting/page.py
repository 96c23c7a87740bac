"""HTML fragments of the report: one self-contained page, no request to anywhere.

Works from a file, in light and dark, on paper and on a phone. Every text that comes from data is
escaped.
"""

import base64
import io
import math
from html import escape
from pathlib import Path

import pandas as pd

STYLE = """
:root { --ink:#1d2430; --soft:#5a6475; --line:#d9dee7; --ground:#ffffff; --card:#f6f8fb;
  --accent:#1f5fae;
        --warn:#8a5200; --warn-ground:#fff4df; --good:#1b6b3a; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e6e9ef; --soft:#a3adbd; --line:#343c49; --ground:#14181f; --card:#1c222c;
    --accent:#7fb2f0;
          --warn:#ffc670; --warn-ground:#33270f; --good:#7fd6a0; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--ground); color:var(--ink);
  font:16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size:1.9rem; line-height:1.2; margin:.2em 0 .1em; } h2 { font-size:1.35rem;
  margin:2.4em 0 .5em; padding-top:.6em;
     border-top:1px solid var(--line); } h3 { font-size:1.05rem; margin:1.6em 0 .4em; }
p, li { max-width: 46rem; } .soft { color:var(--soft); } .small { font-size:.87rem; }
nav { margin:1rem 0; display:flex; flex-wrap:wrap; gap:.4rem .9rem; } a { color:var(--accent); }
.how { background:var(--card); border-left:3px solid var(--accent); padding:.6rem .9rem;
  margin:.6rem 0 1rem; max-width:48rem; }
.warn { background:var(--warn-ground); color:var(--warn); border-left:3px solid currentColor;
  padding:.5rem .9rem; margin:.5rem 0;
        max-width:48rem; }
.tiles { display:flex; flex-wrap:wrap; gap:.8rem; margin:1rem 0; }
.tile { overflow-wrap:anywhere; max-width:100%; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:.5rem;
  padding:.6rem .9rem; min-width:9rem; }
.tile b { display:block; font-size:1.35rem; font-variant-numeric:tabular-nums; }
.scroll { overflow-x:auto; margin:.6rem 0 1rem; }
table { border-collapse:collapse; font-size:.87rem; font-variant-numeric:tabular-nums; }
th, td { padding:.25rem .6rem; text-align:right; border-bottom:1px solid var(--line);
  white-space:nowrap; }
th:first-child, td:first-child { text-align:left; }
  thead th { border-bottom:2px solid var(--line); color:var(--soft); }
figure { margin:1rem 0 1.6rem; } figure img { max-width:100%; height:auto; background:#fff;
  border:1px solid var(--line);
         border-radius:.3rem; } figcaption { color:var(--soft); font-size:.87rem; max-width:46rem; }
pre { background:var(--card); padding:.7rem; overflow-x:auto; font-size:.82rem;
  white-space:pre-wrap; overflow-wrap:anywhere; }
details { margin:.6rem 0; } summary { cursor:pointer; color:var(--accent); }
@media print { nav { display:none; } details > * { display:block; }
               details::details-content { content-visibility:visible; height:auto; }
                 h2 { break-after:avoid; }
               figure, .warn, tr { break-inside:avoid; } img { max-height:23cm; width:auto;
                 max-width:100%; }
               .scroll { overflow:visible; } table { font-size:7.5pt; }
                 th, td { padding:.15rem .3rem; } body { padding:0; } }
"""


def page(title: str, subtitle: str, sections: list[tuple[str, str, str]]) -> str:
    """The whole document; sections are (id, title, inner html)."""
    links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{escape(heading)}</h2>{inner}</section>'
        for name, heading, inner in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p "
        f'class="soft">{escape(subtitle)}</p><nav>{links}</nav>{body}</main></body></html>\n'
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; kind 'how' (how to read it), 'warn' (a check failed) or 'soft'."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def heading(text: str) -> str:
    """Heading of a part of a section."""
    return f"<h3>{escape(text)}</h3>"


def tiles(values: dict[str, str]) -> str:
    """Large numbers with a caption under each."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span class="soft '
        f'small">{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{inner}</div>'


def cell(value: object) -> str:
    """A table cell: three significant digits for numbers, a dash for blanks."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def table(frame: pd.DataFrame, limit: int | None = None) -> str:
    """A table of a frame's columns; says so where `limit` leaves rows out."""
    shown = frame.head(limit) if limit else frame
    head = "".join(f"<th>{escape(str(column))}</th>" for column in shown.columns)
    records = shown.astype(object).itertuples(index=False, name=None)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row) + "</tr>"
        for row in records
    )
    left_out = len(frame) - len(shown)
    note = (
        f'<p class="soft small">{left_out} more rows are in the csv file.</p>' if left_out else ""
    )
    return (
        "<div "
        f'class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}'
    )


def figure(path: Path, caption: str, max_width: int = 1600) -> str:
    """A picture, inlined; scaled down to `max_width` pixels and to 256 colours to keep the page
    small.
    """
    from PIL import Image

    with Image.open(path) as image:
        picture = image.convert("RGB")
    if picture.width > max_width:
        picture = picture.resize(
            (max_width, round(picture.height * max_width / picture.width)), Image.Resampling.LANCZOS
        )
    buffer = io.BytesIO()
    # an octree takes a seventh of the time of a median cut and looks the same; optimize=True: twice
    # the time for 3 % of the size
    picture.quantize(256, Image.Quantize.FASTOCTREE).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" width="{picture.width}" height="{picture.height}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def details(summary: str, inner: str) -> str:
    """Something folded away until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def code_block(text: str) -> str:
    """Preformatted text."""
    return f"<pre>{escape(text)}</pre>"
