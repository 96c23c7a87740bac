"""Networks as others write them: functions, gates, attention, normalisation inside.

FOREIGN maps a name to a function (classes, leads) -> network for signals (N, leads, T); those with
`functional` have a twin of the same weights whose every operation is a module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sum(nn.Module):
    """a + b as a module."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class MeanOverTime(nn.Module):
    """The mean over the last axis as a module."""

    def __init__(self):
        super().__init__()
        self.pool, self.flat = nn.AdaptiveAvgPool1d(1), nn.Flatten()

    def forward(self, x):
        return self.flat(self.pool(x))


class Block(nn.Module):
    """torchvision's way: BatchNorm as attributes, one in-place ReLU for all, `+=`."""

    def __init__(self, n_in, n_out, stride, functional):
        super().__init__()
        self.conv1 = nn.Conv1d(n_in, n_out, 7, stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(n_out)
        self.conv2 = nn.Conv1d(n_out, n_out, 7, padding=3, bias=False)
        self.bn2 = nn.BatchNorm1d(n_out)
        self.shortcut = nn.Conv1d(n_in, n_out, 1, stride)
        self.relu, self.add, self.functional = nn.ReLU(inplace=functional), Sum(), functional

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if not self.functional:
            return self.relu(self.add(out, self.shortcut(x)))
        out += self.shortcut(x)
        return self.relu(out)


class FunctionalResNet(nn.Module):
    """Residual blocks, sums and pooling as functions."""

    def __init__(self, classes=3, leads=12, functional=True):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(leads, 8, 15, stride=2, padding=7), nn.BatchNorm1d(8)
        self.layer1 = Block(8, 8, 1, functional)
        self.layer2 = Block(8, 12, 2, functional)
        self.relu, self.pool, self.mean = nn.ReLU(), nn.MaxPool1d(3, 2, 1), MeanOverTime()
        self.fc, self.functional = nn.Linear(12, classes), functional

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        if not self.functional:
            x = self.pool(self.relu(x))
            return self.fc(self.mean(self.layer2(self.layer1(x))))
        x = F.max_pool1d(F.relu_(x), 3, 2, 1)
        return self.fc(self.layer2(self.layer1(x)).mean(dim=-1))


class Inception(nn.Module):
    """Branches of several kernels, concatenated; 'same' padding, one kernel even; pre-activation
    BatchNorm.
    """

    def __init__(self, classes=3, leads=12, functional=True):
        super().__init__()
        self.bottleneck = nn.Conv1d(leads, 8, 1, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv1d(8, 4, kernel, padding="same", bias=False) for kernel in (39, 19, 8)
        )
        self.pooled = nn.Conv1d(leads, 4, 1, bias=False)
        self.pool = nn.MaxPool1d(3, 1, 1)
        self.norm, self.relu, self.mean = nn.BatchNorm1d(16), nn.ReLU(), MeanOverTime()
        self.dilated = nn.Conv1d(16, 16, 3, dilation=4, padding=4, groups=2)
        self.fc, self.functional = nn.Linear(16, classes), functional

    def forward(self, x):
        narrow = self.bottleneck(x)
        parts = [branch(narrow) for branch in self.branches]
        x = torch.cat([*parts, self.pooled(self.pool(x))], dim=1)
        if not self.functional:
            return self.fc(self.mean(self.relu(self.dilated(self.relu(self.norm(x))))))
        x = F.relu(self.norm(x), inplace=True)
        return self.fc(F.adaptive_avg_pool1d(F.relu(self.dilated(x)), 1).squeeze(-1))


class SqueezeExcite(nn.Module):
    """Depthwise convolutions, GroupNorm, SiLU and a gate per channel; a weight-normed end."""

    def __init__(self, classes=3, leads=12):
        super().__init__()
        self.stem = nn.Conv1d(leads, 16, 7, stride=2, padding=3)
        self.norm1 = nn.GroupNorm(4, 16)
        self.depthwise = nn.Conv1d(16, 16, 5, padding=2, groups=16)
        self.norm2 = nn.InstanceNorm1d(16, affine=True)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.pointwise = nn.Conv1d(16, 16, 1)
        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(16, classes))

    def forward(self, x):
        x = F.silu(self.norm1(self.stem(x)))
        y = F.hardswish(self.norm2(self.depthwise(x)))
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(y.mean(-1)))))
        y = self.pointwise(y * gate.unsqueeze(-1))
        return self.fc(F.adaptive_avg_pool1d(x + y, 1).flatten(1))


