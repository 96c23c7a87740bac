"""Networks as others write them when nobody looks: each goes in and is explained rightly, or is
refused in one line.

ODD maps a name to a function that makes a network for signals (N, 12, SAMPLES) with CLASSES
classes. REFUSED names those that cannot go in, WITHOUT_RULE those that LRP has no rule for, with
words of the reason; OPTIONS are what wrap() is told of some. odd_cases.py adds those of
odd_blocks.py and odd_ends.py.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLES, CLASSES = 120, 3


class Odd(nn.Module):
    """A function of a trunk's features (N, 8, steps) and of the module itself."""

    def __init__(self, function, trunk=None, **modules):
        super().__init__()
        self.trunk = trunk or nn.Sequential(nn.Conv1d(12, 8, 7, 2, 3), nn.ReLU())
        self.head = nn.Linear(8, CLASSES)
        self.function = function
        for name, module in modules.items():
            if isinstance(module, nn.Module):
                self.add_module(name, module)
            elif isinstance(module, nn.Parameter):
                self.register_parameter(name, module)
            else:
                self.register_buffer(name, module)

    def forward(self, x):
        return self.function(self, self.trunk(x))


def mean_head(self, y):
    """The mean over time through the head."""
    return self.head(y.mean(-1))


def weight_normed():
    trunk = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(12, 8, 7)), nn.ReLU())
    return Odd(mean_head, trunk)


def weight_normed_old():
    conv = nn.utils.weight_norm(nn.Conv1d(12, 8, 7))
    return Odd(mean_head, nn.Sequential(conv, nn.ReLU()))


def spectral_normed():
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv1d(12, 8, 7))
    return Odd(mean_head, nn.Sequential(conv, nn.ReLU()))


def multihead_attention():
    def forward(self, y):
        tokens = y.transpose(1, 2)
        mixed, _ = self.mha(tokens, tokens, tokens)
        return self.head((tokens + mixed).mean(1))

    return Odd(forward, mha=nn.MultiheadAttention(8, 2, batch_first=True))


def attention_weights_wanted():
    def forward(self, y):
        tokens = y.permute(2, 0, 1)
        mixed, weights = self.mha(tokens, tokens, tokens, need_weights=True)
        return self.head(mixed.mean(0)) + weights.mean((1, 2))[:, None]

    return Odd(forward, mha=nn.MultiheadAttention(8, 2))


