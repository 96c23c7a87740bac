"""Files of torch.export: the network's own logits, and nothing of a hostile file is run."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from torch import nn

from common.files import UserError
from networks.exported import read_exported
from networks.foreign import wrap


class Own(nn.Module):
    """Functional, in place, a class token, a shape from the batch, a module used twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(12, 8, 5, padding="same")
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.mix = nn.Linear(8, 8)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.register_buffer("scale", torch.tensor([1.0, 2, 3]))

    def forward(self, x):
        y = torch.relu_(self.norm(self.conv(x)))
        y = y + self.mix(self.mix(y.transpose(1, 2)).relu()).transpose(1, 2)
        tokens = nn.functional.max_pool1d(y, 5).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = self.attend(self.drop(tokens))
        return self.head(tokens[:, 0].reshape(x.size(0), 8)) * self.scale


@pytest.fixture(scope="module")
def network():
    return Own().eval()


def save(network, path, dynamic=True, decomposed=False, n=2):
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.export.export(network, (torch.randn(n, 12, 100),), dynamic_shapes=shapes)
    program = program.run_decompositions() if decomposed else program
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    return save(network, tmp_path_factory.mktemp("exported") / "own.pt2")


X = torch.randn(5, 12, 100, generator=torch.Generator().manual_seed(1))


def test_it_gives_the_networks_own_logits_at_its_own_modules(saved, network):
    file = read_exported(saved)
    assert file.shape == (None, 12, 100)
    program = wrap(file.network, ["A", "B", "C"], seconds=1)
    assert torch.allclose(program(X), network(X), atol=1e-6)
    assert {"conv", "norm", "head", "attend.norm2"} <= set(program.calls)
    assert {name for name, _ in file.network.named_parameters()}  # they can be told from buffers


def test_a_fixed_number_of_records_is_no_limit(network, tmp_path):
    file = read_exported(save(network, tmp_path / "fixed.pt2", dynamic=False))
    assert file.shape == (2, 12, 100)
    program = wrap(file.network, ["A", "B", "C"], seconds=1)
    assert torch.allclose(program(X), network(X), atol=1e-6)


def test_a_graph_for_one_record_takes_more(network, tmp_path):
    plain = nn.Sequential(nn.Conv1d(12, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3)).eval()
    file = read_exported(save(plain, tmp_path / "plain.pt2", dynamic=False, n=1))
    program = wrap(file.network, ["A", "B", "C"], seconds=1)
    assert torch.allclose(program(X), plain(X), atol=1e-6)
    file = read_exported(save(network, tmp_path / "attending.pt2", dynamic=False, n=1))
    program = wrap(file.network, ["A", "B", "C"], seconds=1)
    assert torch.allclose(program(X), network(X), atol=1e-6)


