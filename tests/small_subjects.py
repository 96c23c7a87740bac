"""Small subjects for the tests of the sanity checks: models whose right explanation is known in
closed form.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from common.labels import LEADS
from ecg.segments import SEGMENTS
from random_ecg import limb_consistent
from sanity.subject import Subject

LENGTH = 120
torch.set_num_threads(
    1
)  # tensors this small gain nothing from a second thread, and wait for it on a busy machine


class Linear(nn.Module):
    """Logit c = sum of weight[c] * x: the gradient is the weight, input x gradient is the exact
    explanation.
    """

    def __init__(self, n_outputs=2, length=LENGTH, seed=0):
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(12 * length, n_outputs)
        generator = torch.Generator().manual_seed(seed)
        self.head.weight.data = torch.randn(self.head.weight.shape, generator=generator) / 20
        self.info = SimpleNamespace(
            leads=LEADS,
            labels=tuple(f"C{k}" for k in range(n_outputs)),
            task="subdiagnostic",
            modelname="linear",
            crop=length,
            sampling_rate=100,
        )

    def forward(self, x):
        return self.head(self.flatten(x))


def segmented(n, length=LENGTH):
    """One beat per 60 samples in all leads: (n, T, 12, 24) with hard segments of 2 to 3 samples
    each.
    """
    order = np.repeat(np.arange(24), [2] * 12 + [3] * 12)
    classes = np.resize(order, length)
    return np.broadcast_to(
        np.eye(24, dtype=np.float32)[classes][None, :, None], (n, length, 12, 24)
    ).copy()


def make_subject(model=None, n=6, seed=0, length=LENGTH):
    """`n` records of 6 patients or fewer with random signals that obey Einthoven's law."""
    signals = limb_consistent(n, length, seed).numpy()
    target = np.arange(n) % 2
    return Subject(
        "linear_subdiagnostic",
        model or Linear(length=length),
        signals,
        segmented(n, length),
        np.zeros((n, 12), dtype=np.float32),
        target,
        np.arange(1, n + 1),
        np.arange(n) % 6 + 1,
        r_peaks=[np.array([40, 80])] * n,
    )


def exact(model, signals, target):
    """Input x gradient: the exact explanation of a linear model, (n, T, 12)."""
    return signals * gradient(model, signals, target)


def gradient(model, signals, target):
    """Gradient of each record's target, (n, T, 12)."""
    x = torch.from_numpy(signals.transpose(0, 2, 1).copy()).requires_grad_(True)
    logits = model(x).gather(1, torch.as_tensor(target)[:, None]).sum()
    return torch.autograd.grad(logits, x)[0].numpy().transpose(0, 2, 1)


def wrong_target(explain):
    """The explanation of another output."""
    return lambda model, signals, target: explain(model, signals, 1 - np.asarray(target))


def shuffled_leads(explain):
    """The right explanation in the wrong leads."""
    return lambda model, signals, target: np.roll(explain(model, signals, target), 5, axis=2)


def sign_flipped(explain):
    """The explanation with its sign reversed."""
    return lambda model, signals, target: -explain(model, signals, target)


BROKEN = {
    "wrong target": wrong_target,
    "shuffled leads": shuffled_leads,
    "sign flipped": sign_flipped,
}
assert len(SEGMENTS) == 24
