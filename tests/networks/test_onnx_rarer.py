"""Rarer ONNX operations against onnx's own interpreter, and what of them is refused."""

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from common.files import UserError
from networks.onnx_files import read_onnx
from networks.onnx_operations import OPERATIONS
from networks.onnx_rarer import RARER
from networks.onnx_values import OnnxNode

RNG = np.random.default_rng(0)
SCALES = np.array([1, 1, 2.5], np.float32)
ASYMMETRIC = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
# operation -> (attributes, inputs beside x (None: left out)[, opset[, range[, shape of x]]])
CASES = {
    "Acos": ({}, [], 17, (-0.9, 0.9)),
    "ArgMax": ({"axis": 2, "keepdims": 0}, []),
    "ArgMin": ({"axis": 1}, []),
    "Asin": ({}, [], 17, (-0.9, 0.9)),
    "Asinh": ({}, []),
    "Atan": ({}, []),
    "Cosh": ({}, []),
    "CumSum": ({}, [np.int64(2)]),
    "CumSum reverse": ({"reverse": 1}, [np.int64(1)]),
    "DepthToSpace": ({"blocksize": 2}, [], 17, (-2, 2), (8, 3, 5)),
    "DepthToSpace CRD": ({"blocksize": 2, "mode": "CRD"}, [], 17, (-2, 2), (8, 3, 5)),
    "IsInf": ({}, []),
    "IsInf above": ({"detect_negative": 0}, []),
    "IsNaN": ({}, []),
    "LpNormalization": ({"axis": 2, "p": 2}, []),
    "ReduceL1": ({"axes": [2]}, [], 13),
    "ReduceL1 input": ({"keepdims": 0}, [np.array([1, 2])], 18),
    "ReduceLogSum": ({"axes": [2]}, [], 13, (0.1, 2)),
    "ReduceLogSumExp": ({"axes": [1], "keepdims": 0}, [], 13),
    "Resize": ({"mode": "linear"}, [None, SCALES]),
    "Resize between": ({"mode": "linear"}, [None, np.array([1, 1, 2.52], np.float32)]),
    "Resize shorter": ({"mode": "linear"}, [None, np.array([1, 1, 0.62], np.float32)]),
    "Resize nearest between": (
        {"mode": "nearest", **ASYMMETRIC},
        [None, np.array([1, 1, 2.52], np.float32)],
    ),
    "Resize sizes": (
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        [None, None, np.array([3, 4, 31])],
    ),
    "Resize nearest": ({"mode": "nearest", **ASYMMETRIC}, [None, SCALES]),
    "Resize halves": (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"},
        [None, np.array([1, 1, 2], np.float32)],
    ),
    "Resize doubled": ({"mode": "nearest"}, [None, np.array([1, 1, 2], np.float32)]),
    "Round": ({}, []),
    "ScatterElements": ({"axis": 1}, [np.full((3, 1, 20), 2), np.ones((3, 1, 20), np.float32)]),
    "Shrink": ({"lambd": 0.4, "bias": 0.1}, []),
    "Sinh": ({}, []),
    "Softsign": ({}, []),
    "Swish": ({"alpha": 1.3}, [], 24),
    "Tan": ({}, [], 17, (-1, 1)),
    "ThresholdedRelu": ({"alpha": 0.4}, []),
    "TopK": ({"axis": -1}, [np.array([3])]),
    "Trilu": ({"upper": 0}, [np.int64(-1)]),
}
BY_HAND = {
    "GatherElements": lambda x: np.take_along_axis(x, np.tile([[[0, -1, 3]]], (len(x), 4, 1)), 2),
    "Upsample": lambda x: x.repeat(2, axis=2),
}
ALSO = {
    "GatherElements": ({"axis": 2}, [np.tile([[[0, -1, 3]]], (1, 4, 1))]),
    "Upsample": ({"mode": "nearest"}, [np.array([1, 1, 2], np.float32)], 9),
}


