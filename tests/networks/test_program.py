"""Programs: captured from networks of all kinds, run, stored as plain data; what is hostile runs
nothing.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.files import UserError
from networks.capture import capture
from networks.models import MODELS, get_model
from networks.program import Batch, Node, Program, Ref, Stored, arguments
from toy_networks import randomised


class Body(nn.Module):
    """A network whose forward pass is the function given."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def caught(function, x=None, **modules):
    torch.manual_seed(0)
    x = torch.randn(3, 4, 10) if x is None else x
    model = Body(function, **modules).eval()
    return model, capture(model, x), x


@pytest.mark.parametrize("name", MODELS)
def test_program_computes_what_the_network_computes(name):
    torch.manual_seed(0)
    model = randomised(get_model(name, 4))
    program = capture(model, torch.zeros(1, 12, 250))
    for n in (1, 2, 7):
        x = torch.randn(n, 12, 250, requires_grad=True)
        logits = program(x)
        assert torch.equal(logits, model(x))
        assert torch.equal(
            torch.autograd.grad(logits.sum(), x)[0], torch.autograd.grad(model(x).sum(), x)[0]
        )
    assert capture(model, torch.zeros(5, 12, 250)) is program
    assert capture(model, torch.zeros(5, 12, 300)) is not program


@pytest.mark.parametrize("name", MODELS)
def test_plain_form_keeps_everything(name):
    model = randomised(get_model(name, 4))
    program = capture(model, torch.zeros(1, 12, 250))
    graph, tensors = program.to_plain()
    again = Program.from_plain(graph, tensors)
    assert again.nodes == program.nodes
    assert again.calls == program.calls
    assert set(again.tensors) <= set(model.state_dict())
    x = torch.randn(2, 12, 250)
    assert torch.equal(again(x), model(x))
    assert torch.allclose(again.double()(x.double()), model.double()(x.double()), atol=1e-12)


def test_weights_that_change_are_followed():
    model, program, x = caught(lambda self, x: self.head(x.flatten(1)), head=nn.Linear(40, 2))
    with torch.no_grad():
        model.head.weight.mul_(2)
    assert torch.equal(program(x), model(x))
    model.head.weight = nn.Parameter(torch.ones(2, 40))
    assert torch.equal(capture(model, x)(x), model(x))
    model.head = nn.Sequential(nn.Linear(40, 2), nn.ReLU())
    assert torch.equal(capture(model, x)(x), model(x))


def test_a_module_used_twice_is_told_apart():
    model, program, x = caught(
        lambda self, x: self.head(self.conv(self.relu(self.conv(self.relu(x)))).flatten(1)),
        relu=nn.ReLU(),
        conv=nn.Conv1d(4, 4, 3, padding=1),
        head=nn.Linear(40, 2),
    )
    assert {"relu", "relu#2", "conv", "conv#2", "head"} == set(program.calls)
    _, kept = program.run(x, keep=[program.calls[place].name for place in ("conv", "conv#2")])
    first = model.conv(model.relu(x))
    assert torch.equal(kept[program.calls["conv"].name], first)
    assert torch.equal(kept[program.calls["conv#2"].name], model.conv(model.relu(first)))


def in_place_everywhere(self, x):
    y = self.conv(x)
    y = F.relu(y, inplace=True)
    y += x
    head = y[:, :2]
    y[:, :, :3] *= 2.0  # `head` sees it too
    y[:, 3] = 0.5
    F.leaky_relu_(y.transpose(1, 2).reshape(-1, 4))
    return self.head(torch.cat([head, y], dim=1).mean(-1))


def test_operations_in_place_become_functional():
    model, program, x = caught(
        in_place_everywhere, conv=nn.Conv1d(4, 4, 3, padding=1), head=nn.Linear(6, 2)
    )
    assert torch.equal(program(x), model(x))
    assert not [node.op for node in program.nodes if node.kind.endswith("_")]
    # as it was before its successor changed it
    _, kept = program.run(x, keep=[program.calls["conv"].name])
    assert torch.equal(kept[program.calls["conv"].name], model.conv(x))


def test_numbers_that_follow_the_records():
    def forward(self, x):
        steps = x.transpose(1, 2).reshape(-1, 4)  # (N T, C)
        tokens = self.head(steps).view(len(x), -1, 2)
        return torch.cat([self.token.cls.expand(len(x), 1, 2), tokens], 1).mean(1)

    model, program, x = caught(
        forward, head=nn.Linear(4, 2), token=nn.ParameterDict({"cls": torch.ones(1, 1, 2)})
    )
    assert Batch(10) in arguments(program.node("reshape"))["shape"]
    for n in (1, 4):
        assert torch.equal(program(x[:1].expand(n, -1, -1)), model(x[:1].expand(n, -1, -1)))


