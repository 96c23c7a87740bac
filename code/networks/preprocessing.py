"""What a network expects of its input, as operations before it: records in mV go in as they are.

A network that was trained elsewhere expects a unit, a sampling rate, a length and a normalisation
of its own. `Preprocessing` brings records (N, leads, T) in mV at their own rate there, by
operations that are part of the explained graph: maps come back in logit per mV at the records' own
samples, and completeness and ledgers include every step. Order: unit, resampling, normalisation,
padding, axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import torch
from torch import Tensor, nn

from common.files import UserError, read_csv

# how much one mV is in each unit
UNITS = {"mV": 1.0, "uV": 1e3, "1e-4V": 10.0, "V": 1e-3}
UNIT_NAMES = {"millivolt": "mV", "microvolt": "uV", "mikrovolt": "uV", "µv": "uV", "volt": "V"}
PADDINGS = ("centre", "end", "start")
# name -> axes behind the records of what the network takes; `one` has length 1
LAYOUTS = {
    "leads_time": ("leads", "time"),
    "time_leads": ("time", "leads"),
    "image": ("one", "leads", "time"),
    "time_image": ("one", "time", "leads"),
    "leads_time_one": ("leads", "time", "one"),
    "time_leads_one": ("time", "leads", "one"),
    "leads_one_time": ("leads", "one", "time"),
}
FILTER_WIDTHS = 10  # of resampling: length of the filter, in zero crossings to either side
KAISER = 5.0
SMALL = 1e-8  # of the network's unit: keeps a flat lead from being divided by 0


@dataclass(frozen=True)
class Expected:
    """What a network was trained on.

    sampling_rate  Hz
    seconds        length of its input
    unit           a name of UNITS, or how many mV one step of its input is, as text
    normalisation  a name of NORMALISATIONS
    padding        where zeros are put around a record that is shorter
    layout         axes of its input, one of LAYOUTS
    means, deviations  with normalisation `file`: per lead, in the network's unit
    """

    sampling_rate: float
    seconds: float
    unit: str = "mV"
    normalisation: str = "none"
    padding: str = "centre"
    layout: str = "leads_time"
    means: tuple[float, ...] | None = None
    deviations: tuple[float, ...] | None = None

    @property
    def samples(self) -> int:
        """Length of the network's input."""
        return round(self.seconds * self.sampling_rate)


def per_mv(unit: str) -> float:
    """How much 1 mV is in a unit: a name of UNITS, or a number (mV that one step is)."""
    name = UNIT_NAMES.get(unit.strip().lower(), unit.strip())
    if name in UNITS:
        return UNITS[name]
    try:
        step = float(name)
    except ValueError:
        step = 0.0
    if not (step > 0 and math.isfinite(step)):
        raise UserError(
            f"unknown unit {unit!r}: {', '.join(UNITS)}, or how many mV one step of the input is"
        )
    return 1 / step


# ---------------------------------------------------------------- steps


class Scaling(nn.Module):
    """mV into the network's unit."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) of the same shape."""
        return x * self.factor


