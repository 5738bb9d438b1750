"""The definition of the soft rank, never optimised: the reference of every test.

Every pair of (ranked document, counted document) exists at once, and autograd records it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dense_rank(similarity: Tensor, columns: Tensor, temperature: float, weights: Tensor) -> Tensor:
    """Compute soft ranks as they are defined; time and memory O(Q · P · D).

    Args:
        similarity: Predicted similarity, shape ``(Q, D)``, floating, finite.
        columns: Which documents of each query to rank, shape ``(Q, P)``, int64 in [0, D).
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        weights: How much each document counts, at least 0, shape ``(Q, D)``.

    Returns:
        Ranks, 1-based, shape ``(Q, P)``.
    """
    own = similarity.gather(1, columns)
    ahead = torch.sigmoid((similarity[:, None, :] - own[:, :, None]) / temperature)
    itself = 0.5 * weights.gather(1, columns)
    return 1 + (ahead * weights[:, None, :]).sum(-1) - itself