def encoder_layer(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    encoder = nn.TransformerEncoder(layer, 2)
    return Odd(lambda self, y: self.head(self.encoder(y.transpose(1, 2))[:, 0]), encoder=encoder)


def einsum_attention():
    def forward(self, y):
        q, k, v = self.qkv(y.transpose(1, 2)).chunk(3, dim=-1)
        weights = torch.einsum("bid,bjd->bij", q, k).div(math.sqrt(8)).softmax(-1)
        return self.head(torch.einsum("bij,bjd->bid", weights, v).mean(1))

    return Odd(forward, qkv=nn.Linear(8, 24))


def weights_on_the_fly():
    def forward(self, y):
        kernel = self.frequencies[:, None] * torch.arange(9.0, dtype=y.dtype, device=y.device)
        filters = torch.stack([kernel.sin() * self.gain[:, None]] * 8, 1) / 8
        return self.head(F.conv1d(y, filters, padding=4).relu().mean(-1))

    return Odd(forward, frequencies=nn.Parameter(torch.rand(8)), gain=nn.Parameter(torch.randn(8)))


def weights_of_the_signals():
    def forward(self, y):
        kernel = self.make(y.mean(-1)).view(len(y) * 8, 1, 5)
        mixed = F.conv1d(y.reshape(1, -1, y.shape[-1]), kernel, groups=len(y) * 8)
        return self.head(mixed.view(len(y), 8, -1).mean(-1))

    return Odd(forward, make=nn.Linear(8, 40))


def flip_roll_cumsum():
    def forward(self, y):
        return self.head((y.flip(-1) + y.roll(3, dims=-1) + 0.01 * y.cumsum(-1)).mean(-1))

    return Odd(forward)


def where_mask():
    def forward(self, y):
        mask = torch.arange(y.shape[-1], device=y.device) < 40
        kept = torch.where(mask, y, torch.zeros_like(y))
        return self.head(torch.where(kept > 0.5, kept, 0.1 * kept + 0.45).mean(-1))

    return Odd(forward)


def boolean_index():
    """Reads as many values as are positive: the shape depends on the signals."""
    return Odd(lambda self, y: self.head(y.mean(-1)) + y[y > 0].mean())


def masked_fill_inplace():
    def forward(self, y):
        y = y.clone()
        y[:, :2] = 0
        y[..., ::2] *= 0.5
        y.masked_fill_(self.mask, 0.25)
        return self.head(y.mean(-1))

    return Odd(forward, mask=torch.arange(60) % 7 == 0)


def dropout_left_on():
    network = Odd(lambda self, y: self.head(self.drop(y).mean(-1)), drop=nn.Dropout(0.5))
    return network.train()


def functional_dropout_on():
    """F.dropout is on by default, whatever the mode."""
    return Odd(lambda self, y: self.head(F.dropout(y, 0.5).mean(-1)))


def output_dict():
    return Odd(lambda self, y: {"features": y.mean(-1), "logits": self.head(y.mean(-1))})


def output_tuple():
    return Odd(lambda self, y: (self.head(y.mean(-1)), y))


def output_trailing():
    return Odd(lambda self, y: self.head(y.mean(-1)).unsqueeze(-1))


def two_heads():
    def forward(self, y):
        z = y.mean(-1)
        return torch.cat([self.head(z), self.other(z)], dim=1)

    return Odd(forward, other=nn.Linear(8, 2))


class TimeFirst(nn.Module):
    """Takes (N, T, 12)."""

    def __init__(self):
        super().__init__()
        self.mix, self.head = nn.Linear(12, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(F.gelu(self.mix(x)).amax(1))


class Image(nn.Module):
    """Takes (N, 1, 12, T) with two-dimensional convolutions."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, (3, 9), padding=(1, 4)), nn.BatchNorm2d(4)
        self.deep, self.head = nn.Conv2d(4, 8, (12, 5), stride=(1, 2)), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = F.max_pool2d(F.relu(self.norm(self.conv(x))), (1, 2))
        return self.head(F.relu(self.deep(y)).mean((2, 3)))


@dataclass
class Answer:
    """What some networks return."""

    logits: Tensor


def output_dataclass():
    return Odd(lambda self, y: Answer(self.head(y.mean(-1))))


def half_precision():
    return Odd(mean_head).half()


def in_parallel():
    return nn.DataParallel(Odd(mean_head))


def swa_average():
    return torch.optim.swa_utils.AveragedModel(Odd(mean_head))


def without_parameters():
    network = Odd(mean_head)
    for module in (network.trunk[0], network.head):
        for name, values in list(module.named_parameters()):
            delattr(module, name)
            module.register_buffer(name, values.detach())
    return network


def weights_to_come():
    return nn.Sequential(nn.LazyConv1d(8, 5), nn.Flatten(), nn.LazyLinear(CLASSES))


def another_length():
    return nn.Sequential(nn.Flatten(), nn.Linear(12 * 100, CLASSES))


def sparse_matrix():
    return Odd(lambda self, y: torch.sparse.mm(self.links, self.head(y.mean(-1)).T).T,
               links=torch.eye(CLASSES).to_sparse())  # fmt: skip


class Averaged(nn.Module):
    """Holds a running average of its network, which is what evaluates."""

    def __init__(self):
        super().__init__()
        self.network = Odd(mean_head)
        self.average = copy.deepcopy(self.network)
        for parameter in self.average.parameters():
            parameter.requires_grad_(False)

    def forward(self, x):
        return self.network(x) if self.training else self.average(x)


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return self.body(x)


class CountingAndReading(Counting):
    """Its output grows with every call."""

    def forward(self, x):
        return super().forward(x) * self.calls


class Caching(nn.Module):
    """Keeps its last features as an attribute, as many do for hooks of their own."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, x):
        self.seen = self.body.trunk(x)
        return self.body.function(self.body, self.seen)


class BatchBranch(nn.Module):
    """Does something else for a single record."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, x):
        return self.body(x) if len(x) > 2 else self.body(2 * x)


class ValueBranch(nn.Module):
    """Decides by the values of its signals."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, x):
        return self.body(-x) if x.mean() > 0 else self.body(x)


class AcrossBatch(nn.Module):
    """Centres each batch."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, x):
        return self.body(x - x.mean(0, keepdim=True))


def norm_without_momentum():
    trunk = nn.Sequential(
        nn.Conv1d(12, 8, 7), nn.BatchNorm1d(8, momentum=None), nn.ELU(), nn.BatchNorm1d(8)
    )
    trunk.train()(torch.randn(16, 12, SAMPLES))
    return Odd(mean_head, trunk)


def norm_without_statistics():
    """BatchNorm that takes the batch's statistics in evaluation too."""
    trunk = nn.Sequential(nn.Conv1d(12, 8, 7), nn.BatchNorm1d(8, track_running_stats=False))
    return Odd(mean_head, trunk)


def float_inside():
    """Half of the way in another precision."""
    return Odd(lambda self, y: self.head(y.bfloat16().float().mean(-1)))


def complex_inside():
    return Odd(lambda self, y: self.head(torch.fft.rfft(y).abs().mean(-1)))


def noisy():
    return Odd(lambda self, y: self.head((y + 0.1 * torch.randn_like(y)).mean(-1)))


def gru_head():
    return Odd(
        lambda self, y: self.head(self.gru(y.transpose(1, 2))[0][:, -1]),
        gru=nn.GRU(8, 4, batch_first=True, bidirectional=True),
    )


def shared_in_a_loop():
    def forward(self, y):
        for _ in range(3):
            y = y + F.silu(self.norm(self.conv(y)))
        return self.head(F.layer_norm(y.mean(-1), (8,)))

    return Odd(forward, conv=nn.Conv1d(8, 8, 3, padding=1), norm=nn.GroupNorm(2, 8))


def attention_pooling():
    def forward(self, y):
        weights = self.score(y.transpose(1, 2)).softmax(1)
        pooled = (weights * y.transpose(1, 2)).sum(1)
        spread = ((weights * y.transpose(1, 2).square()).sum(1) - pooled.square()).clamp(min=1e-5)
        return self.head(pooled) + self.other(spread.sqrt())

    return Odd(forward, score=nn.Linear(8, 1), other=nn.Linear(8, CLASSES))


def unet():
    def forward(self, y):
        down = F.avg_pool1d(F.leaky_relu(self.down(y)), 2)
        up = F.interpolate(down, scale_factor=2, mode="linear", align_corners=False)
        again = self.up(F.relu(self.bottom(down)))
        return self.head(torch.cat([y, up, again], 1).view(len(y), 3, 8, -1).mean((1, 3)))

    return Odd(
        forward,
        down=nn.Conv1d(8, 8, 3, padding=1),
        bottom=nn.Conv1d(8, 8, 3, padding="same", padding_mode="circular"),
        up=nn.ConvTranspose1d(8, 8, 2, stride=2),
    )


def rotary():
    """Positions as rotations of query and key."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        angles = torch.outer(
            torch.arange(tokens.shape[1], dtype=y.dtype, device=y.device), self.speeds
        )
        cos, sin = angles.cos(), angles.sin()

        def turned(z):
            even, odd = z[..., 0::2], z[..., 1::2]
            return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

        q, k, v = turned(self.q(tokens)), turned(self.k(tokens)), tokens
        return self.head(F.scaled_dot_product_attention(q, k, v).mean(1))

    return Odd(forward, q=nn.Linear(8, 8), k=nn.Linear(8, 8), speeds=torch.rand(4))


def causal_attention():
    def forward(self, y):
        tokens = y.transpose(1, 2)
        mixed = F.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True)
        return self.head(self.norm(mixed)[:, -1])

    return Odd(forward, norm=nn.RMSNorm(8))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Conv1d(12, 8, 7), nn.ReLU(), nn.Flatten(),
                                          nn.Linear(8 * 114, CLASSES)))  # fmt: skip


def max_out():
    def forward(self, y):
        top = torch.maximum(y[:, :4], y[:, 4:])
        ends = torch.cat(
            [top.topk(3, dim=-1).values.mean(-1), top.sort(-1).values[..., -5:].sum(-1)], 1
        )
        return self.head(ends)

    return Odd(forward)


def log_mel():
    def forward(self, y):
        power = y.unfold(-1, 16, 8).square().mean(-1)
        return self.head(torch.log1p(power).flatten(1)[:, :8])

    return Odd(forward)


ODD = {
    "weight_normed": weight_normed,
    "weight_normed_old": weight_normed_old,
    "spectral_normed": spectral_normed,
    "multihead_attention": multihead_attention,
    "attention_weights_wanted": attention_weights_wanted,
    "encoder_layer": encoder_layer,
    "encoder_layer_pre_norm_gelu": lambda: encoder_layer(norm_first=True, activation="gelu"),
    "einsum_attention": einsum_attention,
    "weights_on_the_fly": weights_on_the_fly,
    "weights_of_the_signals": weights_of_the_signals,
    "flip_roll_cumsum": flip_roll_cumsum,
    "where_mask": where_mask,
    "boolean_index": boolean_index,
    "masked_fill_inplace": masked_fill_inplace,
    "dropout_left_on": dropout_left_on,
    "functional_dropout_on": functional_dropout_on,
    "output_dict": output_dict,
    "output_tuple": output_tuple,
    "output_trailing": output_trailing,
    "two_heads": two_heads,
    "time_first": TimeFirst,
    "image": Image,
    "output_dataclass": output_dataclass,
    "half_precision": half_precision,
    "in_parallel": in_parallel,
    "swa_average": swa_average,
    "without_parameters": without_parameters,
    "weights_to_come": weights_to_come,
    "another_length": another_length,
    "sparse_matrix": sparse_matrix,
    "averaged": Averaged,
    "counting_and_reading": CountingAndReading,
    "counting": Counting,
    "caching": Caching,
    "batch_branch": BatchBranch,
    "value_branch": ValueBranch,
    "across_batch": AcrossBatch,
    "norm_without_momentum": norm_without_momentum,
    "norm_without_statistics": norm_without_statistics,
    "float_inside": float_inside,
    "complex_inside": complex_inside,
    "noisy": noisy,
    "gru_head": gru_head,
    "shared_in_a_loop": shared_in_a_loop,
    "attention_pooling": attention_pooling,
    "unet": unet,
    "rotary": rotary,
    "causal_attention": causal_attention,
    "scripted": scripted,
    "max_out": max_out,
    "log_mel": log_mel,
}
REFUSED = {
    "boolean_index": "depends on the records beside it",
    "functional_dropout_on": "draws random numbers in evaluation mode (dropout",
    "noisy": "draws random numbers in evaluation mode (randn_like",
    "without_parameters": "no parameters",
    "weights_to_come": "call it once",
    "another_length": "fails on an input of shape (2, 12, 120)",
    "sparse_matrix": "sparse tensor",
    "counting_and_reading": "changes its own tensors by add_ (network.calls)",
    "batch_branch": "other operations for another number of records",
    "value_branch": "reads single values of its signals",
    "across_batch": "depends on the records beside it",
    "norm_without_statistics": "depends on the records beside it",
}
WITHOUT_RULE = {
    "weights_of_the_signals": "conv1d (conv1d_1) whose weights depend on the signals",
    "complex_inside": "fft_rfft",
    "gru_head": "gru",
}
# piecewise linear: epsilon-LRP is input x gradient
PIECEWISE_LINEAR = (
    "weight_normed",
    "weight_normed_old",
    "spectral_normed",
    "weights_on_the_fly",
    "flip_roll_cumsum",
    "where_mask",
    "masked_fill_inplace",
    "dropout_left_on",
    "output_dict",
    "output_tuple",
    "output_trailing",
    "two_heads",
    "image",
    "averaged",
    "counting",
    "caching",
    "unet",
    "scripted",
    "max_out",
)
OPTIONS = {
    "output_dict": {"output_index": 1},
    "output_tuple": {"output_index": 0},
    "two_heads": {"columns": [0, 4, 2]},
    "time_first": {"layout": "time_leads"},
    "image": {"layout": "image"},
}
