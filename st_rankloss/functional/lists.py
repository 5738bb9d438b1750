"""Helpers for the bodies of list functions: sums and extremes over parts of a list and over pairs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from st_rankloss.functional.gains import fill_unjudged, over_largest, without_traces
from st_rankloss.functional.masks import count, everywhere
from st_rankloss.functional.ranks import list_columns

Body = TypeVar("Body", bound=Callable[..., Tensor])

MOST_SQUARED = 1e15
"""The largest grade for a loss that multiplies or squares grades: its sums would overflow float32 beyond this."""

_PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}


def clean_relevance(relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Return relevance, 0 where unjudged or negligible (see `without_traces`), and which documents are judged.

    On a CPU, a mask without unjudged documents is `everywhere`, which saves passes over memory.
    """
    known = without_traces(relevance)
    if relevance.device.type == "cpu" and not known.sum().isnan():
        return known, everywhere(relevance)
    return fill_unjudged(known), ~relevance.isnan()


def weigh(relevance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Remove the documents of weight 0 from lists, and scale the other weights to copies of documents.

    .. math:: w_j \frac{\sum_k w_k}{\sum_k w_k^2}

    So a document of weight 2 in a list counts as two copies of one of weight 1, only the ratios of a list's weights
    matter, equal weights have no effect, and a list counts as its effective number of documents (Kish 1965), in which
    a weight near 0 is hardly one.

    Args:
        relevance: NaN where unjudged, shape ``(Q, D)``.
        weights: At least 0, shape ``(Q, D)``.

    Returns:
        Relevance, NaN also where the weight is 0 or negligible next to the list's largest; and weights, 0 where
        relevance is NaN.

    Example:
        >>> weigh(torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[3.0, 1.0, 0.0]]))
        (tensor([[1., 0., nan]]), tensor([[1.2000, 0.4000, 0.0000]]))
    """
    weights = over_largest(weights.to(relevance.dtype).masked_fill(relevance.isnan(), 0))
    weights = without_traces(weights)
    listed = weights > 0
    squares = weights.square().sum(-1, keepdim=True)
    copies = weights.sum(-1, keepdim=True) / torch.where(squares > 0, squares, 1)
    return relevance.masked_fill(~listed, torch.nan), weights * copies


def irrelevant_of(relevance: Tensor) -> Tensor:
    """Return which documents are judged but not relevant."""
    grades, judged = clean_relevance(relevance)
    return judged & (grades == 0)


def few_lists_at_once(body: Body) -> Body:
    """Make a body that needs D² numbers per list process a few lists at a time, and recompute them in backward.

    Args:
        body: Maps similarity, relevance, which documents are judged and their weights, ``(Q, D)`` each, to values
            ``(Q,)``.

    Returns:
        The same function, with the peak memory of a few lists.
    """

    @functools.wraps(body)
    def in_pieces(
        similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, **settings: Any
    ) -> Tensor:
        at_once = max(1, _PAIRS_AT_ONCE.get(similarity.device.type, 2**22) // similarity.shape[1] ** 2)
        if len(similarity) <= at_once:
            return body(similarity, relevance, judged, weights, **settings)
        some = functools.partial(body, **settings)
        split = [tensor.split(at_once) for tensor in (similarity, relevance, judged)]
        pieces = zip(*split, [None] * len(split[0]) if weights is None else weights.split(at_once), strict=True)
        return torch.cat([checkpoint(some, *p, use_reentrant=False, preserve_rng_state=False) for p in pieces])

    return cast(Body, in_pieces)


def in_spreads(similarity: Tensor, judged: Tensor, weights: Tensor | None = None) -> Tensor:
    """Divide each query's similarities by their standard deviation over its judged documents, held constant.

    Args:
        similarity: Shape ``(Q, D)``, at least float32.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        weights: At least 0, shape ``(Q, D)``; None means 1.

    Returns:
        Shape ``(Q, D)``. The divisor is at least a hundredth of the query's largest similarity, so that rounding errors
        are not amplified when all similarities are equal.

    Example:
        >>> both = torch.tensor([[True, True]])
        >>> in_spreads(torch.tensor([[3.0, 1.0]]), both)
        tensor([[3.0000, 1.0000]])
        >>> in_spreads(torch.tensor([[0.3, 0.1]]), both)
        tensor([[3.0000, 1.0000]])
    """
    with torch.no_grad():
        values = torch.where(judged, similarity, 0)
        gap = values - masked_mean(values, judged, weights)[:, None]
        spread = masked_mean(gap.square(), judged, weights).sqrt()[:, None]
        spread = torch.maximum(spread, 1e-2 * values.abs().amax(-1, keepdim=True))
        spread = torch.where(spread > 0, spread, 1)
    return similarity / spread


def masses(mask: Tensor, weights: Tensor | None, like: Tensor) -> Tensor:
    """Return the weights where ``mask`` is true (1 if None), 0 elsewhere, in the dtype of ``like``."""
    return mask.to(like.dtype) if weights is None else torch.where(mask, weights, 0)


def masked_mean(values: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average over the last dimension where ``mask`` is true, weighted; 0 if it never is."""
    if weights is None:
        return torch.where(mask, values, 0).sum(-1) / count(mask).clamp_min(1)
    return torch.where(mask, values * weights, 0).sum(-1) / mass_of(mask, weights)


