"""Measures of why a ranking loss stalls."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.gains import Gain, discount, gains_of, over_largest
from st_rankloss.functional.ndcg import check_metric, ideal_of_gains
from st_rankloss.functional.ranks import upcast


def random_ndcg(relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute the expected NDCG of a random order; near 1, every order is good and the gradient vanishes.

    Args:
        relevance: At least 0, NaN where unjudged (not in the list), shape ``(..., D)``, floating.
        gain: ``"linear"``, ``"exponential"`` or a callable of relevance that maps 0 to 0.
        k: Cutoff; None means no cutoff.

    Returns:
        Mean over all orders of the judged documents, in [0, 1], NaN without gain, shape ``(...)``.

    Raises:
        TypeError: If ``relevance`` is not floating.
        ValueError: If ``k`` is below 1 or ``gain`` is unknown.

    Example:
        >>> random_ndcg(torch.tensor([[1.0, 0.0], [1.0, 0.9]]))
        tensor([0.8155, 0.9882])
    """
    check_metric(relevance, relevance, gain, k)
    relevance = upcast(relevance)
    judged = (~relevance.isnan()).sum(-1, keepdim=True)
    place = torch.arange(1, relevance.shape[-1] + 1, device=relevance.device, dtype=relevance.dtype)
    counted = (place <= judged) & (place <= (k or relevance.shape[-1]))
    gains = over_largest(gains_of(relevance, gain))
    mean_gain = gains.sum(-1) / judged[..., 0]
    return mean_gain * torch.where(counted, discount(place), 0).sum(-1) / ideal_of_gains(gains, k)


def effective_rank(embeddings: Tensor) -> Tensor:
    """Compute RankMe, the effective number of dimensions that embeddings use: near 1 after a collapse.

    Args:
        embeddings: Shape ``(rows, dimensions)``, floating.

    Returns:
        Exponential of the entropy of the normalised singular values, a scalar in [1, min(rows, dimensions)].

    Example:
        >>> effective_rank(torch.eye(3)), effective_rank(torch.ones(3, 3))
        (tensor(3.0000), tensor(1.0000))

    Source: Garrido et al. (2023), "RankMe", arXiv 2210.02885. Cost: O(rows² · dimensions).
    """
    singular = torch.linalg.svdvals(upcast(embeddings))
    share = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


def vanishing_share(similarity: Tensor, relevance: Tensor, gradient: Tensor, *, ratio: float = 1e-3) -> Tensor:
    """Compute the share of misplaced documents with almost no gradient.

    A document is misplaced if it ranks below a less relevant one of its query, with ties broken by position. Almost no
    gradient means at most ``ratio`` times the largest of the query.

    Args:
        similarity: Shape ``(Q, D)``, floating.
        relevance: At least 0, NaN where unjudged, shape ``(Q, D)``.
        gradient: Gradient of a loss with respect to similarity, shape ``(Q, D)``.
        ratio: Threshold relative to the largest gradient, at least 0.

    Returns:
        The share over all queries, a scalar; NaN if no document is misplaced.

    Example:
        >>> similarity, relevance = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 2.0]])
        >>> vanishing_share(similarity, relevance, torch.tensor([[0.1, 0.0, -0.1]]))
        tensor(0.5000)
    """
    order = similarity.argsort(dim=-1, descending=True, stable=True)
    grades = relevance.gather(-1, order)
    lowest = grades.nan_to_num(nan=torch.inf).cummin(-1).values
    above = torch.cat([torch.full_like(lowest[..., :1], torch.inf), lowest[..., :-1]], -1)
    misplaced = grades > above  # False for NaN
    size = gradient.abs()
    small = (size <= ratio * size.amax(-1, keepdim=True)).gather(-1, order)
    return (misplaced & small).sum() / misplaced.sum()
