"""Exact sums over the pairs of a few documents: only their rows of the pair matrix are ever computed.

The better choice where few documents of a query are relevant, since only those need a rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, PairSum, kernel_of

_PAIRS_AT_ONCE = {"cpu": 2**18, "cuda": 2**27}


class _RelevantSums:
    def rows_at_once(self, documents: int, ranked: int, device: torch.device) -> int:
        return _PAIRS_AT_ONCE.get(device.type, 2**24) // max(documents * ranked, 1)

    def total_and_slope(
        self, similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, order: int, *, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        differences = _differences(similarity, columns, temperature)
        total = _weighted(kernel_of(differences, order), weights) - AT_ZERO[order] * weights.gather(1, columns)
        return total, _weighted(kernel_of(differences, order + 1), weights) if slope else None

    def pull(self, similarity: Tensor, columns: Tensor, temperature: float, grad: Tensor, order: int) -> Tensor:
        slope = kernel_of(_differences(similarity, columns, temperature), order + 1)
        return slope.mul_(grad[:, :, None]).sum(1)


def _differences(similarity: Tensor, columns: Tensor, temperature: float) -> Tensor:
    """(s_k - s_j)/τ for j in ``columns``: ``(Q, P, D)``."""
    own = similarity.gather(1, columns)
    return (similarity[:, None, :] - own[:, :, None]).div_(temperature)


def _weighted(pairs: Tensor, weights: Tensor) -> Tensor:
    # Not a matrix product, which a GPU may be told to round to TF32.
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
        weights: How much each document k counts, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    totals: Tensor = PairSum.apply(similarity, columns, temperature, weights, KERNELS[kernel], _SUMS)
    return totals