def mass_of(mask: Tensor, weights: Tensor | None) -> Tensor:
    """Return the total weight where ``mask`` is true, by which a sum over it is divided: 1 if it never is."""
    if weights is None:
        return count(mask).clamp_min(1)
    total = torch.where(mask, weights, 0).sum(-1)
    return torch.where(total > 0, total, 1)


def kth_largest(values: Tensor, mask: Tensor, k: int, weights: Tensor | None = None) -> Tensor:
    """Return each list's k-th largest value where ``mask`` is true, or the smallest if there are fewer, ``(Q, 1)``.

    With weights, a value of weight w takes w places.
    """
    best, order = torch.where(mask, values, -torch.inf).sort(-1, descending=True)
    ahead = mask.long().sum(-1, keepdim=True).clamp_max(k) - 1
    if weights is not None:
        filled = torch.where(mask, weights, 0).gather(-1, order).cumsum(-1)
        ahead = torch.minimum((filled < k).sum(-1, keepdim=True), mask.sum(-1, keepdim=True) - 1)
    return best.gather(-1, ahead.clamp_min(0))


def largest_of(values: Tensor, mask: Tensor) -> Tensor:
    """Return each list's largest value where ``mask`` is true, detached, ``(Q, 1)``; 0 if it never is."""
    largest = torch.where(mask, values.detach(), -torch.inf).amax(-1, keepdim=True)
    return torch.where(largest > -torch.inf, largest, 0)


def precise_logits(similarity: Tensor, temperature: float, mask: Tensor) -> Tensor:
    """Return s/τ, up to a constant per list, so that the difference of any two documents keeps its precision.

    Uses float64: next to a document that is 1,000 higher, float32 would round the difference of two others to 6e-5,
    centred or not. Devices without float64 centre on the list's largest value.
    """
    if similarity.device.type == "mps":
        return (similarity - largest_of(similarity, mask)) / temperature
    return similarity.double() / temperature


