"""Rules of normalisations: the deviation is taken as a number, so that they are linear (Achtibat et
al. 2024, arXiv 2402.05602); the shift is bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.lrp_steps import Rule, Run, Step, quotient
from common.files import UserError


class _Normalising(Rule):
    """Layer, group, instance and RMS norm: the deviation taken as a number, what remains is
    linear.
    """

    def inputs(self, step):
        if set(step.dependent) != {step.named["input"].name}:
            raise UserError(f"LRP has no rule for {step.node.described()} with weights that vary")
        return step.dependent

    def backward(self, step, run, relevance):
        source = step.named["input"].name
        x = run.values[source].detach().requires_grad_(True)
        with torch.enable_grad():
            scaled, shift = self.parts(step, run, x)
        value = scaled.detach() if shift is None else scaled.detach() + shift
        s, lost = quotient(relevance, value)
        (pulled,) = torch.autograd.grad(scaled, x, s)
        shares = {"stabiliser": step.totals(lost)}
        if shift is not None:
            shares["bias"] = step.totals(s * shift)
        run.write(step, **shares)
        return [(source, x.detach() * pulled)]

    def parts(self, step: Step, run: Run, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The normalised and scaled input with its deviation as a number, and the shift."""
        weight, bias = run.argument(step.named["weight"]), run.argument(step.named.get("bias"))
        grouped, along = self.grouped(step, x)
        centred = grouped - grouped.mean(-1, keepdim=True)
        deviation = (centred.detach().square().mean(-1, keepdim=True) + step.named["eps"]).sqrt()
        result = (centred / deviation).reshape(x.shape)
        if weight is not None:
            result = result * weight.detach().view(along)
        return result, None if bias is None else bias.detach().view(along).expand_as(x)

    def grouped(self, step: Step, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """x with what is normalised together along the last axis, and the weights' shape."""
        raise NotImplementedError


class _LayerNorm(_Normalising):
    """Over the last axes."""

    def grouped(self, step, x):
        shape = tuple(step.named["normalized_shape"])
        return x.flatten(-len(shape)), shape


class _GroupNorm(_Normalising):
    """Over groups of channels and all that lies behind them."""

    def grouped(self, step, x):
        along = (1, -1, *[1] * (x.ndim - 2))
        return x.reshape(len(x), step.named["num_groups"], -1), along


class _InstanceNorm(_Normalising):
    """Over each channel's samples."""

    def inputs(self, step):
        if not step.named["use_input_stats"]:
            raise UserError(f"LRP has no rule for {step.node.described()} with running statistics")
        return super().inputs(step)

    def grouped(self, step, x):
        return x.flatten(2), (1, -1, *[1] * (x.ndim - 2))


class _RMSNorm(_Normalising):
    """Over the last axes, without centring."""

    def parts(self, step, run, x):
        dims = tuple(range(-len(step.named["normalized_shape"]), 0))
        eps = step.named["eps"]
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        root = (x.detach().square().mean(dims, keepdim=True) + eps).sqrt()
        weight = run.argument(step.named["weight"])
        return x / root if weight is None else x / root * weight.detach(), None


RULES: dict[str, Rule] = {
    "layer_norm": _LayerNorm(),
    "group_norm": _GroupNorm(),
    "instance_norm": _InstanceNorm(),
    "rms_norm": _RMSNorm(),
}
