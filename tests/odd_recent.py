"""Odd networks, fourth part: blocks of papers of the last years, as their authors write them."""

import io
import math

import torch
import torch.nn.functional as F
from torch import nn

from odd_networks import CLASSES, Odd
from odd_written import Signals


def class_queries():
    """queries per class, a decoder"""
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    dec = nn.TransformerDecoder(layer, 1)

    def forward(self, y):
        q = self.queries.weight.unsqueeze(0).repeat(len(y), 1, 1)
        out = self.dec(q, y.transpose(1, 2))
        return self.score(out).squeeze(-1)

    return Odd(forward, dec=dec, queries=nn.Embedding(3, 8), score=nn.Linear(8, 1))


def queries_per_class():

    def forward(self, y):
        out = self.tr(y.permute(2, 0, 1), self.q.unsqueeze(1).repeat(1, len(y), 1))
        out = out.transpose(0, 1)
        return (self.w * out).sum(-1) + self.b

    return Odd(
        forward,
        tr=nn.Transformer(8, 2, 1, 1, 16),
        q=nn.Parameter(torch.randn(3, 8)),
        w=nn.Parameter(torch.randn(1, 3, 8)),
        b=nn.Parameter(torch.zeros(3)),
    )


def rotary_of_complex():
    """llama's rotary: view_as_complex"""

    def forward(self, y):
        t = y.transpose(1, 2)
        q, k, v = (self.q(t), self.k(t), self.v(t))
        n = t.shape[1]
        freqs = 1.0 / 10000 ** (torch.arange(0, 8, 2, device=t.device).float() / 8)
        cis = torch.polar(torch.ones(n, 4), torch.outer(torch.arange(n).float(), freqs))

        def rot(a):
            return (
                torch.view_as_real(
                    torch.view_as_complex(a.float().reshape(*a.shape[:-1], 4, 2)) * cis
                )
                .flatten(2)
                .type_as(a)
            )

        a = F.scaled_dot_product_attention(rot(q), rot(k), v)
        return self.head((t + a).mean(1))

    return Odd(forward, q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8))


def bucketed_positions():

    def forward(self, y):
        t = y.transpose(1, 2)
        n = t.shape[1]
        rel = torch.arange(n)[None] - torch.arange(n)[:, None]
        bias = self.table(rel.clamp(-8, 8) + 8).permute(2, 0, 1).unsqueeze(0)
        q, k, v = [z.reshape(len(y), n, 2, 4).transpose(1, 2) for z in self.qkv(t).chunk(3, -1)]
        w = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / 2 + bias, dim=-1)
        return self.head(torch.matmul(w, v).transpose(1, 2).flatten(2).mean(1))

    return Odd(forward, qkv=nn.Linear(8, 24), table=nn.Embedding(17, 2))


def shifted_positions():
    """relative shift by padding and viewing"""

    def forward(self, y):
        t = y.transpose(1, 2)
        b, n, d = t.shape
        q, k, v = self.qkv(t).chunk(3, -1)
        pos = self.pos[: 2 * n - 1]
        content = q @ k.transpose(1, 2)
        rel = q @ pos.t()
        rel = F.pad(rel, (1, 0)).view(b, 2 * n, n)[:, 1:].view(b, n, 2 * n - 1)[:, :, :n]
        w = F.softmax((content + rel) / math.sqrt(d), -1)
        return self.head((w @ v).mean(1))

    return Odd(forward, qkv=nn.Linear(8, 24), pos=nn.Parameter(torch.randn(200, 8) * 0.1))


def nystrom():

    def pinv(a):
        z = (
            a.transpose(-1, -2)
            / (a.abs().sum(-1).max(-1).values * a.abs().sum(-2).max(-1).values)[..., None, None]
        )
        eye = torch.eye(a.shape[-1])
        for _ in range(4):
            az = a @ z
            z = 0.25 * z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az)))
        return z

    def forward(self, y):
        t = y.transpose(1, 2)
        b = len(y)
        q, k, v = self.qkv(t).chunk(3, -1)
        ql = q.reshape(b, 6, 10, 8).mean(2)
        kl = k.reshape(b, 6, 10, 8).mean(2)
        k1 = (q @ kl.transpose(1, 2)).softmax(-1)
        k2 = (ql @ kl.transpose(1, 2)).softmax(-1)
        k3 = (ql @ k.transpose(1, 2)).softmax(-1)
        return self.head((k1 @ (pinv(k2) @ (k3 @ v))).mean(1))

    return Odd(forward, qkv=nn.Linear(8, 24))


