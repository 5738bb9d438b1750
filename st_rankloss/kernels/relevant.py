"""Exact soft ranks of a few documents: only their rows of the pair matrix are ever computed.

The better choice where few documents of a query are relevant, since only those need a rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.kernels.pair_sums import PairSumRank

_PAIRS_AT_ONCE = {"cpu": 2**18, "cuda": 2**27}


class _RelevantSums:
    def rows_at_once(self, documents: int, ranked: int, device: torch.device) -> int:
        return _PAIRS_AT_ONCE.get(device.type, 2**24) // max(documents * ranked, 1)

    def count_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        ahead = _ahead(similarity, columns, temperature)
        count = _weighted(ahead, weights) - 0.5 * weights.gather(1, columns)
        return count, _weighted(_derivative(ahead), weights) if slope else None

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor) -> Tensor:
        slope = _derivative(_ahead(similarity, columns, temperature))
        return slope.mul_(grad[:, :, None]).sum(1)


def _ahead(similarity: Tensor, columns: Tensor, temperature: float) -> Tensor:
    """σ((s_k - s_j)/τ) for j in ``columns``: ``(Q, P, D)``."""
    own = similarity.gather(1, columns)
    return (similarity[:, None, :] - own[:, :, None]).div_(temperature).sigmoid_()


def _derivative(ahead: Tensor) -> Tensor:
    return torch.addcmul(ahead, ahead, ahead, value=-1)


def _weighted(pairs: Tensor, weights: Tensor) -> Tensor:
    # Not a matrix product, which a GPU may be told to round to TF32.
    return (pairs * weights[:, None, :]).sum(-1)


_SUMS = _RelevantSums()


def relevant_rank(similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """Compute exact soft ranks of a few documents; time O(Q · P · D), memory O(Q · D).

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, floating, finite.
        columns: Which documents of each query to rank, shape ``(Q, P)``, int64 in [0, D).
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        weights: How much each document counts, at least 0, shape ``(Q, D)``; not differentiated.

    Returns:
        Ranks, 1-based, shape ``(Q, P)``.
    """
    ranks: Tensor = PairSumRank.apply(similarity, columns, temperature, weights, _SUMS)
    return ranks
