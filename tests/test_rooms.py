"""The house's rule: a room imports only what stands to its left, and no module imports itself by a
detour.
"""

from benchmarks import house
from benchmarks.house import FLOOR, MODULES, cycle

ALLOWED = {("sanity", "simulation")}  # sanity checks judge methods by planted causes


IMPORTS = house.imports()


def wrong_way(imports):
    """Pairs of modules of which the first may not import the second."""
    for name, targets in imports.items():
        room = name.split(".")[0]
        for target in sorted(targets):
            other = target.split(".")[0]
            if other == room or (room, other) in ALLOWED:
                continue
            if other == "utils" and room not in FLOOR:  # the front door, for scripts alone
                continue
            if other not in FLOOR or (room in FLOOR and FLOOR[other] >= FLOOR[room]):
                yield name, target


def test_every_module_has_a_room_that_the_rule_knows():
    rooms = {name.split(".")[0] for name in MODULES if "." in name}
    assert rooms == set(FLOOR)


def test_rooms_import_only_what_stands_to_their_left():
    assert list(wrong_way(IMPORTS)) == []


def test_no_module_imports_itself_by_a_detour():
    without_fronts = {
        name: {target for target in targets if "." in target or target not in FLOOR}
        for name, targets in IMPORTS.items()
    }
    assert cycle(without_fronts) is None


def test_the_checks_find():
    assert list(wrong_way({"ecg.waves": {"records.dataset"}})) == [("ecg.waves", "records.dataset")]
    assert list(wrong_way({"glocal.maps": {"sanity.parts"}})) == [("glocal.maps", "sanity.parts")]
    assert list(wrong_way({"ecg.waves": {"utils"}})) == [("ecg.waves", "utils")]
    assert list(wrong_way({"report": {"utils"}})) == []
    assert list(wrong_way({"sanity.parts": {"report"}})) == [("sanity.parts", "report")]
    assert list(wrong_way({"sanity.parts": {"simulation.truth", "sanity.tables"}})) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b"}, "b": set()}) is None
