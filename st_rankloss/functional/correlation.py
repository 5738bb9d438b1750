"""Correlation and rank-distance losses: Spearman (reported by STS benchmarks), Kendall, Pearson, ADR-MSE."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.conditions import two_grades
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import discount, over_largest
from st_rankloss.functional.lists import count_pairs, largest_of, masked_mean
from st_rankloss.functional.pairs import sum_over_graded_pairs
from st_rankloss.functional.ranks import exact_ranks, soft_places
from st_rankloss.functional.settings import Method, Softness

_LEAST_SPREAD = 1e-3
"""Minimum standard deviation of similarities, for `pearson`."""

_LEAST_SPREAD_OF_RANKS = 1e-2
"""Minimum spread of the soft ranks, relative to that of the ranks by relevance."""


@list_function("graded", learns=two_grades, metric=True)
def soft_spearman(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.1,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable Spearman correlation, between soft ranks and the mean ranks of the grades.

    .. math:: \mathrm{corr}(r, \rho), \qquad r_j = 1 + \sum_{k \ne j} \sigma\left(\frac{s_k - s_j}{\tau}\right)

    Documents tied in relevance share their mean rank, as in scipy. The spread of the soft ranks is at least a hundredth
    of that of the grades' ranks, so that the gradient stays finite when all similarities are tied.

    Returns:
        Correlation in [-1, 1], higher is better, shape ``(...)``.

    Example:
        >>> soft_spearman(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.9946)

    Source: soft ranks from Qin, Liu, Li (2010); their correlation is ours, after Blondel et al. (2020), "Fast
    Differentiable Sorting and Ranking", who use another soft rank. Cost: that of ranking all documents.
    """
    ranks = soft_places(similarity, temperature, judged=judged, method=method, weights=weights)
    ranks = torch.where(judged, ranks, 0)
    return _correlation(ranks, _mean_ranks(relevance, judged, weights), judged, weights, relative=True)


@list_function("graded", learns=two_grades, metric=True)
def pearson(similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None) -> Tensor:
    """Compute the Pearson correlation of similarity and relevance in O(D) time.

    The standard deviation of the similarities is taken to be at least 0.001.

    Returns:
        Correlation in [-1, 1], higher is better, shape ``(...)``.

    Example:
        >>> pearson(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]))
        tensor(0.9707)

    Source: as a loss for STS, Zhang et al. (2025), "CoDiEmb", arXiv 2508.11442.
    """
    gap = similarity - largest_of(similarity, judged)
    # Scaled by the largest grade, so that squares neither overflow nor vanish.
    return _correlation(gap, over_largest(relevance), judged, weights, relative=False)


@list_function("graded", learns=two_grades, metric=True)
def soft_kendall(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.1,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable Kendall correlation over the pairs of different relevance.

    .. math:: 1 - \frac{2}{|\{y_j > y_k\}|} \sum_{y_j > y_k} \sigma\left(\frac{s_k - s_j}{\tau}\right)

    Returns:
        Correlation in [-1, 1], higher is better, shape ``(...)``: the Goodman-Kruskal gamma at temperature 0, which is
        Kendall's tau without ties.

    Example:
        >>> soft_kendall(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 2.0, 1.0]), temperature=0.01)
        tensor(-1.0000)

    Source: Kendall (1938); misplaced pairs are counted smoothly, as in the soft rank. Cost: see
    `sum_over_graded_pairs`.
    """
    misplaced = sum_over_graded_pairs(
        similarity, relevance, judged, temperature, kernel="sigmoid", method=method, weights=weights
    )
    return 1 - 2 * misplaced / count_pairs(relevance, judged, weights)


@list_function("graded", learns=two_grades)
def approx_rank_mse(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    method: Method = "auto",
) -> Tensor:
    r"""Compute ADR-MSE: the squared error of the soft ranks, discounted by the rank by relevance.

    .. math:: \frac{1}{D} \sum_j \frac{(\rho_j - r_j)^2}{\log_2(1 + \rho_j)}

    Documents tied in relevance share their mean rank ρ. The tails of the other documents raise even the best soft rank
    above 1, so a perfect order has a small positive loss, which falls as similarities move apart.

    Returns:
        Error, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> approx_rank_mse(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 1.0, 0.0]), temperature=0.01)
        tensor(0.3770)

    Source: Schlatt et al. (2024), "Rank-DistiLLM", arXiv 2405.07920; mean ranks for ties as in the ADRMSELoss of
    sentence-transformers. Cost: that of ranking all documents.
    """
    ranks = soft_places(similarity, temperature, judged=judged, method=method, weights=weights)
    ranks = torch.where(judged, ranks, 0)
    wanted = _mean_ranks(relevance, judged, weights)
    return masked_mean(discount(wanted) * (wanted - ranks).square(), judged, weights)


def _mean_ranks(relevance: Tensor, judged: Tensor, weights: Tensor | None) -> Tensor:
    """Rank by relevance, with mean ranks for ties; 1 where unjudged."""
    return torch.where(judged, exact_ranks(relevance, mask=judged, weights=weights), 1)


def _correlation(values: Tensor, target: Tensor, judged: Tensor, weights: Tensor | None, *, relative: bool) -> Tensor:
    """Compute the Pearson correlation over the judged documents, with a minimum spread of ``values``."""
    values, target = (x - masked_mean(x, judged, weights)[:, None] for x in (values, target))
    variance, wanted = (masked_mean(x.square(), judged, weights) for x in (values, target))
    least = _LEAST_SPREAD_OF_RANKS**2 * wanted if relative else _LEAST_SPREAD**2 * torch.ones_like(wanted)
    scale = torch.maximum(variance, least).sqrt() * wanted.sqrt()
    return masked_mean(values * target, judged, weights) / torch.where(scale > 0, scale, 1)
