"""Pure functions of tensors: losses, metrics and ranks."""

from __future__ import annotations

from st_rankloss.functional.average_precision import hierarchical_ap, hierarchical_sup_ap, smooth_ap, sup_ap
from st_rankloss.functional.correlation import approx_rank_mse, pearson, soft_kendall, soft_spearman
from st_rankloss.functional.cross_entropy import (
    cwcl,
    dcl,
    dclw,
    info_nce,
    list_net,
    psl,
    rank_kl,
    regression_compatible,
    softmax_at_k,
    softmax_cross_entropy,
    sup_con,
)
from st_rankloss.functional.declaration import batch_function, list_function
from st_rankloss.functional.diagnostics import effective_rank, random_ndcg, vanishing_share
from st_rankloss.functional.distillation import inverse_rank_net, partial_ranking
from st_rankloss.functional.gains import discount, exponential_gain, gains_of, linear_gain
from st_rankloss.functional.hits import approx_mrr, approx_recall
from st_rankloss.functional.margins import with_margin
from st_rankloss.functional.metric_learning import circle, multi_similarity, quadruplet, threshold_margin
from st_rankloss.functional.ndcg import approx_ndcg, dcg, ideal_dcg, ndcg
from st_rankloss.functional.pairwise import (
    cosent,
    lambda_loss,
    mann_whitney,
    margin_mse,
    rank_list,
    rank_net,
    triplet_alignment,
)
from st_rankloss.functional.plackett_luce import (
    plackett_luce,
    policy_gradient,
    pro,
    rank_n_contrast,
)
from st_rankloss.functional.ranks import exact_ranks, soft_rank
from st_rankloss.functional.sorting import groco, neural_ndcg, neural_sort, sinkhorn
from st_rankloss.functional.whole_batch import (
    contextual_similarity,
    mv_dhel,
    mv_info_nce,
    set_information,
    shared_negatives,
    wasserstein,
)

__all__ = [
    "approx_mrr", "approx_ndcg", "approx_rank_mse", "approx_recall", "batch_function", "circle",
    "contextual_similarity", "cosent", "cwcl", "dcg", "dcl", "dclw", "discount", "effective_rank", "exact_ranks",
    "exponential_gain", "gains_of", "groco", "hierarchical_ap", "hierarchical_sup_ap", "ideal_dcg", "info_nce",
    "inverse_rank_net", "lambda_loss", "linear_gain", "list_function", "list_net", "mann_whitney", "margin_mse",
    "multi_similarity", "mv_dhel", "mv_info_nce", "ndcg", "neural_ndcg", "neural_sort", "partial_ranking",
    "pearson", "plackett_luce", "policy_gradient", "pro", "psl", "quadruplet", "random_ndcg", "rank_kl",
    "rank_list", "rank_n_contrast", "rank_net", "regression_compatible", "set_information", "shared_negatives",
    "sinkhorn", "smooth_ap", "soft_kendall", "soft_rank", "soft_spearman", "softmax_at_k", "softmax_cross_entropy",
    "sup_ap", "sup_con", "threshold_margin", "triplet_alignment", "vanishing_share", "wasserstein", "with_margin",
]  # fmt: skip
