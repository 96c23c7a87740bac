"""Networks of others, as papers and repositories have them: spectrograms, images of leads, gates,
decoders, activations and pooling of every kind. BLOCKS: name -> function that makes one for signals
(N, 12, SAMPLES) with CLASSES classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from odd_networks import CLASSES, SAMPLES, Odd, mean_head


def stem(*after):
    """A convolution and what stands behind it: (N, 8, 60)."""
    return nn.Sequential(nn.Conv1d(12, 8, 7, 2, 3), *after)


class Signals(nn.Module):
    """A function of the signals themselves and of the module."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            if isinstance(module, nn.Module):
                self.add_module(name, module)
            else:
                self.register_buffer(name, module)

    def forward(self, x):
        return self.function(self, x)


# ---------------------------------------------------------------- front ends


def spectrogram():
    """Power of a short-time Fourier transform by torch.stft."""

    def forward(self, x):
        n, leads, samples = x.shape
        lines = torch.stft(x.reshape(n * leads, samples), 32, 16, window=self.window,
                           return_complex=True).abs().square()  # fmt: skip
        image = torch.log1p(lines).reshape(n, leads, *lines.shape[1:])
        return self.head(F.relu(self.conv(image)).mean((2, 3)))

    return Signals(forward, window=torch.hann_window(32), conv=nn.Conv2d(12, 8, 3),
                   head=nn.Linear(8, CLASSES))  # fmt: skip


def fourier_by_convolution():
    """The same by fixed cosines and sines."""

    def forward(self, x):
        n = len(x)
        steps = x.reshape(n * 12, 1, -1)
        real, imaginary = F.conv1d(steps, self.cos, stride=8), F.conv1d(steps, self.sin, stride=8)
        power = (real**2 + imaginary**2 + 1e-6).log().view(n, 12, 9, -1)
        return self.head(F.relu(self.conv(power)).mean((2, 3)))

    turns = torch.outer(torch.arange(9.0), torch.arange(16.0)) * 2 * math.pi / 16
    return Signals(forward, cos=turns.cos()[:, None], sin=turns.sin()[:, None],
                   conv=nn.Conv2d(12, 8, 3), head=nn.Linear(8, CLASSES))  # fmt: skip