def log_odds(similarity: Tensor, rivals: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Compute, for each document j, log Σ w_k e^((s_k - s_j)/τ) over the rivals k of its list: ``(Q, D)``.

    Sums relative to the largest rival, so that rounding affects only negligible differences; ``-inf``, without
    gradient, in a list without rivals.
    """
    top = largest_of(similarity, rivals)
    total = masked_logsumexp((similarity - top) / temperature, rivals, weights)
    return (top - similarity) / temperature + total[:, None]


def log_weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Add the logarithm of weights to logits, where weights are above 0, so that their exponentials are weighted."""
    if weights is None:
        return values
    return values + torch.where(weights > 0, weights, 1).log()


def masked_logsumexp(values: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute log Σ w exp over the last dimension where ``mask`` is true; ``-inf``, without gradient, if it is not."""
    values = log_weighted(values, weights)
    some = mask.any(-1, keepdim=True)
    filled = torch.where(mask, values, torch.where(some, -torch.inf, 0))
    return torch.where(some[..., 0], filled.logsumexp(-1), -torch.inf)


def logsumexp_below(values: Tensor, relevance: Tensor, judged: Tensor, *, ties: bool) -> Tensor:
    """Compute, for each document j, log Σ exp over the judged documents k of lower relevance in O(D log D) time.

    Args:
        values: Shape ``(Q, D)``.
        relevance: At least 0, shape ``(Q, D)``.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        ties: Also count documents of equal relevance, including j itself.

    Returns:
        Shape ``(Q, D)``; ``-inf``, without gradient, where there are none.

    Example:
        >>> grades = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
        >>> logsumexp_below(torch.zeros(1, 4), grades, grades >= 0, ties=False).exp()
        tensor([[3.0000, 1.0000, 1.0000, 0.0000]])
    """
    keys = torch.where(judged, relevance, torch.inf)  # unjudged documents sort last, below none
    ascending, order = keys.sort(dim=-1)
    cumulative = values.gather(-1, order).logcumsumexp(-1)
    count = torch.searchsorted(ascending, keys, right=ties)
    below = cumulative.gather(-1, (count - 1).clamp_min(0))
    return torch.where(judged & (count > 0), below, -torch.inf)


def count_pairs(relevance: Tensor, judged: Tensor, weights: Tensor | None = None) -> Tensor:
    """Count the pairs of judged documents of different relevance, ``(Q,)``, in O(D log D) time.

    A pair counts the product of its documents' weights. Returns at least 1 without weights, or above 0 with them, so
    that sums can be divided by it.
    """
    keys = torch.where(judged, relevance, torch.inf)
    ascending, order = keys.sort(dim=-1)
    below = torch.searchsorted(ascending, keys)
    if weights is None:
        return torch.where(judged, below, 0).sum(-1).clamp_min(1)
    up_to = F.pad(weights.gather(-1, order).cumsum(-1), (1, 0))
    total = torch.where(judged, weights * up_to.gather(-1, below), 0).sum(-1)
    return torch.where(total > 0, total, 1)


def sum_over_rows(term: Callable[[Tensor, Tensor], Tensor], wanted: Tensor, similarity: Tensor) -> Tensor:
    """Sum a term that reads all pairs (j, k) over the wanted documents j of each list.

    Processes a few j at a time and recomputes them in backward: time O(P · D), memory O(D) plus a constant, per list.

    Args:
        term: Maps the columns of some documents j ``(Q, p)``, int64, and which of them count ``(Q, p)``, bool, to one
            sum per list ``(Q,)``, or ``(Q, n)`` for n sums at once.
        wanted: Which documents j to sum over, shape ``(Q, D)``, bool.
        similarity: The tensor that ``term`` is differentiated by, shape ``(Q, D)``.

    Returns:
        The sums, ``(Q,)`` or ``(Q, n)``.
    """
    columns, listed = list_columns(wanted)
    queries, documents = wanted.shape
    at_once = max(1, _PAIRS_AT_ONCE.get(wanted.device.type, 2**22) // (queries * documents))
    if columns.shape[1] <= at_once:
        return term(columns, listed)
    pieces = []
    for some, counted in zip(columns.split(at_once, 1), listed.split(at_once, 1), strict=True):
        pieces.append(checkpoint(term, some, counted, use_reentrant=False, preserve_rng_state=False))
    return torch.stack(pieces).sum(0)


def weighted_sum(terms: Tensor, listed: Tensor, columns: Tensor, weights: Tensor | None) -> Tensor:
    """Sum a term of each document in ``columns`` (Q, p), where ``listed``, times its weight: ``(Q,)``."""
    terms = terms if weights is None else terms * weights.gather(1, columns)
    return torch.where(listed, terms, 0).sum(-1)


def differences(values: Tensor, columns: Tensor) -> Tensor:
    """Return v_k - v_j for the documents j in ``columns`` and all k: ``(Q, D)`` and ``(Q, p)`` to ``(Q, p, D)``."""
    return values[:, None, :] - values.gather(1, columns)[:, :, None]
