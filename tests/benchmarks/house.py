"""The house in numbers: who imports whom, how deep, how dense; and its picture.

Reads:  the files of code/, as text.
Writes: nothing; with --picture docs/rooms.svg, the rooms and the arrows between them.

An arrow is an import between two folders; each stage script counts as a folder of its own. Floors
are the longest chain of arrows. What a stage pulls in are the modules that `import <stage>` loads:
imports inside of functions wait until they are called and are counted apart.

Example:
    python tests/benchmarks/house.py --picture
"""

import argparse
import ast
import functools
import statistics
import tokenize
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "code"
FLOORS = (
    ("common",),
    ("ecg",),
    ("records",),
    ("simulation", "networks"),
    ("attribution", "tcav", "reporting"),
    ("glocal", "sanity", "subgroups", "counterfactual"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LONGEST_LINE = 100

Graph = dict[str, set[str]]


def module_name(path: Path) -> str:
    """code/ecg/waves.py -> ecg.waves, code/ecg/__init__.py -> ecg, code/report.py -> report."""
    parts = path.relative_to(CODE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(CODE.rglob("*.py"))}
STAGES = [name for name in MODULES if "." not in name and name not in FLOOR and name != "utils"]


@functools.cache
def tree_of(name: str) -> ast.Module:
    """Syntax tree of a module."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


# ---------------------------------------------------------------- imports


def own_modules(statement: ast.stmt) -> set[str]:
    """Names of own modules that an import statement loads; none for any other statement."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names} & set(MODULES)
    if not isinstance(statement, ast.ImportFrom):
        return set()
    submodules = {f"{statement.module}.{alias.name}" for alias in statement.names}
    found = submodules & set(MODULES)
    if len(found) < len(submodules):
        found.add(statement.module)
    return found & set(MODULES)


def imported(tree: ast.Module, at_once: bool = False) -> set[str]:
    """Own modules that a module imports: wherever in it, or `at_once`, when it is imported."""
    statements = tree.body if at_once else ast.walk(tree)
    return set().union(*map(own_modules, statements))


@functools.cache
def imports(at_once: bool = False) -> Graph:
    """Module -> the own modules that it imports."""
    found = {name: imported(tree_of(name), at_once) for name in MODULES}
    if not at_once:
        found["utils"] |= set(front_door().values())
    return found


DOORS = ("OFFERED", "FOR_STAGES")  # tables of utils.py


@functools.cache
def front_door() -> dict[str, str]:
    """Name that utils.py offers -> the module that it is loaded from."""
    found = {}
    for statement in tree_of("utils").body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id in DOORS:
            for module, names in ast.literal_eval(statement.value).items():
                found.update(dict.fromkeys(names, module))
    return found


def through_the_door(tree: ast.Module) -> set[str]:
    """Modules that `from utils import ...` loads when a module is imported."""
    found = set()
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "utils":
            found |= {front_door()[alias.name] for alias in statement.names}
    return found


def folder_of(name: str) -> str:
    """The room of a module; a stage script is a room of its own."""
    return name.split(".")[0]


def between_folders(graph: Graph) -> Graph:
    """Folder -> the other folders that it imports from."""
    found: Graph = {folder_of(name): set() for name in graph}
    for name, targets in graph.items():
        found[folder_of(name)] |= {folder_of(target) for target in targets} - {folder_of(name)}
    return found


def cycle(graph: Graph) -> list[str] | None:
    """A chain of imports that ends where it begins, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for target in sorted(graph[name]):
            found = visit(target)
            if found:
                return found
        path.pop()
        done.add(name)
        return None

    return next(filter(None, map(visit, graph)), None)


def floors(graph: Graph) -> int:
    """Nodes on the longest chain of imports of a graph without cycles."""

    @functools.cache
    def height(name):
        return 1 + max(map(height, graph[name]), default=0)

    return max(map(height, graph))


def pulled_in(stage: str) -> set[str]:
    """Own modules that importing a stage loads, itself included, the rooms' __init__ not."""
    graph = imports(at_once=True)
    found, waiting = set(), [stage]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += graph[name] | through_the_door(tree_of(name))
        if "." in name:
            waiting.append(folder_of(name))
    return found - set(FLOOR)


# ---------------------------------------------------------------- air


def code_lines(source: str) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines, docstring = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstring |= set(range(node.lineno, node.end_lineno + 1))
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in silent and token.type != tokenize.ENDMARKER:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring)


def nested_comprehensions(tree: ast.AST) -> Iterator[ast.AST]:
    """Comprehensions with a second `for`, or that hold another comprehension."""
    for node in ast.walk(tree):
        if not isinstance(node, COMPREHENSIONS):
            continue
        inner = [one for one in ast.walk(node) if one is not node]
        if len(node.generators) > 1 or any(isinstance(one, COMPREHENSIONS) for one in inner):
            yield node


def function_lengths(trees: Iterable[ast.AST]) -> list[int]:
    """Lines of every function and method, sorted."""
    found = []
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                found.append(node.end_lineno - node.lineno + 1)
    return sorted(found)


@functools.cache
def air() -> dict[str, float]:
    """How dense the code is."""
    sources = [path.read_text(encoding="utf-8") for path in MODULES.values()]
    trees = [tree_of(name) for name in MODULES]
    n_lines = sum(map(code_lines, sources))
    n_nodes = sum(sum(1 for _ in ast.walk(tree)) for tree in trees)
    n_nested = sum(len(list(nested_comprehensions(tree))) for tree in trees)
    every_line = "\n".join(sources).splitlines()
    lengths = function_lengths(trees)
    return {
        "code lines": n_lines,
        "lines over 100 characters": sum(len(line) > LONGEST_LINE for line in every_line),
        "syntax nodes per code line": n_nodes / n_lines,
        "nested comprehensions per 100 code lines": 100 * n_nested / n_lines,
        "function lines, median": statistics.median(lengths),
        "function lines, 90 %": lengths[int(0.9 * len(lengths))],
        "function lines, longest": lengths[-1],
    }


# ---------------------------------------------------------------- picture


ROW, BOX_WIDTH, BOX_HEIGHT, WIDTH = 84, 120, 36, 760  # pixels


def places() -> dict[str, tuple[float, float]]:
    """Room -> centre of its box: one row per floor, what is imported by all at the bottom; the
    stage scripts share one box at the top.
    """
    rows = [*FLOORS, ("stages",)]
    found = {}
    for floor, rooms in enumerate(rooms for rooms in rows):
        y = ROW * (len(rows) - floor) - ROW / 2
        for number, room in enumerate(rooms):
            shift = 60 * (1 - 2 * (floor % 2)) if len(rooms) == 1 else 0
            found[room] = (WIDTH * (number + 0.5) / len(rooms) + shift, y)
    return found


def picture() -> str:
    """The rooms and who imports whom, as SVG."""
    at, graph = places(), between_folders(imports())
    arrows = set()
    for folder, targets in graph.items():
        arrows |= {(folder if folder in FLOOR else "stages", t) for t in targets if t in FLOOR}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{ROW * 7}" '
        'font-family="sans-serif" font-size="14">',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,1 L7,4 L0,7 z" fill="#7a8794"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for source, target in sorted(arrows):
        (x, y), (to_x, to_y) = at[source], at[target]
        if y == to_y:
            continue
        parts.append(
            f'<line x1="{x:.0f}" y1="{y + BOX_HEIGHT / 2:.0f}" x2="{to_x:.0f}" '
            f'y2="{to_y - BOX_HEIGHT / 2:.0f}" stroke="#7a8794" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in at.items():
        parts.append(
            f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="5" fill="#eef3f7" stroke="#34495e"/>'
        )
        name = "stage scripts" if room == "stages" else f"{room}/"
        parts.append(f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


# ---------------------------------------------------------------- report


def report() -> dict[str, object]:
    """Every number of the house by name."""
    everywhere, at_once = between_folders(imports()), between_folders(imports(at_once=True))
    numbers: dict[str, object] = {
        "modules": len(MODULES),
        "import edges between folders": sum(map(len, everywhere.values())),
        "of these on import": sum(map(len, at_once.values())),
        "floors": floors(everywhere) if cycle(everywhere) is None else "a cycle",
        "cycle between folders": cycle(everywhere),
    }
    for stage in STAGES:
        numbers[f"modules that {stage} pulls in"] = len(pulled_in(stage))
    return numbers | air()


def main() -> None:
    """Print the numbers; draw the picture where it is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--picture", action="store_true", help="write docs/rooms.svg")
    if parser.parse_args().picture:
        (ROOT / "docs" / "rooms.svg").write_text(picture(), encoding="utf-8")
    for name, value in report().items():
        shown = f"{value:.2f}" if isinstance(value, float) else value
        print(f"{name:45} {shown}")


if __name__ == "__main__":
    main()
