"""Run by test_distributed.py in one or in two processes: a few steps of training, saved by the main
process.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "code"))

from torch import nn

from common.files import UserError
from networks import distributed
from networks.checkpoints import ModelInfo
from networks.models import get_model
from networks.training import Learner, Recipe, TrainingSet

N_STEPS = 20
# ResNet's steps of 1e-3 on noise are chaotic: turning the batch round in one process changes the
# losses as much
RATES = {"lenet": 1e-3, "resnet": 1e-4, "xresnet": 1e-3}


def training_set():
    """28 records of noise in float64, in batches that two processes cannot share evenly."""
    rng = np.random.default_rng(0)
    signals = torch.from_numpy(rng.normal(size=(28, 130, 12)))
    return TrainingSet(
        signals,
        torch.from_numpy((rng.random((28, 5)) < 0.4).astype(float)),
        np.arange(28),
        crop=100,
    )


def double_model(name):
    """A float64 network without dropout."""
    torch.manual_seed(1)
    model = get_model(name, 5).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def train(name, data):
    """Losses of N_STEPS steps, gradients after the first, running statistics after the last."""
    recipe = Recipe(batch_size=7, seed=3, lr=RATES[name])
    learner = Learner.of(double_model(name), "superdiagnostic", recipe, torch.device("cpu"))
    learner.train_mode()
    batches = [
        batch
        for epoch in range(N_STEPS)
        for batch in data.batches(recipe.batch_size, recipe.seed, epoch)
    ][:N_STEPS]
    rank, world = distributed.rank(), distributed.world()
    losses, gradients = [], {}
    for rows, starts in batches:
        losses.append(learner.step(*data.gather(rows[rank::world], starts[rank::world]), len(rows)))
        gradients = gradients or {
            key: p.grad.clone().numpy() for key, p in learner.model.named_parameters()
        }
    running = {
        key: value.numpy() for key, value in learner.model.state_dict().items() if "running" in key
    }
    return {
        f"{name}/losses": np.array(losses),
        **{f"{name}/gradient/{key}": value for key, value in gradients.items()},
        **{f"{name}/{key}": value for key, value in running.items()},
    }


class FirstSamples(nn.Module):
    """A model whose logits are the records' first samples."""

    info = ModelInfo("lenet", "superdiagnostic", tuple("abc"), ("I", "II", "III"), 100, 0.2, {}, 0)

    def __init__(self):
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x[:, :, 0]


def fails_everywhere():
    """Whether an error of the main process and a difference between processes reach this
    process.
    """

    def refuse():
        raise UserError("refused")

    reached = 0
    for attempt in (
        lambda: distributed.from_main(refuse),
        lambda: distributed.shared(range(5), lambda unit: refuse() if unit == 3 else unit),
        lambda: distributed.check_same("data", distributed.rank()),
    ):
        try:
            attempt()
        except UserError:
            reached += 1
    return reached


def main(path, *names):
    """Everything that is compared, for the networks `names`, written by the main process."""
    with distributed.process_group(torch.device("cpu")):
        data = training_set()
        results = {key: value for name in names for key, value in train(name, data).items()}
        signals = np.random.default_rng(1).normal(size=(7, 20, 12)).astype(np.float32)
        results["predicted"], results["signals"] = (
            distributed.shared_predict(FirstSamples(), signals, "centre_crop"),
            signals,
        )
        results["failures"] = distributed.total(torch.tensor([float(fails_everywhere())])).numpy()
        results["shared"] = np.array(distributed.shared(range(5), lambda unit: unit**2))
        results["sent"] = np.array(distributed.from_main(lambda: distributed.world()))
        if distributed.is_main():
            np.savez(path, **results)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
