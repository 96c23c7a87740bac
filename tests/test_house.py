"""The numbers that keep the house one to live in: arrows between folders, what a stage pulls in,
air in the lines, and the picture of it all.
"""

import re

import pytest

from benchmarks import house
from benchmarks.house import STAGES

MOST_PULLED_IN = 35
MOST_ARROWS = 80
NESTED_PER_100_LINES = 0.1


def test_few_arrows_between_folders_few_floors_and_no_cycle():
    numbers = house.report()
    assert numbers["import edges between folders"] <= MOST_ARROWS
    assert numbers["floors"] <= 7
    assert numbers["cycle between folders"] is None


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_pulls_in_what_one_can_oversee(stage):
    found = house.pulled_in(stage)
    assert stage in found
    assert len(found) <= MOST_PULLED_IN, sorted(found)


def test_lines_have_air():
    air = house.air()
    assert air["lines over 100 characters"] == 0
    assert air["syntax nodes per code line"] <= 11
    assert air["nested comprehensions per 100 code lines"] <= NESTED_PER_100_LINES


def test_the_picture_is_of_the_imports_of_today():
    drawn = (house.ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8")
    assert drawn == house.picture(), "python tests/benchmarks/house.py --picture draws it anew"


def test_the_measures_count():
    source = '"""Words."""\n\nimport os  # why\n\nx = [\n    1,\n]\n'
    assert house.code_lines(source) == 4
    flat, nested, double = (
        "[f(x) for x in y]",
        "[[z for z in x] for x in y]",
        "{a for b in c for a in b}",
    )
    counts = [
        len(list(house.nested_comprehensions(house.ast.parse(s)))) for s in (flat, nested, double)
    ]
    assert counts == [0, 1, 1]
    assert house.floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == 3
    assert house.between_folders({"a.x": {"a.y", "b.z"}, "b.z": set()}) == {"a": {"b"}, "b": set()}


def rows_of(heading):
    """Cells of the table under a heading of docs/architecture.md."""
    text = (house.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = text.split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return rows[2:]


@pytest.mark.parametrize("row", rows_of("Where do I add"), ids=lambda row: row[0])
def test_what_one_adds_to_is_where_the_page_says(row):
    files = [house.ROOT / name for name in re.findall(r"`(code/[\w/]+\.py)`", row[1])]
    names = re.findall(r"`(\w+)`", row[2])
    if not files:  # figures: a file of that name in every room that draws
        assert row[0] == "a figure"
        return
    assert names
    for file in files:
        source = file.read_text(encoding="utf-8")
        assert any(re.search(rf"^(def )?{name}\b", source, re.MULTILINE) for name in names)


@pytest.mark.parametrize("row", rows_of("One answer to each question"), ids=lambda row: row[0])
def test_answers_are_given_where_the_page_says(row):
    [file] = re.findall(r"`([\w/]+\.py)`", row[1])
    source = (house.CODE / file).read_text(encoding="utf-8")
    names = re.findall(r"`(\w+)`", row[1])
    assert names
    for name in names:
        assert re.search(
            rf"^(def |class )?{name}\b|import {name}\b|\b{name},", source, re.MULTILINE
        )
