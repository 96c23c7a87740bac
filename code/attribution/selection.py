"""Which records of a pathology are explained: strategies over label, prediction and logit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from common.cli import StageParser
from common.files import UserError
from networks.checkpoints import ModelInfo
from networks.metrics import sigmoid
from records.dataset import Dataset


@dataclass(frozen=True)
class Strategy:
    """Records to keep, and in which order.

    keep       (label (N,) bool, positive (N,) bool) -> (N,) bool
    limit      at most so many, whatever n_samples says; None: n_samples decides
    ascending  lowest logit first (the worst misses), else highest first
    """

    description: str
    keep: Callable
    limit: int | None = None
    ascending: bool = False


STRATEGIES = {
    "single_best": Strategy(
        "the true positive of highest logit", lambda label, positive: label & positive, limit=1
    ),
    "best_n": Strategy(
        "the n_samples true positives of highest logit", lambda label, positive: label & positive
    ),
    "true_positives": Strategy(
        "label and prediction agree", lambda label, positive: label & positive
    ),
    "false_positives": Strategy(
        "predicted without the label", lambda label, positive: ~label & positive
    ),
    "false_negatives": Strategy(
        "labelled and not predicted, the worst miss first",
        lambda label, positive: label & ~positive,
        ascending=True,
    ),
    "all": Strategy(
        "every record, whatever its label (the paper's glocal choice)",
        lambda label, positive: np.ones_like(label),
    ),
}


def strategies_in_words() -> str:
    """The strategies there are, for help texts."""
    return "; ".join(f"{name}: {strategy.description}" for name, strategy in STRATEGIES.items())


def refuse_more_than_one(parser: StageParser) -> None:
    """Have a stage say that --n_samples cannot widen a strategy of one record a class."""
    parser.without_effect(
        "with --strategy single_best",
        lambda args: STRATEGIES[args.strategy].limit == 1,
        "n_samples",
        "one record of each; --strategy best_n takes more",
    )


def predicted_positive(
    logits: np.ndarray, thresholds: Sequence[float] | np.ndarray | None
) -> np.ndarray:
    """(N, classes) bool: probability above the class's threshold; .5 where the checkpoint has none
    (None or NaN).
    """
    thresholds = (
        np.full(logits.shape[1], 0.5) if thresholds is None else np.asarray(thresholds, dtype=float)
    )
    thresholds = np.where(np.isfinite(thresholds), thresholds, 0.5)
    return sigmoid(logits) > thresholds


def select(
    strategy: str,
    label: np.ndarray,
    positive: np.ndarray,
    logit: np.ndarray,
    n_samples: int | None = None,
) -> np.ndarray:
    """Positions of the chosen records, at most n_samples, best first; ties in row order.

    label, positive  # (N,) has the label; is predicted
    logit            # (N,) of the pathology
    """
    if strategy not in STRATEGIES:
        raise UserError(f"unknown strategy {strategy!r}: accepted are {', '.join(STRATEGIES)}")
    chosen = STRATEGIES[strategy]
    kept = np.flatnonzero(
        chosen.keep(np.asarray(label, dtype=bool), np.asarray(positive, dtype=bool))
    )
    order = np.argsort(logit[kept] if chosen.ascending else -logit[kept], kind="stable")
    limits = [limit for limit in (n_samples, chosen.limit) if limit is not None]
    return kept[order][: min(limits, default=None)]


def select_pathology(
    strategy: str,
    pathology: str,
    data: Dataset,
    logits: np.ndarray,
    info: ModelInfo,
    n_samples: int | None = None,
    positive: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of `data` (a Dataset of info.task) that the strategy chooses for one label of the model.

    `positive` (N, classes) replaces the predictions at info's thresholds, where records come from
    several models. UserError where none is left, with what there is.
    """
    column = info.index(pathology)
    if pathology in data.unknown and strategy != "all":
        raise UserError(
            f"strategy {strategy} needs labels, and {data.path} has none for {pathology}: take "
            "all, or name records with --ecg_ids"
        )
    label = data.labels[:, column].astype(bool)
    positive = (predicted_positive(logits, info.thresholds) if positive is None else positive)[
        :, column
    ]
    rows = select(strategy, label, positive, logits[:, column], n_samples)
    if not len(rows):
        folds = ", ".join(str(fold) for fold in np.unique(data.fold)) or "none"
        raise UserError(
            f"no record of {pathology} for strategy {strategy}: of {len(data)} records (folds "
            f"{folds}) {int(label.sum())} have the label, {int(positive.sum())} are predicted, "
            f"{int((label & positive).sum())} are both; choose another strategy, more folds, or "
            "other pathologies"
        )
    return rows
