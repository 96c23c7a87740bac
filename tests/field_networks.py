"""Networks of the field, small: the architectures that ECG papers use, as their code writes them.

FIELD maps a name to a function that makes a network for signals (N, 12, SAMPLES) with CLASSES
classes; FIELD_OPTIONS are what wrap() is told of some. Described in: Ribeiro 2020 (residual blocks
of kernel 17), Hong 2020 (Net1D), Strodthoff 2021 (xresnet1d), Ismail Fawaz 2020 (InceptionTime),
Rahimian 2019 (XceptionTime), Natarajan 2020 (convolutions and transformer), Liu 2022 and Woo 2023
(ConvNeXt), Tan 2019 (EfficientNet), Howard 2019 (MobileNetV3), Bai 2018 (TCN), Gu 2022 (S4D), Gu
2023 (Mamba), Baevski 2020 (wav2vec 2.0), Liu 2021 (Swin).
"""

import torch
import torch.nn.functional as F
from torch import nn

from field_sequences import (
    CLASSES,
    S4D,
    SAMPLES,
    ConvAttention,
    ECGTransformer,
    LeadByLead,
    Mamba,
    Recurrent,
    Siamese,
    Swin,
    Wav2Vec,
    conv_norm,
)

# ---------------------------------------------------------------- residual networks


class RibeiroBlock(nn.Module):
    """Hands on two signals: what goes through the convolutions, and the skip connection."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv1d(n_in, n_out, 17, padding=8, bias=False)
        self.conv2 = nn.Conv1d(n_out, n_out, 17, stride, padding=8, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(n_out), nn.BatchNorm1d(n_out)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.2)
        self.skip = nn.Sequential(nn.MaxPool1d(stride, stride), nn.Conv1d(n_in, n_out, 1))

    def forward(self, both):
        x, y = both
        y = self.skip(y)
        x = self.drop(self.relu(self.bn1(self.conv1(x))))
        x = self.conv2(x)
        x += y
        y = x
        return self.drop(self.relu(self.bn2(x))), y


class Ribeiro(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv_norm(12, 8, 17)
        self.blocks = nn.ModuleList([RibeiroBlock(8, 12, 4), RibeiroBlock(12, 16, 4)])
        self.lin = nn.Linear(16 * SAMPLES // 16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        both = x, x
        for block in self.blocks:
            both = block(both)
        return self.lin(both[0].view(x.size(0), -1))


class SamePad(nn.Module):
    """A layer over a signal padded by hand, by as much as its stride leaves over."""

    def __init__(self, layer, kernel, stride):
        super().__init__()
        self.layer, self.kernel, self.stride = layer, kernel, stride

    def forward(self, x):
        length = x.shape[-1]
        out = (length + self.stride - 1) // self.stride
        missing = max(0, (out - 1) * self.stride + self.kernel - length)
        return self.layer(F.pad(x, (missing // 2, missing - missing // 2), "constant", 0))


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Net1DBlock(nn.Module):
    """Bottleneck of grouped convolutions with a gate; the identity is pooled and its channels are
    padded.
    """

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm1d(n) for n in (n_in, n_out, n_out))
        self.conv1 = SamePad(nn.Conv1d(n_in, n_out, 1), 1, 1)
        self.conv2 = SamePad(nn.Conv1d(n_out, n_out, 16, stride, groups=2), 16, stride)
        self.conv3 = SamePad(nn.Conv1d(n_out, n_out, 1), 1, 1)
        self.squeeze, self.excite = nn.Linear(n_out, n_out // 2), nn.Linear(n_out // 2, n_out)
        self.pool = SamePad(nn.MaxPool1d(stride), stride, 1)
        self.swish, self.stride, self.more = Swish(), stride, n_out - n_in

    def forward(self, x):
        y = self.conv1(self.swish(self.bn1(x)))
        y = self.conv2(self.swish(self.bn2(y)))
        y = self.conv3(self.swish(self.bn3(y)))
        gate = torch.sigmoid(self.excite(self.swish(self.squeeze(y.mean(-1)))))
        y = torch.einsum("abc,ab->abc", y, gate)
        if self.stride > 1:
            x = self.pool(x)
        if self.more:
            x = x.transpose(-1, -2)
            x = F.pad(x, (self.more // 2, self.more - self.more // 2), "constant", 0)
            x = x.transpose(-1, -2)
        y += x
        return y


class Net1D(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = SamePad(nn.Conv1d(12, 8, 16, 2), 16, 2)
        self.bn, self.swish = nn.BatchNorm1d(8), Swish()
        self.stages = nn.Sequential(Net1DBlock(8, 8, 1), Net1DBlock(8, 12, 2))
        self.dense = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.dense(self.stages(self.swish(self.bn(self.first(x)))).mean(-1))


class FastaiBlock(nn.Module):
    """Expansion 4; the identity is averaged (its last step may be short) and convolved."""

    def __init__(self, n_in, n_hidden, stride):
        super().__init__()
        n_out = 4 * n_hidden
        self.convs = nn.Sequential(
            conv_norm(n_in, n_hidden, 1), conv_norm(n_hidden, n_hidden, 5, stride),
            conv_norm(n_hidden, n_out, 1, act=False),
        )  # fmt: skip
        pool = [nn.AvgPool1d(2, ceil_mode=True)] if stride > 1 else []
        self.idpath = nn.Sequential(*pool, conv_norm(n_in, n_out, 1, act=False))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.convs(x) + self.idpath(x))


class ConcatPool(nn.Module):
    """Maximum and mean over time, side by side."""

    def __init__(self):
        super().__init__()
        self.ap, self.mp = nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(1)

    def forward(self, x):
        return torch.cat([self.mp(x), self.ap(x)], 1)


class XResNet1d(nn.Sequential):
    """fastai's: three convolutions, blocks, and a head of BatchNorm, dropout and dense layers."""

    def __init__(self):
        super().__init__(
            conv_norm(12, 8, 5, 2), conv_norm(8, 8, 5), conv_norm(8, 8, 5),
            nn.MaxPool1d(3, 2, 1), FastaiBlock(8, 4, 1), FastaiBlock(16, 4, 2),
            FastaiBlock(16, 4, 2), ConcatPool(), nn.Flatten(), nn.BatchNorm1d(32),
            nn.Dropout(0.25), nn.Linear(32, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8),
            nn.Dropout(0.5), nn.Linear(8, CLASSES),
        )  # fmt: skip


