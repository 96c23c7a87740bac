"""Networks of one's own: wrapped, their outputs chosen, their last activation taken off."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from common.files import UserError
from networks.foreign import check_leads, task_of, wrap
from networks.importing import load_weights, make_network
from networks.inference import predict

LEADS_OF_TWO = ["V2", "I"]


class Returning(nn.Module):
    """A small network that hands on its three logits as `shape` says."""

    def __init__(self, shape=lambda logits: logits, n_leads=2):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(n_leads, 5, 7)
        self.head = nn.Linear(5, 3)
        self.shape = shape

    def forward(self, x):
        return self.shape(self.head(self.conv(x).relu().mean(-1)))


def wrapped(network, **changes):
    options = {"labels": ["A", "B", "C"], "leads": LEADS_OF_TWO, "seconds": 2.5, **changes}
    return wrap(network.eval(), **options)


X = torch.randn(4, 2, 250, generator=torch.Generator().manual_seed(1))


def test_a_wrapped_network_gives_its_own_logits_and_shares_its_weights():
    network = Returning()
    program = wrapped(network)
    assert torch.equal(program(X), network(X))
    assert program.info.labels == ("A", "B", "C")
    assert program.info.leads == ("V2", "I")
    assert program.info.task == "own"
    assert list(program.calls) == ["conv", "head"]
    with torch.no_grad():
        network.head.bias += 1
    assert torch.equal(program(X), network(X))


def test_the_package_takes_records_in_mv_in_its_own_order_of_leads():
    network = Returning()
    program = wrapped(network, unit="uV", normalisation="zscore_record")
    signals = np.random.default_rng(0).normal(size=(3, 250, 12)).astype(np.float32)
    own = torch.from_numpy(signals[:, :, [7, 0]].transpose(0, 2, 1).copy()) * 1000
    own = (own - own.mean((1, 2), keepdim=True)) / own.std((1, 2), keepdim=True, correction=0)
    assert np.allclose(predict(program, signals), network(own).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (torch.sigmoid, "sigmoid"),
        (lambda z: torch.softmax(z, dim=1), "softmax"),
        (lambda z: torch.log_softmax(z, dim=1), "softmax"),
        (lambda z: torch.sigmoid(z).unsqueeze(-1), "sigmoid"),
        (lambda z: torch.sigmoid(z.unsqueeze(-1)).squeeze(-1), "sigmoid"),
        # a head of its own for each class
        (lambda z: torch.cat([torch.sigmoid(z[:, c : c + 1]) for c in range(3)], 1), "sigmoid"),
        (lambda z: torch.stack([z[:, c].sigmoid() for c in range(3)], 1), "sigmoid"),
        (lambda z: torch.cat([z[:, :1].sigmoid(), z[:, 1:].softmax(1)], 1), "sigmoid and softmax"),
    ],
)
def test_the_logit_behind_probabilities_is_explained(shape, kind):
    program = wrapped(Returning(shape))
    assert torch.equal(program(X), Returning()(X))
    assert program.info.origin["outputs"] == kind
    assert wrapped(Returning(shape), outputs="probabilities").info.origin["outputs"] == kind
    with pytest.raises(UserError, match="probabilities, not logits"):
        wrapped(Returning(shape), outputs="logits")


def test_probabilities_without_a_logit_behind_them_are_refused():
    with pytest.raises(UserError, match="not in a sigmoid or softmax"):
        wrapped(Returning(lambda z: z.clamp(0, 1)), outputs="probabilities")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (lambda z: torch.cat([z[:, :1].sigmoid(), z[:, 1:]], 1), r"others of linear \(head\)"),
        (lambda z: torch.cat([z[:, 1:], z[:, :1].sigmoid()], 1), r"others of linear \(head\)"),
        # a class that is told by the probability of another one
        (
            lambda z: torch.cat([p := z[:, :1].sigmoid(), (z[:, 1:] + p).sigmoid()], 1),
            "computes add .* from probabilities",
        ),
    ],
)
def test_outputs_that_are_probabilities_only_in_part_are_refused(shape, said):
    with pytest.raises(UserError, match=f"{said}.*logits"):
        wrapped(Returning(shape))


def test_a_probability_beside_what_is_left_of_one_is_explained_as_it_is():
    def both(z):
        return torch.cat([p := z[:, :1].sigmoid(), 1 - p], 1)

    program = wrapped(Returning(both), labels=["A", "B"])
    assert torch.equal(program(X), Returning(both)(X))
    assert program.info.origin["outputs"] == "logits"


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (lambda z: (z.mean(1), z), {"output_index": 1}),
        (lambda z: {"features": z.mean(1), "logits": z}, {"output_index": 1}),
        (lambda z: [z], {}),
        (lambda z: z.unsqueeze(-1), {}),
        (lambda z: z.unsqueeze(1), {}),
    ],
)
def test_outputs_of_other_shapes(shape, options):
    assert torch.equal(wrapped(Returning(shape), **options)(X), Returning()(X))


def test_columns_choose_and_order_the_classes():
    program = wrapped(Returning(), labels=["C", "A"], columns=[2, 0])
    assert torch.equal(program(X), Returning()(X)[:, [2, 0]])


def test_one_value_per_record_is_one_class():
    program = wrapped(Returning(lambda z: z[:, 1]), labels=["AF"])
    assert torch.equal(program(X), Returning()(X)[:, 1:2])


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        (lambda z: (z, z), {}, "2 outputs of shapes .*--output_index"),
        (lambda z: (z, z), {"output_index": 2}, "--output_index 2"),
        (lambda z: ([z, z], z), {}, "2 outputs of shapes .*\\[\\(.*--output_index"),
        (lambda z: ([z, z], z), {"output_index": 0}, "output 0 is of several parts .*torch.cat"),
        (lambda z: z, {"output_index": 0}, "single output"),
        (lambda z: z, {"labels": ["A", "B"]}, "3 values per record, there are 2 labels"),
        (lambda z: z, {"columns": [0, 1, 3]}, "--columns must be 0 to 2"),
        (lambda z: z[:, :, None].expand(-1, 3, 4), {}, "cannot be told from time"),
        (lambda z: z, {"labels": ["A", "A", "B"]}, "differ"),
        (lambda z: z, {"labels": ["A/B", "A-B", "C"]}, "A/B and A-B would both be named A-B"),
        (lambda z: z, {"leads": ["V2", "X"]}, "lead X"),
        (lambda z: z, {"leads": ["V2", "v2"]}, "differ"),
        (lambda z: z, {"unit": "parsec"}, "unknown unit"),
        (lambda z: z, {"outputs": "odds"}, "unknown outputs"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(shape, options, said):
    with pytest.raises(UserError, match=said) as caught:
        wrapped(Returning(shape), **options)
    assert "\n" not in str(caught.value)


def test_labels_of_a_task_keep_their_own_order():
    assert task_of(["STTC", "CD"]) == "superdiagnostic"
    assert task_of(["AFIB", "SR"]) == "rhythm"
    assert task_of(["AFIB", "MI"]) == "own"
    assert check_leads(["v1", "AVR"]) == ["V1", "aVR"]


# ---------------------------------------------------------------- code and weights

CODE = """
import torch
from torch import nn
from beside import WIDTH

