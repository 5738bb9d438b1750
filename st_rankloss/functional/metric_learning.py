"""Metric-learning losses over a query's list: Multi-Similarity and threshold-consistent margins."""

from __future__ import annotations

from torch import Tensor

from st_rankloss.functional.conditions import any_relevant
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.lists import masked_logsumexp, masked_mean
from st_rankloss.functional.settings import AtLeast0, Finite, Positive
from st_rankloss.kernels.pair_sums import softplus


@list_function("binary", learns=any_relevant)
def multi_similarity(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    alpha: Positive = 2.0,
    beta: Positive = 50.0,
    base: Finite = 0.5,
) -> Tensor:
    r"""Compute the Multi-Similarity loss: soft thresholds for the relevant and the irrelevant documents.

    .. math:: \frac{1}{\alpha} \log \Big( 1 + \sum_{j \in P} e^{-\alpha (s_j - \lambda)} \Big)
        + \frac{1}{\beta} \log \Big( 1 + \sum_{k \in N} e^{\beta (s_k - \lambda)} \Big)

    λ is a threshold, so adding a constant to the similarities changes the loss.

    Args:
        alpha: Sharpness for relevant documents, above 0, per unit of ``similarity``.
        beta: Sharpness for irrelevant documents, above 0.
        base: λ, in units of ``similarity``.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> import torch
        >>> multi_similarity(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.3856)

    Source: Wang et al. (2019), "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning", arXiv
    1904.06627, without its mining of pairs. Time and memory O(D).
    """
    relevant = relevance > 0
    near = softplus(masked_logsumexp(-alpha * (similarity - base), relevant, weights)) / alpha
    return near + softplus(masked_logsumexp(beta * (similarity - base), judged & ~relevant, weights)) / beta


def _check_thresholds(upper: float, lower: float) -> None:
    if not lower < upper:
        raise ValueError(f"lower must be below upper, got lower={lower!r} and upper={upper!r}.")


@list_function("binary", learns=any_relevant, check=_check_thresholds)
def threshold_margin(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    upper: AtLeast0 = 0.9,
    lower: AtLeast0 = 0.5,
) -> Tensor:
    r"""Compute TCM: mean distance of relevant documents below one threshold and of irrelevant ones above another.

    .. math:: \operatorname*{mean}_{j \in P,\, s_j \le m_+} (m_+ - s_j)
        + \operatorname*{mean}_{k \in N,\, s_k \ge m_-} (s_k - m_-)

    A regulariser that only aligns all queries to one threshold: add it to a ranking loss.

    Args:
        upper: m₊, at least 0, in units of ``similarity``.
        lower: m₋, at least 0, below ``upper``.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> import torch
        >>> threshold_margin(torch.tensor([0.8, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.3000)

    Source: Zhang et al. (2023), "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", arXiv
    2307.04047, which takes the means over all pairs of a batch (see `st_rankloss.objectives.AcrossQueries`). Time and
    memory O(D).
    """
    relevant = relevance > 0
    low = relevant & (similarity <= upper)
    high = judged & ~relevant & (similarity >= lower)
    return masked_mean(upper - similarity, low, weights) + masked_mean(similarity - lower, high, weights)
