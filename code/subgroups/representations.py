"""Ways to describe a record by one vector: its beat, the network's features, its attribution, its
lead x segment map.

All attributions are of one fixed target for every record. Explaining each record's own predicted
class instead would write the prediction into the vectors, and clusters would only give it back (the
original did; Wagner et al. 2024, discovery).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

from attribution.cells import cell_maps, relative_density
from attribution.methods import explain_records
from common.labels import LEADS
from ecg.beats import Beats, find_beats, mean_beats, median_beats
from networks.distributed import shared
from networks.inference import coverage_of
from records.dataset import Dataset
from records.segmentations import load_segments

CHUNK = 64  # records explained, or segmented, at a time


@dataclass
class Material:
    """What the representations of a cohort are made from; maps are computed once, when first asked
    for.

    data    records (N, T, 12) mV
    model   network with .info
    target  index of the output that is explained, the same for all records
    method  attribution method
    """

    data: Dataset
    model: torch.nn.Module
    target: int
    method: str = "saliency"
    window: str = "windows"

    @cached_property
    def beats(self) -> Beats:
        """Complete beats of all records in the part that is explained."""
        peaks = [self.data.r_peaks(row) for row in range(len(self.data))]
        n_samples = self.data.signals.shape[1]
        seen = np.flatnonzero(coverage_of(self.model, n_samples, self.window))
        return find_beats(peaks, n_samples, self.data.sampling_rate, (seen[0], seen[-1] + 1))

    @cached_property
    def maps(self) -> np.ndarray:
        """(N, T, 12) signed attribution of the target, edges scaled to the coverage of the middle;
        NaN where nothing is known.
        """
        return np.concatenate([self._maps_of(rows) for rows in self._chunks()])

    def share_maps(self) -> None:
        """The same, the records dealt out to the processes: each has all maps afterwards."""
        self.maps = np.concatenate(shared(self._chunks(), self._maps_of))

    def _chunks(self):
        """Rows of the records that are explained at a time."""
        return [
            np.arange(start, min(start + CHUNK, len(self.data)))
            for start in range(0, len(self.data), CHUNK)
        ]

    def _maps_of(self, rows):
        signals = self.data.signals[rows]
        return explain_records(self.model, signals, self.target, self.method, self.window).even()

    @cached_property
    def density(self) -> np.ndarray:
        """(N, 12, 24) relevance density of each lead x segment over the record's mean; NaN where
        the record lacks the segment.
        """
        parts = []
        for rows in tqdm(self._chunks(), desc="segments"):
            maps = cell_maps(
                self.maps[rows], load_segments(self.data, rows), self.data.patient_id[rows]
            )
            parts.append(relative_density(maps))
        return np.ma.concatenate(parts).filled(np.nan)


def _signal(material: Material):
    """Median beat in mV, of the leads that there are."""
    columns = [LEADS.index(lead) for lead in material.data.leads]
    return _flat(median_beats(material.data.signals, material.beats)[..., columns])


def _features(material: Material):
    """Input of the last dense layer, mean over the windows."""
    from networks.features import features_of  # alone where it is asked for

    return features_of(material.model, material.data.signals, material.window)


def _attribution_signed(material: Material):
    """Mean beat of the signed map, of unit length: its shape, not how strongly the
    network reacts.
    """
    return _unit(_flat(np.nan_to_num(mean_beats(material.maps, material.beats))))


def _attribution_absolute(material: Material):
    """Mean beat of the absolute map, of unit length."""
    mean = mean_beats(np.abs(material.maps), material.beats)
    return _unit(_flat(np.nan_to_num(mean)))


def _segments(material: Material):
    """Relevance density in 12 leads x 24 segments, over the record's mean; empty cells at the
    cohort's mean.
    """
    known = np.isfinite(material.density)
    mean = np.where(known, material.density, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return _flat(np.where(known, material.density, mean))


REPRESENTATIONS: dict[str, Callable[[Material], np.ndarray]] = {
    "signal": _signal,
    "features": _features,
    "attribution": _attribution_signed,
    "attribution_absolute": _attribution_absolute,
    "segments": _segments,
}


def _flat(values):
    return values.reshape(len(values), -1).astype(float)


def _unit(vectors):
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
