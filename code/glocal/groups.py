"""Patient groups for glocal maps: who is in them, their aligned beats, and their relevance by beat
and by segment.

pool = load_pool([model], data, folds=[10])                # logits of every record, by the model
                                                           that may explain it
group = make_group(pool, "LVH", "true_positives", 100)     # records and beats
fill_group(group, pool, ["saliency"], seed=0)              # heat and cell sums per method

`load_pool` and `fill_groups` share their records among the processes that torchrun started.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from tqdm import tqdm

from attribution.cells import cell_maps, concatenate
from attribution.methods import explain_records, options_taken
from attribution.selection import predicted_positive, select_pathology
from common.cli import say_left_out
from common.files import UserError
from common.words import CONTROLS
from ecg.beats import Beats, cut_beats, find_beats, group_beat
from networks.checkpoints import ModelInfo
from networks.distributed import dealt, shared, shared_predict
from networks.inference import coverage_of
from networks.metrics import sigmoid
from records.dataset import Dataset
from records.segmentations import load_segments

BATCH = 32  # records whose segments are in memory at once (1.2 MB each at 100 Hz)


@dataclass(frozen=True)
class Pool:
    """Records that may be chosen, each with the model that explains it.

    models    one, or one per fold under cross-fitting
    model_of  # (N,) index into models
    logits    # (N, classes) of what is explained: mean over windows, or the centre crop's
    positive  # (N, classes) predicted at that model's thresholds
    """

    models: list
    data: Dataset
    model_of: np.ndarray
    logits: np.ndarray
    positive: np.ndarray

    @property
    def info(self) -> ModelInfo:
        """What the models have in common (task, labels, leads, crop, sampling rate)."""
        return self.models[0].info


@dataclass
class Group:
    """One pathology's records and what was found of them.

    rows         # (n,) positions in the pool's data, in the strategy's order of logits
    probability  # (n, classes)
    logit        # (n,) of the pathology
    beats        complete beats of these records, in the explained part
    windows      # (B, L, 12) mV, the beats
    window       what is explained: "windows" (of the whole record) or "centre_crop"
    heat         method -> (L, 12) mean |attribution| over the beats;  signed_heat likewise without
                 the modulus
    cells        method -> CellMaps of the n records
    jittered     method -> the same under each jitter of the waves' boundaries (attribution/jitter)
    """

    pathology: str
    rows: np.ndarray
    data: Dataset
    probability: np.ndarray
    logit: np.ndarray
    beats: Beats
    windows: np.ndarray
    window: str = "windows"
    heat: dict = field(default_factory=dict)
    signed_heat: dict = field(default_factory=dict)
    cells: dict = field(default_factory=dict)
    jittered: dict = field(default_factory=dict)

    @property
    def n_patients(self) -> int:
        """Patients in the group."""
        return len(np.unique(self.data.patient_id))

    @property
    def counts(self) -> str:
        """'12 records, 11 patients, 118 beats' for figures and messages."""
        parts = [
            (len(self.rows), "record"),
            (self.n_patients, "patient"),
            (len(self.beats), "beat"),
        ]
        return ", ".join(f"{number:,} {name}{'' if number == 1 else 's'}" for number, name in parts)

    def median_beat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Median beat with its 5-95 % band, mV, each (L, 12)."""
        return group_beat(self.windows)


# ---------------------------------------------------------------- who


def load_pool(
    models: list,
    data: Dataset,
    folds: Sequence[int] | None = None,
    window: str = "windows",
    progress: bool = False,
) -> Pool:
    """Records of `folds`, explained by the one model; without `folds`, each model's own test folds
    (cross-fitting).

    `window` says which logit counts, as for explanations: the mean over windows or the centre
    crop's.
    """
    models = list(models)
    if folds is not None and len(models) > 1:
        raise ValueError("folds go with one model; several have their own test folds")
    wanted = [list(folds or model.info.folds["test"]) for model in models]
    parts = [np.isin(data.fold, folds_of_model) for folds_of_model in wanted]
    model_of = np.concatenate(
        [np.full(part.sum(), index) for index, part in enumerate(parts)]
    ).astype(int)
    rows = np.concatenate([np.flatnonzero(part) for part in parts])
    if not len(rows):
        asked, there = sorted(set().union(*wanted)), np.unique(data.fold)
        raise UserError(
            f"no record is in fold {', '.join(map(str, asked))}: the data set has folds "
            f"{', '.join(map(str, there))}"
        )
    logits = np.concatenate(
        [
            shared_predict(model, data.signals[part], window, progress=progress)
            for model, part in zip(models, parts, strict=True)
        ]
    )
    positive = np.concatenate(
        [
            predicted_positive(logits[model_of == index], model.info.thresholds)
            for index, model in enumerate(models)
        ]
    )
    order = np.argsort(rows, kind="stable")
    return Pool(models, data.rows(rows[order]), model_of[order], logits[order], positive[order])


