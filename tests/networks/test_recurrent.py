"""LSTMs of files: as PyTorch's own where sizes fit, one line where they do not (PyTorch would read
beyond its tensors).
"""

import pytest
import torch
from torch import nn

from common.files import UserError
from networks.capture import capture
from networks.exported import read_exported
from networks.recurrent import lstm

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


def arguments(**settings):
    """An LSTM, signals, and what the operation behind it takes."""
    torch.manual_seed(0)
    layer = nn.LSTM(12, 8, batch_first=True, **settings).eval()
    sides = 2 if layer.bidirectional else 1
    rows = layer.num_layers * sides
    states = [torch.zeros(rows, 3, layer.proj_size or 8), torch.zeros(rows, 3, 8)]
    rest = (layer.bias, layer.num_layers, 0.0, False, layer.bidirectional, True)
    return layer, torch.randn(3, 50, 12), states, [*layer._flat_weights], rest


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}, {"proj_size": 5}],
)
def test_it_is_pytorchs_lstm(settings):
    layer, x, states, weights, rest = arguments(**settings)
    with torch.no_grad():
        assert torch.equal(lstm(x, states, weights, *rest)[0], layer(x)[0])


@pytest.mark.parametrize("place", range(6))
def test_sizes_that_do_not_fit_are_refused(place):
    """Each of the two states and four weights one row too small."""
    _, x, states, weights, rest = arguments()
    given = [*states, *weights]
    given[place] = given[place][..., :-1].contiguous()
    with pytest.raises(ValueError, match="do not fit"):
        lstm(x, given[:2], given[2:], *rest)
    with pytest.raises(ValueError, match="number formats"):
        lstm(x.double(), states, weights, *rest)


class Recurrent(nn.Module):
    """A recurrent layer and a head, signals (N, 12, T)."""

    def __init__(self, kind):
        super().__init__()
        self.layer = KINDS[kind](12, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(x.transpose(1, 2))[0].mean(1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_for_one_record_takes_any_number(kind, tmp_path):
    torch.manual_seed(0)
    network, x = Recurrent(kind).eval(), torch.randn(4, 12, 50)
    torch.export.save(torch.export.export(network, (x[:1],)), tmp_path / "one.pt2")
    program = capture(read_exported(tmp_path / "one.pt2").network, x)
    with torch.no_grad():
        assert torch.allclose(program(x), network(x), atol=1e-6)


def test_a_graph_whose_lstm_does_not_fit_is_refused():
    network, x = Recurrent("LSTM").eval(), torch.randn(4, 12, 50)
    program = capture(network, x)
    name = next(name for name in program.tensors if name.endswith("weight_hh_l0"))
    holder = program.get_submodule(name.rpartition(".")[0])
    holder.weight_hh_l0 = nn.Parameter(torch.zeros(32, 2))
    with pytest.raises(UserError, match=r"lstm .*do not fit"):
        program(x)