def window_attention():

    def forward(self, y):
        t = self.qkv(y.transpose(1, 2)).transpose(1, 2)
        q, k, v = t.chunk(3, 1)
        k = F.pad(k, (3, 3)).unfold(2, 7, 1)
        v = F.pad(v, (3, 3)).unfold(2, 7, 1)
        w = (q.unsqueeze(-1) * k).sum(1, keepdim=True).softmax(-1)
        return self.head((w * v).sum(-1).mean(-1))

    return Odd(forward, qkv=nn.Linear(8, 24))


def patches_per_lead():

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(16, 8)
            self.pos = nn.Parameter(torch.randn(1, 1, 14, 8) * 0.1)
            self.enc = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    8, 2, 16, batch_first=True, norm_first=True, activation="gelu"
                ),
                1,
                enable_nested_tensor=False,
            )
            self.bn = nn.BatchNorm1d(8)
            self.head = nn.Linear(12 * 8 * 14, 3)

        def forward(self, x):
            mean = x.mean(-1, keepdim=True).detach()
            std = torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-05).detach()
            x = (x - mean) / std
            p = x.unfold(-1, 16, 8)
            b, c, n, _l = p.shape
            t = (self.embed(p) + self.pos).reshape(b * c, n, 8)
            t = self.bn(self.enc(t).transpose(1, 2)).reshape(b, c, 8, n)
            return self.head(t.flatten(1))

    return Net()


def retnet():

    def forward(self, y):
        t = y.transpose(1, 2)
        n = t.shape[1]
        q, k, v = self.qkv(t).chunk(3, -1)
        i = torch.arange(n)[:, None]
        j = torch.arange(n)[None]
        decay = torch.where(i >= j, 0.9 ** (i - j).float(), torch.zeros(()))
        out = q @ k.transpose(1, 2) * decay @ v
        out = self.gn(out.reshape(-1, 8)).view_as(out)
        return self.head((F.silu(self.g(t)) * out)[:, -1])

    return Odd(forward, qkv=nn.Linear(8, 24), gn=nn.GroupNorm(2, 8), g=nn.Linear(8, 8))


def rwkv():

    def forward(self, y):
        t = y.transpose(1, 2)
        shifted = F.pad(t, (0, 0, 1, -1))
        mixed = t * self.mix + shifted * (1 - self.mix)
        k, v, r = self.kvr(mixed).chunk(3, -1)
        num = den = torch.zeros_like(k[:, 0])
        w = torch.exp(-torch.exp(self.w))
        outs = []
        for i in range(0, k.shape[1], 10):
            e = torch.exp(k[:, i].clamp(max=20))
            outs.append((num + torch.exp(self.u) * e * v[:, i]) / (den + torch.exp(self.u) * e))
            num = w * num + e * v[:, i]
            den = w * den + e
        return self.head((torch.sigmoid(r[:, ::10]) * torch.stack(outs, 1)).mean(1))

    return Odd(
        forward,
        kvr=nn.Linear(8, 24),
        mix=nn.Parameter(torch.rand(8)),
        w=nn.Parameter(torch.randn(8)),
        u=nn.Parameter(torch.randn(8)),
    )


def selective_scan_gated():

    def forward(self, y):
        t = y.transpose(1, 2)[:, ::6]
        x, z = self.inp(t).chunk(2, -1)
        x = F.silu(self.conv(F.pad(x.transpose(1, 2), (3, 0)))).transpose(1, 2)
        dt = F.softplus(self.dt(x))
        B, C = self.bc(x).chunk(2, -1)
        A = -torch.exp(self.alog)
        h = x.new_zeros(len(x), 8, 4)
        ys = []
        for i in range(x.shape[1]):
            h = (
                torch.exp(dt[:, i, :, None] * A) * h
                + dt[:, i, :, None] * B[:, i, None] * x[:, i, :, None]
            )
            ys.append((h * C[:, i, None]).sum(-1))
        out = (torch.stack(ys, 1) + x * self.D) * F.silu(z)
        return self.head(self.out(out).mean(1))

    return Odd(
        forward,
        inp=nn.Linear(8, 16),
        conv=nn.Conv1d(8, 8, 4, groups=8),
        dt=nn.Linear(8, 8),
        bc=nn.Linear(8, 8),
        alog=nn.Parameter(torch.randn(8, 4)),
        D=nn.Parameter(torch.ones(8)),
        out=nn.Linear(8, 8),
    )


