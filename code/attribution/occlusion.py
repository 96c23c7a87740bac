"""Occlusion: how much the target logit falls when a piece of one lead is replaced by its
isoelectric level.
"""

import torch
from torch import Tensor

from attribution.explanation import Explanation
from attribution.gradients import target_logit
from common.files import UserError


def window_regions(n_leads: int, n_samples: int, window: int) -> Tensor:
    """Labels (n_leads, n_samples) of the pieces of `window` samples, counted from 0 in
    each lead.
    """
    return (torch.arange(n_samples) // window).expand(n_leads, n_samples)


def pieces_of(regions: Tensor) -> tuple[Tensor, int]:
    """Number of the piece that each sample of a record's `regions` (leads, T) lies in, -1 for none,
    and how many there are.
    """
    above = int(regions.max()) + 1
    keys = torch.where(
        regions < 0,
        -1,
        regions + above * torch.arange(len(regions), device=regions.device)[:, None],
    )
    found, place = torch.unique(keys, return_inverse=True)
    n_alone = int((found < 0).sum())
    return place - n_alone, len(found) - n_alone


def isoelectric(x: Tensor) -> Tensor:
    """Median over time per record and lead, (N, leads, 1) mV: most of a beat lies on its
    isoelectric line.
    """
    return x.median(dim=2, keepdim=True).values


@torch.no_grad()
def occlusion(
    model: torch.nn.Module,
    x: Tensor,
    target: Tensor,
    piece: int = 10,
    regions: Tensor | None = None,
    fill: Tensor | float | None = None,
    batch_size: int = 256,
) -> Explanation:
    """Fall of the logit for each piece, at every sample of the piece: (N, leads, T).

    The pieces are `piece` samples long, per lead or, where given, `regions` (N, leads, T): equal
    numbers within a lead are one piece (a segment over all beats), negative ones are left alone.
    `fill` replaces them (default: the lead's median).
    """
    if regions is None:
        if piece < 1:
            raise UserError(f"an occlusion window needs at least 1 sample, got {piece}")
        regions = window_regions(x.shape[1], x.shape[2], piece).expand(x.shape)
    if regions.shape != x.shape:
        raise UserError(f"regions are {tuple(regions.shape)}, the input is {tuple(x.shape)}")
    regions = regions.to(x.device)
    filled = (
        isoelectric(x).expand_as(x)
        if fill is None
        else torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand_as(x)
    )
    logit, result = target_logit(model, x, target), torch.zeros_like(x)
    for record in range(len(x)):
        place, n_pieces = pieces_of(regions[record])
        falls = []
        for piece_numbers in torch.arange(n_pieces, device=x.device).split(batch_size):
            changed = torch.where(place == piece_numbers[:, None, None], filled[record], x[record])
            falls.append(
                logit[record] - target_logit(model, changed, target[record].expand(len(changed)))
            )
        fall = torch.cat(
            [*falls, logit.new_zeros(1)]
        )  # the last one is for what is left alone, numbered -1
        result[record] = fall[place]
    return Explanation(result, logit)
