"""Networks of others: attention, recurrence, scans, and whatever they put out, take in and hold.
ENDS: name -> function that makes one for signals (N, 12, SAMPLES) with CLASSES classes.
"""

import torch
import torch.nn.functional as F
from torch import nn

from odd_blocks import Signals, stem
from odd_networks import CLASSES, SAMPLES, Odd, mean_head

# ---------------------------------------------------------------- attention and recurrence


class Mixer(nn.Module):
    """MLP-Mixer: dense layers along tokens and along channels."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv1d(12, 8, 10, 10)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(3))
        self.tokens = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.channels = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        y = self.embed(x).transpose(1, 2)
        y = y + self.tokens(self.norms[0](y).transpose(1, 2)).transpose(1, 2)
        y = y + self.channels(self.norms[1](y))
        return self.head(self.norms[2](y).mean(1))


def cross_attention():
    """A learnt query asks the tokens (Perceiver); tokens of another width."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        query = self.query.expand(len(y), -1, -1)
        found, _ = self.mha(query, tokens, tokens, need_weights=False)
        return self.head(found[:, 0])

    return Odd(forward, query=nn.Parameter(torch.randn(1, 2, 8)),
               mha=nn.MultiheadAttention(8, 2, batch_first=True))  # fmt: skip


def linear_attention():
    """elu + 1 features instead of a softmax."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        q, k = F.elu(self.q(tokens)) + 1, F.elu(self.k(tokens)) + 1
        context = torch.einsum("btd,bte->bde", k, tokens)
        scale = 1 / (torch.einsum("btd,bd->bt", q, k.sum(1)) + 1e-6)
        return self.head(torch.einsum("btd,bde,bt->bte", q, context, scale).mean(1))

    return Odd(forward, q=nn.Linear(8, 8), k=nn.Linear(8, 8))


def relative_positions():
    """Attention with a learnt bias per distance, and a swish gate."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        t = tokens.shape[1]
        distance = torch.arange(t)[:, None] - torch.arange(t)[None] + t - 1
        q, k, v = self.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 2 + self.table[:, distance]
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.head((tokens + F.silu(self.gate(tokens)) * mixed).mean(1))

    return Odd(forward, qkv=nn.Linear(8, 24), gate=nn.Linear(8, 8),
               table=nn.Parameter(torch.randn(2, 119)))  # fmt: skip


def conformer():
    """nn.TransformerEncoderLayer with a convolution module between; mask of no consequence."""

    def forward(self, y):
        tokens = self.layer(y.transpose(1, 2))
        local = F.glu(self.point(tokens.transpose(1, 2)), 1)
        local = F.silu(self.norm(self.deep(local)))
        return self.head((tokens + 0.5 * local.transpose(1, 2)).mean(1))

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=F.silu)
    return Odd(forward, layer=layer, point=nn.Conv1d(8, 16, 1), norm=nn.BatchNorm1d(8),
               deep=nn.Conv1d(8, 8, 5, padding=2, groups=8))  # fmt: skip


def padding_mask():
    """A transformer that masks tokens by the length of its input."""

    def forward(self, y):
        tokens = y.transpose(1, 2)
        mask = torch.zeros(len(y), tokens.shape[1], dtype=torch.bool)
        mask[:, 50:] = True
        return self.head(self.encoder(tokens, src_key_padding_mask=mask)[:, :50].mean(1))

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return Odd(forward, encoder=nn.TransformerEncoder(layer, 1))


def additive_mask():
    """Causal attention whose mask of minus infinity is added to the scores."""

    def forward(self, y):
        tokens = y[..., ::6].transpose(1, 2)
        steps = tokens.shape[1]
        mask = torch.triu(torch.full((steps, steps), float("-inf")), diagonal=1)
        scores = tokens @ tokens.transpose(1, 2) / 8**0.5 + mask
        return self.head((scores.softmax(-1) @ tokens).mean(1))

    return Odd(forward)


def state_space_scan():
    """A selective scan written as a loop over time (Mamba's reference form)."""

    def forward(self, y):
        u = y[..., ::6]
        step = F.softplus(self.step(u.transpose(1, 2)))
        b, c = self.bc(u.transpose(1, 2)).chunk(2, -1)
        decay = torch.exp(-step.unsqueeze(-1) * self.rates.exp())
        state, found = torch.zeros_like(decay[:, 0]), []
        for t in range(u.shape[-1]):
            drive = step[:, t, :, None] * b[:, t, None] * u[:, :, t, None]
            state = decay[:, t] * state + drive
            found.append((state * c[:, t, None]).sum(-1))
        return self.head(torch.stack(found, -1).mean(-1))

    return Odd(forward, step=nn.Linear(8, 8), bc=nn.Linear(8, 8),
               rates=nn.Parameter(torch.rand(8, 4)))  # fmt: skip


