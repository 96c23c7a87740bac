"""ONNX files: every operation against onnxruntime (or onnx's reference), and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from common.files import UserError
from conftest import PTBXL
from networks.capture import capture
from networks.onnx_files import described, path_of, read_onnx
from networks.onnx_operations import OPERATIONS
from networks.onnx_rarer import RARER
from networks.onnx_values import OnnxNode

XCEPTION = PTBXL.parent / "networks" / "xc_super_pretrained.onnx"
RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, dtype=np.int64)


def model_of(nodes, constants, shape=(None, 4, 20), opset=17, outputs=("y",)):
    """An ONNX model of nodes (kind, inputs, outputs, attributes) over the input x."""
    made = [
        helper.make_node(kind, inputs, results, name=f"/part{index}/{kind}", **attributes)
        for index, (kind, inputs, results, attributes) in enumerate(nodes)
    ]
    sizes = [f"axis{at}" if size is None else size for at, size in enumerate(shape)]
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def flattened_softmax(x):
    """Softmax before opset 13: over all axes from the second on, taken as one."""
    shares = np.exp(x - x.max(axis=(1, 2), keepdims=True))
    return shares / shares.sum(axis=(1, 2), keepdims=True)


# Where onnx's own interpreter is wrong (1.23: it takes the channels' maximum, or knows new opsets
# alone) the definition is written out.
DEFINITIONS = {
    "GlobalMaxPool": lambda x: x.max(axis=2, keepdims=True),
    "Softmax old": flattened_softmax,
}


def expected_of(path, x, case=""):
    """What onnxruntime, or where it is absent onnx's own interpreter, computes."""
    try:
        import onnxruntime
    except ImportError:
        if case in DEFINITIONS:
            return DEFINITIONS[case](x)
        return onnx.reference.ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    return onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]


