"""Odd networks, fifth part: what stumbled when networks of this field were carried through."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from odd_networks import Odd


class KeptRotary(nn.Module):
    """Rotary positions whose tables are made by the first call and kept."""

    def __init__(self, width):
        super().__init__()
        frequency = 1.0 / 10000 ** (torch.arange(0, width, 2).float() / width)
        self.register_buffer("frequency", frequency, persistent=False)
        self.kept = None

    def forward(self, y):
        if self.kept is None or len(self.kept[0]) != y.shape[-2]:
            places = torch.arange(y.shape[-2], device=y.device).float()
            angles = torch.outer(places, self.frequency).repeat(1, 2)
            self.kept = angles.cos(), angles.sin()
        one, other = y.chunk(2, -1)
        return y * self.kept[0] + torch.cat((-other, one), -1) * self.kept[1]


def kept_rotary():
    """A block of a masked autoencoder: rotary and relative positions, LayerScale, class token."""

    def forward(self, y):
        t = torch.cat((self.token.expand(len(y), -1, -1), y.transpose(1, 2)), 1)
        q, k, v = self.qkv(t).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        at = torch.arange(t.shape[1])
        bias = self.table[:, (at[None] - at[:, None]).clamp(-9, 9) + 9]
        a = F.scaled_dot_product_attention(self.rotary(q), self.rotary(k), v, attn_mask=bias[None])
        return self.head(self.norm(t + self.scale * a.transpose(1, 2).flatten(2))[:, 0])

    return Odd(
        forward,
        rotary=KeptRotary(4),
        qkv=nn.Linear(8, 24),
        table=nn.Parameter(0.3 * torch.randn(2, 19)),
        token=nn.Parameter(torch.randn(1, 1, 8)),
        scale=nn.Parameter(0.3 * torch.ones(8)),
        norm=nn.LayerNorm(8),
    )


def without_age_and_sex():
    """Wide features that are zero where none are given, beside attention pooling over leads."""

    def forward(self, y):
        s = torch.cat([y.mean(-1), y.std(-1)], -1)
        y = (y * self.gate(s).sigmoid()[:, :, None]).transpose(1, 2)
        pooled = (self.score(y).softmax(1) * y).sum(1)
        wide = torch.zeros(len(y), 5)
        return self.ends(torch.cat([pooled, F.relu(self.wide(wide))], 1))

    return Odd(
        forward,
        gate=nn.Sequential(nn.Linear(16, 4), nn.GELU(), nn.Linear(4, 8)),
        score=nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1)),
        wide=nn.Linear(5, 3),
        ends=nn.Linear(11, 3),
    )


def weighted_thrice():
    """Mixing by two constant matrices at once, then a triangle of a table of pairs."""

    def forward(self, y):
        z = torch.einsum("nct,cd,d->ndt", y, self.mix, self.sign)
        pairs = torch.einsum("nct,ndt->ncd", z, z.roll(1, -1)) / math.sqrt(z.shape[-1])
        return self.ends(pairs.tril(-1).flatten(1))

    return Odd(
        forward,
        mix=nn.Parameter(torch.randn(8, 6)),
        sign=nn.Parameter(torch.randn(6)),
        ends=nn.Linear(36, 3),
    )


WALKED = {
    "kept_rotary": kept_rotary,
    "without_age_and_sex": without_age_and_sex,
    "weighted_thrice": weighted_thrice,
}
