"""The mathematics: tensors in, tensors out; nothing here knows of encoders, labels or trainers."""

from __future__ import annotations

from st_rankloss.functional.cross_entropy import softmax_cross_entropy
from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from st_rankloss.functional.gains import discount, exponential_gain, gains_of, linear_gain
from st_rankloss.functional.ndcg import approx_ndcg, dcg, ideal_dcg, ndcg
from st_rankloss.functional.ranks import exact_ranks, soft_rank

__all__ = [
    "approx_ndcg",
    "dcg",
    "discount",
    "effective_rank",
    "exact_ranks",
    "exponential_gain",
    "gains_of",
    "ideal_dcg",
    "linear_gain",
    "ndcg",
    "random_ndcg",
    "soft_rank",
    "softmax_cross_entropy",
    "vanishing_share",
]
