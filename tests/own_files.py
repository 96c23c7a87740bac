"""The files that docs/own_network.md speaks of: code, weights, and exported networks."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from networks.models import get_model
from pages import PAGES, blocks

PAGE = PAGES["docs/own_network.md"]


def write_own_networks(folder):
    """my_net.py, weights.pt, mine.pt2, mine.onnx and best_model.ckpt in `folder`."""
    torch.manual_seed(0)
    code, exporting = (
        next(block for block in blocks("python", PAGE) if part in block)
        for part in ("# my_net.py", "torch.export.save")
    )
    (folder / "my_net.py").write_text(code)
    made = {}
    exec(code, made)
    torch.save(made["make_model"]().state_dict(), folder / "weights.pt")
    exec(exporting.replace("mine.pt2", str(folder / "mine.pt2")), {})
    state = {f"model.{name}": value for name, value in get_model("lenet", 23).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1}, folder / "best_model.ckpt")
    onnx.save(dense_model(1000), folder / "mine.onnx")


def dense_model(n_samples):
    """An ONNX model of one dense layer that says its five labels and its unit."""
    weight = np.random.default_rng(0).normal(size=(5, 12 * n_samples)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], name="/flat/Flatten"),
        helper.make_node("Gemm", ["flat", "w"], ["y"], name="/head/Gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12, n_samples])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"target_keys": "['MI', 'CD', 'HYP', 'NORM', 'STTC']", "scale": "mikroVolt"}
    helper.set_model_props(model, said)
    return model