class InceptionBlock(nn.Module):
    def __init__(self, n_in):
        super().__init__()
        self.bottleneck = nn.Conv1d(n_in, 4, 1, padding="same", bias=False)
        self.convs = nn.ModuleList(
            nn.Conv1d(4, 4, kernel, padding="same", bias=False) for kernel in (40, 20, 10)
        )
        self.pool = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(n_in, 4, 1, bias=False))
        self.bn, self.act = nn.BatchNorm1d(16), nn.ReLU()

    def forward(self, x):
        narrow = self.bottleneck(x)
        parts = [conv(narrow) for conv in self.convs] + [self.pool(x)]
        return self.act(self.bn(torch.cat(parts, dim=1)))


class InceptionTime(nn.Module):
    """Blocks in threes, each three bridged by a convolution with BatchNorm."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(InceptionBlock(n) for n in (12, 16, 16)))
        self.bridge = nn.Sequential(nn.Conv1d(12, 16, 1, padding="same"), nn.BatchNorm1d(16))
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.fc(F.relu(self.blocks(x) + self.bridge(x)).mean(dim=-1))


class Separable(nn.Module):
    def __init__(self, n_in, n_out, kernel):
        super().__init__()
        self.depth = nn.Conv1d(n_in, n_in, kernel, padding=kernel // 2, groups=n_in, bias=False)
        self.point = nn.Conv1d(n_in, n_out, 1, bias=False)

    def forward(self, x):
        return self.point(self.depth(x))


class XceptionTime(nn.Module):
    """Separable branches, adaptive pooling to a fixed number of steps, 1x1 convolutions as head."""

    def __init__(self):
        super().__init__()
        self.bottleneck = nn.Conv1d(12, 4, 1, bias=False)
        self.branches = nn.ModuleList(Separable(4, 4, kernel) for kernel in (39, 19, 9))
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(12, 4, 1))
        self.skip = conv_norm(12, 16, 1, act=False)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(50), conv_norm(16, 8, 1), nn.Conv1d(8, CLASSES, 1),
            nn.AdaptiveAvgPool1d(1),
        )  # fmt: skip

    def forward(self, x):
        narrow = self.bottleneck(x)
        y = torch.cat([branch(narrow) for branch in self.branches] + [self.pooled(x)], 1)
        return self.head(F.relu(y + self.skip(x))).squeeze(-1)


# ---------------------------------------------------------------- gates and normalisations


class MBConv(nn.Module):
    """Inverted bottleneck with a gate; `act` and `gate` tell EfficientNet from MobileNetV3."""

    def __init__(self, n_in, n_out, stride, act, gate):
        super().__init__()
        wide = 4 * n_in
        self.expand = nn.Sequential(
            nn.Conv1d(n_in, wide, 1, bias=False), nn.BatchNorm1d(wide, eps=1e-3), act()
        )
        self.deep = nn.Sequential(
            nn.Conv1d(wide, wide, 5, stride, 2, groups=wide, bias=False),
            nn.BatchNorm1d(wide, eps=1e-3), act(),
        )  # fmt: skip
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Conv1d(wide, 4, 1), nn.ReLU(), nn.Conv1d(4, wide, 1),
            gate(),
        )  # fmt: skip
        self.project = conv_norm(wide, n_out, 1, act=False)
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x):
        y = self.deep(self.expand(x))
        y = self.project(y * self.gate(y))
        return x + y if self.residual else y


def inverted(act, gate):
    """A stem, two inverted bottlenecks, a head."""
    return nn.Sequential(
        nn.Conv1d(12, 8, 3, 2, 1, bias=False), nn.BatchNorm1d(8), act(),
        MBConv(8, 8, 1, act, gate), MBConv(8, 12, 2, act, gate), nn.Conv1d(12, 16, 1), act(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, CLASSES),
    )  # fmt: skip


class DropPath(nn.Module):
    """Leaves out whole branches in training."""

    def forward(self, x):
        if not self.training:
            return x
        return x * (torch.rand(x.shape[0], 1, 1) > 0.1).float()


class ConvNeXtBlock(nn.Module):
    """Channels last inside; global response normalisation (V2) and a scale per channel (V1)."""

    def __init__(self, width):
        super().__init__()
        self.deep = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.randn(1, 1, 4 * width))
        self.beta = nn.Parameter(torch.randn(1, 1, 4 * width))
        self.scale = nn.Parameter(0.5 * torch.ones(width))
        self.drop_path = DropPath()

    def forward(self, x):
        y = self.deep(x).permute(0, 2, 1)
        y = F.gelu(self.up(self.norm(y)))
        size = torch.norm(y, p=2, dim=1, keepdim=True)
        y = self.gamma * (y * (size / (size.mean(dim=-1, keepdim=True) + 1e-6))) + self.beta + y
        y = self.scale * self.down(y)
        return x + self.drop_path(y.permute(0, 2, 1))


class ChannelsFirstNorm(nn.Module):
    """LayerNorm over the channels of (N, C, T), written out."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.weight[:, None] * x + self.bias[:, None]


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(12, 8, 4, 4), ChannelsFirstNorm(8))
        self.down = nn.Sequential(ChannelsFirstNorm(8), nn.Conv1d(8, 12, 2, 2))
        self.first, self.second = ConvNeXtBlock(8), ConvNeXtBlock(12)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, CLASSES)

    def forward(self, x):
        y = self.second(self.down(self.first(self.stem(x))))
        return self.head(self.norm(y.mean(-1)))


