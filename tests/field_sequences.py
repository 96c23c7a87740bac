"""Networks of the field over sequences: transformers, windows, recurrent layers, scans, leads
one by one. For signals (N, 12, SAMPLES) with CLASSES classes; field_networks.py has the others.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

SAMPLES, CLASSES = 256, 3


def conv_norm(n_in, n_out, kernel, stride=1, groups=1, act=True):
    """Convolution, BatchNorm, ReLU."""
    conv = nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm1d(n_out)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


# ---------------------------------------------------------------- attention


class ECGTransformer(nn.Module):
    """Convolutional tokens, class token, sines as positions, nn.TransformerEncoder."""

    def __init__(self, batch_first, norm_first=False):
        super().__init__()
        self.embed = nn.Conv1d(12, 16, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        at, speed = torch.arange(SAMPLES // 16 + 1.0)[:, None], torch.arange(0.0, 16, 2)
        angles = at * torch.exp(speed * (-math.log(10000.0) / 16))
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None])
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.batch_first = nn.Linear(16, CLASSES), batch_first

    def forward(self, x):
        y = self.embed(x).transpose(1, 2)
        y = torch.cat((self.cls.repeat(x.shape[0], 1, 1), y), dim=1)
        y = y + self.pe[:, : y.size(1)]
        if self.batch_first:
            return self.head(self.encoder(y)[:, 0])
        return self.head(self.encoder(y.permute(1, 0, 2))[0])


class ConvAttention(nn.Module):
    """Convolutions, a transformer with a padding mask of nothing, maximum over time; signals of
    another width beside it are constants.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(12, 16, 15, 4), nn.MaxPool1d(2, 2))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.stem(x).permute(2, 0, 1) * math.sqrt(16)
        y = self.encoder(y).permute(1, 2, 0)
        return self.fc2(F.relu(self.fc1(F.adaptive_max_pool1d(y, 1).squeeze(2))))