def make(num_classes, n_leads):
    return nn.Sequential(nn.Conv1d(n_leads, WIDTH, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                         nn.Linear(WIDTH, num_classes))

def with_more(size, num_classes):
    return None

def broken():
    raise RuntimeError("two\\nlines")

number = 7
def not_a_network():
    return 7
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 6\n")
    (tmp_path / "my_net.py").write_text(CODE)
    return str(tmp_path / "my_net.py")


def test_a_maker_is_called_with_classes_and_leads(code):
    network = make_network(f"{code}:make", 4, 2)
    assert network(torch.zeros(1, 2, 20)).shape == (1, 4)


def test_neighbours_called_like_our_rooms_are_the_users_own(tmp_path):
    """Files, packages and folders without __init__.py, read at once and when the maker is called;
    the project's own stay in their places.
    """
    import common
    import utils

    (tmp_path / "utils.py").write_text("WIDTH = 6\n")
    (tmp_path / "preprocessing.py").write_text("from utils import WIDTH\nDOUBLE = 2 * WIDTH\n")
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "__init__.py").write_text("from common.layers import head\n")
    (tmp_path / "common" / "layers.py").write_text(
        "from torch import nn\nfrom preprocessing import DOUBLE\n"
        "def head(classes):\n    return nn.Linear(DOUBLE, classes)\n"
    )
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "stem.py").write_text(
        "from torch import nn\n\ndef stem(leads):\n    return nn.Conv1d(leads, 12, 3)\n"
    )
    (tmp_path / "my_net.py").write_text(
        "from torch import nn\nfrom common import head\n\n"
        "def make(num_classes, n_leads):\n"
        "    from networks.stem import stem\n"
        "    return nn.Sequential(stem(n_leads), nn.AdaptiveAvgPool1d(1), nn.Flatten(),\n"
        "                         head(num_classes))\n"
    )
    for _ in range(2):
        network = make_network(f"{tmp_path / 'my_net.py'}:make", 4, 2)
        assert network(torch.zeros(1, 2, 20)).shape == (1, 4)
        assert sys.modules["common"] is common
        assert sys.modules["utils"] is utils
        assert "common.layers" not in sys.modules
        from networks.capture import capture as ours

        assert ours.__module__ == "networks.capture"


def test_axes_that_fit_are_named():
    network = nn.Sequential(nn.Flatten(2), nn.Linear(12, 3), nn.AdaptiveMaxPool2d((1, 3)))
    with pytest.raises(UserError, match="it runs with --layout time_leads or ") as caught:
        wrap(network, list("abc"), seconds=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("with_more", "needs size"),
        ("broken", r"RuntimeError: two lines \(my_net.py:14\)"),
        ("not_a_network", "gives int"),
        ("nowhere", "no function or class 'nowhere'"),
        ("number", "no function or class 'number'"),
        ("two words", "file.py:function_or_class"),
    ],
)
def test_code_that_gives_no_network_is_refused_in_one_line(code, name, said):
    with pytest.raises(UserError, match=said) as caught:
        make_network(f"{code}:{name}", 4, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pack",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    ],
)
def test_weights_are_found_whatever_they_are_packed_in(tmp_path, pack):
    one, other = Returning(), Returning()
    nn.init.normal_(one.head.weight)
    torch.save(pack(one.state_dict()), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    assert torch.equal(one(X), other(X))


class Bomb:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_hostile_weights_run_nothing(tmp_path):
    torch.save({"state_dict": Bomb(tmp_path / "owned")}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="not a state dict of plain tensors"):
        load_weights(Returning(), tmp_path / "w.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.popitem(), "lacks head.bias"),
        (lambda state: state.update(more=torch.zeros(1)), "has more"),
        (lambda state: state.update({"head.bias": torch.zeros(4)}), "another shape of head.bias"),
        (lambda state: state.clear(), "no state dict"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, said):
    state = Returning().state_dict()
    change(state)
    torch.save(dict(state), tmp_path / "w.pt")
    with pytest.raises(UserError, match=said):
        load_weights(Returning(), tmp_path / "w.pt")
