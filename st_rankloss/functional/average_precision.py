"""Average precision: smooth, from above, and over a hierarchy of grades."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.gains import over_largest
from st_rankloss.functional.lists import (
    any_relevant,
    differences,
    masked_mean,
    per_list,
    sum_over_rows,
    two_grades,
    two_kinds,
)
from st_rankloss.functional.pairs import few_grades
from st_rankloss.functional.ranks import exact_ranks, soft_rank
from st_rankloss.functional.settings import check_settings


def smooth_ap(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    no_relevant: str = "skip",
    method: str = "auto",
) -> Tensor:
    r"""Compute the differentiable average precision: the mean of relevant ranks over ranks.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \frac{r^+_j}{r_j}

    r is the soft rank among all documents, r⁺ that among the relevant ones.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.

    Returns:
        Average precision in (0, 1], higher is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> smooth_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 1.0, 0.0]), temperature=0.01)
        tensor(0.8333)

    Source: Brown et al. (2020), "Smooth-AP", arXiv 2007.12163. Cost: that of the soft ranks of the relevant documents.
    """
    check_settings(temperature=temperature, method=method)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        among_all, among_relevant = (
            torch.where(relevant, soft_rank(similarity, temperature, mask=mask, wanted=relevant, method=method), 1)
            for mask in (judged, relevant)
        )
        return masked_mean(among_relevant / among_all, relevant)

    return per_list(body, similarity, relevance, any_relevant, no_relevant, varies=two_kinds)


def sup_ap(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.01,
    slope: float = 100.0,
    width: float = 0.05,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute a lower bound of average precision whose gradient does not vanish where the order is worst.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \frac{r^+_j}{r^+_j + \sum_{k \in N} H(s_k - s_j)}, \qquad
        H(x) = \begin{cases} \sigma(x/\tau) & x \le 0 \\ \sigma(x/\tau) + 1/2 & 0 < x \le \delta \\
        \rho (x - \delta) + \sigma(\delta/\tau) + 1/2 & x > \delta \end{cases}

    r⁺ is the exact rank among the relevant documents, without gradient: only the irrelevant ones above a relevant one
    are pushed. H is at least the step function, so that 1 minus this value is an upper bound of 1 - AP.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        slope: ρ, at least 0, of the penalty for irrelevant documents far above a relevant one.
        width: δ, at least 0, in units of ``similarity``: from where on the penalty is linear.
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.

    Returns:
        In (0, 1], higher is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> sup_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 1.0, 0.0]))
        tensor(0.5206)

    Source: Ramzi et al. (2021), "Robust and Decomposable Average Precision for Image Retrieval" (ROADMAP), arXiv
    2110.01445. Their calibration of scores is the `threshold_margin`, to be added. Cost: O(P · D) a query, all pairs of
    a relevant document with another, a few at a time.
    """
    check_settings(temperature=temperature, slope=slope, width=width)

    def step(x: Tensor) -> Tensor:
        near = torch.sigmoid(x.clamp_max(width) / temperature) + 0.5 * (x > 0)
        return near + slope * (x - width).clamp_min(0)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        irrelevant = judged & ~relevant
        exact = torch.where(relevant, exact_ranks(similarity.detach(), mask=relevant), 1)

        def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
            above = torch.where(irrelevant[:, None, :], step(differences(similarity, columns)), 0).sum(-1)
            own = exact.gather(1, columns)
            return torch.where(listed, own / (own + above), 0).sum(-1)

        return sum_over_rows(of_rows, relevant, similarity) / relevant.sum(-1).clamp_min(1)

    return per_list(body, similarity, relevance, any_relevant, no_relevant, varies=two_kinds)


def hierarchical_ap(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    no_relevant: str = "skip",
    method: str = "auto",
) -> Tensor:
    r"""Compute the differentiable average precision with graded relevance.

    .. math:: \frac{1}{\sum_j y_j} \sum_{j \in P} \frac{y_j + \sum_{k \ne j} \min(y_j, y_k)\,
        \sigma\left(\frac{s_k - s_j}{\tau}\right)}{r_j}

    With one grade it is `smooth_ap`. On a CPU and with few distinct grades the numerator is a sum of soft ranks,
    one for each grade; otherwise all pairs of relevant documents are looked at, a few at a time.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``; not
            differentiated.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.
        method: How sums over pairs are computed, see `st_rankloss.kernels`.

    Returns:
        In (0, 1], higher is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> hierarchical_ap(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 2.0, 0.0]), temperature=0.01)
        tensor(0.6667)

    Source: Ramzi et al. (2022), "Hierarchical Average Precision Training for Pertinent Image Retrieval" (HAPPIER),
    arXiv 2207.04873, for the metric. They bound it from above, with steps in the numerator; the sigmoids are ours.
    Cost: few grades, that of as many soft ranks of the relevant documents; else O(P · D) a query.
    """
    check_settings(temperature=temperature, method=method)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
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
                shared = shared.scatter(2, columns[:, :, None], 0)  # not with itself
                gained = (grade + (shared * ahead).sum(-1)) / ranks.gather(1, columns)
                return torch.where(listed, gained, 0).sum(-1)

            return sum_over_rows(of_rows, relevant, similarity) / total
        gained = relevance
        lower = 0.0
        for grade in grades.tolist():  # min(a, b) adds up, over the grades, the steps that both a and b reach
            reach = relevance >= grade
            ahead = soft_rank(similarity, temperature, mask=reach, wanted=reach, method=method) - 1
            gained = gained + (grade - lower) * torch.where(reach, ahead, 0)
            lower = grade
        return torch.where(relevant, gained / ranks, 0).sum(-1) / total

    return per_list(body, similarity, relevance, any_relevant, no_relevant, varies=two_grades)
