"""Shared parts of the methods: the kernels, and the analytic gradient of a sum over pairs.

With x_jk = (s_k - s_j)/τ, the sum of document j is S_j = Σ_{k≠j} v_k K(x_jk), so for ∂L/∂S_j = g_j

    ∂L/∂s_k = (1/τ) [ v_k Σ_j g_j K'(x_jk)  -  g_k Σ_l v_l K'(x_kl) ].

A method supplies the three sums; the terms k = j of the gradient cancel, so it may leave them in. Softplus, sigmoid and
the sigmoid's slope are each the derivative of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

KERNELS = {"softplus": 0, "sigmoid": 1}
"""The order of each kernel as a derivative of softplus."""

AT_ZERO = [math.log(2), 0.5]
"""The values at 0 of softplus and the sigmoid."""


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + e^x), linear only where exact in float64."""
    return F.softplus(x, threshold=40)


def kernel_of(differences: Tensor, order: int) -> Tensor:
    """Return softplus or, for order 1, its derivative, the sigmoid, at each difference."""
    return softplus(differences) if order == 0 else torch.sigmoid(differences)


def are_all(columns: Tensor, of: Tensor) -> bool:
    """Return whether ``columns`` (Q, P) are all columns of ``of`` (Q, D) in order; False where that takes a wait."""
    if columns.device.type != "cpu" or columns.shape != of.shape or (len(columns) > 1 and columns.stride(0)):
        return False
    return not len(columns) or torch.equal(columns[0], torch.arange(columns.shape[1]))


class PairSums(Protocol):
    """The evaluation of the sums over pairs by one method, for a few rows that fit in cache."""

    def rows_at_once(self, similarity: Tensor, ranked: int, temperature: float) -> int:
        """Return the number of query rows to process together."""
        ...

    def begin(self, similarity: Tensor, columns: Tensor) -> PairSums:
        """Return the evaluation with memory for one pass over all rows."""
        ...

    def at(self, rows: slice) -> PairSums:
        """Return the evaluation for some of the rows, which the other methods then get."""
        ...

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compute Σ_{k≠j} v_k K(x_jk) and, if requested, Σ_k v_k K'(x_jk), for j in ``columns``: ``(Q, P)`` each."""
        ...

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        """Compute Σ_j g_j K'(x_jk) over j in ``columns``, for every document k: ``(Q, D)``."""
        ...


def _row_blocks(
    sums: PairSums, similarity: Tensor, columns: Tensor, temperature: float
) -> Iterator[tuple[slice, PairSums]]:
    if not columns.numel():
        return
    most = max(1, sums.rows_at_once(similarity, columns.shape[1], temperature))
    blocks = math.ceil(len(similarity) / most)
    sums = sums.begin(similarity, columns)
    each = math.ceil(len(similarity) / blocks)  # blocks of one size: a small last one costs as many calls
    for start in range(0, len(similarity), each):
        rows = slice(start, start + each)
        yield rows, sums.at(rows)


class PairSum(torch.autograd.Function):
    """Sums over pairs with an analytic gradient, which keep no pairs between forward and backward."""

    @staticmethod
    def forward(
        ctx: Any,
        similarity: Tensor,
        columns: Tensor,
        temperature: float,
        weights: Tensor,
        order: int,
        sums: PairSums,
    ) -> Tensor:
        """Sum over the pairs of the documents in ``columns``; see `dense_sum` for the arguments."""
        wants_slope = ctx.needs_input_grad[0]
        totals = similarity.new_empty(columns.shape)
        slopes = similarity.new_empty(columns.shape if wants_slope else (0,))
        for rows, some in _row_blocks(sums, similarity, columns, temperature):
            total, slope = some.total_and_slope(
                similarity[rows], columns[rows], temperature, weights[rows], order, slope=wants_slope
            )
            totals[rows] = total
            if slope is not None:
                slopes[rows] = slope
        ctx.save_for_backward(similarity, columns, weights, slopes)
        ctx.temperature, ctx.order, ctx.sums = temperature, order, sums
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Backpropagate the gradient of the sums to the similarities."""
        similarity, columns, weights, slopes = ctx.saved_tensors
        grad_similarity = torch.zeros_like(similarity, memory_format=torch.contiguous_format)
        with torch.autocast(similarity.device.type, enabled=False):
            for rows, some in _row_blocks(ctx.sums, similarity, columns, ctx.temperature):
                pull = some.pull(similarity[rows], columns[rows], ctx.temperature, grad[rows], ctx.order)
                pull = pull.mul_(weights[rows]).scatter_add_(1, columns[rows], -grad[rows] * slopes[rows])
                torch.div(pull, ctx.temperature, out=grad_similarity[rows])
        return grad_similarity, None, None, None, None, None
