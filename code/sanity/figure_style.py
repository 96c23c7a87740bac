"""What the figures of the sanity checks share: one colour and dash per method, titles, legends."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.words import CONTROLS

COLOURS = [
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#7a1f5c",
    "#5b8c00",
    "#8a3d00",
    "#33104a",
    "#e34a6f",
    "#0f766e",
    "#a3a500",
    "#6a3d9a",
    "#4d4d00",
    "#ff8da1",
]
GREY = "#9a9a9a"


def in_rows(methods: Iterable[str]) -> list[str]:
    """Methods without repetition in their own order, the controls last: the rows of every
    figure.
    """
    once = list(dict.fromkeys(methods))
    return [
        *(method for method in once if method not in CONTROLS),
        *(control for control in CONTROLS if control in once),
    ]


def colours_of(methods: Sequence[str]) -> dict[str, str]:
    """A colour per method; the controls are grey."""
    real = [method for method in methods if method not in CONTROLS]
    return {
        **{method: GREY for method in methods},
        **{method: COLOURS[k % len(COLOURS)] for k, method in enumerate(real)},
    }


def dash_of(method: str) -> str:
    """LRP-epsilon often equals input x gradient: dotted, so that the line below it is seen."""
    return {"input_magnitude": "--", "lrp:epsilon": ":"}.get(method, "-")


def in_few_letters(value: float) -> str:
    """.31, -.30, 10.05: two digits, without the zero before the point."""
    shown = f"{round(value, 2) + 0:.2f}"  # + 0: no minus before a zero
    return re.sub(r"^(-?)0\.", r"\1.", shown)


def put_title(figure: Figure, text: str) -> None:
    """A title as broad as the figure, however few panels that has."""
    figure.suptitle(textwrap.fill(text, int(11 * figure.get_figwidth())), fontsize=10)


def put_legend(figure: Figure, ax: Axes) -> None:
    """The methods below the figure, in as many columns as fit."""
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=max(int(figure.get_figwidth() / 1.7), 2),
        fontsize=8,
        frameon=False,
    )