# operation -> (attributes, inputs beside x, sizes of x without the records[, opset])
CASES = {
    "Conv": (
        {"pads": [2, 1], "strides": [2], "dilations": [2], "group": 2},
        {"w": weights(6, 2, 3), "b": weights(6)},
    ),
    "Conv same": ({"auto_pad": "SAME_UPPER", "strides": [2]}, {"w": weights(3, 4, 4)}),
    "Conv lower": ({"auto_pad": "SAME_LOWER"}, {"w": weights(3, 4, 4)}),
    "Conv image": ({"pads": [1, 0, 1, 2]}, {"w": weights(3, 2, 3, 3)}, (2, 4, 10)),
    "ConvTranspose": ({"strides": [2], "pads": [1, 1]}, {"w": weights(4, 3, 4)}),
    "BatchNormalization": (
        {"epsilon": 0.01},
        {"s": weights(4), "b": weights(4), "m": weights(4), "v": weights(4) ** 2},
    ),
    "InstanceNormalization": ({}, {"s": weights(4), "b": weights(4)}),
    "LayerNormalization": ({"axis": -1}, {"s": weights(20), "b": weights(20)}),
    "MaxPool": ({"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, {}),
    "MaxPool uneven": ({"kernel_shape": [3], "strides": [2], "pads": [0, 2]}, {}),
    "AveragePool": ({"kernel_shape": [4], "strides": [4]}, {}),
    "AveragePool counted": ({"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}, {}),
    "GlobalAveragePool": ({}, {}),
    "GlobalMaxPool": ({}, {}),
    "MatMul": ({}, {"w": weights(20, 5)}),
    "Gemm": (
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
        {"w": weights(7, 20), "b": weights(7)},
        (20,),
    ),
    "Gemm plain": ({}, {"w": weights(20, 7), "b": weights(7)}, (20,)),
    "Relu": ({}, {}),
    "LeakyRelu": ({"alpha": 0.2}, {}),
    "Elu": ({"alpha": 0.7}, {}),
    "Selu": ({}, {}),
    "Celu": ({"alpha": 0.7}, {}),
    "Sigmoid": ({}, {}),
    "Tanh": ({}, {}),
    "HardSigmoid": ({"alpha": 0.3}, {}),
    "HardSwish": ({}, {}),
    "Softplus": ({}, {}),
    "Mish": ({}, {}, (4, 20), 18),
    "Gelu": ({}, {}, (4, 20), 20),
    "Gelu tanh": ({"approximate": "tanh"}, {}, (4, 20), 20),
    "PRelu": ({}, {"a": weights(4, 1)}),
    "PRelu last axis": ({}, {"a": weights(20)}, (20, 20)),
    "Softmax": ({"axis": 1}, {}),
    "Softmax old": ({"axis": 1}, {}, (4, 20), 11),
    "LogSoftmax": ({"axis": -1}, {}),
    "Clip": ({}, {"lo": np.float32(-0.5), "hi": np.float32(0.7)}),
    "Abs": ({}, {}),
    "Neg": ({}, {}),
    "Exp": ({}, {}),
    "Erf": ({}, {}),
    "Sin": ({}, {}),
    "Cos": ({}, {}),
    "Floor": ({}, {}),
    "Ceil": ({}, {}),
    "Sign": ({}, {}),
    "Reciprocal": ({}, {}),
    "Add": ({}, {"c": weights(4, 1)}),
    "Sub": ({}, {"c": weights(20)}),
    "Mul": ({}, {"c": np.float32(2.5)}),
    "Div": ({}, {"c": weights(4, 1)}),
    "Pow": ({}, {"c": np.float32(2)}),
    "Mod": ({"fmod": 1}, {"c": np.float32(0.7)}),
    "Max": ({}, {"c": weights(4, 20), "d": weights(20)}),
    "Min": ({}, {"c": weights(4, 20)}),
    "Sum": ({}, {"c": weights(4, 20), "d": weights(20)}),
    "Mean": ({}, {"c": weights(4, 20), "d": weights(20)}),
    "ReduceMean": ({"axes": [-1], "keepdims": 0}, {}, (4, 20), 13),
    "ReduceMean input": ({"keepdims": 1}, {"a": ints(2)}, (4, 20), 18),
    "ReduceSum": ({"keepdims": 0}, {"a": ints(1, 2)}),
    "ReduceProd": ({"axes": [1, -1], "keepdims": 0}, {}, (4, 5), 13),
    "ReduceMax": ({"axes": [2]}, {}, (4, 20), 13),
    "ReduceMin": ({"axes": [2]}, {}, (4, 20), 13),
    "ReduceL2": ({"axes": [1]}, {}, (4, 20), 13),
    "ReduceSumSquare": ({"axes": [1]}, {}, (4, 20), 13),
    "Concat": ({"axis": 1}, {}),
    "Flatten": ({}, {}),
    "Transpose": ({"perm": [0, 2, 1]}, {}),
    "Reshape": ({}, {"s": ints(0, 2, -1)}),
    "Squeeze": ({}, {"a": ints(1)}, (1, 20)),
    "Unsqueeze": ({}, {"a": ints(1, -1)}),
    "Slice": ({}, {"s": ints(15), "e": ints(-(2**62)), "a": ints(-1), "t": ints(-3)}),
    "Slice forward": ({}, {"s": ints(1, 2), "e": ints(3, 2**62), "a": ints(1, 2)}),
    "Gather": ({"axis": 2}, {"i": ints(3, -1, 0)}),
    "Gather one": ({"axis": 1}, {"i": np.int64(-2)}),
    "Gather square": ({"axis": 2}, {"i": np.array([[0, 1], [2, 3]])}),
    "Expand": ({}, {"s": ints(1, 4, 20)}, (1, 20)),
    "Tile": ({}, {"r": ints(1, 2, 1)}),
    "Pad": ({}, {"p": ints(0, 1, 2, 0, 0, 3), "v": np.float32(0.5)}),
    "Pad reflect": ({"mode": "reflect"}, {"p": ints(0, 0, 2, 0, 0, 3)}),
    "Pad edge": ({"mode": "edge"}, {"p": ints(0, 0, 2, 0, 0, 3)}),
    "Einsum": ({"equation": "nct,ck->nkt"}, {"w": weights(4, 3)}),
    "LSTM": (
        {"hidden_size": 3},
        {"w": weights(1, 12, 20), "r": weights(1, 12, 3), "b": weights(1, 24)},
    ),
    "LSTM both": (
        {"hidden_size": 3, "direction": "bidirectional"},
        {"w": weights(2, 12, 20), "r": weights(2, 12, 3)},
    ),
    "RNN": (
        {"hidden_size": 3},
        {"w": weights(1, 3, 20), "r": weights(1, 3, 3), "b": weights(1, 6)},
    ),
    "RNN both": (
        {"hidden_size": 3, "direction": "bidirectional"},
        {"w": weights(2, 3, 20), "r": weights(2, 3, 3)},
    ),
    "GatherND": ({}, {"i": np.array([[[0, 3], [0, -1]], [[0, 0], [0, 2]]])}, (4, 20)),
    "GRU": (
        {"hidden_size": 3, "linear_before_reset": 1},
        {"w": weights(1, 9, 20), "r": weights(1, 9, 3), "b": weights(1, 18)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operation_is_that_of_onnxruntime(case, tmp_path):
    attributes, constants, *rest = CASES[case]
    sizes = rest[0] if rest else (4, 20)
    opset = rest[1] if len(rest) > 1 else 17
    kind = case.split()[0]
    recurrent = kind in ("LSTM", "GRU", "RNN")
    first = "turned" if recurrent else "x"  # these take the time first
    nodes = [("Transpose", ["x"], ["turned"], {"perm": [1, 0, 2]})] if recurrent else []
    nodes.append((kind, [first, *constants], ["y"], attributes))
    path = tmp_path / "one.onnx"
    onnx.save(model_of(nodes, constants, (None, *sizes), opset), path)
    network = read_onnx(path).network
    for n in (2, 3):
        x = weights(n, *sizes)
        with torch.no_grad():
            got = network(torch.from_numpy(x)).numpy()
        assert np.allclose(got, expected_of(path, x, case), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("updates", ["numbers", "values"])
def test_values_are_written_at_places_that_are_known(updates, tmp_path):
    """As exporters write y[:, 1:3, 5] = ...; the places follow the number of records."""
    nodes = [
        ("Shape", ["x"], ["shape"], {}),
        ("Gather", ["shape", "zero"], ["n"], {"axis": 0}),
        ("Range", ["zero", "n", "one"], ["rows"], {}),
        ("Reshape", ["rows", "column"], ["all_rows"], {}),
        ("Concat", ["n1", "two_one"], ["sizes"], {"axis": 0}),
        ("Expand", ["all_rows", "sizes"], ["first"], {}),
        ("Expand", ["channels", "sizes"], ["second"], {}),
        ("Expand", ["sample", "sizes"], ["third"], {}),
        ("Concat", ["first", "second", "third"], ["places"], {"axis": 2}),
        ("Expand", ["number", "n2"], ["numbers"], {}),
        ("Slice", ["x", "from", "to", "axes"], ["cut"], {}),
        ("Squeeze", ["cut", "last"], ["values"], {}),
        ("ScatterND", ["x", "places", updates], ["y"], {}),
    ]
    nodes.insert(4, ("Unsqueeze", ["n", "zeros"], ["n1"], {}))
    nodes.insert(5, ("Concat", ["n1", "two"], ["n2"], {"axis": 0}))
    constants = {
        "zero": np.int64(0), "one": np.int64(1), "zeros": ints(0), "column": ints(-1, 1, 1),
        "two_one": ints(2, 1), "two": ints(2), "channels": np.array([[[1], [2]]]),
        "sample": np.array([[[5]]]), "number": np.float32(0.5), "from": ints(0, 9),
        "to": ints(2, 10), "axes": ints(1, 2), "last": ints(2),
    }  # fmt: skip
    path = tmp_path / "scatter.onnx"
    onnx.save(model_of(nodes, constants), path)
    program = capture(read_onnx(path).network, torch.zeros(1, 4, 20))
    for n in (1, 4):
        x = weights(n, 4, 20)
        expected = x.copy()
        expected[:, 1:3, 5] = 0.5 if updates == "numbers" else x[:, :2, 9]
        assert np.array_equal(program(torch.from_numpy(x)).detach().numpy(), expected)


def test_what_follows_from_shapes_follows_the_number_of_records(tmp_path):
    nodes = [
        ("Shape", ["x"], ["shape"], {}),
        ("Gather", ["shape", "zero"], ["n"], {"axis": 0}),
        ("Unsqueeze", ["n", "first"], ["n1"], {}),
        ("Concat", ["n1", "rest"], ["sizes"], {"axis": 0}),
        ("Reshape", ["x", "sizes"], ["y"], {}),
    ]
    constants = {"zero": np.int64(0), "first": ints(0), "rest": ints(2, 40)}
    path = tmp_path / "shapes.onnx"
    onnx.save(model_of(nodes, constants), path)
    program = capture(read_onnx(path).network, torch.zeros(1, 4, 20))
    assert [node.kind for node in program.nodes] == ["reshape"]
    for n in (1, 6):
        assert program(torch.zeros(n, 4, 20)).shape == (n, 2, 40)


def test_a_file_for_one_record_takes_any_number(tmp_path):
    nodes = [
        ("Concat", ["token", "x"], ["longer"], {"axis": 2}),
        ("Reshape", ["longer", "sizes"], ["flat"], {}),
        ("Gemm", ["flat", "w"], ["y"], {}),
    ]
    constants = {"token": weights(1, 4, 1), "sizes": ints(1, -1), "w": weights(84, 3)}
    path = tmp_path / "one_record.onnx"
    onnx.save(model_of(nodes, constants, (1, 4, 20)), path)
    network = read_onnx(path).network
    network.learn_shapes(torch.zeros(1, 4, 20))
    x = weights(5, 4, 20)
    alone = [expected_of(path, record[None]) for record in x]
    assert np.allclose(network(torch.from_numpy(x)).detach(), np.concatenate(alone), atol=1e-5)


def test_places_are_the_modules_of_the_exporter():
    def place(name, kind="Conv"):
        return path_of(OnnxNode(kind, name, (), ()))

    assert place("/block/xception/0/bottleneck/Conv/Conv") == "block.xception.0.bottleneck"
    assert place("/layer1/layer1.0/conv1/Conv") == "layer1.0.conv1"
    assert place("/Conv_3") == "Conv_3"
    assert place("/forward/training/Relu", "Relu") == "forward.training"


def test_metadata():
    said = described(
        {"target_keys": "['AF', 'MI']", "scale": "mikroVolt", "standardizer": "None", "fs": "400"}
    )
    assert said == {
        "labels": ["AF", "MI"], "unit": "uV", "normalisation": "none", "sampling_rate": 400.0,
    }  # fmt: skip
    assert described({"labels": "AF, MI"}) == {"labels": ["AF", "MI"]}
    assert described({}) == {}
    with pytest.raises(UserError, match="--unit"):
        described({"scale": "parsec"})
    with pytest.raises(UserError, match="--normalisation"):
        described({"standardizer": "__import__('os').system('touch owned')"})


# ---------------------------------------------------------------- what is refused


def plain_model():
    return model_of([("MatMul", ["x", "w"], ["y"], {})], {"w": weights(20, 3)})


def _outside(model, location):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", str(location)


def _huge(model):
    model.graph.initializer[0].dims[0] = 2**40


def _longer(model):
    model.graph.initializer[0].dims[0] = 21


def _negative(model):
    model.graph.initializer[0].dims[0] = -20


def _text(model):
    model.graph.initializer[0].data_type = TensorProto.STRING


def _domain(model):
    model.graph.node[0].domain = "com.evil"


def _unknown(model):
    model.graph.node[0].op_type = "Loop"


def _dangling(model):
    model.graph.node[0].input[1] = "nowhere"


def _version(model):
    model.opset_import[0].version = 99


def _two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))


def _subgraph(model):
    attribute = model.graph.node[0].attribute.add()
    attribute.name, attribute.type = "body", onnx.AttributeProto.GRAPH


def _function(model):
    model.functions.add().name = "f"


def _pooled(model, width):
    model.graph.node[0].op_type = "MaxPool"
    model.graph.node[0].attribute.append(helper.make_attribute("kernel_shape", [width]))


def _torn(model):
    model.graph.node[0].op_type, model.graph.node[0].name = "Lo\nop", "a\nb"


HOSTILE = {
    "too large": _huge, "declares": _longer, "size that cannot be": _negative,
    "holds no numbers": _text, "operations of com.evil": _domain, "Loop": _unknown,
    "reads 'nowhere'": _dangling, "operator set 99": _version, "2 inputs": _two_inputs,
    "decides by values": _subgraph, "functions": _function,
    "no file in its folder": lambda model: _outside(model, "../secret.bin"),
    "which is no file": lambda model: _outside(model, "/etc/passwd"),
    "weights lie in 'a.x00b'": lambda model: _outside(model, "a\0b"),
    "size of 1099511627776": lambda model: _pooled(model, 2**40),  # PyTorch's own pool never ends
    r"known: Lo.nop \(a.nb": _torn,
}  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE)
def test_a_damaged_or_hostile_file_is_refused_in_one_line(said, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(20 * 3 * 4))
    model = plain_model()
    HOSTILE[said](model)
    path = folder / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=said) as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", bytes(1000)])
def test_what_is_no_onnx_file_is_refused(content, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"readable ONNX file|holds no network"):
        read_onnx(path)


@pytest.mark.parametrize("zero_point", ["zero", ""])
def test_weights_kept_as_whole_numbers_are_read(zero_point, tmp_path):
    whole = RNG.integers(-127, 127, size=(20, 3)).astype(np.int8)
    scale, zero = np.float32([0.1, 0.2, 0.05]), np.int8([0, 3, -2])
    nodes = [
        ("DequantizeLinear", ["whole", "scale", zero_point], ["w"], {"axis": 1}),
        ("MatMul", ["x", "w"], ["y"], {}),
    ]
    path = tmp_path / "whole.onnx"
    constants = {"whole": whole, "scale": scale, "zero": zero}
    onnx.save(model_of(nodes, constants, opset=19), path)
    network, x = read_onnx(path).network, weights(2, 4, 20)
    assert np.allclose(network(torch.from_numpy(x)).detach(), expected_of(path, x), atol=1e-4)
    assert sum(one.numel() for one in network.parameters()) == 60
    nodes = [("DynamicQuantizeLinear", ["x"], ["y", "s", "z"], {})]
    onnx.save(model_of(nodes, {}), path)
    with pytest.raises(UserError, match="before quantisation"):
        read_onnx(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(20 * 3 * 4))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = plain_model()
    _outside(model, "link.bin")
    (folder / "bad.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="no file in its folder"):
        read_onnx(folder / "bad.onnx")


def test_weights_beside_the_file_are_read(tmp_path):
    model = plain_model()
    values = numpy_helper.to_array(model.graph.initializer[0])
    (tmp_path / "w.bin").write_bytes(values.tobytes())
    _outside(model, "w.bin")
    (tmp_path / "good.onnx").write_bytes(model.SerializeToString())
    network = read_onnx(tmp_path / "good.onnx").network
    x = weights(2, 4, 20)
    assert np.allclose(network(torch.from_numpy(x)).detach(), x @ values, atol=1e-5)
    (tmp_path / "w.bin").write_bytes(values.tobytes()[:-4])
    with pytest.raises(UserError, match="does not hold the tensor"):
        read_onnx(tmp_path / "good.onnx")


@pytest.mark.parametrize(
    "nodes",
    [
        [("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
        [("Expand", ["z", "s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
        [("Range", ["z", "big", "one"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})],
    ],
)
def test_arrays_that_would_fill_the_memory_are_not_made(nodes, tmp_path):
    constants = {
        "s": ints(2**20, 2**20),
        "z": np.float32(0),
        "big": np.float32(1e15),
        "one": np.float32(1),
    }
    path = tmp_path / "bad.onnx"
    onnx.save(model_of(nodes, constants), path)
    with pytest.raises(UserError, match="too large"):
        read_onnx(path).network(torch.zeros(1, 4, 20))


def test_every_operation_has_a_case():
    tried = {case.split()[0] for case in CASES}
    by_shapes = {
        "Cast", "Constant", "ConstantOfShape", "Dropout", "Equal", "Greater", "GreaterOrEqual",
        "GroupNormalization", "Identity", "Less", "LessOrEqual", "Log", "Not", "And", "Or",
        "Range", "ScatterND", "Shape", "Split", "Sqrt", "Where",
    }  # fmt: skip
    assert set(OPERATIONS) == tried | by_shapes | set(RARER)  # these: test_onnx_rarer.py


def test_public_network_gives_the_logits_of_onnxruntime():
    onnxruntime = pytest.importorskip("onnxruntime")
    if not Path(XCEPTION).is_file():
        pytest.skip("the public network is not here")
    file = read_onnx(XCEPTION)
    assert file.shape == (None, 12, 1000)
    assert described(file.metadata) == {
        "labels": ["CD", "HYP", "MI", "STTC"], "unit": "uV", "normalisation": "none",
    }  # fmt: skip
    x = 300 * weights(3, 12, 1000)
    expected = onnxruntime.InferenceSession(str(XCEPTION)).run(None, {"arg0": x})[0]
    with torch.no_grad():
        assert np.abs(file.network(torch.from_numpy(x)).numpy() - expected).max() < 1e-5
