"""Style that ruff does not check: every module and public function says what it is, with types, and
can be seen at once.
"""

import ast

import pytest

from conftest import ROOT

LONGEST = 60  # lines of a function
LONGEST_FILE = 600  # a longer one has more than one subject
FILES = sorted((ROOT / "code").rglob("*.py"))


def functions(tree):
    """(function, public) of a module, methods included; what lies inside a function is that
    function's own affair.
    """
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from (
                (method, public and not node.name.startswith("_"))
                for method, public in functions(node)
            )
        elif isinstance(node, ast.FunctionDef):
            yield node, not node.name.startswith("_")


def untyped(function):
    """Names of the arguments without a type hint, and `return`."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    missing = [
        one.arg
        for one in arguments
        if one and one.annotation is None and one.arg not in ("self", "cls")
    ]
    return missing + ["return"] * (function.returns is None)


def complaints(source):
    """What is wrong with a module, one line each."""
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield "no docstring"
    for function, public in functions(tree):
        where = f"line {function.lineno}, {function.name}"
        length = function.end_lineno - function.lineno + 1
        if length > LONGEST:
            yield f"{where}: longer than {LONGEST} lines"
        if public and not ast.get_docstring(function):
            yield f"{where}: no docstring"
        if public and untyped(function):
            yield f"{where}: no type hint for {', '.join(untyped(function))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "code")))
def test_module_is_documented_typed_and_short(path):
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1", "no docstring"),
        ('"""m"""\ndef f() -> int:\n    return 1', "line 2, f: no docstring"),
        (
            '"""m"""\nclass A:\n    def f(self, x, *y: int):\n        """d"""',
            "line 3, f: no type hint for x, return",
        ),
        (
            '"""m"""\ndef _f():\n' + "    pass\n" * LONGEST,
            f"line 2, _f: longer than {LONGEST} lines",
        ),
    ],
)
def test_the_check_finds(source, complaint):
    assert complaint in list(complaints(source))


def test_private_functions_may_be_bare():
    assert (
        list(
            complaints(
                '"""m"""\ndef _f(x):\n    return x\nclass _A:\n    def g(self):\n        pass'
            )
        )
        == []
    )


def test_files_have_one_subject():
    counts = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in FILES}
    assert {path: n for path, n in counts.items() if n > LONGEST_FILE} == {}