def check_cross_fit(infos: Sequence[ModelInfo]) -> None:
    """UserError unless checkpoints differ in nothing but their folds, and no fold is tested by two
    of them.
    """
    same = ("modelname", "task", "labels", "leads", "sampling_rate", "crop_seconds")
    for name in same:
        values = [getattr(info, name) for info in infos]
        if any(value != values[0] for value in values):
            raise UserError(
                f"--cross_fit: the checkpoints differ in {name}: "
                f"{', '.join(map(str, values))[:300]}"
            )
    tested = list(chain.from_iterable(info.folds["test"] for info in infos))
    twice = sorted({fold for fold in tested if tested.count(fold) > 1})
    if twice:
        raise UserError(
            f"--cross_fit: more than one checkpoint has fold {', '.join(map(str, twice))} as its "
            "test fold; train each with its own (train_model.py --test_folds)"
        )


def seen_folds(info: ModelInfo, folds: Iterable[int]) -> list[int]:
    """Those of `folds` that a model was trained or chosen on: explanations there are not
    held out.
    """
    return sorted(set(folds) & {*info.folds.get("train", []), *info.folds.get("validation", [])})


def make_group(
    pool: Pool, pathology: str, strategy: str, n_samples: int, window: str = "windows"
) -> Group:
    """The records of one pathology and their beats in the part that `window` explains; UserError
    where there is none.
    """
    column = pool.info.index(pathology)
    rows = select_pathology(
        strategy, pathology, pool.data, pool.logits, pool.info, n_samples, pool.positive
    )
    data = pool.data.rows(rows)
    span = np.flatnonzero(coverage_of(pool.models[0], data.signals.shape[1], window))
    beats = find_beats(
        [data.r_peaks(row) for row in range(len(data))],
        data.signals.shape[1],
        data.sampling_rate,
        (span[0], span[-1] + 1),
    )
    if not len(beats):
        raise UserError(
            f"no complete beat in the {len(data)} records of {pathology}: the table's r_peaks are "
            "blank, or the explained part is shorter than a beat"
        )
    return Group(
        pathology,
        rows,
        data,
        sigmoid(pool.logits[rows]),
        pool.logits[rows, column],
        beats,
        cut_beats(data.signals, beats),
        window,
    )


def make_groups(
    pool: Pool,
    pathologies: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    strategy: str,
    n_samples: int,
    window: str,
) -> dict[str, Group]:
    """Groups of the pathologies and of the contrasted pairs.

    Pathologies without a record are left out with a word; UserError where all are, whatever is
    contrasted, and for pairs that cannot be compared.
    """
    contrasted = list(chain.from_iterable(pairs))
    groups, left_out = {}, {}
    for name in dict.fromkeys([*pathologies, *contrasted]):
        try:
            groups[name] = make_group(pool, name, strategy, n_samples, window)
        except UserError as error:
            if name in contrasted:
                raise
            left_out[name] = str(error)
    say_left_out(left_out)
    if not any(name in groups for name in pathologies):
        raise UserError(
            f"no group has a record for strategy {strategy}: choose another one, more folds, or "
            "other pathologies"
        )
    for first, second in pairs:
        patients = [np.unique(groups[name].data.patient_id) for name in (first, second)]
        alone = [len(np.setdiff1d(*order)) for order in (patients, patients[::-1])]
        if min(alone) < 2:
            raise UserError(
                f"--contrast {first} {second} needs two patients on either side that are not in "
                f"the other group, here are {alone[0]} and {alone[1]}: choose more folds, another "
                "--strategy, or other groups"
            )
    return groups


def label_bars(group: Group, labels: Sequence[str], top: int = 5) -> list[tuple[str, float, float]]:
    """(label, share of the group that has it, mean predicted probability): the pathology, then the
    most frequent others.
    """
    share, probability = group.data.labels.mean(axis=0), group.probability.mean(axis=0)
    own = list(labels).index(group.pathology)
    others = [index for index in np.lexsort((-probability, -share)) if index != own]
    return [
        (labels[index], float(share[index]), float(probability[index]))
        for index in [own, *others][:top]
    ]


# ---------------------------------------------------------------- what