def state_space_kernel():

    def forward(self, y):
        L = y.shape[-1]
        k = (self.c * torch.exp(-torch.exp(self.a)[..., None] * torch.arange(L))).sum(1)
        out = F.conv1d(F.pad(y, (L - 1, 0)), k.flip(-1)[:, None], groups=8)
        return self.head(F.gelu(out + y).mean(-1))

    return Odd(forward, c=nn.Parameter(torch.randn(8, 4, 1) / 8), a=nn.Parameter(torch.randn(8, 4)))


def convnextv2():
    """GRN: global response normalisation"""

    class GRN(nn.Module):
        def __init__(self):
            super().__init__()
            self.g = nn.Parameter(torch.randn(1, 1, 32))
            self.b = nn.Parameter(torch.randn(1, 1, 32))

        def forward(self, x):
            gx = torch.norm(x, p=2, dim=1, keepdim=True)
            nx = gx / (gx.mean(dim=-1, keepdim=True) + 1e-06)
            return self.g * (x * nx) + self.b + x

    def forward(self, y):
        h = self.dw(y).permute(0, 2, 1)
        h = self.p2(self.grn(F.gelu(self.p1(self.n(h)))))
        return self.head((y + self.gamma[:, None] * h.permute(0, 2, 1)).mean(-1))

    return Odd(
        forward,
        dw=nn.Conv1d(8, 8, 7, padding=3, groups=8),
        n=nn.LayerNorm(8),
        p1=nn.Linear(8, 32),
        p2=nn.Linear(32, 8),
        grn=GRN(),
        gamma=nn.Parameter(torch.randn(8)),
    )


def shallow_fbcsp():

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.t = nn.Conv2d(1, 6, (25, 1))
            self.s = nn.Conv2d(6, 6, (1, 12), bias=False)
            self.bn = nn.BatchNorm2d(6)
            self.c = nn.Conv2d(6, 3, (5, 1))

        def forward(self, x):
            x = x[:, :, :, None].permute(0, 3, 2, 1)
            x = self.bn(self.s(self.t(x)))
            x = F.avg_pool2d(x * x, (30, 1), (15, 1))
            x = torch.log(torch.clamp(x, min=1e-06))
            return F.log_softmax(self.c(x), 1).squeeze(3).squeeze(2)

    return Net()


def coordinate_attention():

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(1, 8, 3, padding=1)
            self.c1 = nn.Conv2d(8, 4, 1)
            self.ch = nn.Conv2d(4, 8, 1)
            self.cw = nn.Conv2d(4, 8, 1)
            self.head = nn.Linear(8, 3)
            self.ph = nn.AdaptiveAvgPool2d((None, 1))
            self.pw = nn.AdaptiveAvgPool2d((1, None))

        def forward(self, x):
            y = self.c(x.unsqueeze(1))
            _n, _c, h, w = y.size()
            z = F.hardswish(self.c1(torch.cat([self.ph(y), self.pw(y).permute(0, 1, 3, 2)], 2)))
            a, b = torch.split(z, [h, w], 2)
            y = y * self.ch(a).sigmoid() * self.cw(b.permute(0, 1, 3, 2)).sigmoid()
            return self.head(y.mean((2, 3)))

    return Net()


def resampled():

    def forward(self, y):
        a = F.interpolate(y, scale_factor=2, mode="nearest")
        b = F.interpolate(y, 120, mode="linear", align_corners=True)
        c = F.interpolate(y, 120, mode="nearest-exact")
        d = F.interpolate(F.interpolate(y, 17, mode="area"), 120, mode="linear")
        return self.head((a + b.relu() + c + d).mean(-1))

    return Odd(forward)


def power_pool():
    return Odd(
        lambda self, y: self.head(self.lp(y + 0.1).mean(-1)),
        lp=nn.LPPool1d(3, 5, stride=2, ceil_mode=True),
    )


def pools_rounded_up():
    return Odd(
        lambda self, y: self.head(self.b(self.p(y)).mean(-1)),
        p=nn.AvgPool1d(7, 4, padding=3, ceil_mode=True, count_include_pad=False),
        b=nn.AvgPool1d(4, 3, padding=2, ceil_mode=True, count_include_pad=True),
    )


def local_response_norm():
    return Odd(lambda self, y: self.head(self.l(y).mean(-1)), l=nn.LocalResponseNorm(3, alpha=0.5))


