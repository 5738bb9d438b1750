"""Exact sums over the pairs of a few documents, which compute only their rows of the pair matrix.

Use this method if few documents of a query are relevant, since only those need a rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, PairSum, kernel_and_slope, kernel_of

_PAIRS_AT_ONCE = {"cpu": 2**18, "cuda": 2**27}


class _RelevantSums:
    def rows_at_once(self, similarity: Tensor, ranked: int, temperature: float) -> int:
        return _PAIRS_AT_ONCE.get(similarity.device.type, 2**24) // max(similarity.shape[1] * ranked, 1)

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        totals: list[Tensor] = []
        slopes: list[Tensor] = []
        for some in columns.split(_columns_at_once(similarity), dim=1):
            differences = _differences(similarity, some, temperature)
            if not slope:
                totals.append(_weighted(kernel_of(differences, order), weights))
                continue
            values = kernel_and_slope(differences, order)
            for sums, value in zip((totals, slopes), values, strict=True):
                sums.append(_weighted(value, weights))
        total = torch.cat(totals, dim=1).sub_(weights.gather(1, columns), alpha=AT_ZERO[order])
        return total, torch.cat(slopes, dim=1) if slope else None

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        pulled = torch.zeros_like(similarity)
        at_once = _columns_at_once(similarity)
        for some, upstream in zip(columns.split(at_once, dim=1), grad.split(at_once, dim=1), strict=True):
            slope = kernel_of(_differences(similarity, some, temperature), order + 1)
            pulled += slope.mul_(upstream[:, :, None]).sum(1)
        return pulled


def _columns_at_once(similarity: Tensor) -> int:
    """Documents to rank at a time, so that even the pairs of a single query fit in cache."""
    return max(1, _PAIRS_AT_ONCE.get(similarity.device.type, 2**24) // max(similarity.numel(), 1))


def _differences(similarity: Tensor, columns: Tensor, temperature: float) -> Tensor:
    """Compute (s_k - s_j)/τ for j in ``columns``: ``(Q, P, D)``."""
    own = similarity.gather(1, columns)
    return (similarity[:, None, :] - own[:, :, None]).div_(temperature)


def _weighted(pairs: Tensor, weights: Tensor) -> Tensor:
    # Not a matrix product, which a GPU may round to TF32.
    return (pairs * weights[:, None, :]).sum(-1)


_SUMS = _RelevantSums()


def relevant_sum(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str = "sigmoid"
) -> Tensor:
    """Compute the sums of a few documents exactly; time O(Q · P · D), memory O(Q · D).

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, floating, finite.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: Weight v_k of each document k, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    totals: Tensor = PairSum.apply(similarity, columns, temperature, weights, KERNELS[kernel], _SUMS)
    return totals
