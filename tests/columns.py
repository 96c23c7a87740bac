"""What every figure for a journal's column must keep to."""

from matplotlib.figure import Figure
from matplotlib.text import Text

WIDTH, SMALLEST = 85.0, 6.0  # mm, points


def words_of(figure: Figure) -> list[Text]:
    """Every text that is seen."""
    return [text for text in figure.findobj(Text) if text.get_text().strip() and _seen(text)]


def _seen(text):
    ax = text.axes
    return text.get_visible() and (ax is None or ax.axison or text in ax.texts)


def faults_of(figure: Figure) -> list[str]:
    """What a column cannot carry: another width, too small letters, words that leave it."""
    figure.canvas.draw()
    wide = figure.get_size_inches()[0] * 25.4
    faults = [] if abs(wide - WIDTH) < 0.1 else [f"{wide:.1f} mm wide"]
    right, top = figure.canvas.get_width_height()
    for text in words_of(figure):
        if text.get_fontsize() < SMALLEST:
            faults.append(f"{text.get_text()!r} of {text.get_fontsize():g} points")
        box = text.get_window_extent()
        if min(box.x0, box.y0) < -1 or box.x1 > right + 1 or box.y1 > top + 1:
            faults.append(f"{text.get_text()!r} leaves the figure")
    return faults
