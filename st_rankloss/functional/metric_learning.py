"""Metric-learning losses: Multi-Similarity, Circle, threshold-consistent margins and quadruplets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.conditions import any_relevant, some_irrelevant_in_the_batch, two_kinds
from st_rankloss.functional.declaration import batch_function, list_function
from st_rankloss.functional.lists import masked_logsumexp, masked_mean, masses
from st_rankloss.functional.settings import AtLeast0, Finite, Positive, Share
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


@list_function("binary", learns=two_kinds)
def circle(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    margin: Share = 0.4,
    scale: Positive = 80.0,
) -> Tensor:
    r"""Compute Circle loss: each similarity is weighted by its distance from its optimum.

    .. math:: \log \Big( 1 + \sum_{j \in P} e^{-\gamma (1 + m - s_j)_+ (s_j - 1 + m)}
        \sum_{k \in N} e^{\gamma (s_k + m)_+ (s_k - m)} \Big)

    The weights in parentheses are not differentiated, so the gradient is not the derivative. They assume similarities
    between -1 and 1.

    Args:
        margin: m, above 0 and at most 1: similarities of relevant documents should be above 1 - m, others below m.
        scale: γ, above 0.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> import torch
        >>> circle(torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 0.0, 0.0]), scale=10.0)
        tensor(0.4800)

    Source: Sun et al. (2020), "Circle Loss: A Unified Perspective of Pair Similarity Optimization", arXiv 2002.10857;
    defaults of pytorch-metric-learning. Time and memory O(D).
    """
    relevant = relevance > 0
    lacking = (1 + margin - similarity.detach()).clamp_min(0)
    excess = (similarity.detach() + margin).clamp_min(0)
    near = masked_logsumexp(-scale * lacking * (similarity - 1 + margin), relevant, weights)
    far = masked_logsumexp(scale * excess * (similarity - margin), judged & ~relevant, weights)
    return softplus(near + far)


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


@batch_function("binary", learns=some_irrelevant_in_the_batch)
def quadruplet(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    margin: AtLeast0 = 0.2,
    margin_between: AtLeast0 = 0.1,
) -> Tensor:
    r"""Compute quadruplet loss: relevant pairs against irrelevant ones of the same query and of all other queries.

    .. math:: \operatorname*{mean}_{j \in P_q} \Big[ \operatorname*{mean}_{k \in N_q} (s_{qk} - s_{qj} + m)_+
        + \operatorname*{mean}_{l \ne q,\, k \in N_l} (s_{lk} - s_{qj} + m')_+ \Big]

    The second term makes similarities comparable across queries.

    Args:
        margin: m, at least 0, in units of ``similarity``.
        margin_between: m', at least 0, for the pairs of other queries.

    Returns:
        Loss of each query, at least 0, lower is better, shape ``(Q,)``; 0 for a query without relevant documents.

    Example:
        >>> import torch
        >>> quadruplet(torch.tensor([[0.9, 0.8], [0.3, 0.5]]), torch.eye(2))
        tensor([0.1000, 0.4000])

    Source: Chen et al. (2017), "Beyond triplet loss: a deep quadruplet network for person re-identification", arXiv
    1704.01719, here with similarities for squared distances, means for sums, and the pairs of queries of the same class
    among those of others: lists do not say which queries are alike. Time O(Q · D log(Q · D)) for all quadruplets.
    """
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    wide = similarity.to(torch.float32 if similarity.device.type == "mps" else torch.float64)
    mass = masses(irrelevant, weights, wide)
    own = _hinge_sums(wide, mass, wide - margin)
    of_all = _hinge_sums(wide.reshape(1, -1), mass.reshape(1, -1), (wide - margin_between).reshape(1, -1))
    others = of_all.reshape(wide.shape) - _hinge_sums(wide, mass, wide - margin_between)
    count = mass.sum(-1, keepdim=True)
    terms = own / _divisor(count) + others / _divisor(count.sum() - count)
    return masked_mean(terms, relevant, weights).to(similarity.dtype)


def _divisor(mass: Tensor) -> Tensor:
    return torch.where(mass > 0, mass, 1)


def _hinge_sums(values: Tensor, mass: Tensor, points: Tensor) -> Tensor:
    """Compute, for each point p, the sum of max(0, v - p) over the values v of its row, weighted by ``mass``."""
    descending, order = torch.where(mass > 0, values, -torch.inf).sort(dim=-1, descending=True)
    above = torch.searchsorted(-descending.detach(), -points.detach())
    mass = mass.gather(-1, order)
    sums = [F.pad(x.cumsum(-1), (1, 0)).gather(-1, above) for x in (mass * values.gather(-1, order), mass)]
    return sums[0] - sums[1] * points