class ViT(nn.Module):
    """Patches, class token, positions, pre-norm blocks of attention and GELU."""

    def __init__(self, classes=3, leads=12, width=16, heads=2, patch=25, depth=2, explicit=False):
        super().__init__()
        self.embed = nn.Conv1d(leads, width, patch, stride=patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.3 * torch.randn(1, 400, width))
        self.blocks = nn.ModuleList(AttentionBlock(width, heads, explicit) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = self.embed(x).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.positions[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class AttentionBlock(nn.Module):
    """LayerNorm, attention, LayerNorm, dense layers with GELU; residual sums."""

    def __init__(self, width, heads, explicit):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.heads, self.explicit = heads, explicit

    def forward(self, x):
        n, steps, width = x.shape
        parts = self.qkv(self.norm1(x)).view(n, steps, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        if self.explicit:
            weights = ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5).softmax(dim=-1)
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(n, steps, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TimeHead(nn.Module):
    """A 1x1 convolution as classifier at every time step, then the mean over time."""

    def __init__(self, classes=3, leads=12, functional=True):
        super().__init__()
        self.conv, self.relu = nn.Conv1d(leads, 8, 7, padding=3), nn.ReLU()
        self.head, self.mean = nn.Conv1d(8, classes, 1), MeanOverTime()
        self.functional = functional

    def forward(self, x):
        y = self.head(self.relu(self.conv(x)))
        return y.mean(-1) if self.functional else self.mean(y)


class DensePerStep(nn.Module):
    """Dense layers at every time step, all steps as one batch in between."""

    def __init__(self, classes=3, leads=12):
        super().__init__()
        self.embed, self.mix, self.head = (
            nn.Linear(leads, 8),
            nn.Linear(8, 8),
            nn.Linear(8, classes),
        )

    def forward(self, x):
        n, _, steps = x.shape
        y = F.leaky_relu(self.embed(x.transpose(1, 2)))
        y = F.relu(self.mix(y.reshape(n * steps, -1))).view(n, steps, -1)
        return self.head(y.amax(dim=1) + y.mean(dim=1))


class Shared(nn.Module):
    """One convolution, one BatchNorm and one ReLU, each used twice."""

    def __init__(self, classes=3, leads=12, functional=True):
        super().__init__()
        self.stem, self.conv = nn.Conv1d(leads, 8, 5, stride=2), nn.Conv1d(8, 8, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm1d(8), nn.ReLU(inplace=functional)
        self.add, self.mean, self.fc = Sum(), MeanOverTime(), nn.Linear(8, classes)
        self.functional = functional

    def forward(self, x):
        x = self.relu(self.stem(x))
        for _ in range(2):
            y = self.relu(self.norm(self.conv(x)))
            x = y + x if self.functional else self.add(y, x)
        return self.fc(x.mean(-1) if self.functional else self.mean(x))


class SigmoidEnd(nn.Module):
    """Probabilities instead of logits."""

    def __init__(self, classes=3, leads=12):
        super().__init__()
        self.body = FunctionalResNet(classes, leads)

    def forward(self, x):
        return torch.sigmoid(self.body(x))


class Standardised(nn.Module):
    """z-score of each record and lead inside the network."""

    def __init__(self, classes=3, leads=12):
        super().__init__()
        self.body = FunctionalResNet(classes, leads)

    def forward(self, x):
        x = (x - x.mean(dim=-1, keepdim=True)) / (x.std(dim=-1, keepdim=True) + 1e-6)
        return self.body(x)


class LSTMHead(nn.Module):
    """Convolutions, then an LSTM whose last state is classified: LRP has no rule for it."""

    def __init__(self, classes=3, leads=12):
        super().__init__()
        self.conv = nn.Conv1d(leads, 8, 7, stride=4)
        self.lstm, self.fc = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, classes)

    def forward(self, x):
        y, _ = self.lstm(F.relu(self.conv(x)).transpose(1, 2))
        return self.fc(y[:, -1])


FOREIGN = {
    "functional_resnet": FunctionalResNet,
    "inception": Inception,
    "squeeze_excite": SqueezeExcite,
    "vit": ViT,
    "time_head": TimeHead,
    "dense_per_step": DensePerStep,
    "shared": Shared,
    "sigmoid_end": SigmoidEnd,
    "standardised": Standardised,
    "lstm": LSTMHead,
}
TWINS = ("functional_resnet", "inception", "time_head", "shared")  # take functional=False
# piecewise linear with products of one value only: epsilon-LRP is input x gradient
PIECEWISE_LINEAR = ("functional_resnet", "inception", "time_head", "dense_per_step", "shared")
WITHOUT_LRP = {"lstm": "lstm"}


def foreign(name: str, seed: int = 0, **options: object) -> nn.Module:
    """A network of FOREIGN in evaluation mode with BatchNorm statistics as after training."""
    torch.manual_seed(seed)
    network = FOREIGN[name](**options)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.InstanceNorm1d, nn.GroupNorm, nn.LayerNorm)):
            for values, low in ((module.weight, 0.5), (module.bias, -0.3)):
                values.data.copy_(low + 0.8 * torch.rand(values.shape, generator=generator))
        if isinstance(module, nn.BatchNorm1d):
            n = module.num_features
            module.running_mean.copy_(0.3 * torch.randn(n, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(n, generator=generator))
    return network.eval()
