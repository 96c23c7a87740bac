"""Figures of the sanity checks, drawn from their tables."""

from pathlib import Path

import pandas as pd

from common.figure_files import write_figure
from common.plotting import style
from sanity.amplitude_figures import draw_amplitude_boxes, draw_amplitude_curves
from sanity.curve_figures import draw_randomisation, draw_removal
from sanity.ranking_figures import draw_ranking, draw_ranking_column
from sanity.truth_figures import draw_agreement, draw_dose_response, draw_layers, draw_localisation


def draw_all(
    folder: Path, tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> list[Path]:
    """Every figure that the tables allow; returns the written paths."""
    style()
    written = []
    for name, draw in FIGURES.items():
        figure = draw(tables, records)
        if figure is not None:
            written += write_figure(figure, folder / name)
    return written


FIGURES = {
    "ranking": draw_ranking,
    "ranking_column": draw_ranking_column,
    "amplitude_boxes": draw_amplitude_boxes,
    "amplitude_curves": draw_amplitude_curves,
    "randomisation": draw_randomisation,
    "removal": draw_removal,
    "localisation": draw_localisation,
    "dose_response": draw_dose_response,
    "layers": draw_layers,
    "agreement": draw_agreement,
}
