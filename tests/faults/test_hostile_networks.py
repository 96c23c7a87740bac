"""Code of a network that ends the program: said in one line, as any other fault of it."""

import pytest

import import_model
from mutations import attempt

WHOLE = """
import sys
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3000, 2)
    def forward(self, x):
        return self.linear(x.flatten(1))
def make():
    return Net()
"""
ENDS = {
    "cannot be run: SystemExit": WHOLE.replace("import sys", "import sys; sys.exit(0)"),
    "net.py:make fails: SystemExit": WHOLE.replace("return Net", "sys.exit(0); return Net"),
    "fails on an input of shape": WHOLE.replace("return self.lin", "sys.exit(0); return self.lin"),
}


@pytest.mark.parametrize("said", ENDS)
def test_a_network_that_ends_the_program_does_not_look_finished(tmp_path, said):
    (tmp_path / "net.py").write_text(ENDS[said])
    words = ["--network", f"{tmp_path}/net.py:make", "--output_path", tmp_path / "out"]
    words += ["--run_name", "x", "--labels", "A", "B", "--sampling_rate", "100", "--seconds", "2.5"]
    line = attempt(import_model.main, import_model.get_args_parser(), words)[1]
    assert said in line
    assert "SystemExit" in line
    assert not list(tmp_path.rglob("*.ckpt"))
