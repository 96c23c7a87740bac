"""Rules of softmax and attention (Achtibat et al. 2024, arXiv 2402.05602)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attribution.lrp_steps import Local, Rule, fitted, kinds, quotient
from common.files import UserError
from networks.program import Ref


def softmax_share(x: Tensor, probability: Tensor, relevance: Tensor, dim: int) -> Tensor:
    """Relevance of a softmax's input: x_i (R_i - s_i sum_k R_k); 0 where it is masked."""
    total = relevance.sum(dim, keepdim=True)
    return torch.where(torch.isfinite(x), x, 0.0) * (relevance - probability * total)


def softmax_rest(x: Tensor, probability: Tensor, relevance: Tensor, dim: int) -> Tensor:
    """What a softmax keeps, per output: R_k (1 - x_k + sum_i s_i x_i), the constant term of its
    first-order expansion.
    """
    x = torch.where(torch.isfinite(x), x, 0.0)
    return relevance * (1 - x + (probability * x).sum(dim, keepdim=True))


class _Softmax(Rule):
    """First-order expansion at the input; its constant term is the nonlinear share."""

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        x, probability, dim = run.values[name], run.values[step.name], step.named["dim"]
        rest = softmax_rest(x, probability, relevance, dim)
        run.write(step, nonlinear=step.totals(rest))
        return [(name, softmax_share(x, probability, relevance, dim))]


class _Expanded(Local):
    """log-softmax, log-sum-exp: first-order expansion at the input."""

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        s, lost = quotient(relevance, value)
        (name,) = step.dependent
        pulled = self.pulled(step, run, s)[name]
        direction = run.values[name]
        with torch.enable_grad():  # J x, by differentiating J^T v in v
            leaf = direction.detach().requires_grad_(True)
            dummy = torch.zeros_like(value).requires_grad_(True)
            again = run.compute(step.node, {name: leaf})
            (back,) = torch.autograd.grad(again, leaf, dummy, create_graph=True)
        (along,) = torch.autograd.grad(back, dummy, direction)
        run.write(
            step,
            stabiliser=step.totals(lost),
            nonlinear=step.totals(s * (value - along)),
        )
        return [(name, direction * pulled)]


class _Attention(Rule):
    """softmax(Q K^T / sqrt(d) + mask) V as its parts: two matrix products and a softmax."""

    def inputs(self, step):
        named = step.named
        if named["enable_gqa"]:
            raise UserError(f"LRP has no rule for {step.node.described()} with grouped queries")
        mask = named["attn_mask"]
        if isinstance(mask, Ref) and mask.name in step.dependent:
            raise UserError(f"LRP has no rule for {step.node.described()} with a mask that varies")
        return step.dependent

    def backward(self, step, run, relevance):
        parts = ("query", "key", "value")
        query, key, value = (run.argument(step.named[part]) for part in parts)
        scores, mask = self._scores(step, run, query, key)
        masked = scores if mask is None else scores + mask
        probability = masked.softmax(-1)
        output = probability @ value
        s, of_output = quotient(relevance, output)
        lost = step.totals(of_output)
        of_scores, of_value = self._parts(step, ("query", "key"), ("value",))
        to_value = of_value * value * (probability.mT @ s)
        to_probability = of_scores * probability * (s @ value.mT)
        rest = softmax_rest(masked, probability, to_probability, -1)
        to_masked = softmax_share(masked, probability, to_probability, -1)
        to_scores, bias = to_masked, 0.0
        if mask is not None:
            to_scores, on_mask, of_sum = _past_mask(scores, mask, masked, to_masked)
            bias = step.totals(on_mask)
            lost = lost + step.totals(of_sum)
        s, of_product = quotient(to_scores, scores.expand_as(to_scores))
        lost = lost + step.totals(of_product)
        scale = self._scale(step, query)
        of_query, of_key = self._parts(step, ("query",), ("key",))
        shares = {
            "query": of_query * query * (s @ key) * scale,
            "key": of_key * key * (s.mT @ query) * scale,
            "value": to_value,
        }
        run.write(step, bias=bias, stabiliser=lost, nonlinear=step.totals(rest))
        return [
            (step.named[part].name, fitted(share, run.argument(step.named[part])))
            for part, share in shares.items()
            if isinstance(step.named[part], Ref) and step.named[part].name in step.dependent
        ]

    @staticmethod
    def _parts(step, one, other):
        """What each factor of a product gets: half, or all where the other one is constant."""
        moving = [
            any(
                isinstance(step.named[part], Ref) and step.named[part].name in step.dependent
                for part in parts
            )
            for parts in (one, other)
        ]
        return [float(own) / max(1, sum(moving)) for own in moving]

    @staticmethod
    def _scale(step, query):
        given = step.named["scale"]
        return 1 / math.sqrt(query.shape[-1]) if given is None else given

    def _scores(self, step, run, query, key):
        scores = query @ key.mT * self._scale(step, query)
        mask = run.argument(step.named["attn_mask"])
        if step.named["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
        return scores, mask


def _past_mask(scores, mask, masked, relevance):
    """Relevance of the scores before a mask was added, of the mask, and of the stabiliser."""
    open_ = torch.isfinite(masked)
    total = torch.where(open_, masked, 1.0)
    s, lost = quotient(torch.where(open_, relevance, 0.0), total)
    return scores * s, torch.where(open_, mask, 0.0) * s, lost


RULES: dict[str, Rule] = {
    **kinds("softmax _softmax", _Softmax()),
    **kinds("log_softmax _log_softmax logsumexp", _Expanded()),
    "scaled_dot_product_attention": _Attention(),
}
