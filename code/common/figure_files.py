"""Figures as files: what they say at their foot, and the same bytes for the same figure."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.files import replacing

if TYPE_CHECKING:  # imported where it is drawn: a stage says what its figures carry long before
    from matplotlib.figure import Figure

FIGURE_OPTIONS = {
    "pdf": {"metadata": {"CreationDate": None}},  # the same figure gives the same bytes
    # 40 % less time than with the default 6, files an eighth larger
    "png": {"pil_kwargs": {"compress_level": 3}},
}


@dataclass
class FigureFoot:
    """What every figure of a stage says at its foot, and how fine it is drawn.

    caption    data set and network, in words
    note       a warning, such as another data set than the network was trained on
    simulated  whether the data are simulated: the figure is marked
    dpi        dots per inch of PNG files; None: as the figure wants it
    """

    caption: str = ""
    note: str = ""
    simulated: bool = False
    dpi: int | None = None


FORMATS = ("png", "pdf")  # of every figure: to look at, and to print with its fonts embedded
# tables and figures, which the report shows: of an earlier run none may stand beside a later one's
SHOWN = ("*.csv", *(f"*.{suffix}" for suffix in FORMATS))
FOOT_SIZE = 6.0  # points, of the caption line
_FOOT = FigureFoot()


def set_up_figures(
    caption: str = "", note: str = "", simulated: bool = False, dpi: int | None = None
) -> None:
    """Have every figure from now on carry a caption line, a warning and a mark; see FigureFoot."""
    _FOOT.caption, _FOOT.note, _FOOT.simulated, _FOOT.dpi = caption, note, simulated, dpi


def write_figure(
    figure: "Figure",
    path: str | Path,
    dpi: int = 150,
    about: str = "",
) -> list[Path]:
    """Save and close a matplotlib figure as `path` in each of FORMATS; returns the written paths.

    about  what it was made from, such as '60 records of fold 10': the caption line begins with it
    """
    import matplotlib.pyplot as plt

    dpi = _FOOT.dpi or dpi
    canvas = _write_foot(figure, about, below=_lay_out(figure, dpi))
    written = []
    for suffix in FORMATS:
        target = Path(path).with_name(f"{Path(path).name}.{suffix}")
        options = {"dpi": dpi, "bbox_inches": canvas, **FIGURE_OPTIONS.get(suffix, {})}
        with replacing(target) as temporary:
            figure.savefig(temporary, **options)
        written.append(target)
    plt.close(figure)
    return written


INSIDE = 2  # lines that a figure without a layout engine leaves room for


def _write_foot(figure, about, below):
    """Write caption line, note and mark at the lower edge, or in a strip `below` it; returns the
    canvas to save, in inches (None: the figure as it is).
    """
    from matplotlib.transforms import Bbox

    line_height = 1.25 * FOOT_SIZE / 72
    mark_width = 0.75 if _FOOT.simulated else 0.0  # inches
    width, height = figure.get_size_inches()
    letters = int((width - mark_width - 0.1) / (0.55 * FOOT_SIZE / 72))
    said = " · ".join(filter(None, (about, _FOOT.caption)))
    lines = []
    for text, colour in ((said, "#555555"), (_FOOT.note, "firebrick")):
        lines += [(line, colour) for line in textwrap.wrap(text, letters)]
    n_lines = max(len(lines), int(_FOOT.simulated))
    if not n_lines:
        return None
    depth = 0.08 + n_lines * line_height
    below = below or n_lines > INSIDE
    bottom = 0.04 - depth * below
    style = {"fontsize": FOOT_SIZE, "va": "bottom", "parse_math": False}
    for number, (line, colour) in enumerate(reversed(lines)):
        y = (bottom + number * line_height) / height
        figure.text(0.05 / width, y, line, color=colour, **style)
    if _FOOT.simulated:
        mark = {"color": "firebrick", "fontweight": "bold", "ha": "right"}
        figure.text(1 - 0.05 / width, bottom / height, "SIMULATED", **mark, **style)
    return Bbox([[0, -depth], [width, height]]) if below else None


def _lay_out(figure, dpi):
    """Run a figure's layout engine now, once, and say whether it has one: `savefig` would run it,
    and draw everything once more, for every format.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return False
    figure.set_dpi(dpi)
    engine.execute(figure)
    figure.set_layout_engine(None)  # "none" leaves one for which `savefig` draws twice
    for part in (figure, *figure.subfigs):
        for legend in part.legends:  # stays with the figure where the canvas grows
            legend.set_bbox_to_anchor((0, 0, 1, 1), part.transSubfigure)
    return True