def folded():

    def forward(self, y):
        p = F.unfold(y.unsqueeze(2), (1, 10), stride=(1, 5))
        p = F.relu(self.w(p.transpose(1, 2))).transpose(1, 2)
        z = F.fold(p, (1, 60), (1, 10), stride=(1, 5))
        return self.head(z.squeeze(2).mean(-1))

    return Odd(forward, w=nn.Linear(80, 80))


def dyrelu():

    def forward(self, y):
        theta = 2 * torch.sigmoid(self.fc(y.mean(-1))) - 1
        c = theta.view(-1, 8, 4) * torch.tensor([1.0, 1, 0.5, 0.5]) + torch.tensor([1.0, 0, 0, 0])
        out = torch.max(y.unsqueeze(-1) * c[:, :, None, :2] + c[:, :, None, 2:], -1)[0]
        return self.head(out.mean(-1))

    return Odd(forward, fc=nn.Linear(8, 32))


def splines():

    class KANLinear(nn.Module):
        def __init__(self, i, o, g=5, k=3):
            super().__init__()
            self.k = k
            h = 2 / g
            self.register_buffer(
                "grid", (torch.arange(-k, g + k + 1) * h - 1).expand(i, -1).contiguous()
            )
            self.base = nn.Parameter(torch.randn(o, i) / i)
            self.spline = nn.Parameter(torch.randn(o, i, g + k) / i)

        def forward(self, x):
            g = self.grid
            z = x.unsqueeze(-1)
            b = ((z >= g[:, :-1]) & (z < g[:, 1:])).to(x.dtype)
            for k in range(1, self.k + 1):
                b = (z - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)]) * b[:, :, :-1] + (
                    g[:, k + 1 :] - z
                ) / (g[:, k + 1 :] - g[:, 1:-k]) * b[:, :, 1:]
            return F.linear(F.silu(x), self.base) + F.linear(
                b.view(x.size(0), -1), self.spline.view(self.spline.size(0), -1)
            )

    return Odd(
        lambda self, y: self.kan2(self.kan1(y.mean(-1))), kan1=KANLinear(8, 6), kan2=KANLinear(6, 3)
    )


def capsule():

    def squash(s):
        n = (s**2).sum(-1, keepdim=True)
        return n / (1 + n) * s / torch.sqrt(n + 1e-08)

    def forward(self, y):
        u = squash(F.adaptive_avg_pool1d(y, 10).transpose(1, 2))
        uh = torch.einsum("bid,icde->bice", u, self.W)
        b = torch.zeros(len(y), 10, 3)
        for _ in range(3):
            c = b.softmax(2)
            v = squash((c[..., None] * uh).sum(1))
            b = b + (uh * v[:, None]).sum(-1)
        return v.norm(dim=-1)

    return Odd(forward, W=nn.Parameter(torch.randn(10, 3, 8, 4)))


def graph_of_leads():

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv1d(1, 6, 9, 2)
            self.w = nn.Linear(6, 8, bias=False)
            self.a1 = nn.Linear(8, 1)
            self.a2 = nn.Linear(8, 1)
            self.head = nn.Linear(8, 3)
            self.register_buffer("adj", torch.eye(12) + torch.eye(12).roll(1, 0))

        def forward(self, x):
            b, l, t = x.shape
            h = self.w(torch.relu(self.c(x.view(-1, 1, t))).amax(-1)).view(b, l, 8)
            e = F.leaky_relu(self.a1(h) + self.a2(h).transpose(1, 2), 0.2)
            e = torch.where(self.adj > 0, e, -9000000000000000.0 * torch.ones_like(e))
            return self.head(F.elu(torch.matmul(F.softmax(e, -1), h)).mean(1))

    return Net()


def pcen():

    def change(x):
        e = x.abs()
        m = e[..., 0]
        ms = []
        for i in range(0, e.shape[-1], 4):
            m = 0.9 * m + 0.1 * e[..., i]
            ms.append(m)
        m = torch.stack(ms, -1)
        return (e[..., ::4] / (1e-06 + m) ** 0.98 + 2) ** 0.5 - 2**0.5

    return Signals(change)


def experts_by_top():

    def forward(self, y):
        t = y.mean(-1)
        g = self.gate(t)
        v, i = g.topk(2, dim=-1)
        w = torch.zeros_like(g).scatter(-1, i, v.softmax(-1))
        e = torch.stack([f(t) for f in self.experts], 1)
        return (w[..., None] * e).sum(1)

    return Odd(
        forward, gate=nn.Linear(8, 4), experts=nn.ModuleList([nn.Linear(8, 3) for _ in range(4)])
    )


