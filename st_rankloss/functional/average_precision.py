"""Average precision: smooth, bounded, and with graded relevance."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.conditions import any_relevant, two_grades, two_kinds
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import over_largest
from st_rankloss.functional.lists import (
    differences,
    masked_mean,
    mass_of,
    masses,
    sum_over_rows,
    weighted_sum,
)
from st_rankloss.functional.pairs import few_grades
from st_rankloss.functional.ranks import exact_ranks, soft_places, soft_rank
from st_rankloss.functional.settings import AtLeast0, Method, Positive, Softness


@list_function("binary", learns=two_kinds, defined=any_relevant, metric=True)
def smooth_ap(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable average precision, the mean ratio of the rank among the relevant to the rank.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \frac{r^+_j}{r_j}

    r is the soft rank among all documents, r⁺ the soft rank among the relevant ones.

    Returns:
        Average precision in (0, 1], higher is better, shape ``(...)``.

    Example:
        >>> smooth_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 1.0, 0.0]), temperature=0.01)
        tensor(0.8333)

    Source: Brown et al. (2020), "Smooth-AP", arXiv 2007.12163. Cost: that of the soft ranks of the relevant documents.
    """
    relevant = relevance > 0
    among_all, among_relevant = (
        soft_places(similarity, temperature, judged=mask, wanted=relevant, method=method, weights=weights)
        for mask in (judged, relevant)
    )
    return masked_mean(among_relevant / among_all, relevant, weights)


@list_function("binary", learns=two_kinds, defined=any_relevant, metric=True)
def sup_ap(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.01,
    slope: AtLeast0 = 100.0,
    width: AtLeast0 = 0.05,
) -> Tensor:
    r"""Compute a lower bound of average precision whose gradient does not vanish for badly misplaced documents.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \frac{r^+_j}{r^+_j + \sum_{k \in N} H(s_k - s_j)}, \qquad
        H(x) = \begin{cases} \sigma(x/\tau) & x \le 0 \\ \sigma(x/\tau) + 1/2 & 0 < x \le \delta \\
        \rho (x - \delta) + \sigma(\delta/\tau) + 1/2 & x > \delta \end{cases}

    r⁺ is the exact rank among the relevant documents, without gradient: only comparisons with irrelevant documents have
    one. H is at least the step function, so 1 minus this value is an upper bound of 1 - AP.

    Args:
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        slope: ρ, at least 0, of the penalty for irrelevant documents far above a relevant one.
        width: δ, at least 0, in units of ``similarity``: where the linear penalty starts.

    Returns:
        In (0, 1], higher is better, shape ``(...)``.

    Example:
        >>> sup_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 1.0, 0.0]))
        tensor(0.5206)

    Source: Ramzi et al. (2021), "Robust and Decomposable Average Precision for Image Retrieval" (ROADMAP), arXiv
    2110.01445. For their score calibration, add `threshold_margin`. Cost: O(P · D) per query, over all pairs of a
    relevant document with another, a few at a time.
    """

    def step(x: Tensor) -> Tensor:
        near = torch.sigmoid(x.clamp_max(width) / temperature) + 0.5 * (x > 0)
        return near + slope * (x - width).clamp_min(0)

    relevant = relevance > 0
    irrelevant = judged & ~relevant
    exact = torch.where(relevant, exact_ranks(similarity.detach(), mask=relevant, weights=weights), 1)
    rivals = masses(irrelevant, weights, similarity)[:, None, :]

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        above = (rivals * step(differences(similarity, columns))).sum(-1)
        own = exact.gather(1, columns)
        return weighted_sum(own / (own + above), listed, columns, weights)

    return sum_over_rows(of_rows, relevant, similarity) / mass_of(relevant, weights)


@list_function("graded", learns=two_grades, defined=any_relevant, metric=True)
def hierarchical_ap(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable average precision with graded relevance.

    .. math:: \frac{1}{\sum_j y_j} \sum_{j \in P} \frac{y_j + \sum_{k \ne j} \min(y_j, y_k)\,
        \sigma\left(\frac{s_k - s_j}{\tau}\right)}{r_j}

    With one grade it equals `smooth_ap`. On a CPU with few distinct grades, the numerator is a sum of soft ranks, one
    per grade; otherwise it runs over all pairs of relevant documents, a few at a time.

    Returns:
        In (0, 1], higher is better, shape ``(...)``.

    Example:
        >>> hierarchical_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 2.0, 0.0]), temperature=0.01)
        tensor(0.6667)

    Source: Ramzi et al. (2022), "Hierarchical Average Precision Training for Pertinent Image Retrieval" (HAPPIER),
    arXiv 2207.04873, for the metric. Their loss is an upper bound with steps in the numerator; the sigmoids are ours.
    Cost: with few grades, one set of soft ranks of the relevant documents per grade; otherwise O(P · D) per query.
    """
    relevant = relevance > 0
    ranks = soft_rank(similarity, temperature, mask=judged, wanted=relevant, method=method)
    ranks = torch.where(relevant, ranks, 1)
    relevance = over_largest(relevance)
    total = relevance.sum(-1)
    total = torch.where(total > 0, total, 1)
    grades = few_grades(relevance, relevant) if method != "dense" else None
    if grades is None:

        def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
            ahead = torch.sigmoid(differences(similarity, columns) / temperature)
            grade = relevance.gather(1, columns)
            shared = torch.minimum(relevance[:, None, :], grade[:, :, None])
            shared = shared.scatter(2, columns[:, :, None], 0)  # exclude the document itself
            gained = (grade + (shared * ahead).sum(-1)) / ranks.gather(1, columns)
            return torch.where(listed, gained, 0).sum(-1)

        return sum_over_rows(of_rows, relevant, similarity) / total
    gained = relevance
    lower = 0.0
    for grade in grades.tolist():  # min(a, b) is the sum of the grade steps that both a and b reach
        reach = relevance >= grade
        ahead = soft_rank(similarity, temperature, mask=reach, wanted=reach, method=method) - 1
        gained = gained + (grade - lower) * torch.where(reach, ahead, 0)
        lower = grade
    return torch.where(relevant, gained / ranks, 0).sum(-1) / total
