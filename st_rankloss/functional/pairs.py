"""Sums over the pairs of documents of different grades, shared by Kendall's tau, RankNet and AUC."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.lists import differences, masses, sum_over_rows
from st_rankloss.functional.ranks import list_columns, sum_over_columns
from st_rankloss.kernels.pair_sums import KERNELS, kernel_of

MOST_GRADES = 16
"""The most distinct grades in a block for which one sum per grade is cheaper than all pairs."""


def few_grades(relevance: Tensor, judged: Tensor) -> Tensor | None:
    """Return the distinct grades, ascending; None if there are many, or if reading them would wait for the device."""
    if relevance.device.type != "cpu":
        return None
    grades = relevance[judged].unique()
    return grades if len(grades) <= MOST_GRADES else None


def sum_over_graded_pairs(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    temperature: float,
    *,
    kernel: str,
    method: str = "auto",
    weights: Tensor | None = None,
) -> Tensor:
    r"""Sum a kernel over all pairs in which one document should rank above the other.

    .. math:: \sum_{y_j > y_k} w_j w_k K\left(\frac{s_k - s_j}{\tau}\right)

    On a CPU and with at most `MOST_GRADES` distinct grades, the documents of each grade are compared with all lower
    ones at once, by the methods of `st_rankloss.kernels`: time O(grades · D log D) per list. Otherwise it runs over
    every pair, a few rows at a time: O(D²). Memory is O(D) per list either way.

    Args:
        similarity: Shape ``(Q, D)``.
        relevance: 0 where unjudged, shape ``(Q, D)``.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        temperature: τ, above 0, in units of ``similarity``.
        kernel: K, ``"sigmoid"`` or ``"softplus"``.
        method: ``"auto"``, a method of `st_rankloss.kernels`; ``"dense"`` computes every pair.
        weights: w, at least 0, shape ``(Q, D)``; None means 1.

    Returns:
        The sums, shape ``(Q,)``.

    Example:
        >>> similarity, grades = torch.tensor([[0.9, 0.2, 0.7]]), torch.tensor([[0.0, 2.0, 1.0]])
        >>> sum_over_graded_pairs(similarity, grades, grades >= 0, 0.01, kernel="sigmoid")  # misplaced pairs
        tensor([3.0000])
    """
    grades = few_grades(relevance, judged) if method != "dense" else None
    if grades is None:
        lowest = torch.where(judged, relevance, torch.inf).amin(-1, keepdim=True)

        def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
            lower = (differences(relevance, columns) < 0) & judged[:, None, :] & listed[:, :, None]
            pairs = kernel_of(differences(similarity, columns) / temperature, KERNELS[kernel])
            if weights is not None:
                pairs = pairs * weights[:, None, :] * weights.gather(1, columns)[:, :, None]
            return torch.where(lower, pairs, 0).sum((1, 2))

        return sum_over_rows(of_rows, judged & (relevance > lowest), similarity)
    total = similarity.new_zeros(len(similarity))
    for grade in grades[1:]:
        columns, listed = list_columns(judged & (relevance == grade))
        lower = masses(judged & (relevance < grade), weights, similarity)
        sums = sum_over_columns(
            similarity, columns, judged, temperature, listed=listed, weights=lower, kernel=kernel, method=method
        )
        if weights is not None:
            sums = sums * weights.gather(1, columns)
        total = total + torch.where(listed, sums, 0).sum(-1)
    return total