def experts_of_tokens():
    """mixtral: experts see the tokens routed to them"""

    def forward(self, y):
        t = y.transpose(1, 2).reshape(-1, 8)
        g = self.gate(t).softmax(-1)
        w, i = g.topk(1, -1)
        out = torch.zeros_like(t)
        for k, f in enumerate(self.experts):
            rows = torch.where(i[:, 0] == k)[0]
            out.index_add_(0, rows, f(t[rows]) * w[rows])
        return self.head(out.view(len(y), -1, 8).mean(1))

    return Odd(
        forward, gate=nn.Linear(8, 4), experts=nn.ModuleList([nn.Linear(8, 8) for _ in range(4)])
    )


def involution():

    def forward(self, y):
        k = self.span(y).view(len(y), 1, 7, -1).permute(0, 1, 3, 2)
        u = F.pad(y, (3, 3)).unfold(2, 7, 1)
        return self.head((k * u).sum(-1).mean(-1))

    return Odd(forward, span=nn.Conv1d(8, 7, 1))


def deformed():
    """linear interpolation at learned places"""

    def forward(self, y):
        b, c, n = y.shape
        off = self.off(y)[:, 0].tanh() * 3 + torch.arange(n)
        off = off.clamp(0, n - 1.001)
        lo = off.floor().long()
        f = (off - lo).unsqueeze(1)
        a = y.gather(2, lo.unsqueeze(1).expand(b, c, n))
        d = y.gather(2, (lo + 1).unsqueeze(1).expand(b, c, n))
        return self.head(F.relu((1 - f) * a + f * d).mean(-1))

    return Odd(forward, off=nn.Conv1d(8, 1, 3, padding=1))


def netvlad():

    def forward(self, y):
        a = self.a(y).softmax(1)
        v = torch.einsum("bkn,bdn->bkd", a, y) - a.sum(-1)[..., None] * self.c
        v = F.normalize(v, p=2, dim=2).flatten(1)
        return self.out(F.normalize(v, p=2, dim=1))

    return Odd(
        forward, a=nn.Conv1d(8, 4, 1), c=nn.Parameter(torch.randn(4, 8)), out=nn.Linear(32, 3)
    )


def delays():

    def forward(self, y):
        f = torch.fft.rfft(y, dim=-1)
        a = torch.fft.irfft(f * torch.conj(f), n=60, dim=-1)
        w, i = a.mean(1).topk(3, -1)
        w = w.softmax(-1)
        idx = (torch.arange(60)[None, :, None] + i[:, None]) % 60
        v = torch.gather(
            y.unsqueeze(-1).expand(-1, -1, -1, 3), 2, idx.unsqueeze(1).expand(-1, 8, -1, -1)
        )
        return self.head((v * w[:, None, None]).sum(-1).mean(-1))

    return Odd(forward)