class Chomp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x[:, :, : -self.size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_in, n_out, dilation):
        super().__init__()
        pad = 2 * dilation
        norm = nn.utils.weight_norm
        self.net = nn.Sequential(
            norm(nn.Conv1d(n_in, n_out, 3, padding=pad, dilation=dilation)), Chomp(pad), nn.ReLU(),
            nn.Dropout(0.2),
            norm(nn.Conv1d(n_out, n_out, 3, padding=pad, dilation=dilation)), Chomp(pad),
            nn.ReLU(), nn.Dropout(0.2),
        )  # fmt: skip
        self.downsample = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else None

    def forward(self, x):
        residual = x if self.downsample is None else self.downsample(x)
        return F.relu(self.net(x) + residual)


class TCN(nn.Module):
    """The last step of causal convolutions is classified."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(TemporalBlock(12, 8, 1), TemporalBlock(8, 8, 4))
        self.linear = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.linear(self.blocks(x)[:, :, -1])


# ---------------------------------------------------------------- other inputs and outputs


class LeadImage(nn.Module):
    """(N, 1, 12, T): kernels along time, then across the leads; two-dimensional pooling."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, (1, 15), (1, 2), (0, 7), bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.MaxPool2d((1, 2)), nn.Conv2d(4, 8, (3, 5), padding=(1, 2)), nn.BatchNorm2d(8),
            nn.ELU(), nn.AvgPool2d((2, 4)), nn.Dropout2d(0.2), nn.Conv2d(8, 8, (6, 1)),
        )  # fmt: skip
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


