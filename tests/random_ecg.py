"""Random signals that obey what electrodes impose."""

import numpy as np
import torch


def limb_consistent(n=3, length=120, seed=0):
    """Random signals that obey Einthoven and Goldberger, (n, T, 12) mV."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(2, n, length))
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return torch.tensor(
        np.stack([*limb, *rng.normal(size=(6, n, length))], axis=-1), dtype=torch.float32
    )