class Resampling(nn.Module):
    """Another sampling rate by a polyphase filter, as one convolution with fixed weights.

    The filter is scipy.signal.resample_poly's (Kaiser window, cut at the lower of the two Nyquist
    rates); the record's ends go on with their last value.
    """

    def __init__(self, n_leads: int, up: int, down: int, n_samples: int):
        super().__init__()
        half = FILTER_WIDTHS * max(up, down)
        kernel = up * scipy.signal.firwin(
            2 * half + 1, 1 / max(up, down), window=("kaiser", KAISER)
        )
        self.n_leads, self.up, self.down = n_leads, up, down
        self.n_out = -(-n_samples * up // down)
        self.left = -(-half // up)
        right = ((up - 1) * down + half) // up
        phases = np.zeros((up, 1, self.left + right + 1))
        for phase in range(up):
            for tap in range(phases.shape[2]):
                at = phase * down - (tap - self.left) * up + half
                if 0 <= at < len(kernel):
                    phases[phase, 0, tap] = kernel[at]
        weight = torch.from_numpy(np.tile(phases, (n_leads, 1, 1))).float()
        self.register_buffer("weight", weight)  # (L * up, 1, taps)
        rounds = -(-self.n_out // up)
        self.right = max(0, (rounds - 1) * down + phases.shape[2] - self.left - n_samples)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) -> (N, L, T * up / down)."""
        before = x[:, :, :1].expand(-1, -1, self.left)
        after = x[:, :, -1:].expand(-1, -1, self.right)
        longer = torch.cat((before, x, after), dim=2)
        phases = nn.functional.conv1d(longer, self.weight, stride=self.down, groups=self.n_leads)
        rounds = phases.shape[2]
        apart = phases.reshape(-1, self.n_leads, self.up, rounds).transpose(2, 3)
        return apart.reshape(-1, self.n_leads, rounds * self.up)[:, :, : self.n_out]


class ZScore(nn.Module):
    """Mean 0 and standard deviation 1, over each lead or over the whole record."""

    def __init__(self, dims: tuple[int, ...]):
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) of the same shape."""
        centred = x - x.mean(dim=self.dims, keepdim=True)
        variance = (centred * centred).mean(dim=self.dims, keepdim=True)
        return centred / (variance + SMALL**2).sqrt()


class MinMax(nn.Module):
    """Least value 0 and greatest 1, over each lead or over the whole record."""

    def __init__(self, dims: tuple[int, ...]):
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) of the same shape."""
        least = x.amin(dim=self.dims, keepdim=True)
        greatest = x.amax(dim=self.dims, keepdim=True)
        return (x - least) / (greatest - least + SMALL)


class Standardising(nn.Module):
    """Stored means and deviations per lead taken out."""

    def __init__(self, means: tuple[float, ...], deviations: tuple[float, ...]):
        super().__init__()
        self.register_buffer("means", torch.tensor(means).reshape(1, -1, 1))
        self.register_buffer("factors", 1 / torch.tensor(deviations).reshape(1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) of the same shape."""
        return (x - self.means) * self.factors


class Padding(nn.Module):
    """Zeros around a record that is shorter than the network's input; of a longer one a part."""

    def __init__(self, n_samples: int, wanted: int, where: str):
        super().__init__()
        missing = wanted - n_samples
        before = {"centre": missing // 2, "end": 0, "start": missing}[where]
        self.sides = (before, missing - before)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) -> (N, L, wanted)."""
        before, after = self.sides
        x = x[:, :, max(0, -before) : x.shape[2] - max(0, -after)]
        return nn.functional.pad(x, (max(0, before), max(0, after)))


class Axes(nn.Module):
    """The axes in the network's order."""

    def __init__(self, layout: str):
        super().__init__()
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, T) -> (N, ...) in the layout's order."""
        axes = LAYOUTS[self.layout]
        if axes.index("time") < axes.index("leads"):
            x = x.transpose(1, 2)
        return x.unsqueeze(1 + axes.index("one")) if "one" in axes else x


# name -> (what it does, Expected -> module or None); those that depend on the record say so
NORMALISATIONS = {
    "none": ("", lambda expected: None),
    "zscore": ("mean and deviation of each lead of the record", lambda expected: ZScore((2,))),
    "zscore_record": ("mean and deviation of the record", lambda expected: ZScore((1, 2))),
    "minmax": ("least and greatest value of each lead", lambda expected: MinMax((2,))),
    "minmax_record": ("least and greatest value of the record", lambda expected: MinMax((1, 2))),
    "file": (
        "stored means and deviations",
        lambda expected: Standardising(expected.means, expected.deviations),
    ),
}
OF_THE_RECORD = ("zscore", "zscore_record", "minmax", "minmax_record")


