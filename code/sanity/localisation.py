"""Does a map point at the cause? Pointing game, relevance mass, ROC AUC and top-k against a known
mask, each with its chance.

All take relevance (n, D), not negative, and a mask (n, D) of booleans (D = time x leads, or time),
and give one score per record in [0, 1]: 1 where all relevance lies on the mask. Equal values share
what they earn, so that a constant map scores exactly its chance, whatever the order of the samples.
A record whose mask is empty or full has no score (NaN).

Sources: pointing game (Zhang et al., IJCV 126 (2018) 1084); relevance mass and rank accuracy, here
top-k (Arras et al., Information Fusion 81 (2022) 14); ROC AUC as in saliency benchmarks.

## Planted causes

Localisation against known causes: on a simulated cohort the truth is planted, and the
intervention gate says where it counts.

A record counts when the model answers to the cause there: undoing the planted change (same
patient, noise and beats) lowers the logit by at least MIN_EFFECT, and undoing a decoy (a visible
change without a label) moves it by no more than DECOY_SHARE of that. The truth is the lead x
segment cells that planted_causes.csv names, as far as the cause changes them by at least CORE of
its largest change, and the union of their time spans. Causes of rate and rhythm lie in no cell and
are left out.

Most causes sit where the signal is large anyway, so that |signal| alone scores high. `specific_auc`
therefore asks, for each other cause among the records: where the two differ, are the cells of the
record's own cause more relevant than the other's? A map that is the same for all records scores .5
by symmetry.

## The layer of CAMs

The Grad-CAM question as a 2 x 2 table: layer (the original's / the last convolutional map) x
truth (lead and wave / time).

The literature contradicts itself: the paper finds Grad-CAM useless, Attribution-ECG finds its
family best. They differ in the layer (the original's is a BatchNorm before its ReLU in LeNet, and
the global pool, one time step, in XResNet) and in the truth (a wave in a lead, or a time span over
all leads).

Hypothesis, written down before the first run: read from the last convolutional map, Grad-CAM and
HiResCAM are better than chance in time and at chance in leads, since they have no lead axis; read
from the original's layer in XResNet, whose map has one step, they are at chance in both. Guided
Grad-CAM is better than chance in both at either layer, because all of its lead axis and most of its
resolution in time come from guided backpropagation and not from the CAM.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from attribution.cam import Guided, value_and_gradient
from attribution.explanation import Explanation
from attribution.gradients import gradient
from attribution.methods import Method, explain_records
from common.files import UserError, note_read, read_csv
from common.labels import LEADS, labels_of_statement
from common.stats import mean_of_known
from ecg.segments import SEGMENTS
from networks.metrics import roc_auc
from records.dataset import PLANTED, centre_crop
from sanity.amplitude import OWN_WAVE, window_masks
from sanity.subject import Explain, Measured, Subject, target_logits
from simulation.cohort import PARAMETERS, counterfactual, read_plan
from simulation.truth import planted_cells


def mask_share(mask: np.ndarray) -> np.ndarray:
    """(n,) share of the samples that the mask covers: what a map that knows nothing scores on
    average.
    """
    return mask.mean(axis=1)


def _even_odds(mask):
    return np.full(len(mask), 0.5)


def _defined(scores, mask):
    share = mask_share(mask)
    return np.where((share > 0) & (share < 1), scores, np.nan)


def pointing_game(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) whether the largest value lies on the mask; the share on the mask where several are
    largest.
    """
    largest = relevance == relevance.max(axis=1, keepdims=True)
    return _defined((largest & mask).sum(axis=1) / largest.sum(axis=1), mask)


def relevance_mass(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) share of the relevance on the mask; an empty map says nothing and scores as a constant
    one.
    """
    total = relevance.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (relevance * mask).sum(axis=1) / total
    return _defined(np.where(total > 0, share, mask_share(mask)), mask)


def top_k(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) share of the k most relevant samples that lie on the mask of k samples."""
    ordered = np.sort(relevance, axis=1)
    k = mask.sum(axis=1)
    threshold = ordered[np.arange(len(mask)), -np.maximum(k, 1)][:, None]
    above, level = relevance > threshold, relevance == threshold
    shared = (k - above.sum(axis=1)) * (level & mask).sum(axis=1) / level.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _defined(((above & mask).sum(axis=1) + shared) / k, mask)