def long_convolution():
    """S4: a kernel as long as the signal, applied by FFT."""

    def forward(self, y):
        t = y.shape[-1]
        kernel = torch.exp(-torch.arange(t) * self.rates.exp()[:, None])
        product = torch.fft.rfft(y, n=2 * t) * torch.fft.rfft(kernel, n=2 * t)
        return self.head(torch.fft.irfft(product, n=2 * t)[..., :t].mean(-1))

    return Odd(forward, rates=nn.Parameter(torch.rand(8)))


def gru_attention():
    def forward(self, y):
        states, last = self.gru(y.transpose(1, 2))
        scores = torch.bmm(states, last[-1][:, :, None]).softmax(1)
        return self.last((states * scores).sum(1))

    return Odd(forward, gru=nn.GRU(8, 6, batch_first=True), last=nn.Linear(6, CLASSES))


def recurrent_cell():
    """nn.LSTMCell in a loop."""

    def forward(self, y):
        h = c = y.new_zeros(len(y), 8)
        for t in range(0, y.shape[-1], 20):
            h, c = self.cell(y[..., t], (h, c))
        return self.head(h)

    return Odd(forward, cell=nn.LSTMCell(8, 8))


def recurrence_by_hand():
    """tanh(W x + U h) in a loop: known operations, so LRP goes through."""

    def forward(self, y):
        h = torch.zeros(len(y), 8)
        for t in range(0, y.shape[-1], 10):
            h = torch.tanh(self.w(y[..., t]) + self.u(h))
        return self.head(h)

    return Odd(forward, w=nn.Linear(8, 8), u=nn.Linear(8, 8))


def squared_attention():
    """A Gram matrix of the features: a product of a value with itself."""

    def forward(self, y):
        gram = torch.matmul(y, y.transpose(1, 2)) / y.shape[-1]
        return self.last(gram.flatten(1))

    return Odd(forward, last=nn.Linear(64, CLASSES))


# ---------------------------------------------------------------- what it puts out and holds


def one_class():
    return nn.Sequential(*stem(nn.ReLU()), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1))


class Bare(nn.Module):
    """One class as (N,)."""

    def __init__(self):
        super().__init__()
        self.body = one_class()

    def forward(self, x):
        return self.body(x).squeeze(1)


def probabilities(last):
    return Odd(lambda self, y: last(self.head(y.mean(-1))))


def probability_of_one_minus():
    """Two columns of one sigmoid: p and 1 - p."""

    def forward(self, y):
        p = torch.sigmoid(self.head(y.mean(-1))[:, :1])
        return torch.cat([1 - p, p], 1)

    return Odd(forward)


def ensemble():
    """The mean of three networks' logits."""
    bodies = nn.ModuleList(Odd(mean_head) for _ in range(3))
    return Signals(lambda self, x: torch.stack([body(x) for body in self.bodies]).mean(0),
                   bodies=bodies)  # fmt: skip


def ensemble_of_probabilities():
    """The mean of three networks' sigmoids."""
    bodies = nn.ModuleList(Odd(mean_head) for _ in range(3))
    return Signals(
        lambda self, x: torch.stack([body(x).sigmoid() for body in self.bodies]).mean(0),
        bodies=bodies,
    )


def windows_of_the_record():
    """Cuts the record into pieces, and takes the mean of their logits."""

    def forward(self, x):
        pieces = x.unfold(-1, 40, 20).permute(0, 2, 1, 3)
        logits = self.body(pieces.flatten(0, 1)).view(len(x), -1, CLASSES)
        return logits.mean(1)

    return Signals(forward, body=Odd(mean_head))


def scaled_by_temperature():
    network = Odd(lambda self, y: self.head(y.mean(-1)) / self.temperature)
    network.temperature = nn.Parameter(torch.tensor(1.5))
    return network


def tied_weights():
    """One matrix both ways."""

    def forward(self, y):
        code = F.relu(self.code(y.transpose(1, 2)))
        again = F.linear(code, self.code.weight.t())
        return self.head((y - again.transpose(1, 2)).mean(-1))

    return Odd(forward, code=nn.Linear(8, 4))


