"""Axioms: identities that a method either keeps or does not, as deviations (0 = kept).

completeness               |sum of the map - (f(x) - f(0))| / max(|f(x) - f(0)|, 1 logit)
efficiency                 the same against the record with everything taken away
conservation               relative gap of LRP's ledger: input + biases + stabilisers = logit
batch_invariance           a record explained alone and within a batch: largest difference over the
                           map's largest value
shift_equivariance         the record in a long stretch of silence, moved by the network's stride:
                           the map must move with it (networks alone that give both the same logit:
                           not those with positions, or with an input of one length)
implementation_invariance  the same function with BatchNorm folded into the convolutions must have
                           the same map
linear_exactness           sensitivity-n on a linear network: 1 - correlation of removed relevance
                           and change of the logit

A method is held to the axioms it claims in the registry, and to batch invariance in any case. The
invariances are computed in float64: in float32 a rounding can turn a ReLU or a maximum the other
way, which moves a gradient by a finite amount and says nothing about the method.
"""

import copy
from collections import OrderedDict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from attribution.cam import step_centres
from attribution.gradients import start_logit, target_logit
from attribution.players import PLAYER_FILLS, without
from attribution.record_scale import HeldScales
from common.cli import say_left_out
from common.files import UserError
from networks.capture import capture
from networks.folding import folded_program
from networks.inference import input_of, read_samples
from networks.models import Network
from networks.probe import Probe
from sanity.subject import Explain, Measured, Subject, target_logits

# deviation up to which an axiom counts as kept
TOLERANCES = {
    "completeness": 0.01,
    "efficiency": 0.01,
    "conservation": 1e-4,
    "batch_invariance": 1e-3,
    "shift_equivariance": 1e-3,
    "implementation_invariance": 1e-3,
    "linear_exactness": 1e-3,
}
ALWAYS = ("batch_invariance",)
N_FEW, N_SHIFTED = 8, 2  # records for the checks of floating-point identities
SILENCE, PIECE = (
    2048,
    100,
)  # samples; XResNet's last map sees 857, so the piece and the edges stay apart
SAME_LOGIT = 1e-6  # relative: a network that moves with its record keeps its logit to rounding
N_SUBSETS = 50


def deviation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) largest difference of two stacks of maps over the first one's largest value."""
    size = np.abs(first).reshape(len(first), -1).max(axis=1)
    difference = np.abs(first - second).reshape(len(first), -1).max(axis=1)
    return difference / np.maximum(size, 1e-12)


def completeness(subject: Subject, maps: np.ndarray) -> np.ndarray:
    """(n,) completeness gap against a baseline of zeros, relative with a floor of one logit; sizes
    by which the network divides a record are held (attribution/record_scale.py).
    """
    x = input_of(subject.model, subject.signals)
    target = torch.as_tensor(subject.target, device=x.device)
    with torch.no_grad():
        full = target_logit(subject.model, x, target)
        empty = start_logit(HeldScales(subject.model, x), x, x.new_zeros(()), target)
    return _gap(maps, (full - empty).double().cpu().numpy())


def _gap(maps, difference):
    gap = np.abs(maps.sum(axis=(1, 2), dtype=np.float64) - difference)
    return gap / np.maximum(np.abs(difference), 1)


def efficiency(subject: Subject, maps: np.ndarray) -> np.ndarray:
    """(n,) gap against the record without any lead x segment player (attribution/players.py),
    relative with a floor of one logit.
    """
    x = input_of(subject.model, subject.signals)
    read = torch.from_numpy(read_samples(subject.model, x.shape[2])).to(x.device)
    leads = subject.model.info.leads
    absent = read.expand(1, *x.shape[1:])
    bare = torch.cat([without(record, absent, PLAYER_FILLS[0], leads) for record in x])
    with torch.no_grad():
        target = torch.as_tensor(subject.target, device=x.device)
        full, empty = (target_logit(subject.model, one, target) for one in (x, bare))
    return _gap(maps, (full - empty).double().cpu().numpy())