def auc_within(maps: np.ndarray, mask: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """(n,) ROC AUC of maps (n, T, 12) over the samples of `domain` | `mask` alone; NaN where the
    domain holds nothing else.
    """
    found = np.full(len(maps), np.nan)
    for row in range(len(maps)):
        inside = domain[row] | mask[row]
        if not inside.any():
            continue
        found[row] = roc_auc(maps[row][inside][None], mask[row][inside][None])[0]
    return found


# name -> (score, chance); both (relevance or mask) -> (n,)
LOCALISATION_METRICS: dict[str, tuple[Callable, Callable]] = {
    "pointing": (pointing_game, mask_share),
    "mass": (relevance_mass, mask_share),
    "auc": (roc_auc, _even_odds),
    "top_k": (top_k, mask_share),
}

# how a signed map is read: what counts is its size, or what speaks for the target
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "absolute": np.abs,
    "positive": lambda maps: np.maximum(maps, 0),
}


def over_time(maps: np.ndarray) -> np.ndarray:
    """Relevance (n, T) of a stack of non-negative maps (n, T, 12): the sum over the leads."""
    return maps.sum(axis=2)


def score_truths(maps: np.ndarray, mask: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every metric, reading and truth: '<metric>_<truth>_<reading>' -> (scores (n,), chance (n,)).

    `maps` are signed (n, T, 12), `mask` (n, T, 12) the planted lead x segment cells. Truth `cell`
    asks for lead and time, truth `time` only for the time span, whatever the lead: the latter is
    all that a map without a lead axis can know.
    """
    scores = {}
    spans = mask.any(axis=2)
    for reading, read in READINGS.items():
        relevance = read(maps)
        truths = {
            "cell": (relevance.reshape(len(maps), -1), mask.reshape(len(mask), -1)),
            "time": (over_time(relevance), spans),
        }
        for truth, (values, true) in truths.items():
            for metric, (score, chance) in LOCALISATION_METRICS.items():
                scores[f"{metric}_{truth}_{reading}"] = (score(values, true), chance(true))
    return scores


# ---------------------------------------------------------------- planted causes

MIN_EFFECT = 0.5  # logit
DECOY_SHARE = 0.25  # of the effect of the cause
ALIKE = 0.9  # correlation of a record with itself drawn again, at another rate too
POINTS = tuple(
    name for name in SEGMENTS if "-" in name
)  # point classes; the others are the stretches between


def has_truth(data_path: str | Path) -> bool:
    """Whether a folder holds the truth of a simulated cohort."""
    return all((Path(data_path) / name).is_file() for name in (PLANTED, PARAMETERS))


def check_planted(subject: Subject, data_path: str | Path) -> None:
    """UserError where the cohort in a folder is not the one that the records are from: its truth
    would be that of others under the same numbers.
    """
    there = read_plan(data_path)["ecg_id"]
    foreign = subject.ecg_id[~np.isin(subject.ecg_id, there)]
    if not len(foreign):
        asked = subject.ecg_id[[0, -1]]
        drawn = counterfactual(data_path, asked, sampling_rate=subject.sampling_rate)
        pairs = zip(subject.signals[[0, -1]], drawn, strict=True)
        length = subject.signals.shape[1]
        alike = [
            np.corrcoef(own.ravel(), centre_crop(other[None], length).ravel())[0, 1]
            for own, other in pairs
        ]
        foreign = asked[~(np.array(alike) > ALIKE)]
    if len(foreign):
        raise UserError(
            f"the simulated cohort in {data_path} is not the one that the records are from: ECG "
            f"{foreign[0]} is another one or not there; name its folder with --planted, or leave "
            "localisation and layers out of --checks"
        )


def statement_of(subject: Subject, plan: pd.DataFrame) -> np.ndarray:
    """(n,) the planted statement behind each record's target; "" where there is none or more than
    one.
    """
    causes = [column.removeprefix("severity_") for column in plan if column.startswith("severity_")]
    present = (
        plan.set_index("ecg_id")
        .loc[subject.ecg_id, [f"severity_{cause}" for cause in causes]]
        .to_numpy()
        > 0
    )
    found = []
    for row, target in enumerate(subject.target):
        label = subject.model.info.labels[target]
        names = [
            cause
            for cause, has in zip(causes, present[row], strict=True)
            if has and label in labels_of_statement(cause, subject.task)
        ]
        found.append(names[0] if len(names) == 1 else "")
    return np.array(found)


def planted_masks(table: pd.DataFrame, statements: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(n, T, 12) bool: the cells that `table` (label, lead, segment) names for each record's
    statement.

    A sample belongs to a stretch where most of its soft segment does; the point classes at both
    ends belong to it too.
    """
    nothing = np.zeros((len(LEADS), len(SEGMENTS)), dtype=bool)
    cells = {label: nothing.copy() for label in table["label"].unique()}
    for label, lead, segment in table[["label", "lead", "segment"]].itertuples(index=False):
        cells[label][LEADS.index(lead), SEGMENTS.index(segment)] = True
    for chosen in cells.values():
        for point in map(SEGMENTS.index, POINTS):
            chosen[:, point] |= chosen[:, point - 1] | chosen[:, (point + 1) % len(SEGMENTS)]
    masks = [
        np.einsum("tlk,lk->tl", shares, cells.get(statement, nothing)) > 0.5
        for shares, statement in zip(segments, statements, strict=True)
    ]
    return np.stack(masks) if masks else np.zeros(segments.shape[:3], dtype=bool)


def undo_effects(subject: Subject, data_path: str | Path, names: np.ndarray) -> np.ndarray:
    """(n,) fall of the target logit when the cause or decoy named for each record is undone; 0
    where the name is "".
    """
    effects = np.zeros(len(subject))
    before = target_logits(subject, torch.from_numpy(subject.signals))
    for name in sorted(set(names) - {""}):
        rows = np.flatnonzero(names == name)
        undone = counterfactual(
            data_path, subject.ecg_id[rows], undo=name, sampling_rate=subject.sampling_rate
        )
        crop = np.ascontiguousarray(centre_crop(undone, subject.signals.shape[1]), dtype=np.float32)
        effects[rows] = before[rows] - target_logits(subject.rows(rows), torch.from_numpy(crop))
    return effects


def passes_gate(cause: np.ndarray, decoys: np.ndarray) -> np.ndarray:
    """(n,) bool: the cause moves the logit enough, and no decoy (n, decoys) by more than its share
    of that.
    """
    return (cause >= MIN_EFFECT) & (np.abs(decoys).max(axis=1, initial=0) <= DECOY_SHARE * cause)


def planted_reference(subject: Subject, data_path: str | Path) -> dict[str, np.ndarray]:
    """Truth and gate: mask (n, T, 12), every (causes, n, T, 12) of each cause; passed, effect,
    decoy, statement (n,).
    """
    plan = read_plan(data_path)
    statements = statement_of(subject, plan)
    rows = plan.set_index("ecg_id").loc[subject.ecg_id]
    decoys = [column.removeprefix("decoy_") for column in plan if column.startswith("decoy_")]
    shown = [np.where(rows[f"decoy_{decoy}"].to_numpy() > 0, decoy, "") for decoy in decoys]
    decoy_effects = np.stack([undo_effects(subject, data_path, names) for names in shown], axis=1)
    effect = undo_effects(subject, data_path, np.where(statements == "NORM", "", statements))
    note_read(Path(data_path) / PLANTED)
    cells = planted_cells(read_csv(Path(data_path) / PLANTED))
    masks = planted_masks(cells, statements, subject.segments)
    names = sorted(set(statements[masks.any(axis=(1, 2))]))
    every = [planted_masks(cells, np.full(len(subject), name), subject.segments) for name in names]
    passed = passes_gate(effect, decoy_effects) & masks.any(axis=(1, 2))
    return {
        "mask": masks,
        "every": np.array(every, dtype=bool).reshape(-1, *masks.shape),
        "passed": passed,
        "statement": statements,
        "effect": effect,
        "decoy": np.abs(decoy_effects).max(axis=1, initial=0),
    }


def measure_localisation(
    subject: Subject,
    maps: np.ndarray,
    _explain: Explain,
    reference: dict[str, np.ndarray],
) -> list[Measured]:
    """All localisation scores of one method on the records that passed the gate, where the network
    reads.
    """
    rows = np.flatnonzero(reference["passed"])
    if not len(rows):
        return []
    truths = maps[rows], reference["mask"][rows], reference["every"][:, rows]
    maps, mask, every = map(subject.of_read, truths)
    chosen, scores = subject.rows(rows), score_truths(maps, mask)
    for reading, read in READINGS.items():
        scores[f"specific_auc_{reading}"] = (specific_auc(read(maps), mask, every), 0.5)
    return [
        chosen.measured(f"localisation_{name}", values, chance, best=1.0)
        for name, (values, chance) in scores.items()
    ]


def specific_auc(relevance: np.ndarray, mask: np.ndarray, every: np.ndarray) -> np.ndarray:
    """(n,) mean over the causes `every` (causes, n, T, 12) of the AUC of cells that only the
    record's own or only they have.
    """
    return mean_of_known([auc_within(relevance, mask & ~other, other & ~mask) for other in every])


def gate_table(subject: Subject, reference: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per planted statement: records, how many pass the gate, median effect of the cause and of the
    strongest decoy (logit).
    """
    planted = np.char.str_len(reference["statement"]) > 0
    rows = []
    for statement in np.unique(
        reference["statement"][planted & (reference["statement"] != "NORM")]
    ):
        chosen = reference["statement"] == statement
        rows.append(
            (
                subject.name,
                statement,
                int(chosen.sum()),
                int(reference["passed"][chosen].sum()),
                float(np.median(reference["effect"][chosen])),
                float(np.median(reference["decoy"][chosen])),
                float(reference["mask"][chosen].mean()),
            )
        )
    return pd.DataFrame(
        rows, columns=["model", "statement", "n", "passed", "effect", "decoy_effect", "mask_share"]
    )


# ---------------------------------------------------------------- the layer that CAMs are read from

# what the original code reads its maps from, in our networks' names
ORIGINAL_LAYERS = {"lenet": "block3.norm", "resnet": "stage4", "xresnet": "pool"}
CAMS = ("gradcam", "hirescam", "guided_gradcam")
LAYERS = ("original", "last")


def one_step_cam(
    model: torch.nn.Module, x: torch.Tensor, target: torch.Tensor, layer: str, kind: str
) -> Explanation:
    """Maps (N, leads, T) from a layer with a single time step, which the registered methods
    refuse: constant in time by construction.
    """
    activation, slope, logit = value_and_gradient(model, x, target, layer)
    value = (slope * activation).sum(dim=(1, 2))
    value = value if kind == "hirescam" else value.relu()
    maps = value[:, None, None].expand_as(x)
    if kind == "guided_gradcam":
        maps = maps * gradient(Guided(model), x, target)[0]
    return Explanation(maps, logit)


def cam_maps(subject: Subject, kind: str, which: str) -> np.ndarray:
    """Maps (n, T, 12) of one of CAMS from the original's layer or from the last
    convolutional map.
    """
    layer = ORIGINAL_LAYERS[subject.model.info.modelname] if which == "original" else None
    method, options = kind, {"layer": layer}
    if layer == "pool":
        function = partial(one_step_cam, layer=layer, kind=kind)
        method, options = Method(function, f"{kind} of a single time step"), {}
    crop = subject.signals.shape[1]
    done = explain_records(
        subject.model,
        subject.signals,
        subject.target,
        method,
        batch_size=64,
        crop=crop,
        mark_unread=False,
        **options,
    )
    return np.nan_to_num(done.attributions, copy=False)


def wave_truth(subject: Subject) -> np.ndarray:
    """(n, T, 12) bool for an amplitude model: the task's wave in the lead that is the target."""
    wave = window_masks(subject.segments)[OWN_WAVE[subject.task]] > 0.5
    masks = np.zeros_like(wave)
    rows = np.arange(len(subject))
    masks[rows, :, subject.target] = wave[rows, :, subject.target]
    return masks


def measure_layers(subject: Subject, masks: np.ndarray) -> dict[str, list[Measured]]:
    """Localisation of each CAM at each layer for records with a known truth: '<kind>@<layer>' ->
    measurements.

    Truth `cell` is lead and wave, truth `time` the span alone. Nothing where no record has a truth.
    """
    rows = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(rows):
        return {}
    chosen = subject.rows(rows)
    found = {}
    known = subject.model.info.modelname in ORIGINAL_LAYERS
    for kind in CAMS:
        for which in LAYERS if known else ("last",):
            maps = cam_maps(chosen, kind, which)
            scores = score_truths(*map(subject.of_read, (maps, masks[rows])))
            found[f"{kind}@{which}"] = [
                chosen.measured(f"layer_{name}", values, chance, best=1.0)
                for name, (values, chance) in scores.items()
                if name.endswith("absolute")
            ]
    return found