def saved(path, kind, attributes, extra, opset, shape=(4, 20)):
    """An ONNX file of one operation on x (n, *shape)."""
    names = ["" if value is None else f"c{at}" for at, value in enumerate(extra)]
    node = helper.make_node(kind, ["x", *names], ["y"], name=f"/part/{kind}", **attributes)
    held = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, extra, strict=True)
        if name
    ]
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
        held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("case", [*CASES, *ALSO])
def test_operation_is_that_of_onnx(case, tmp_path):
    attributes, extra, *rest = (CASES | ALSO)[case]
    kind, opset = case.split()[0], rest[0] if rest else 17
    low, high = rest[1] if len(rest) > 1 else (-2, 2)
    shape = rest[2] if len(rest) > 2 else (4, 20)
    path = saved(tmp_path / "one.onnx", kind, attributes, extra, opset, shape)
    x = RNG.uniform(low, high, size=(3, *shape)).astype(np.float32)
    if kind in BY_HAND:
        expected = BY_HAND[kind](x)
    else:
        expected = onnx.reference.ReferenceEvaluator(str(path)).run(None, {"x": x})[0]
    with torch.no_grad():
        got = read_onnx(path).network(torch.from_numpy(x)).numpy()
    assert got.shape == expected.shape
    assert np.allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "attributes", "extra"),
    [
        ("Resize", {"mode": "cubic"}, [None, SCALES]),
        ("Resize", {"mode": "nearest"}, [None, SCALES]),
        ("Resize", {"mode": "linear"}, [None, np.array([1, 2, 2], np.float32)]),
        # half of the samples are those of a neighbour
        (
            "Resize",
            {"mode": "nearest", "nearest_mode": "floor"},
            [None, np.array([1, 1, 2], np.float32)],
        ),
        (
            "Resize",
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"},
            [None, np.array([1, 1, 3], np.float32)],
        ),
        ("MaxPool", {"kernel_shape": [2], "strides": [3], "pads": [0, 1], "ceil_mode": 1}, []),
        (
            "Resize",
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
            [None, np.array([1, 1, 2.52], np.float32)],
        ),
        ("Selu", {"alpha": 1.2}, []),
        ("CumSum", {"exclusive": 1}, [np.int64(2)]),
        ("ScatterElements", {"axis": 2}, [np.array([[[0, 1]]]), np.ones((1, 1, 2), np.float32)]),
        ("ArgMax", {"axis": 1, "select_last_index": 1}, []),
    ],
)
def test_what_is_computed_otherwise_is_refused(kind, attributes, extra, tmp_path):
    path = saved(tmp_path / "one.onnx", kind, attributes, extra, 17)
    with pytest.raises(UserError, match=r"is not known") as caught:
        read_onnx(path).network(torch.zeros(2, 4, 20))
    assert "\n" not in str(caught.value)


def test_constants_beside_a_mask_keep_their_numbers():
    node = OnnxNode("Where", "/mask/Where", ("c", "a", "b"), ("y",))
    got = OPERATIONS["Where"](node, torch.tensor([True, False]), np.float32([2]), np.float32([-1]))
    assert got.tolist() == [2.0, -1.0]


def test_a_constant_in_another_number_format_is_cut_as_onnx_does():
    node = OnnxNode("Cast", "/Cast", ("c",), ("y",), {"to": TensorProto.INT8})
    assert OPERATIONS["Cast"](node, np.float32([3.7, -3.7])).tolist() == [3, -3]
    text = OnnxNode("Cast", "/Cast", ("c",), ("y",), {"to": TensorProto.STRING})
    with pytest.raises(UserError, match="number format 8 is not known"):
        OPERATIONS["Cast"](text, np.float32([3.7]))


@pytest.mark.parametrize("k", [0, 1, -2])
def test_a_unit_matrix_is_made_of_a_constants_shape(k):
    node = OnnxNode("EyeLike", "/eye", ("c",), ("y",), {"k": k})
    assert np.array_equal(RARER["EyeLike"](node, np.zeros((4, 6))), np.eye(4, 6, k))


def test_every_rarer_operation_has_a_case():
    assert {"EyeLike", *(case.split()[0] for case in CASES | ALSO)} == set(RARER)