class Wav2Vec(nn.Module):
    """GroupNorm over each channel, weight-normed convolution of positions, post-norm encoder."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(12, 16, 10, 5, bias=False)
        self.norm1 = nn.GroupNorm(16, 16)
        self.conv2 = nn.Conv1d(16, 16, 3, 2, bias=False)
        self.norm2 = nn.LayerNorm(16)
        pos = nn.Conv1d(16, 16, 8, padding=4, groups=4)
        self.pos = nn.utils.parametrizations.weight_norm(pos, name="weight", dim=2)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm3, self.norm4 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.proj = nn.Linear(16, CLASSES)

    def forward(self, x):
        y = F.gelu(self.conv2(F.gelu(self.norm1(self.conv1(x)))))
        y = self.norm2(y.transpose(1, 2))
        y = y + F.gelu(self.pos(y.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
        mixed, _ = self.attention(y, y, y, need_weights=False)
        y = self.norm3(y + mixed)
        y = self.norm4(y + self.down(F.gelu(self.up(y))))
        return self.proj(y.mean(dim=1))


class Swin(nn.Module):
    """Attention inside windows, then inside windows shifted by half; tokens merged in pairs."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv1d(12, 16, 8, 8), nn.LayerNorm(16)
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.bias = nn.Parameter(torch.randn(15, 2))
        index = torch.arange(8)[:, None] - torch.arange(8)[None] + 7
        self.register_buffer("index", index)
        self.merge = nn.Linear(32, 16, bias=False)
        self.head = nn.Linear(16, CLASSES)

    def windows(self, y, qkv):
        n, steps, width = y.shape
        parts = qkv(y.view(n, steps // 8, 8, width).reshape(-1, 8, width))
        q, k, v = parts.reshape(-1, 8, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        scores = (q * (width // 2) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.bias[self.index.view(-1)].view(8, 8, -1).permute(2, 0, 1)
        mixed = scores.softmax(dim=-1) @ v
        return mixed.transpose(1, 2).reshape(n, steps, width)

    def forward(self, x):
        y = self.norm(self.embed(x).flatten(2).transpose(1, 2))
        y = y + self.windows(y, self.qkv[0])
        y = y + torch.roll(self.windows(torch.roll(y, -4, 1), self.qkv[1]), 4, 1)
        y = self.merge(torch.cat([y[:, 0::2], y[:, 1::2]], -1))
        return self.head(y.mean(1))


class Siamese(nn.Module):
    """One encoder for each lead alone; leads are fused by attention over them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(conv_norm(1, 8, 15, 4), conv_norm(8, 8, 7, 4))
        self.lead = nn.Embedding(12, 8)
        self.score, self.head = nn.Linear(8, 1), nn.Linear(8, CLASSES)

    def forward(self, x):
        n, leads, steps = x.shape
        y = self.encoder(x.reshape(n * leads, 1, steps)).mean(-1).view(n, leads, -1)
        y = y + self.lead(torch.arange(leads, device=x.device))
        weights = F.softmax(self.score(torch.tanh(y)), dim=1)
        return self.head((weights * y).sum(dim=1))


class LeadByLead(nn.Module):
    """A branch of its own for each lead, in a loop; features side by side."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(conv_norm(1, 2, 15, 4) for _ in range(12))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x):
        parts = [branch(x[:, i : i + 1]).amax(-1) for i, branch in enumerate(self.branches)]
        return self.head(torch.cat(parts, dim=-1))


# ---------------------------------------------------------------- recurrence and scans


class Recurrent(nn.Module):
    """Convolutions, a recurrent layer in both directions, attention over its states."""

    def __init__(self, kind):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(12, 8, 7, 4), nn.MaxPool1d(2))
        self.rnn = kind(8, 6, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.score, self.head = nn.Linear(12, 1), nn.Linear(12, CLASSES)

    def forward(self, x):
        self.rnn.flatten_parameters()
        states, _ = self.rnn(self.stem(x).permute(0, 2, 1))
        weights = torch.softmax(self.score(torch.tanh(states)), dim=1)
        return self.head(torch.sum(states * weights, dim=1))


class S4D(nn.Module):
    """A diagonal state space as a long convolution, its kernel of complex exponentials."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 8), nn.Linear(8, CLASSES)
        self.c = nn.Parameter(torch.view_as_real(torch.randn(8, 4, dtype=torch.cfloat)))
        self.log_dt = nn.Parameter(torch.rand(8) - 3)
        self.log_real = nn.Parameter(torch.log(0.5 * torch.ones(8, 4)))
        self.imaginary = nn.Parameter(math.pi * torch.arange(4.0).repeat(8, 1))
        self.d, self.out = nn.Parameter(torch.randn(8)), nn.Conv1d(8, 16, 1)

    def forward(self, x):
        u = self.encoder(x.transpose(1, 2)).transpose(1, 2)
        length = u.size(-1)
        a = -torch.exp(self.log_real) + 1j * self.imaginary
        dta = a * torch.exp(self.log_dt).unsqueeze(-1)
        powers = torch.exp(dta.unsqueeze(-1) * torch.arange(length, device=x.device))
        c = torch.view_as_complex(self.c) * (torch.exp(dta) - 1.0) / a
        kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
        spectrum = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + u * self.d.unsqueeze(-1)
        return self.decoder(F.glu(self.out(F.gelu(y)), dim=1).mean(-1))


class Mamba(nn.Module):
    """Gate, causal depthwise convolution, a selective scan as a loop; RMS norm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv1d(12, 8, 16, 16)
        self.inside = nn.Linear(8, 32, bias=False)
        self.conv = nn.Conv1d(16, 16, 4, groups=16, padding=3)
        self.made, self.dt = nn.Linear(16, 1 + 8, bias=False), nn.Linear(1, 16)
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, 5).repeat(16, 1)))
        self.d, self.outside = nn.Parameter(torch.ones(16)), nn.Linear(16, 8, bias=False)
        self.gain, self.head = nn.Parameter(torch.rand(8)), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.embed(x).transpose(1, 2)
        scale = torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)
        u, gate = self.inside(y * scale * self.gain).chunk(2, dim=-1)
        length = u.shape[1]
        u = F.silu(self.conv(u.transpose(1, 2))[..., :length].transpose(1, 2))
        step, b, c = self.made(u).split([1, 4, 4], dim=-1)
        step = F.softplus(self.dt(step))
        decay = torch.exp(step.unsqueeze(-1) * -torch.exp(self.a_log))
        drive = (step * u).unsqueeze(-1) * b.unsqueeze(2)
        state = torch.zeros(x.size(0), 16, 4, device=x.device)
        found = []
        for i in range(length):
            state = decay[:, i] * state + drive[:, i]
            found.append(torch.einsum("bdn,bn->bd", state, c[:, i]))
        mixed = torch.stack(found, dim=1) + u * self.d
        return self.head((y + self.outside(mixed * F.silu(gate))).mean(1))
