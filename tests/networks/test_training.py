"""The loop: crops, schedules, exact resuming after a kill at any write, errors that keep the last
good checkpoint.
"""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.metrics import roc_auc_score

from common import files as artefacts
from common.files import UserError
from common.labels import LEADS, TASKS
from networks import training
from networks.checkpoints import ModelInfo, load_checkpoint
from networks.models import get_model
from networks.training import (
    SCHEDULES,
    Learner,
    Recipe,
    TrainingSet,
    checkpoint_paths,
    fit,
    summed_loss,
    train_one_epoch,
    validate,
)
from records.dataset import load_dataset
from tiny_dataset import write_tiny_dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The tiny data set, superdiagnostic, with the records that have a label."""
    loaded = load_dataset(write_tiny_dataset(tmp_path_factory.mktemp("tiny")), "superdiagnostic")
    return loaded.rows(loaded.labelled)


def _info(**changes):
    facts = {
        "modelname": "lenet",
        "task": "superdiagnostic",
        "labels": tuple(TASKS["superdiagnostic"]),
        "leads": LEADS,
        "sampling_rate": 100,
        "crop_seconds": 2.5,
        "folds": {"train": [1], "validation": [9], "test": [10]},
        "seed": 0,
    }
    return ModelInfo(**{**facts, **changes})


def _learner(recipe, modelname="lenet"):
    torch.manual_seed(recipe.seed)
    model = get_model(modelname, 5)
    model.info = _info(modelname=modelname)
    return Learner.of(model, "superdiagnostic", recipe, CPU)


def _fit(data, folder, recipe, stored=None, **options):
    learner = _learner(recipe)
    if stored:
        learner.model.load_state_dict(stored["model"])
    train = TrainingSet.of(data.in_folds(range(1, 9)), LEADS, 250)
    return fit(
        learner, train, data.in_folds([9]), learner.model.info, folder, "run", stored, **options
    )


# ---------------------------------------------------------------- crops


def test_gather_takes_the_crop_that_was_drawn():
    signals = torch.arange(3 * 20 * 4.0).reshape(3, 20, 4)
    rows, starts = np.array([2, 0, 2]), np.array([0, 15, 7])
    x, y = TrainingSet(signals, torch.eye(3), np.arange(3), crop=5).gather(rows, starts)
    for crop, label, row, start in zip(x, y, rows, starts, strict=True):
        assert torch.equal(crop, signals[row, start : start + 5].T)
        assert torch.equal(label, torch.eye(3)[row])


def test_every_offset_is_equally_likely_the_last_one_too():
    train = TrainingSet(torch.zeros(200, 20, 1), torch.zeros(200, 1), np.arange(200), crop=11)
    starts = np.concatenate(
        [start for epoch in range(100) for _, start in train.batches(64, 0, epoch)]
    )
    counts = np.bincount(starts)
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [3, 3, 3]), (129, 128, [65, 64]), (3, 128, [3])],
)
def test_an_epoch_is_every_record_once_in_batches_of_even_size(n, batch_size, sizes):
    batches = TrainingSet(torch.zeros(n, 30, 1), torch.zeros(n, 1), np.arange(n), crop=10).batches(
        batch_size, 1, 2
    )
    assert [len(rows) for rows, _ in batches] == sizes
    assert sorted(np.concatenate([rows for rows, _ in batches])) == list(range(n))


def test_a_records_crop_depends_on_seed_epoch_and_position_alone():
    train = TrainingSet(torch.zeros(50, 300, 1), torch.zeros(50, 1), np.arange(50), crop=100)

    def start_of(*, batch_size=16, seed=0, epoch=0):
        batches = train.batches(batch_size, seed, epoch)
        return {
            row: start for rows, starts in batches for row, start in zip(rows, starts, strict=True)
        }

    assert start_of() == start_of(batch_size=7)
    assert start_of() != start_of(epoch=1)
    assert start_of() != start_of(seed=1)


def test_leads_are_picked_in_the_models_order(data):
    train = TrainingSet.of(data, ("V2", "I"), 250)
    assert torch.equal(train.signals, torch.from_numpy(data.signals[:, :, [7, 0]].copy()))


# ---------------------------------------------------------------- schedule, loss, step


def test_one_cycle_equals_torchs_scheduler():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=101, cycle_momentum=False, div_factor=25, final_div_factor=1e4
    )
    # torch's phases end at 0.3 * 101 - 1 steps and at 100: the same curve with its rise scaled to
    # that
    rise = (0.3 * 101 - 1) / 100
    for step in range(101):
        progress = step / 100
        ours = (
            progress / rise * 0.3 if progress < rise else 0.3 + (progress - rise) / (1 - rise) * 0.7
        )
        assert 1e-3 * SCHEDULES["one_cycle"](ours) == pytest.approx(
            oracle.get_last_lr()[0], rel=1e-6, abs=1e-12
        )
        optimizer.step()
        if step < 100:
            oracle.step()


def test_constant_schedule_and_its_use():
    learner = _learner(Recipe(lr=0.5))
    assert learner.set_progress(0.7) == 0.5
    assert all(group["lr"] == 0.5 for group in learner.optimizer.param_groups)


def test_step_is_the_mean_loss_and_one_update_of_adamw(data):
    recipe = Recipe(lr=1e-2, weight_decay=0.1)
    learner, reference = _learner(recipe), _learner(recipe).model.double().train()
    learner.module.double()
    learner.train_mode()
    x, y = (
        torch.from_numpy(data.signals[:8, :250].transpose(0, 2, 1).astype(float)),
        torch.from_numpy(data.labels[:8]).double(),
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits(reference(x), y)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1)
    loss.backward()
    optimizer.step()
    assert learner.step(x, y, 8) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(learner.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=1e-6)


def test_validation_is_on_centre_crops_and_leaves_classes_without_positives_out(data):
    learner = _learner(Recipe())
    row = validate(learner.model, data)
    learner.model.eval()
    with torch.no_grad():
        logits = learner.model(torch.from_numpy(data.signals[:, 125:375].transpose(0, 2, 1).copy()))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(data.labels).float()
    )
    assert row["val_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert (
        row["score"]
        == row["val_macro_auc"]
        == pytest.approx(roc_auc_score(data.labels, logits.numpy()))
    )


def test_regression_is_squared_error_and_chosen_by_lowest_loss():
    loss = summed_loss("T_Wave_Amplitude")
    assert loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item() == 5.0


def test_frozen_backbone_does_not_change_nor_its_statistics(data):
    learner = _learner(Recipe(freeze=True, batch_size=16))
    before = {key: value.clone() for key, value in learner.model.state_dict().items()}
    train_one_epoch(learner, TrainingSet.of(data, LEADS, 250), 0)
    changed = {
        key
        for key, value in learner.model.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize("modelname", ["lenet", "xresnet"])
def test_bf16_trains_close_to_full_precision(data, modelname):
    train = TrainingSet.of(data.rows(np.arange(16)), LEADS, 250)
    losses = [
        train_one_epoch(_learner(Recipe(amp=amp, batch_size=16), modelname), train, 0)["train_loss"]
        for amp in (None, "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert losses[1] != losses[0]


# ---------------------------------------------------------------- runs


def test_a_run_learns_what_is_planted_and_logs_each_epoch(data, tmp_path):
    history = _fit(data, tmp_path, Recipe(epochs=12, batch_size=32, lr=3e-3))
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert max(row["score"] for row in history) > 0.8
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 12
    best, _ = load_checkpoint(checkpoint_paths(tmp_path)[0])
    scores = [row["score"] for row in history]
    assert best["epoch"] == int(np.argmax(scores)) + 1
    assert best["score"] == max(scores)


def test_early_stopping_counts_from_the_best_epoch(data, tmp_path, monkeypatch):
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.6, 0.9, 0.9])
    monkeypatch.setattr(training, "validate", lambda *_: {"val_loss": 1.0, "score": next(scores)})
    history = _fit(data, tmp_path, Recipe(epochs=7, batch_size=64, patience=3))
    assert [row["score"] for row in history] == [
        0.5,
        0.7,
        0.6,
        0.7,
        0.6,
    ]  # an equal score is no better one
    assert load_checkpoint(checkpoint_paths(tmp_path)[0])[0]["epoch"] == 2


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def test_a_kill_at_any_write_leaves_a_run_that_ends_bit_identically(data, tmp_path, monkeypatch):
    recipe = Recipe(epochs=2, batch_size=24, schedule="one_cycle", seed=5)
    _fit(data, tmp_path / "whole", recipe)
    expected = [load_checkpoint(path)[0]["model"] for path in checkpoint_paths(tmp_path / "whole")]
    replace, n_kills = artefacts.os.replace, 0
    for kill_at in range(6):
        folder, calls = tmp_path / f"killed{kill_at}", []

        def count(source, target, calls=calls, kill_at=kill_at):
            calls.append(target)
            if len(calls) == kill_at + 1:
                raise Killed
            replace(source, target)

        monkeypatch.setattr(artefacts.os, "replace", count)
        try:
            _fit(data, folder, recipe)
        except Killed:
            n_kills += 1
        monkeypatch.setattr(artefacts.os, "replace", replace)
        last = checkpoint_paths(folder)[1]
        _fit(data, folder, recipe, load_checkpoint(last)[0] if last.is_file() else None)
        for path, weights in zip(checkpoint_paths(folder), expected, strict=True):
            found = load_checkpoint(path)[0]["model"]
            assert all(torch.equal(found[key], weights[key]) for key in weights), (
                kill_at,
                path.name,
            )
    assert n_kills >= 5  # three files in the first epoch, two at least in the second


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_checkpoints(data, tmp_path):
    recipe = Recipe(epochs=4, batch_size=20)
    poisoned = data.in_folds(range(1, 9)).ecg_id[3]

    learner = _learner(recipe)
    train = TrainingSet.of(data.in_folds(range(1, 9)), LEADS, 250)

    def poison_training(row):
        if row["epoch"] == 2:
            train.signals[3] = float("inf")

    with pytest.raises(UserError, match=rf"epoch 3.*ecg_id.*\b{poisoned}\b") as raised:
        fit(
            learner,
            train,
            data.in_folds([9]),
            learner.model.info,
            tmp_path,
            on_epoch=poison_training,
        )
    assert len(raised.value.args[0].split("ecg_id ")[1].split(":")[0].split()) <= 20
    last, _ = load_checkpoint(checkpoint_paths(tmp_path)[1])
    assert last["epoch"] == 2
    assert all(torch.isfinite(value).all() for value in last["model"].values())
    assert all(torch.isfinite(value).all() for value in learner.model.parameters())
