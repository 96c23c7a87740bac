"""The gallery shows every kind of figure once, small, and its page is the one of the registry."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.files import UserError
from conftest import ROOT
from reporting.gallery import KINDS, MOST_BYTES, PAGE, PICTURES, page_of, small_png, write_gallery
from reporting.run import Run
from sanity.figures import FIGURES


def noisy(path, size=(2400, 1600)):
    """A picture that compresses badly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_pictures_are_small_and_keep_their_shape(tmp_path):
    path = noisy(tmp_path / "one.png")
    content = small_png(path)
    assert len(content) < MOST_BYTES
    (tmp_path / "small.png").write_bytes(content)
    with Image.open(tmp_path / "small.png") as image:
        assert image.width / image.height == pytest.approx(1.5, rel=0.02)
        assert image.width <= 1000


def test_what_a_run_lacks_is_said_and_what_was_there_stays(tmp_path):
    run = Run(tmp_path / "run", SimpleNamespace(labels=()))
    with pytest.raises(UserError, match="holds no figures"):
        write_gallery(run, tmp_path / "docs")
    noisy(run.folder / "roc.png", (300, 200))
    noisy(tmp_path / "docs" / PICTURES / "course.png", (300, 200))
    written, missing = write_gallery(run, tmp_path / "docs")
    assert [path.name for path in written] == [PAGE, "roc.png"]
    assert set(missing) == KINDS.keys() - {"roc"}
    shown = re.findall(r"\((\S+\.png)\)", (tmp_path / "docs" / PAGE).read_text())
    assert shown == [f"{PICTURES}/course.png", f"{PICTURES}/roc.png"]


def test_every_figure_of_the_sanity_checks_is_a_kind():
    patterns = {kind.pattern for kind in KINDS.values()}
    kinds = [name for name in FIGURES if not name.endswith("_column")]  # the same for a journal
    assert {f"sanity/{name}.png" for name in kinds} <= patterns


def test_the_page_in_docs_is_todays():
    folder = ROOT / "docs"
    there = [name for name in KINDS if (folder / PICTURES / f"{name}.png").is_file()]
    assert (folder / PAGE).read_text() == page_of(there)
    assert {path.stem for path in (folder / PICTURES).glob("*")} == set(there)
    assert all(path.stat().st_size < MOST_BYTES for path in (folder / PICTURES).iterdir())
