"""Odd networks, third part: one function in the spellings that exporters and habits give it."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from odd_networks import Odd, mean_head


class Signals(nn.Module):
    """A change of the signals in front of a small network."""

    def __init__(self, change):
        super().__init__()
        self.body, self.change = Odd(mean_head), change

    def forward(self, x):
        return self.body(self.change(x))


def over_quantile(x):
    """Over the 95th percentile of the record's size."""
    return x / torch.quantile(x.abs(), 0.95, dim=-1, keepdim=True)


def between_percentiles(x):
    """Its quantiles are numbers written inside forward."""
    edges = torch.tensor([0.05, 0.95], dtype=x.dtype)
    low, high = torch.quantile(x, edges, dim=-1, keepdim=True)
    return torch.clamp((x - low) / (high - low), 0, 1)


def without_first_lead(x):
    """Writes into a copy of its signals."""
    x = x.clone()
    x[:, 0] = 0
    x[:, 1:3, 10:50] += 1
    return x


def only_finite(x):
    """Fills what is infinite or missing."""
    return torch.where(torch.isfinite(x), x, torch.zeros_like(x))


def last_class_token():
    """BERT's layers: views and permutes, a mask of zeros, the class token behind the others."""

    def forward(self, y):
        tokens = torch.cat([y.transpose(1, 2), self.token.expand(len(y), -1, -1)], dim=1)
        mask = (1.0 - torch.ones(tokens.shape[:2], dtype=y.dtype)) * torch.finfo(y.dtype).min
        q, k, v = (
            layer(tokens).view(*tokens.shape[:2], 2, 4).permute(0, 2, 1, 3)
            for layer in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(4) + mask[:, None, None]
        mixed = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).contiguous().view(tokens.shape)
        return self.head(self.norm(tokens + mixed)[:, -1].tanh())

    parts = {name: nn.Linear(8, 8) for name in "qkv"}
    token = nn.Parameter(torch.randn(1, 1, 8))
    return Odd(forward, token=token, norm=nn.LayerNorm(8), **parts)


def log_sum_exp_by_hand():
    """The maximum taken off and added again."""

    def forward(self, y):
        top = y.max(-1, keepdim=True)[0]
        return self.head((top + (y - top).exp().sum(-1, keepdim=True).log()).squeeze(-1))

    return Odd(forward)


def einsum_of_one():
    """einsum as a permutation and as a sum."""

    def forward(self, y):
        tokens = torch.einsum("bdl->bld", F.relu(y))
        return self.head(torch.einsum("b l d -> b d", tokens) / y.shape[-1])

    return Odd(forward)


def unpooled():
    """SegNet's decoder: maxima go back to where they came from."""

    def forward(self, y):
        pooled, places = F.max_pool1d(y, 2, return_indices=True)
        return self.head(self.conv(F.max_unpool1d(pooled, places, 2)).relu().mean(-1))

    return Odd(forward, conv=nn.Conv1d(8, 8, 3, padding=1))


def fourier_tokens():
    """FNet: the real part of a Fourier transform over tokens and features mixes them."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        return self.head((tokens + torch.fft.fft(torch.fft.fft(tokens), dim=1).real).mean(1))

    return Odd(forward)


WRITTEN = {
    "over_quantile": lambda: Signals(over_quantile),
    "between_percentiles": lambda: Signals(between_percentiles),
    "without_first_lead": lambda: Signals(without_first_lead),
    "only_finite": lambda: Signals(only_finite),
    "last_class_token": last_class_token,
    "log_sum_exp_by_hand": log_sum_exp_by_hand,
    "einsum_of_one": einsum_of_one,
    "unpooled": unpooled,
    "fourier_tokens": fourier_tokens,
}
