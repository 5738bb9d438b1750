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
from st_rankloss.functional.ranks import exact_ranks, soft_places
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
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    exact = torch.where(relevant, exact_ranks(similarity.detach(), mask=relevant, weights=weights), 1)
    rivals = masses(irrelevant, weights, similarity)[:, None, :]

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        above = (rivals * _bound_of_step(differences(similarity, columns), temperature, slope, width)).sum(-1)
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
    arXiv 2207.04873, for the metric, H-AP; the sigmoids are ours, their loss is `hierarchical_sup_ap`. Cost: with few
    grades, one set of soft ranks of the relevant documents per grade; otherwise O(P · D) per query.
    """
    relevant = relevance > 0
    ranks = soft_places(similarity, temperature, judged=judged, wanted=relevant, method=method, weights=weights)
    relevance = over_largest(relevance)
    mass = masses(judged, weights, similarity)
    total = (mass * relevance).sum(-1)
    total = torch.where(total > 0, total, 1)
    grades = few_grades(relevance, relevant) if method != "dense" else None
    if grades is None:

        def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
            ahead = torch.sigmoid(differences(similarity, columns) / temperature)
            grade = relevance.gather(1, columns)
            shared = torch.minimum(relevance[:, None, :], grade[:, :, None]) * _rivals(mass, columns)
            gained = (grade + (shared * ahead).sum(-1)) / ranks.gather(1, columns)
            return weighted_sum(gained, listed, columns, weights)

        return sum_over_rows(of_rows, relevant, similarity) / total
    gained = relevance
    lower = 0.0
    for grade in grades.tolist():  # min(a, b) is the sum of the grade steps that both a and b reach
        reach = relevance >= grade
        ahead = soft_places(similarity, temperature, judged=reach, wanted=reach, method=method, weights=weights) - 1
        gained = gained + (grade - lower) * torch.where(reach, ahead, 0)
        lower = grade
    return torch.where(relevant, mass * gained / ranks, 0).sum(-1) / total


@list_function("graded", learns=two_grades, defined=any_relevant, metric=True)
def hierarchical_sup_ap(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.01,
    slope: AtLeast0 = 100.0,
    width: AtLeast0 = 0.05,
) -> Tensor:
    r"""Compute a lower bound of average precision with graded relevance: `sup_ap` for grades.

    .. math:: \frac{1}{\sum_j y_j} \sum_{j \in P} \frac{y_j + \sum_{k \ne j} \min(y_j, y_k)\, \mathbb 1[s_k > s_j]}
        {1 + \sum_{y_k \ge y_j} \mathbb 1[s_k > s_j] + \sum_{y_k < y_j} H(s_k - s_j)}

    H is that of `sup_ap`. Only comparisons with documents of lower relevance have a gradient; ties count one half.

    Args:
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        slope: ρ, at least 0, of the penalty for documents of lower relevance far above one.
        width: δ, at least 0, in units of ``similarity``: where the linear penalty starts.

    Returns:
        In (0, 1], higher is better, shape ``(...)``.

    Example:
        >>> hierarchical_sup_ap(torch.tensor([0.9, 0.88, 0.2]), torch.tensor([1.0, 2.0, 0.0]))
        tensor(0.7534)

    Source: Ramzi et al. (2022), "Hierarchical Average Precision Training for Pertinent Image Retrieval" (HAPPIER),
    arXiv 2207.04873. They train on 0.9 of it and 0.1 of a softmax over class proxies, which is not included. Their code
    starts the linear penalty at 1.44, not at H(δ). Cost: O(P · D) per query, over all pairs of a relevant document with
    another, a few at a time.
    """
    grades = over_largest(relevance)
    mass = masses(judged, weights, similarity)

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        gap, rivals = differences(similarity, columns), _rivals(mass, columns)
        grade = grades.gather(1, columns)
        lower = grades[:, None, :] < grade[:, :, None]
        above = 0.5 + 0.5 * gap.detach().sign()
        gained = grade + (rivals * torch.minimum(grades[:, None, :], grade[:, :, None]) * above).sum(-1)
        bound = _bound_of_step(gap, temperature, slope, width)
        ranks = 1 + (rivals * torch.where(lower, bound, above)).sum(-1)
        return weighted_sum(gained / ranks, listed, columns, weights)

    total = (mass * grades).sum(-1)
    return sum_over_rows(of_rows, relevance > 0, similarity) / torch.where(total > 0, total, 1)


def _rivals(mass: Tensor, columns: Tensor) -> Tensor:
    """Return the mass of all documents for each of ``columns``, ``(Q, p, D)``; of itself, that of its other copies."""
    copies = (mass.gather(1, columns) - 1).clamp_min(0)
    return mass[:, None, :].repeat(1, columns.shape[1], 1).scatter(2, columns[:, :, None], copies[:, :, None])


def _bound_of_step(x: Tensor, temperature: float, slope: float, width: float) -> Tensor:
    """Bound the step function at 0 from above, with a slope that does not vanish far above 0."""
    near = torch.sigmoid(x.clamp_max(width) / temperature) + 0.5 * (x > 0)
    return near + slope * (x - width).clamp_min(0)
