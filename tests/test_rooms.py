"""The house's rule: a room imports only what stands to its left, and no module imports itself by a
detour.
"""

import ast

from conftest import ROOT

CODE = ROOT / "code"
FLOORS = (
    ("common",),
    ("ecg",),
    ("records",),
    ("simulation", "networks"),
    ("attribution", "tcav", "reporting"),
    ("glocal", "sanity", "subgroups"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ALLOWED = {("sanity", "simulation")}  # sanity checks judge methods by planted causes


def module_name(path):
    """code/ecg/waves.py -> ecg.waves, code/ecg/__init__.py -> ecg, code/report.py -> report."""
    parts = path.relative_to(CODE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(CODE.rglob("*.py"))}


def imported(source):
    """Names of own modules that a source text imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = submodules & set(MODULES)
            found |= modules
            if len(modules) < len(submodules):
                found.add(node.module)
    return found & set(MODULES)


IMPORTS = {name: imported(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def wrong_way(imports):
    """Pairs of modules of which the first may not import the second."""
    for name, targets in imports.items():
        room = name.split(".")[0]
        for target in sorted(targets):
            other = target.split(".")[0]
            if other == room or (room, other) in ALLOWED:
                continue
            if other not in FLOOR or (room in FLOOR and FLOOR[other] >= FLOOR[room]):
                yield name, target


def cycle(imports):
    """A chain of modules that ends where it begins, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for target in sorted(imports[name]):
            found = visit(target)
            if found:
                return found
        path.pop()
        done.add(name)
        return None

    for name in imports:
        found = visit(name)
        if found:
            return found
    return None


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
    assert list(wrong_way({"sanity.parts": {"report"}})) == [("sanity.parts", "report")]
    assert list(wrong_way({"sanity.parts": {"simulation.truth", "sanity.tables"}})) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b"}, "b": set()}) is None