def test_a_decomposed_graph_is_the_same_network(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv1d(12, 8, 5, groups=4), nn.BatchNorm1d(8), nn.GELU(), nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    file = read_exported(save(network, tmp_path / "decomposed.pt2", decomposed=True))
    assert torch.allclose(file.network(X), network(X), atol=1e-6)


# ---------------------------------------------------------------- hostile files


class Bomb:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def rewritten(source, target, change=None, entries=None):
    """A copy of an archive with its graph changed and entries replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name, content = entry.filename, old.read(entry)
            short = name.split("/", 1)[1]
            if short == "models/model.json" and change:
                model = json.loads(content)
                change(model)
                content = json.dumps(model).encode()
            if entries and short in entries:
                content = entries[short](content)
            new.writestr(name, content)
    return target


def _nodes(model):
    return model["graph_module"]["graph"]["nodes"]


def _target(name):
    return lambda model: _nodes(model)[1].update(target=name)


def _expression(model):
    evil = "__import__('os').system('touch owned')"
    value = {"as_expr": {"expr_str": evil, "hint": {"as_int": 2}}}
    model["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = value
    for name in model["graph_module"]["graph"]["sym_int_values"]:
        model["graph_module"]["graph"]["sym_int_values"][name] = value
    model["guards_code"] = [evil]
    model["range_constraints"] = {evil: {"min_val": 0, "max_val": 1}}


def test_texts_that_torch_would_evaluate_are_not_looked_at(saved, tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    path = rewritten(saved, tmp_path / "bad.pt2", _expression)
    assert torch.allclose(read_exported(path).network(X), network(X), atol=1e-6)
    assert not (tmp_path / "owned").exists()


def test_pickled_sample_inputs_are_not_opened(saved, tmp_path, network):
    stream = io.BytesIO()
    pickle.dump(Bomb(tmp_path / "owned"), stream)
    entries = {"data/sample_inputs/model.pt": lambda _: stream.getvalue()}
    path = rewritten(saved, tmp_path / "bad.pt2", entries=entries)
    assert torch.allclose(read_exported(path).network(X), network(X), atol=1e-6)
    assert not (tmp_path / "owned").exists()


def _pickled(content):
    config = json.loads(content)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


def _larger(content):
    config = json.loads(content)
    next(iter(config["config"].values()))["tensor_meta"]["sizes"][0] = {"as_int": 2**40}
    return json.dumps(config).encode()


def _in(position, arguments):
    """Changes the arguments of the first operation, a convolution, from `position` on."""

    def change(model):
        inputs = _nodes(model)[0]["inputs"]
        inputs[position:] = [{"name": "any", "arg": one, "kind": 1} for one in arguments]

    return change


def _cyclic(model):
    nodes = _nodes(model)
    nodes[1]["inputs"][0]["arg"] = {
        "as_tensor": {"name": nodes[-1]["outputs"][0]["as_tensor"]["name"]}
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_in(3, [{"as_ints": [1]}, {"as_ints": [2**33]}]), "size of 8589934592: too large"),
        (_in(3, [{"as_ints": [-(2**70)]}]), "too large"),
        (_in(3, [{"as_ints": [0]}]), "fails"),
        (_cyclic, "fails"),
        (_target("torch.ops.aten.a\nb.default"), r"not known: torch.ops.aten.a.nb"),
    ],
)
def test_sizes_that_run_over_and_circles_are_refused_in_one_line(saved, tmp_path, change, said):
    with pytest.raises(UserError, match=said) as caught:
        read_exported(rewritten(saved, tmp_path / "bad.pt2", change)).network(X)
    assert "\n" not in str(caught.value)


def test_code_and_pickles_in_the_archive_are_left_alone(saved, tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    path = rewritten(saved, tmp_path / "own.pt2")
    stream = io.BytesIO()
    pickle.dump(Bomb(tmp_path / "owned"), stream)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("own/code/__torch__.py", "open('owned', 'w')")
        archive.writestr("own/data.pkl", stream.getvalue())
        archive.writestr("../../evil.py", "open('owned', 'w')")
    assert torch.allclose(read_exported(path).network(X), network(X), atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == ["own.pt2"]


WEIGHTS = "data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("change", "entries", "said"),
    [
        (_target("os.system"), None, "not known: os.system"),
        (_target("torch.ops.aten.__class__.default"), None, "not known"),
        (_target("torch.ops.aten.save.default"), None, "not known"),
        (_target("torch.ops.higher_order.cond"), None, "not known"),
        (_target("torch.ops.mylib.evil.default"), None, "not known"),
        (_target("builtins.eval"), None, "not known"),
        (_target("torch.ops.aten.conv1d.nowhere"), None, "this PyTorch has not"),
        (lambda model: model.update(schema_version={"major": 99}), None, "schema version 99"),
        (lambda model: model.pop("graph_module"), None, "no readable file"),
        (None, {WEIGHTS: _pickled}, "is pickled"),
        (None, {WEIGHTS: _larger}, "declares more numbers"),
        (None, {"data/weights/weight_0": lambda content: content[:4]}, "declares more numbers"),
        (None, {"models/model.json": lambda _: b"[" * 100_000}, "no readable file"),
        (None, {"models/model.json": lambda _: b"\xff"}, "no readable file"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused_in_one_line(saved, tmp_path, change, entries, said):
    path = rewritten(saved, tmp_path / "bad.pt2", change, entries)
    with pytest.raises(UserError, match=said) as caught:
        read_exported(path)
    assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit_are_refused_when_the_network_runs(saved, tmp_path):
    def change(model):
        _nodes(model)[1]["inputs"] = _nodes(model)[1]["inputs"][:1]

    network = read_exported(rewritten(saved, tmp_path / "bad.pt2", change)).network
    with pytest.raises(UserError, match=r"operation conv1d \(conv\).*fails"):
        network(X)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_archive_is_refused(content, tmp_path):
    (tmp_path / "bad.pt2").write_bytes(content)
    with pytest.raises(UserError, match="no readable file"):
        read_exported(tmp_path / "bad.pt2")