class LeadsAsHeight(nn.Module):
    """Makes an image of leads x time itself, and mixes the leads by a kernel of height 12."""

    def __init__(self):
        super().__init__()
        self.time = nn.Conv2d(1, 6, (1, 9), padding=(0, 4), bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.leads = nn.Conv2d(6, 8, (12, 1), groups=2)
        self.pool, self.head = nn.AvgPool2d((1, 4)), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.leads(self.norm(self.time(x.unsqueeze(1))))
        y = self.pool(F.elu(y))
        return self.head(y.flatten(2).mean(-1))


class LastImage(nn.Module):
    """Takes (N, T, 12, 1), as Keras has it."""

    def __init__(self, squeezed):
        super().__init__()
        self.squeezed = squeezed
        self.conv, self.flat = nn.Conv2d(1, 4, (9, 12)), nn.Conv1d(12, 4, 9)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        if self.squeezed:
            y = self.flat(x.squeeze(-1).transpose(1, 2))
        else:
            y = self.conv(x.permute(0, 3, 1, 2)).squeeze(-1)
        return self.head(F.relu(y).mean(-1))


def leads_as_channels():
    """Conv2d over (N, 12, 1, T)."""
    return nn.Sequential(nn.Conv2d(12, 8, (1, 7)), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
                         nn.Linear(8, CLASSES))  # fmt: skip


def differences():
    """Each lead against Wilson's mean, and slopes."""

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        slopes = torch.diff(centred, dim=-1)
        both = torch.cat([centred[..., 1:], slopes], 1)
        return self.head(F.relu(self.conv(both)).mean(-1))

    return Signals(forward, conv=nn.Conv1d(24, 8, 5), head=nn.Linear(8, CLASSES))


def sinc_filters():
    """Band passes whose edges are learnt (SincNet)."""

    def forward(self, x):
        t = self.t.to(x)
        low, high = self.low.abs(), self.low.abs() + self.band.abs()
        bands = torch.sin(torch.outer(high, t)) / t - torch.sin(torch.outer(low, t)) / t
        kernel = torch.cat([bands, 2 * self.band.abs()[:, None], bands.flip(1)], 1) * self.window
        filtered = F.conv1d(x.reshape(-1, 1, x.shape[-1]), kernel[:, None])
        return self.head(F.relu(filtered.view(len(x), -1, filtered.shape[-1])).mean(-1))

    network = Signals(forward, t=torch.arange(1.0, 8), window=torch.hamming_window(15),
                      head=nn.Linear(48, CLASSES))  # fmt: skip
    network.low, network.band = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
    return network


# ---------------------------------------------------------------- blocks


def hard_activations():
    after = (nn.Hardswish(), nn.Conv1d(8, 8, 3), nn.Mish(), nn.Conv1d(8, 8, 3), nn.Hardsigmoid())
    return Odd(
        mean_head, stem(*after, nn.Softplus(), nn.Softsign(), nn.Tanhshrink(), nn.Hardtanh())
    )


def rectifiers():
    """PReLU per channel, RReLU, ReLU6, CELU, threshold."""
    after = (nn.PReLU(8, 0.1), nn.Conv1d(8, 8, 3), nn.RReLU(), nn.Conv1d(8, 8, 3), nn.LeakyReLU())
    return Odd(mean_head, stem(*after))


def gated_linear():
    """WaveNet's gate and GLU."""

    def forward(self, y):
        a, b = self.both(y).chunk(2, 1)
        return self.head(F.glu(self.second(a.tanh() * b.sigmoid()), 1).mean(-1))

    return Odd(forward, both=nn.Conv1d(8, 16, 3, dilation=2), second=nn.Conv1d(8, 16, 1))


def instance_normed():
    norms = (nn.InstanceNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.InstanceNorm1d(8, affine=True))
    return Odd(mean_head, stem(*norms, nn.ReLU()))


def tracked_instance_norm():
    """InstanceNorm with running statistics: in evaluation an affine map."""
    norm = nn.InstanceNorm1d(8, affine=True, track_running_stats=True)
    network = Odd(mean_head, stem(norm, nn.ReLU()))
    network.train()(torch.randn(16, 12, SAMPLES))
    return network


def max_of_all():
    def forward(self, y):
        pooled = [F.adaptive_max_pool1d(y, 5), F.adaptive_avg_pool1d(y, 5),
                  F.lp_pool1d(y, 2, 12)]  # fmt: skip
        return self.head(torch.cat(pooled, -1).mean(-1))

    return Odd(forward)


def pooled_statistics():
    """Mean and deviation over time, as in speaker recognition."""

    def forward(self, y):
        found = torch.cat([y.mean(-1), y.std(-1)], 1)
        return self.last(found)

    return Odd(forward, last=nn.Linear(16, CLASSES))


def generalised_mean():
    return Odd(lambda self, y: self.head(y.clamp(min=1e-6).pow(3).mean(-1).pow(1 / 3)))


def log_sum_exp_pool():
    return Odd(lambda self, y: self.head((torch.logsumexp(4 * y, -1) - math.log(60)) / 4))


def channel_and_time_attention():
    """CBAM: channels by their mean and maximum, steps by theirs."""

    def forward(self, y):
        gate = self.up(F.relu(self.down(y.mean(-1)))) + self.up(F.relu(self.down(y.amax(-1))))
        y = y * gate.sigmoid()[..., None]
        steps = torch.stack([y.mean(1), y.max(1)[0]], 1)
        return self.head((y * self.steps(steps).sigmoid()).mean(-1))

    return Odd(forward, down=nn.Linear(8, 2), up=nn.Linear(2, 8),
               steps=nn.Conv1d(2, 1, 7, padding=3))  # fmt: skip


def efficient_channel_attention():
    def forward(self, y):
        gate = self.conv(y.mean(-1, keepdim=True).transpose(1, 2)).transpose(1, 2).sigmoid()
        return self.head((y * gate.expand_as(y)).mean(-1))

    return Odd(forward, conv=nn.Conv1d(1, 1, 3, padding=1, bias=False))


def dense_blocks():
    """DenseNet: each block sees all earlier ones."""

    def forward(self, y):
        parts = [y]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            parts.append(conv(F.relu(norm(torch.cat(parts, 1)))))
        return self.last(torch.cat(parts, 1).mean(-1))

    norms = nn.ModuleList(nn.BatchNorm1d(8 + 4 * i) for i in range(3))
    convs = nn.ModuleList(nn.Conv1d(8 + 4 * i, 4, 3, padding=1) for i in range(3))
    return Odd(forward, norms=norms, convs=convs, last=nn.Linear(20, CLASSES))


def convnext():
    """Depthwise convolution, LayerNorm over channels, GELU, layer scale, stochastic depth."""

    def forward(self, y):
        z = self.norm(self.depthwise(y).transpose(1, 2))
        z = self.down(F.gelu(self.up(z), approximate="tanh")) * self.scale
        return self.head((y + z.transpose(1, 2)).mean(-1))

    return Odd(forward, depthwise=nn.Conv1d(8, 8, 7, padding=3, groups=8), norm=nn.LayerNorm(8),
               up=nn.Linear(8, 32), down=nn.Linear(32, 8),
               scale=nn.Parameter(torch.full((8,), 0.5)))  # fmt: skip


def res2net():
    """Channels in pieces, each with what the piece before gave."""

    def forward(self, y):
        pieces, last, out = torch.split(y, 2, 1), 0, []
        for piece, conv in zip(pieces, self.convs, strict=True):
            last = F.relu(conv(piece + last))
            out.append(last)
        return self.head(torch.cat(out, 1).mean(-1))

    return Odd(forward, convs=nn.ModuleList(nn.Conv1d(2, 2, 3, padding=1) for _ in range(4)))


def selective_kernel():
    """Two kernels, mixed by a softmax over the branches."""

    def forward(self, y):
        branches = torch.stack([self.short(y), self.long(y)], 1).relu()
        scores = self.score(branches.sum(1).mean(-1)).view(len(y), 2, 8).softmax(1)
        return self.head((branches * scores.unsqueeze(-1)).sum(1).mean(-1))

    return Odd(forward, short=nn.Conv1d(8, 8, 3, padding="same"),
               long=nn.Conv1d(8, 8, 9, padding="same"), score=nn.Linear(8, 16))  # fmt: skip


def channel_shuffle():
    def forward(self, y):
        n, c, t = y.shape
        y = self.grouped(y).view(n, 2, c // 2, t).transpose(1, 2).reshape(n, c, t)
        return self.head(self.second(y).mean(-1))

    return Odd(forward, grouped=nn.Conv1d(8, 8, 1, groups=2),
               second=nn.Conv1d(8, 8, 3, groups=4))  # fmt: skip


def pixel_unshuffle():
    """Space to depth and back."""

    def forward(self, y):
        n, c, t = y.shape
        deep = y.reshape(n, c, t // 4, 4).permute(0, 3, 1, 2).reshape(n, 4 * c, t // 4)
        return self.head(self.conv(deep).relu().mean(-1))

    return Odd(forward, conv=nn.Conv1d(32, 8, 1))


def decoder():
    """A U-Net's way down and up with skips; classes by the mean of a map of segments."""

    def forward(self, y):
        d1 = F.relu(self.d1(y))
        d2 = F.relu(self.d2(F.max_pool1d(d1, 2)))
        d3 = F.relu(self.d3(F.max_pool1d(d2, 2)))
        up = torch.cat([F.interpolate(d3, size=d2.shape[-1], mode="nearest"), d2], 1)
        up = torch.cat([self.up(F.relu(self.u2(up)))[..., : d1.shape[-1]], d1], 1)
        return self.out(up).mean(-1)

    return Odd(forward, d1=nn.Conv1d(8, 8, 3, padding=1), d2=nn.Conv1d(8, 8, 3, padding=1),
               d3=nn.Conv1d(8, 8, 3, padding=1), u2=nn.Conv1d(16, 8, 3, padding=1),
               up=nn.ConvTranspose1d(8, 8, 3, 2, padding=1, output_padding=1),
               out=nn.Conv1d(16, CLASSES, 1))  # fmt: skip


def blurred_pool():
    """Anti-aliased down-sampling: reflection, fixed kernel."""

    def forward(self, y):
        kernel = self.kernel.repeat(y.shape[1], 1, 1)
        y = F.conv1d(F.pad(y, (1, 1), mode="reflect"), kernel, stride=2, groups=y.shape[1])
        return self.head(F.relu(y).mean(-1))

    return Odd(forward, kernel=torch.tensor([[[0.25, 0.5, 0.25]]]))


BLOCKS = {
    "spectrogram": spectrogram,
    "fourier_by_convolution": fourier_by_convolution,
    "leads_as_height": LeadsAsHeight,
    "last_image": lambda: LastImage(False),
    "last_image_squeezed": lambda: LastImage(True),
    "leads_as_channels": leads_as_channels,
    "differences": differences,
    "sinc_filters": sinc_filters,
    "hard_activations": hard_activations,
    "rectifiers": rectifiers,
    "gated_linear": gated_linear,
    "instance_normed": instance_normed,
    "tracked_instance_norm": tracked_instance_norm,
    "max_of_all": max_of_all,
    "pooled_statistics": pooled_statistics,
    "generalised_mean": generalised_mean,
    "log_sum_exp_pool": log_sum_exp_pool,
    "channel_and_time_attention": channel_and_time_attention,
    "efficient_channel_attention": efficient_channel_attention,
    "dense_blocks": dense_blocks,
    "convnext": convnext,
    "res2net": res2net,
    "selective_kernel": selective_kernel,
    "channel_shuffle": channel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "decoder": decoder,
    "blurred_pool": blurred_pool,
}