def talking_heads():

    def forward(self, y):
        b = len(y)
        q, k, v = (
            self.qkv(y.transpose(1, 2)).reshape(b, 60, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        )
        a = torch.einsum("bhid,bhjd->bhij", q, k) * 0.5
        a = torch.einsum("bhij,hg->bgij", a, self.pre).softmax(-1)
        a = torch.einsum("bhij,hg->bgij", a, self.post)
        return self.head(torch.einsum("bhij,bhjd->bihd", a, v).reshape(b, 60, 8).mean(1))

    return Odd(
        forward,
        qkv=nn.Linear(8, 24),
        pre=nn.Parameter(torch.randn(2, 2)),
        post=nn.Parameter(torch.randn(2, 2)),
    )


def grouped_queries():

    def forward(self, y):
        t = y.transpose(1, 2)
        b = len(t)
        q = self.q(t).view(b, 60, 4, 2).transpose(1, 2)
        k = self.k(t).view(b, 60, 2, 2).transpose(1, 2)
        v = self.v(t).view(b, 60, 2, 2).transpose(1, 2)
        k = k.repeat_interleave(2, 1)
        v = v.repeat_interleave(2, dim=1)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(o.transpose(1, 2).reshape(b, 60, 8)[:, -1])

    return Odd(forward, q=nn.Linear(8, 8), k=nn.Linear(8, 4), v=nn.Linear(8, 4))


def over_median():

    def change(x):
        m = x.median(-1, keepdim=True).values
        mad = (x - m).abs().median(-1, keepdim=True).values
        return (x - m) / (mad + 1e-06)

    return Signals(change)


def volumes():

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv3d(1, 4, (1, 3, 5))
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(
                F.max_pool3d(F.relu(self.c(x.view(len(x), 1, 2, 6, -1))), (2, 2, 2)).mean((2, 3, 4))
            )

    return Net()


def sparsemax():

    def forward(self, y):
        z = self.a(y).squeeze(1)
        s, _ = z.sort(-1, descending=True)
        k = torch.arange(1, 61, dtype=z.dtype)
        c = s.cumsum(-1)
        support = 1 + k * s > c
        n = support.sum(-1, keepdim=True)
        tau = (c.gather(1, n - 1) - 1) / n.to(z.dtype)
        return self.head((torch.clamp(z - tau, min=0).unsqueeze(1) * y).sum(-1))

    return Odd(forward, a=nn.Conv1d(8, 1, 1))


def second_order_pool():
    """second-order pooling"""

    def forward(self, y):
        z = y - y.mean(-1, keepdim=True)
        c = z @ z.transpose(1, 2) / 59
        return self.out(c[:, self.i, self.j])

    i, j = torch.triu_indices(8, 8)
    return Odd(forward, out=nn.Linear(36, 3), i=i, j=j)


def added_at_places():
    """Windows are added where they lie, by index_put with accumulation."""

    def forward(self, y):
        z, at = y.new_zeros(64, len(y), 8), torch.arange(60)
        z.index_put_((at,), F.relu(y).permute(2, 0, 1), accumulate=True)
        z.index_put_((at + 4,), self.conv(y).permute(2, 0, 1), accumulate=True)
        return self.head(z.mean(0))

    return Odd(forward, conv=nn.Conv1d(8, 8, 1))


def ordered():
    """Middle, kth, most frequent and largest so far."""

    def forward(self, y):
        kept = y.median(-1).values + y.kthvalue(50, dim=-1)[0] + y.mode(-1).values
        return self.head(kept + y.cummax(-1)[0].mean(-1))

    return Odd(forward)


def of_parts():
    """Operations that PyTorch makes of others."""

    def forward(self, y):
        y = torch.vstack([y.clip(-1, 2).absolute().moveaxis(1, 2)]).negative()
        return self.head(y.mean(1))

    return Odd(forward)


def filled_by_hand():
    """Memory that is written before it is read, also at places of a list."""

    def forward(self, y):
        z = torch.empty_like(y)
        z[:, :4] = y[:, 4:]
        z[:, torch.tensor([4, 5, 6, 7])] = y[:, torch.tensor([3, 2, 1, 0])]
        return self.head(z.mean(-1))

    return Odd(forward)


def loaded_script():
    """A TorchScript file: its weights are no nn.Parameter."""
    file = io.BytesIO()
    torch.jit.save(
        torch.jit.script(
            nn.Sequential(nn.Conv1d(12, 8, 7), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 114, CLASSES))
        ),
        file,
    )
    file.seek(0)
    return torch.jit.load(file)


RECENT = {
    "added_at_places": added_at_places,
    "ordered": ordered,
    "of_parts": of_parts,
    "filled_by_hand": filled_by_hand,
    "loaded_script": loaded_script,
    "class_queries": class_queries,
    "queries_per_class": queries_per_class,
    "rotary_of_complex": rotary_of_complex,
    "bucketed_positions": bucketed_positions,
    "shifted_positions": shifted_positions,
    "nystrom": nystrom,
    "window_attention": window_attention,
    "patches_per_lead": patches_per_lead,
    "retnet": retnet,
    "rwkv": rwkv,
    "selective_scan_gated": selective_scan_gated,
    "state_space_kernel": state_space_kernel,
    "convnextv2": convnextv2,
    "shallow_fbcsp": shallow_fbcsp,
    "coordinate_attention": coordinate_attention,
    "resampled": resampled,
    "power_pool": power_pool,
    "pools_rounded_up": pools_rounded_up,
    "local_response_norm": local_response_norm,
    "folded": folded,
    "dyrelu": dyrelu,
    "splines": splines,
    "capsule": capsule,
    "graph_of_leads": graph_of_leads,
    "pcen": pcen,
    "experts_by_top": experts_by_top,
    "experts_of_tokens": experts_of_tokens,
    "involution": involution,
    "deformed": deformed,
    "netvlad": netvlad,
    "delays": delays,
    "talking_heads": talking_heads,
    "grouped_queries": grouped_queries,
    "over_median": over_median,
    "volumes": volumes,
    "sparsemax": sparsemax,
    "second_order_pool": second_order_pool,
}