def decides(self, x):
    return x.mean(-1) if x.mean().item() > 0 else x.amax(-1)


def through_numpy(self, x):
    return x.mean(-1) + torch.from_numpy(x.detach().cpu().numpy() ** 2).mean(-1)


def _record_by_record(_, x):
    return torch.stack([row.mean(-1) for row in x])


def _through_a_view(x):
    y = x * 1.0
    y.transpose(1, 2).mul_(2.0)
    return y.mean(-1)


REFUSED = {
    "single values": decides,
    "beside PyTorch": through_numpy,
    "depends on the records beside it": lambda self, x: (x - x.mean()).amax(-1),
    "draws random numbers": lambda self, x: x.mean(-1) + torch.rand(4),
    "which a graph": lambda self, x: x.mean(-1) + torch.linalg.matrix_exp(x[:, :, :4]).sum(-1),
    "returns no tensor": lambda self, x: torch.ones(3),
    "other operations for another number": _record_by_record,
    "changes its own": lambda self, x: x.mean(-1) * self.weight.mul_(1.5),
    "reads it again": lambda self, x: _through_a_view(x),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_a_graph_cannot_say_is_refused(reason):
    model = Body(REFUSED[reason])
    model.register_buffer("weight", torch.ones(4))
    with pytest.raises(UserError, match=reason) as caught_error:
        capture(model.eval(), torch.randn(2, 4, 10))
    assert "\n" not in str(caught_error.value)


def test_watching_leaves_no_trace_in_the_network():
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        self.last = x
        return self.drop(self.norm(x)).mean(-1)

    model = Body(forward, norm=nn.BatchNorm1d(4), drop=nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    program = capture(model, torch.randn(2, 4, 10))
    assert not hasattr(model, "calls")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [node.kind for node in program.nodes] == ["batch_norm", "mean"]


# ---------------------------------------------------------------- plain data that is not trusted


def graph_of(*nodes, output=None, calls=None):
    return {"nodes": list(nodes), "output": output or {"node": nodes[-1][0]}, "calls": calls or {}}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


GOOD = ["y", "relu", [{"node": "input"}], {}, ""]
HOSTILE = {
    "unknown operation 'system'": graph_of(["y", "system", ["ls"], {}, ""]),
    "unknown operation '__class__'": graph_of(["y", "__class__", [], {}, ""]),
    "unknown operation 'from_file'": graph_of(["y", "from_file", ["/etc/passwd"], {}, ""]),
    "unknown operation 'rand'": graph_of(["y", "rand", [[3]], {}, ""]),
    "no operation 'relu.evil'": graph_of(["y", "relu.evil", [{"node": "input"}], {}, ""]),
    "writes its arguments": graph_of(
        ["y", "relu.out", [{"node": "input"}], {"out": {"node": "input"}}, ""]
    ),
    "which nothing before it computes": graph_of(["y", "relu", [{"node": "z"}], {}, ""]),
    "which is not stored": graph_of(["y", "add", [{"node": "input"}, {"tensor": "w"}], {}, ""]),
    "two values named": graph_of(GOOD, GOOD),
    "no plain data": graph_of(["y", "relu", [object()], {}, ""]),
    "unknown number format": graph_of(["y", "to", [{"node": "input"}, {"dtype": "load"}], {}, ""]),
    "cannot take": graph_of(["y", "relu", [{"node": "input"}, 1, 2], {}, ""]),
    "nested too deeply": graph_of(["y", "relu", nested(20), {}, ""]),
    "must be name, operation": graph_of(["y", "relu"]),
    "is no text": graph_of([1, "relu", [], {}, ""]),
    "no list and dict": graph_of(["y", "relu", {"node": "input"}, {}, ""]),
    "names no value": graph_of(GOOD, calls={"a": 3}),
    "returns nothing": graph_of(GOOD, output=[1]),
    "a dict of nodes": [GOOD],
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_graph_is_refused_in_one_line(reason):
    with pytest.raises(UserError, match=reason) as caught_error:
        Program.from_plain(HOSTILE[reason], {})
    assert "\n" not in str(caught_error.value)


@pytest.mark.parametrize(
    "tensors", [{"forward": torch.ones(1)}, {"a": [1]}, {"": torch.ones(1)}, {"a.": torch.ones(1)}]
)
def test_tensors_of_wild_names_or_kinds_are_refused(tensors):
    with pytest.raises(UserError, match="a network's tensor"):
        Program.from_plain(graph_of(GOOD), tensors)


def test_a_failing_operation_is_named_with_its_place():
    program = Program(
        [Node("y", "linear", (Ref("input"), Stored("w")), {}, "head")],
        {"w": torch.ones(2, 7)},
        Ref("y"),
    )
    with pytest.raises(UserError, match=r"operation linear \(head\) fails"):
        program(torch.zeros(1, 2, 3))