def prototypes():
    """Distances to learnt prototypes (cdist)."""
    return Odd(
        lambda self, y: -torch.cdist(y.mean(-1), self.protos), protos=torch.randn(CLASSES, 8)
    )


def cosine_head():
    """Normalised features against normalised weights."""

    def forward(self, y):
        return 8 * F.linear(F.normalize(y.mean(-1)), F.normalize(self.head.weight))

    return Odd(forward)


class TwoInputs(nn.Module):
    """Signals with age and sex."""

    def __init__(self):
        super().__init__()
        self.body, self.more = Odd(mean_head), nn.Linear(2, CLASSES)

    def forward(self, x, demographics):
        return self.body(x) + self.more(demographics)


class OptionalInput(TwoInputs):
    """Signals, and more where it is there."""

    def forward(self, x, demographics=None, return_features=False):
        logits = self.body(x)
        return logits if demographics is None else logits + self.more(demographics)


class DictInput(nn.Module):
    """Takes a dict."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, batch):
        return self.body(batch["ecg"])


class ShapeBranch(nn.Module):
    """Python's branches on the shape of a record: pads to a multiple of 50."""

    def __init__(self):
        super().__init__()
        self.body = Odd(mean_head)

    def forward(self, x):
        assert x.dim() == 3
        assert x.size(1) == 12
        if x.shape[-1] % 50:
            x = F.pad(x, (0, 50 - x.shape[-1] % 50))
        return self.body(x)


def double_precision():
    return Odd(mean_head).double()


def brain_float():
    return Odd(mean_head).bfloat16()


def casts_to_double():
    """A part in double precision."""
    return Odd(lambda self, y: self.head(y.double().square().mean(-1).sqrt().float()))


def autocast_inside():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.body(x).float()

    return Signals(forward, body=Odd(mean_head))


def gradient_checkpointing():
    def forward(self, x):
        y = torch.utils.checkpoint.checkpoint(self.body.trunk, x, use_reentrant=False)
        return self.body.head(y.mean(-1))

    return Signals(forward, body=Odd(mean_head))


def no_grad_inside():
    """A frozen trunk under no_grad: its gradients are the program's all the same."""

    def forward(self, x):
        with torch.no_grad():
            y = self.body.trunk(x)
        return self.body.head(y.mean(-1))

    return Signals(forward, body=Odd(mean_head))


def compiled():
    return torch.compile(Odd(mean_head), backend="eager")


def traced():
    return torch.jit.trace(Odd(mean_head).eval(), torch.zeros(2, 12, SAMPLES))


def quantised():
    network = nn.Sequential(*stem(nn.ReLU()), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                            nn.Linear(8, CLASSES)).eval()  # fmt: skip
    return torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)


ENDS = {
    "mixer": Mixer,
    "cross_attention": cross_attention,
    "linear_attention": linear_attention,
    "relative_positions": relative_positions,
    "conformer": conformer,
    "padding_mask": padding_mask,
    "additive_mask": additive_mask,
    "state_space_scan": state_space_scan,
    "long_convolution": long_convolution,
    "gru_attention": gru_attention,
    "recurrent_cell": recurrent_cell,
    "recurrence_by_hand": recurrence_by_hand,
    "squared_attention": squared_attention,
    "one_class": one_class,
    "bare": Bare,
    "softmax_end": lambda: probabilities(lambda z: z.softmax(1)),
    "log_softmax_end": lambda: probabilities(lambda z: F.log_softmax(z, 1)),
    "sigmoid_by_hand": lambda: probabilities(lambda z: 1 / (1 + torch.exp(-z))),
    "probability_of_one_minus": probability_of_one_minus,
    "ensemble": ensemble,
    "ensemble_of_probabilities": ensemble_of_probabilities,
    "windows_of_the_record": windows_of_the_record,
    "scaled_by_temperature": scaled_by_temperature,
    "tied_weights": tied_weights,
    "prototypes": prototypes,
    "cosine_head": cosine_head,
    "two_inputs": TwoInputs,
    "optional_input": OptionalInput,
    "dict_input": DictInput,
    "shape_branch": ShapeBranch,
    "double_precision": double_precision,
    "brain_float": brain_float,
    "casts_to_double": casts_to_double,
    "autocast_inside": autocast_inside,
    "gradient_checkpointing": gradient_checkpointing,
    "no_grad_inside": no_grad_inside,
    "compiled": compiled,
    "traced": traced,
    "quantised": quantised,
}
