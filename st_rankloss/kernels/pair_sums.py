"""What the methods that do not rely on autograd share: the soft rank's analytic gradient.

With x_jk = (s_k - s_j)/τ, the rank of document j is 1 + Σ_{k≠j} v_k σ(x_jk), so for ∂L/∂r_j = g_j

    ∂L/∂s_k = (1/τ) [ v_k Σ_j g_j σ'(x_jk)  -  g_k Σ_l v_l σ'(x_kl) ].

A method supplies the three sums; the terms k = j cancel, so it may leave them in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class PairSums(Protocol):
    """How one method evaluates the sums over pairs, for a few rows that fit in cache."""

    def rows_at_once(self, documents: int, ranked: int, device: torch.device) -> int:
        """Number of query rows worth handling together."""
        ...

    def count_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Σ_{k≠j} v_k σ(x_jk) and, if asked, Σ_k v_k σ'(x_jk), for j in ``columns``: ``(Q, P)`` each."""
        ...

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor) -> Tensor:
        """Σ_j g_j σ'(x_jk) over j in ``columns``, for every document k: ``(Q, D)``."""
        ...


def _row_blocks(sums: PairSums, similarity: Tensor, columns: Tensor) -> Iterator[slice]:
    rows = max(1, sums.rows_at_once(similarity.shape[1], columns.shape[1], similarity.device))
    for start in range(0, len(similarity), rows):
        yield slice(start, start + rows)


class PairSumRank(torch.autograd.Function):
    """Soft ranks with the analytic gradient; keeps no pair between forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, sums: PairSums
    ) -> Tensor:
        """Rank the documents of ``columns``; see `dense_rank` for the arguments."""
        wants_slope = ctx.needs_input_grad[0]
        ranks = similarity.new_empty(columns.shape)
        slopes = similarity.new_empty(columns.shape if wants_slope else (0,))
        for rows in _row_blocks(sums, similarity, columns):
            count, slope = sums.count_and_slope(
                similarity[rows], columns[rows], temperature, weights[rows], slope=wants_slope
            )
            ranks[rows] = count + 1
            if slope is not None:
                slopes[rows] = slope
        ctx.save_for_backward(similarity, columns, weights, slopes)
        ctx.temperature, ctx.sums = temperature, sums
        return ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Send the ranks' gradient to the similarities."""
        similarity, columns, weights, slopes = ctx.saved_tensors
        grad_similarity = torch.empty_like(similarity, memory_format=torch.contiguous_format)
        with torch.autocast(similarity.device.type, enabled=False):
            for rows in _row_blocks(ctx.sums, similarity, columns):
                pull = ctx.sums.pull(similarity[rows], columns[rows], ctx.temperature, grad[rows])
                pull = pull.mul_(weights[rows]).scatter_add_(1, columns[rows], -grad[rows] * slopes[rows])
                grad_similarity[rows] = pull.div_(ctx.temperature)
        return grad_similarity, None, None, None, None
