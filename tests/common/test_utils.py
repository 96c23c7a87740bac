"""The front door: every name that it offers is there, is what its room has, and costs nothing until
it is asked for.
"""

import ast
import importlib
import subprocess
import sys

import pytest

import utils
from conftest import ROOT


@pytest.mark.parametrize("module", utils.OFFERED)
def test_what_is_offered_is_what_the_room_has(module):
    room = importlib.import_module(module)
    for name in utils.OFFERED[module]:
        assert getattr(utils, name) is getattr(room, name)
        assert name in dir(utils)


def test_no_name_is_offered_twice():
    offered = [name for names in utils.OFFERED.values() for name in names]
    assert len(offered) == len(set(offered)) == len(utils.MODULE_OF)


def test_some_stage_asks_for_each_name_that_is_offered_to_stages_alone():
    asked = set()
    for path in (ROOT / "code").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "utils":
                asked.update(alias.name for alias in node.names)
    assert not utils.OF_STAGES.keys() - asked


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(AttributeError, match=r"utils offers no load_modle; it offers .*load_model"):
        utils.load_modle  # noqa: B018


def test_the_front_door_loads_nothing_before_it_is_asked():
    code = (
        "import sys; import utils; loaded = set(sys.modules); "
        "assert not loaded & {'torch', 'numpy', 'pandas', 'networks', 'common.cli'}; "
        "assert len(utils.LEADS) == 12; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "code", check=True)