class TimeFirst(nn.Module):
    """(N, T, 12), the way Keras has it: 'same' padding by hand, LayerNorm over leads."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(12), nn.Conv1d(12, 8, 16, 4)
        self.bn, self.head = nn.BatchNorm1d(8, eps=1e-3, momentum=0.01), nn.Linear(8 * 64, CLASSES)

    def forward(self, x):
        y = F.pad(self.norm(x).permute(0, 2, 1), (6, 6))
        y = F.leaky_relu(self.bn(self.conv(y)), 0.3).permute(0, 2, 1)
        return torch.sigmoid(self.head(y.reshape(y.shape[0], -1)))


class SeveralTasks(nn.Module):
    """A dict of what it says on classes, on age, and its features."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_norm(12, 8, 15, 4), conv_norm(8, 8, 7, 4))
        self.age, self.classes = nn.Linear(8, 1), nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.body(x).mean(-1)
        return {"age": self.age(y), "features": y, "classes": self.classes(y)}


class SeveralHeads(nn.Module):
    """A head of one logit for each class, stacked."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv_norm(12, 8, 15, 4), conv_norm(8, 8, 7, 4))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 4), nn.PReLU(), nn.Linear(4, 1)) for _ in range(CLASSES)
        )

    def forward(self, x):
        y = F.adaptive_avg_pool1d(self.body(x), 1).flatten(1)
        return torch.stack([head(y) for head in self.heads], dim=1).squeeze(2)


FIELD = {
    "ribeiro": Ribeiro,
    "net1d": Net1D,
    "xresnet1d": XResNet1d,
    "inception_time": InceptionTime,
    "xception_time": XceptionTime,
    "efficientnet": lambda: inverted(nn.SiLU, nn.Sigmoid),
    "mobilenet_v3": lambda: inverted(nn.Hardswish, nn.Hardsigmoid),
    "convnext": ConvNeXt,
    "tcn": TCN,
    "transformer": lambda: ECGTransformer(batch_first=False),
    "transformer_batch_first": lambda: ECGTransformer(batch_first=True),
    "transformer_pre_norm": lambda: ECGTransformer(batch_first=True, norm_first=True),
    "conv_attention": ConvAttention,
    "wav2vec": Wav2Vec,
    "swin": Swin,
    "siamese": Siamese,
    "lead_by_lead": LeadByLead,
    "bi_lstm": lambda: Recurrent(nn.LSTM),
    "bi_gru": lambda: Recurrent(nn.GRU),
    "elman": lambda: Recurrent(nn.RNN),
    "s4d": S4D,
    "mamba": Mamba,
    "lead_image": LeadImage,
    "time_first": TimeFirst,
    "several_tasks": SeveralTasks,
    "several_heads": SeveralHeads,
}
FIELD_OPTIONS = {
    "lead_image": {"layout": "image"},
    "time_first": {"layout": "time_leads"},
    "several_tasks": {"output_index": 2},
}
FIELD_WITHOUT_RULE = {"bi_lstm": "lstm", "bi_gru": "gru", "elman": "rnn_tanh", "s4d": "fft_irfft"}
FIELD_PIECEWISE_LINEAR = (
    "ribeiro", "xresnet1d", "inception_time", "xception_time", "tcn", "lead_by_lead",
    "several_tasks", "several_heads",
)  # fmt: skip


def field(name: str, seed: int = 0) -> nn.Module:
    """A network of FIELD in evaluation mode, its norms as after training."""
    torch.manual_seed(seed)
    network = FIELD[name]()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
    return network.eval()