def batch_invariance(subject: Subject, explain: Explain) -> np.ndarray:
    """(n,) deviation between the map from the whole batch and from the record alone."""
    together = explain(subject.model, subject.signals, subject.target)
    alone = [
        explain(subject.model, subject.signals[[row]], subject.target[[row]])[0]
        for row in range(len(subject))
    ]
    return deviation(together, np.stack(alone))


def network_stride(model: nn.Module) -> int:
    """Samples per time step of the model's last map before pooling."""
    x = next(model.parameters()).new_zeros(1, len(model.info.leads), SILENCE)
    centres = step_centres(model, x)
    return max(1, round(float(centres[centres.isfinite()].diff().median())))


def in_silence(signals: np.ndarray, moved: int) -> tuple[np.ndarray, int]:
    """The middle piece of each record, `moved` samples late in a long silence (n, SILENCE, 12), and
    where it begins.
    """
    first = max((signals.shape[1] - PIECE) // 2, 0)
    piece = signals[:, first : first + PIECE]
    start = (SILENCE - PIECE) // 2 + moved
    longer = np.zeros((len(signals), SILENCE, signals.shape[2]), dtype=np.float32)
    longer[:, start : start + piece.shape[1]] = piece
    return longer, start


def shift_equivariance(subject: Subject, explain: Explain) -> np.ndarray:
    """(n,) deviation of the moved map from the map of the moved piece of record, in silence that no
    edge reaches across.
    """
    stride = network_stride(subject.model)
    maps = []
    for moved in (0, stride):
        longer, start = in_silence(subject.signals, moved)
        found = explain(subject.model, longer, subject.target)
        maps.append(found[:, start - stride : start + PIECE + stride])
    return deviation(*maps)


def why_not_moved(subject: Subject) -> str:
    """Why no map of this network can be asked to move with the record; "" where it can.

    A network with positions, or one whose graph takes a single length, is not itself
    shift-equivariant: no method could pass.
    """
    few = in_double(subject.rows(np.arange(min(N_SHIFTED, len(subject)))))
    try:
        stride = network_stride(few.model)
        logits = [
            target_logits(few, torch.from_numpy(in_silence(few.signals, moved)[0]))
            for moved in (0, stride)
        ]
    except UserError as error:
        return f"the network takes no other length of record ({error})"
    change = np.abs(logits[0] - logits[1]).max()
    if change > SAME_LOGIT * max(1.0, np.abs(logits[0]).max()):
        return f"its logit changes by {change:.1g} when the record is moved"
    return ""


def movable(subject: Subject) -> dict[str, np.ndarray]:
    """Whether shift equivariance can be asked of a network's maps: `movable` (1,); says why not."""
    reason = why_not_moved(subject)
    if reason:
        say_left_out({f"shift_equivariance of {subject.name}": reason})
    return {"movable": np.array([not reason])}


def implementation_invariance(subject: Subject, explain: Explain) -> np.ndarray:
    """(n,) deviation between the maps of the model and of its copy with folded BatchNorm."""
    x = input_of(subject.model, subject.signals[:1])
    program = capture(subject.model, x)
    folded = folded_program(program, Probe(program, x).dims)
    folded.info = subject.model.info
    return deviation(
        explain(subject.model, subject.signals, subject.target),
        explain(folded, subject.signals, subject.target),
    )


def linear_network(
    n_samples: int, n_outputs: int, leads: tuple[str, ...], seed: int = 0
) -> Network:
    """A network without any non-linearity: one strided convolution, flattened, one dense layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv = nn.Conv1d(len(leads), 8, 5, stride=2)
        steps = (n_samples - 5) // 2 + 1
        network = Network(
            OrderedDict(conv=conv, flatten=nn.Flatten(), head=nn.Linear(8 * steps, n_outputs)),
            len(leads),
        )
    network.info = SimpleNamespace(
        leads=leads, labels=tuple(map(str, range(n_outputs))), crop=n_samples
    )
    return network.eval()


def sensitivity_n(
    model: nn.Module, signals: np.ndarray, target: np.ndarray, maps: np.ndarray, seed: int = 0
) -> np.ndarray:
    """(n,) correlation, over random subsets of samples set to zero, of the relevance removed and
    the fall of the logit.

    Source: Ancona et al. 2018 (arXiv 1711.06104). 0 for a constant map.
    """
    rng = np.random.default_rng(seed)
    subject = SimpleNamespace(model=model, target=target)
    whole = target_logits(subject, torch.from_numpy(signals))
    removed, falls = [], []
    for _ in range(N_SUBSETS):
        gone = rng.random(signals.shape) < rng.uniform(0.05, 0.5)
        removed.append((maps * gone).sum(axis=(1, 2), dtype=np.float64))
        falls.append(
            whole
            - target_logits(
                subject, torch.from_numpy(np.where(gone, 0, signals).astype(np.float32))
            )
        )
    first, second = (np.stack(values) - np.mean(values, axis=0) for values in (removed, falls))
    length = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.where(length > 1e-12, (first * second).sum(axis=0) / np.maximum(length, 1e-12), 0.0)


def linear(subject: Subject, explain: Explain) -> np.ndarray:
    """(n,) 1 - sensitivity-n on a linear network of the records' shape."""
    network = linear_network(
        subject.signals.shape[1], len(subject.model.info.labels), subject.model.info.leads
    )
    maps = explain(network, subject.signals, subject.target)
    return 1 - sensitivity_n(network, subject.signals, subject.target, maps)


def in_double(subject: Subject) -> Subject:
    """The subject with a copy of its model in float64, on the CPU (not every device
    knows float64).
    """
    return replace(subject, model=copy.deepcopy(subject.model).cpu().double())


def measure_axioms(
    subject: Subject,
    maps: np.ndarray,
    explain: Explain,
    reference: dict[str, np.ndarray] | None = None,
) -> list[Measured]:
    """Deviations of one method; shift equivariance only where it is claimed and `reference`, what
    movable() found, allows; efficiency only where claimed.

    An axiom that the method does not claim is left out where its rewritten or linear network is
    one that the method refuses.
    """
    claims = getattr(explain, "axioms", ())
    few = in_double(subject.rows(np.arange(min(N_FEW, len(subject)))))
    measured = [subject.measured("axiom_completeness", completeness(subject, maps), best=0.0)]
    checks = {
        "batch_invariance": batch_invariance,
        "implementation_invariance": implementation_invariance,
        "linear_exactness": linear,
    }
    if "efficiency" in claims:
        measured.append(subject.measured("axiom_efficiency", efficiency(subject, maps), best=0.0))
    asked = "shift_equivariance" in claims
    if asked and (reference or movable(subject))["movable"].all():
        pair = few.rows(np.arange(min(N_SHIFTED, len(few))))
        moved = shift_equivariance(pair, getattr(explain, "cheap", explain))
        measured.append(pair.measured("axiom_shift_equivariance", moved, best=0.0))
    for name, check in checks.items():
        try:
            measured.append(few.measured(f"axiom_{name}", check(few, explain), best=0.0))
        except UserError:
            if name in (*claims, *ALWAYS):
                raise
    gap = (
        explain.ledger_gap(subject.model, subject.signals, subject.target)
        if hasattr(explain, "ledger_gap")
        else None
    )
    if gap is not None:
        measured.append(subject.measured("axiom_conservation", gap, best=0.0))
    return measured


def verdicts(records: pd.DataFrame, claims: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Per method, model and claimed axiom: the worst record's deviation, the tolerance, and whether
    it is kept.

    `records` is the long table of all measurements, `claims` maps a method to the axioms it claims.
    """
    rows = []
    axioms = records[records["check"].str.startswith("axiom_")]
    for (check, method, model), group in axioms.groupby(["check", "method", "model"], sort=False):
        axiom = check.removeprefix("axiom_")
        claimed = axiom in claims.get(method, ()) or axiom in ALWAYS
        worst = group["value"].max(skipna=False)  # what has no value is not kept
        rows.append(
            (
                axiom,
                method,
                model,
                claimed,
                worst,
                TOLERANCES[axiom],
                bool(worst <= TOLERANCES[axiom]),
                len(group),
            )
        )
    return pd.DataFrame(
        rows, columns=["axiom", "method", "model", "claimed", "worst", "tolerance", "kept", "n"]
    )