@dataclass(frozen=True)
class Asked:
    """What `fill_groups` is to find of one group: the relevance for its own label or for `target`,
    under `n_jitters` jitters of the waves' boundaries too.
    """

    group: Group
    n_jitters: int = 0
    target: str | None = None

    def starts(self) -> range:
        """First records of its batches."""
        return range(0, len(self.group.data), BATCH)


def fill_groups(
    asked: Sequence[Asked],
    pool: Pool,
    methods: Sequence[str],
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Map the groups' relevance with every method, by beat and by cell, their batches dealt out to
    the processes; each process has all of it.
    """
    units = [(number, start) for number, one in enumerate(asked) for start in one.starts()]
    with tqdm(total=len(dealt(units)), desc="groups", disable=not progress, leave=False) as bar:

        def explained(unit):
            bar.set_postfix_str(asked[unit[0]].group.pathology)
            found = _of_batch(asked[unit[0]], unit[1], pool, methods, seed)
            bar.update()
            return found

        found = shared(units, explained)
    for number, one in enumerate(asked):
        mine = [of_unit for unit, of_unit in zip(units, found, strict=True) if unit[0] == number]
        _put_together(one.group, mine, methods)


def fill_group(group: Group, pool: Pool, methods: Sequence[str], seed: int = 0) -> None:
    """The same of one group, without jitters, all of it by this process."""
    asked = Asked(group)
    found = [_of_batch(asked, start, pool, methods, seed) for start in asked.starts()]
    _put_together(group, found, methods)


@dataclass(frozen=True)
class _Batch:
    """What one batch of records gives: each a dictionary by method."""

    cells: dict
    jittered: dict
    heat: dict  # (2, L, 12): sums over the beats, without the modulus second


def _of_batch(asked, start, pool, methods, seed):
    """The maps of one batch, by beat and by cell; cells of methods that look at the network under
    every jitter too.
    """
    group, data = asked.group, asked.group.data
    target = pool.info.index(asked.target or group.pathology)
    coverage = coverage_of(pool.models[0], data.signals.shape[1], group.window)
    found = _Batch({}, {}, {})
    rows = np.arange(start, min(start + BATCH, len(data)))
    segments = load_segments(data, rows)
    beats = group.beats.of_records(np.isin(np.arange(len(data)), rows))
    for method in methods:
        maps = _explain(group, pool, rows, target, method, seed, segments)
        cells = cell_maps(maps, segments, data.patient_id[rows], coverage)
        found.cells[method] = cells
        if asked.n_jitters and method not in CONTROLS:
            found.jittered[method] = _jittered(
                cells, maps, segments, data, rows, asked.n_jitters, coverage, seed
            )
        cut = cut_beats(maps / np.where(coverage > 0, coverage, np.nan)[:, None], beats)
        found.heat[method] = np.stack([np.abs(cut).sum(axis=0), cut.sum(axis=0)])
    return found


def _put_together(group, batches, methods):
    """Write the batches' cells and beats into their group."""
    for method in methods:
        group.cells[method] = concatenate([batch.cells[method] for batch in batches])
        heat = sum(batch.heat[method] for batch in batches) / len(group.beats)
        group.heat[method], group.signed_heat[method] = heat
        if method in batches[0].jittered:
            moved = zip(*(batch.jittered[method] for batch in batches), strict=True)
            group.jittered[method] = [concatenate(same) for same in moved]


def twin_of(group: Group) -> Group:
    """The same records, of which nothing is known yet."""
    return replace(group, heat={}, signed_heat={}, cells={}, jittered={})


def _jittered(cells, maps, segments, data, rows, n_jitters, coverage, seed):
    """The cells of some records under every jitter."""
    from attribution.jitter import jittered_maps  # where jitters are asked for
    from records.boundary_errors import boundary_errors

    sd = boundary_errors(data, rows)
    ids = data.ecg_id[rows]
    return jittered_maps(cells, maps, segments, sd, ids, n_jitters, coverage, seed)


def _explain(group, pool, rows, target, method, seed, segments):
    """Attributions (n, T, 12) of some of the group's records, each by its own model."""
    maps = np.empty(group.data.signals[rows].shape, dtype=np.float32)
    model_of = pool.model_of[group.rows[rows]]
    for index in np.unique(model_of):
        mine = model_of == index
        options = options_taken(method, seed=seed, regions=segments[mine].argmax(axis=-1))
        signals = group.data.signals[rows[mine]]
        maps[mine] = explain_records(
            pool.models[index], signals, target, method, group.window, **options
        ).attributions
    return maps