class Preprocessing(nn.Sequential):
    """Records (N, leads, T) in mV as a network expects them.

    n_leads, n_samples  of the records
    sampling_rate       Hz, of the records
    """

    def __init__(self, expected: Expected, n_leads: int, n_samples: int, sampling_rate: float):
        super().__init__()
        ratio = Fraction(expected.sampling_rate / sampling_rate).limit_denominator(1000)
        factor = per_mv(expected.unit)
        if factor != 1:
            self.add_module("unit", Scaling(factor))
        length = n_samples
        if ratio != 1:
            resampling = Resampling(n_leads, ratio.numerator, ratio.denominator, n_samples)
            self.add_module("resampling", resampling)
            length = resampling.n_out
        normalisation = NORMALISATIONS[expected.normalisation][1](expected)
        if normalisation is not None:
            self.add_module("normalisation", normalisation)
        if length != expected.samples:
            self.add_module("padding", Padding(length, expected.samples, expected.padding))
        if expected.layout != "leads_time":
            self.add_module("axes", Axes(expected.layout))

    def described(self) -> str:
        """Its steps in words."""
        return ", ".join(name for name, _ in self.named_children()) or "none"


def check_expected(expected: Expected, n_leads: int) -> None:
    """UserError, in one line, for what no network can expect."""
    per_mv(expected.unit)
    for name, chosen, known in (
        ("normalisation", expected.normalisation, NORMALISATIONS),
        ("padding", expected.padding, PADDINGS),
        ("layout", expected.layout, LAYOUTS),
    ):
        if chosen not in known:
            raise UserError(f"unknown {name} {chosen!r}: accepted are {', '.join(known)}")
    if not 1 <= expected.sampling_rate <= 10_000:
        raise UserError(f"a sampling rate of {expected.sampling_rate:g} Hz is not 1 to 10,000 Hz")
    if not (0 < expected.seconds <= 3600 and expected.samples > 0):
        raise UserError(f"a length of {expected.seconds:g} s is not between 0 and 3600 s")
    if expected.normalisation == "file":
        for name, values in (("mean", expected.means), ("deviation", expected.deviations)):
            if values is None or len(values) != n_leads or not np.isfinite(values).all():
                raise UserError(f"normalisation file: needs one {name} for each of {n_leads} leads")
        if min(expected.deviations) <= 0:
            raise UserError("normalisation file: a deviation is not above 0")


def read_statistics(
    path: str | Path, leads: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations of `leads` from a csv with the columns lead, mean and deviation."""
    table = read_csv(path, "it has the columns lead, mean and deviation")
    if missing := [name for name in ("lead", "mean", "deviation") if name not in table]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}")
    table = table.set_index(table["lead"].astype(str).str.strip().str.lower())
    if absent := [lead for lead in leads if lead.lower() not in table.index]:
        raise UserError(f"{path} has no row for lead {', '.join(absent)}")
    chosen = table.loc[[lead.lower() for lead in leads], ["mean", "deviation"]]
    if len(chosen) != len(leads):
        raise UserError(f"{path} has a lead twice")
    numbers = chosen.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    return tuple(numbers[:, 0].tolist()), tuple(numbers[:, 1].tolist())


def layout_of(
    shape: Sequence[int | None], n_leads: int, asked: str | None
) -> tuple[str, int | None]:
    """Axes of a network's input, and its number of samples where its file says so.

    shape  of the input as far as the file says, () where it says nothing. UserError where it holds
    another number of leads.
    """
    for layout in [asked] if asked else LAYOUTS:
        axes = LAYOUTS[layout]
        if not shape:
            return layout, None
        if len(shape) != 1 + len(axes):
            continue
        sizes = dict(zip(axes, shape[1:], strict=True))
        if sizes["leads"] in (n_leads, None) and sizes.get("one", 1) in (1, None):
            return layout, sizes["time"]
    open_sizes = " x ".join("?" if size is None else str(size) for size in shape)
    raise UserError(
        f"the network takes {open_sizes}, which has no axis of {n_leads} leads: --leads names its "
        "leads, --layout its axes"
    )
