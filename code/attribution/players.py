"""Records as games: players (lead x piece) are present or taken away, and a logit is left.

A player is a piece of one lead (a segment over all beats, or a window of time), as occlusion takes
them away. A coalition says which players are present; the others are brought to the isoelectric
line. With the physiological fill a limb lead takes its share of the other limb leads with it
(ecg/fills.py), so that every coalition is an ECG that a heart could have; it needs all six limb
leads. Else each lead is brought to its own line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.gradients import target_logit
from attribution.occlusion import isoelectric, pieces_of, window_regions
from common.files import UserError
from common.labels import LEADS
from ecg.fills import remove
from networks.inference import read_samples

PLAYER_FILLS = ("physiological", "isoelectric")
BATCH = 256  # coalitions per pass


@dataclass(frozen=True)
class Game:
    """One record (leads, T) and what the network says of its coalitions.

    place     # (leads, T) number of the player that a sample belongs to; -1: always present
    n         players
    complete, empty  logit with all players, and with none
    """

    model: nn.Module
    record: Tensor
    target: Tensor
    place: Tensor
    n: int
    fill: str | Tensor
    complete: Tensor
    empty: Tensor

    @torch.no_grad()
    def values(self, present: Tensor) -> Tensor:
        """(B,) logits of coalitions (B, n) bool."""
        logits = []
        for some in present.split(BATCH):
            x = without(self.record, absent_samples(some, self.place), self.fill, leads_of(self))
            logits.append(target_logit(self.model, x, self.target.expand(len(some))))
        return torch.cat(logits) if logits else self.complete.new_zeros(0)

    @property
    def difference(self) -> Tensor:
        """What there is to share out, logit."""
        return self.complete - self.empty

    def spread(self, shares: Tensor) -> Tensor:
        """(leads, T) map of the shares (n,): each evenly over its player's samples, so that the map
        sums to the shares' sum.
        """
        sizes = torch.bincount(self.place[self.place >= 0], minlength=self.n)
        per_sample = torch.cat([shares / sizes.to(shares), shares.new_zeros(1)])
        return per_sample[self.place]  # the last one is for what belongs to nobody, numbered -1


def leads_of(game: Game) -> Sequence[str]:
    """Names of the leads of the game's record."""
    info = getattr(game.model, "info", None)
    return info.leads if info is not None else LEADS[: len(game.record)]


def absent_samples(present: Tensor, place: Tensor) -> Tensor:
    """(B, leads, T) bool: the samples of the players that are absent from coalitions (B, n)."""
    never = present.new_zeros(len(present), 1)
    return torch.cat([~present, never], dim=1)[:, place]


def without(record: Tensor, absent: Tensor, fill: str | Tensor, leads: Sequence[str]) -> Tensor:
    """(B, leads, T) signals: a record (leads, T) without the samples `absent` (B, leads, T).

    `fill` is one of PLAYER_FILLS, or the signal (leads, T) that takes the samples' place.
    """
    if isinstance(fill, Tensor):
        return torch.where(absent, fill, record)
    line = isoelectric(record[None])[0]
    if fill == "isoelectric" or not set(LEADS[:6]) <= set(leads):
        return torch.where(absent, line, record)
    columns = [LEADS.index(lead) for lead in leads]
    whole = record.new_zeros(len(absent), record.shape[1], len(LEADS))
    whole[:, :, columns] = record.T
    gone = absent.new_zeros(whole.shape)
    gone[:, :, columns] = absent.transpose(1, 2)
    lines = record.new_zeros(len(absent), len(LEADS))
    lines[:, columns] = line[:, 0]
    return remove(whole, gone, lines)[:, :, columns].transpose(1, 2).contiguous()


def games_of(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    piece: int,
    regions: Tensor | None,
    fill: str | float | Tensor,
) -> Iterator[Game]:
    """One game per record of x (N, leads, T); players as in occlusion: `piece` samples of a lead
    or, where given, `regions` (N, leads, T).

    Samples that the network does not read belong to no player. UserError for an unknown fill, and
    regions of another shape.
    """
    if isinstance(fill, str) and fill not in PLAYER_FILLS:
        raise UserError(f"unknown fill {fill!r}: accepted are {', '.join(PLAYER_FILLS)}")
    if piece < 1:
        raise UserError(f"a player needs at least 1 sample, got {piece}")
    if regions is None:
        regions = window_regions(x.shape[1], x.shape[2], piece).expand(x.shape)
    if regions.shape != x.shape:
        raise UserError(f"regions are {tuple(regions.shape)}, the input is {tuple(x.shape)}")
    if not isinstance(fill, str):
        fill = torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand_as(x)
    unread = torch.from_numpy(~_read(model, x.shape[2]))
    regions = torch.where(unread, -1, regions.cpu()).to(x.device)
    with torch.no_grad():
        complete = target_logit(model, x, target)
    for row, record in enumerate(x):
        place, n = pieces_of(regions[row])
        own = fill if isinstance(fill, str) else fill[row]
        game = Game(model, record, target[row], place, n, own, complete[row], complete[row])
        empty = game.values(torch.zeros(1, n, dtype=torch.bool, device=x.device))[0]
        yield Game(model, record, target[row], place, n, own, complete[row], empty)


def _read(model, n_samples):
    """(n_samples,) bool: what the network reads; everything where it does not say its leads."""
    if hasattr(model, "info"):
        return read_samples(model, n_samples)
    return torch.ones(n_samples, dtype=torch.bool).numpy()
