"""The unoptimised definition of the sums over pairs, the reference for all tests.

It holds every pair of (ranked document, counted document) in memory at once, and autograd records it.
"""

from __future__ import annotations

from torch import Tensor

from st_rankloss.kernels.pair_sums import AT_ZERO, KERNELS, kernel_of


def dense_sum(
    similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor, kernel: str = "sigmoid"
) -> Tensor:
    """Compute Σ_{k≠j} v_k K((s_k - s_j)/τ) by definition; time and memory O(Q · P · D).

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, floating, finite.
        columns: The documents j of each query, shape ``(Q, P)``, int64 in [0, D).
        temperature: τ, above 0, in units of ``similarity``.
        weights: Weight v_k of each document k, at least 0, shape ``(Q, D)``; not differentiated.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    order = KERNELS[kernel]
    own = similarity.gather(1, columns)
    pairs = kernel_of((similarity[:, None, :] - own[:, :, None]) / temperature, order)
    return (pairs * weights[:, None, :]).sum(-1) - AT_ZERO[order] * weights.gather(1, columns)
