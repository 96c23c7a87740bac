"""Files of other kinds: each is named, with the way in that takes it; safetensors are read."""

import json
import struct
import zipfile

import pytest
import torch
from torch import nn

from common.files import UserError
from networks.file_kinds import kind_of, read_safetensors
from networks.importing import from_code, from_exported, from_onnx

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv1d(2, 3, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2))
"""


def state():
    names = {}
    exec(CODE, names)
    torch.manual_seed(3)
    return names["make"]().state_dict()


def safetensors(tensors, spoil=lambda table: table):
    """The bytes of a safetensors file."""
    table, content = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        values = tensor.contiguous().numpy().tobytes()
        ends = [len(content), len(content) + len(values)]
        table[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": ends}
        content += values
    head = json.dumps(spoil(table)).encode()
    return struct.pack("<Q", len(head)) + head + content


@pytest.fixture
def place(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path


def test_safetensors_are_weights(place):
    (place / "w.safetensors").write_bytes(safetensors(state()))
    source = from_code(f"{place / 'net.py'}:make", str(place / "w.safetensors"), 2, 2)
    for name, values in source.network.state_dict().items():
        assert torch.equal(values, state()[name])


def entry(**changes):
    """A table whose first tensor says something else."""

    def spoil(table):
        table["0.weight"] |= changes
        return table

    return spoil


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 10**12) + b"{}",
        safetensors(state())[:-4],
        safetensors(state(), entry(shape=[10**6, 10**6])),
        safetensors(state(), entry(shape=[-3, 2, 5])),
        safetensors(state(), entry(data_offsets=[-8, 112])),
        safetensors(state(), entry(dtype="F4")),
        safetensors(state(), lambda table: [table]),
    ],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_safetensors(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)


def scripted(path):
    torch.jit.script(nn.Linear(2, 2)).save(str(path))


def kept(path):
    torch.save(state(), path)


def keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.h5", HDF5, "Keras model"),
        ("model.hdf5", b"", "Keras model"),
        ("unnamed", HDF5, "Keras model"),
        ("model.keras", keras, "Keras model"),
        ("model.tflite", b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        ("net.pt", scripted, "TorchScript"),
        ("w.pt", kept, "give it by --weights"),
        ("w.safetensors", safetensors(state()), "give it by --weights"),
        ("net.py", CODE.encode(), "give it by --network"),
    ],
)
@pytest.mark.parametrize("way", [from_onnx, from_exported])
def test_a_file_for_another_way_says_which(tmp_path, name, content, said, way):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    with pytest.raises(UserError, match=said) as caught:
        way(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", [from_onnx, from_exported])
def test_what_is_of_no_known_kind_is_left_to_the_reader(tmp_path, way):
    (tmp_path / "x").write_bytes(b"nothing of the sort")
    assert kind_of(tmp_path / "x") is None
    with pytest.raises(UserError, match="readable"):
        way(str(tmp_path / "x"))


@pytest.mark.parametrize(
    "packed",
    [
        lambda state: {**state, "epoch": 3},
        lambda state: {"net_state": {f"module.{name}": one for name, one in state.items()}},
        lambda state: {"epoch": 3, "ema": {"anything": {}}, "weights": state},
        lambda state: {name: one.half() for name, one in state.items()},
        lambda state: {f"backbone.encoder.{name}": one for name, one in state.items()},
        lambda state: {"_orig_mod.module." + name: one for name, one in state.items()},
        lambda state: {
            "state_dict": {
                **{f"model.{name}": one for name, one in state.items()},
                "loss.pos_weight": torch.ones(2),
            }
        },
        lambda state: {
            "n_averaged": torch.tensor(3),
            **{f"module.{name}": one for name, one in state.items()},
        },
    ],
)
def test_weights_are_found_among_other_things(place, packed):
    torch.save(packed(state()), place / "w.pt")
    source = from_code(f"{place / 'net.py'}:make", str(place / "w.pt"), 2, 2)
    for name, values in source.network.state_dict().items():
        assert torch.allclose(values, state()[name], atol=1e-3)


def test_which_of_several_weights_was_taken_is_said(place, capsys):
    torch.save({"ema": state(), "model": state()}, place / "w.pt")
    from_code(f"{place / 'net.py'}:make", str(place / "w.pt"), 2, 2)
    assert "model is taken, not ema" in capsys.readouterr().out


def _in_itself(state):
    state["state_dict"] = state
    return state


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (lambda state: state | {f"ema.{name}": one for name, one in state.items()}, "more than"),
        (lambda state: {**state, "head.weight": torch.zeros(2)}, "it has head.weight"),
        (lambda state: {"net": nn.Linear(2, 2)}, "holds Python objects"),
        (lambda state: {**state, "0.bias": state["0.bias"].to(torch.complex64)}, "complex numbers"),
        (lambda state: {**state, "0.bias": state["0.bias"].to_sparse()}, "sparse, quantised or"),
        (lambda state: {**state, "0.bias": state["0.bias"].to("meta")}, "without numbers"),
        (
            lambda state: {
                **state,
                "0.bias": torch.quantize_per_tensor(state["0.bias"], 0.1, 0, torch.qint8),
            },
            "quantised",
        ),
        (lambda state: dict(enumerate(state.values())), "names are no texts"),
        (lambda state: _in_itself(state), "lie in each other"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(place, packed, said):
    torch.save(packed(state()), place / "w.pt")
    with pytest.raises(UserError, match=said) as caught:
        from_code(f"{place / 'net.py'}:make", str(place / "w.pt"), 2, 2)
    assert "\n" not in str(caught.value)


def test_weights_of_a_version_that_did_not_count_batches(place):
    code = CODE.replace("nn.AdaptiveAvgPool1d(1)", "nn.BatchNorm1d(3), nn.AdaptiveAvgPool1d(1)")
    (place / "net.py").write_text(code)
    names = {}
    exec(code, names)
    whole = names["make"]().state_dict()
    torch.save({name: one for name, one in whole.items() if "batches" not in name}, place / "w.pt")
    source = from_code(f"{place / 'net.py'}:make", str(place / "w.pt"), 2, 2)
    assert torch.equal(source.network[1].running_var, whole["1.running_var"])


def test_a_folder_is_no_file_of_weights(place):
    with pytest.raises(UserError, match="is a folder, no file"):
        from_code(f"{place / 'net.py'}:make", str(place), 2, 2)
