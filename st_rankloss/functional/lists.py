"""What the functions of a query's list share: how they read it, when it has anything to say, sums over parts of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from st_rankloss.functional.checks import (
    check_at_least,
    check_choice,
    check_finite,
    check_floating,
    check_relevance,
    check_same_shape,
)
from st_rankloss.functional.gains import Gain, check_gain, gains_of, without_traces
from st_rankloss.functional.ranks import list_columns, upcast

NO_RELEVANT = ("skip", "zero", "error")

MOST_SQUARED = 1e15
"""The largest grade of a loss that multiplies or squares grades: beyond, float32 could not hold its sums."""

_PAIRS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}


def any_relevant(relevance: Tensor, judged: Tensor) -> Tensor:
    """Return which lists have a relevant document: ``(Q, D)`` relevance (0 where unjudged) to ``(Q,)`` bool."""
    return (relevance > 0).any(-1)


def relevant_among_others(relevance: Tensor, judged: Tensor) -> Tensor:
    """Return which lists have a relevant document and another one: a softmax of a single document is always 1."""
    return any_relevant(relevance, judged) & (judged.sum(-1) > 1)


def two_kinds(relevance: Tensor, judged: Tensor) -> Tensor:
    """Return which lists have a relevant and an irrelevant document."""
    return (relevance > 0).any(-1) & ((relevance == 0) & judged).any(-1)


def two_kinds_beyond(k: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the condition of two kinds of documents, and of more than k: otherwise the first k are always alike."""

    def cut(relevance: Tensor, judged: Tensor) -> Tensor:
        return two_kinds(relevance, judged) & (judged.sum(-1) > k)

    return cut


def two_grades(relevance: Tensor, judged: Tensor) -> Tensor:
    """Return which lists have documents of different grades."""
    if not relevance.shape[-1]:
        return torch.zeros(relevance.shape[:-1], dtype=torch.bool, device=relevance.device)
    highest = torch.where(judged, relevance, -torch.inf).amax(-1)
    lowest = torch.where(judged, relevance, torch.inf).amin(-1)
    return highest > lowest


def by_gain(condition: Callable[[Tensor, Tensor], Tensor], gain: Gain) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a condition of lists, as `two_grades` is, on the gains of their documents instead of their relevance."""

    def of_gains(relevance: Tensor, judged: Tensor) -> Tensor:
        return condition(gains_of(relevance, gain), judged)

    return of_gains


def clean_relevance(relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Return relevance, 0 where unjudged or next to nothing (see `without_traces`), and which documents are judged."""
    judged = ~relevance.isnan()
    return without_traces(relevance.masked_fill(~judged, 0)), judged


def irrelevant_of(relevance: Tensor) -> Tensor:
    """Return which documents are judged and not relevant."""
    grades, judged = clean_relevance(relevance)
    return judged & (grades == 0)


def per_list(
    body: Callable[[Tensor, Tensor, Tensor], Tensor],
    similarity: Tensor,
    relevance: Tensor,
    defined: Callable[[Tensor, Tensor], Tensor],
    no_relevant: str = "skip",
    *,
    varies: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Apply a function of clean lists to similarity and relevance as users have them.

    Neither an unjudged document nor a list that is not defined can send back a gradient, or NaN.

    Args:
        body: Maps similarity ``(Q, D)``, relevance ``(Q, D)`` and which documents are judged ``(Q, D)`` to a
            value for each list ``(Q,)``; unjudged documents have similarity and relevance 0, no relevance is below the
            smallest normal number, and the value may be of a wider dtype.
        similarity: Shape ``(..., D)``, floating; float16 and bfloat16 become float32, also under autocast.
        relevance: At least 0, NaN where unjudged, shape ``(..., D)``; not differentiated; rounded to the dtype of
            ``similarity``.
        defined: Maps relevance (0 where unjudged) and which documents are judged to the lists that have a value.
        no_relevant: What the others give: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` a ValueError.
        varies: Maps the same to the lists of which not every order is worth the same, for a metric that is 1 for the
            others: these give 1 and a zero gradient, so that the way in which ``body`` is smooth cannot pull at them.

    Returns:
        Values, shape ``(...)``.
    """
    check_lists(similarity, relevance, "linear", None, no_relevant)
    if not similarity.dim():
        raise ValueError("similarity must have a last dimension of documents, got a scalar.")
    shape, documents = similarity.shape[:-1], similarity.shape[-1]
    nothing = torch.nan if no_relevant == "skip" else 0.0
    if not documents or not shape.numel():
        check_all_defined(torch.zeros(shape, dtype=torch.bool), no_relevant)
        return torch.where(torch.tensor(False, device=similarity.device), upcast(similarity).sum(-1), nothing)
    with torch.autocast(similarity.device.type, enabled=False):
        similarity = upcast(similarity).reshape(-1, documents)
        given = relevance.dtype
        relevance = relevance.detach().reshape(-1, documents).to(similarity.dtype)
        if given != similarity.dtype:
            check_relevance(relevance)  # a float64 may be infinite as a float32
        relevance, judged = clean_relevance(relevance)
        useful = defined(relevance, judged)
        check_all_defined(useful, no_relevant)
        moving = useful if varies is None else useful & varies(relevance, judged)
        similarity = torch.where(judged & moving[:, None], similarity, 0)
        # A list in which nothing is compared stays connected to the graph.
        value = body(similarity, relevance, judged).to(similarity.dtype) + 0 * similarity[:, 0]
        return torch.where(useful, torch.where(moving, value, 1), nothing).reshape(shape)


def few_lists_at_once(body: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Make a function that keeps D² numbers a list handle a few lists at a time, each again in the backward pass.

    Args:
        body: As for `per_list`.

    Returns:
        The same function, which keeps no more for all lists than for a few.
    """

    def in_pieces(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        at_once = max(1, _PAIRS_AT_ONCE.get(similarity.device.type, 2**22) // similarity.shape[1] ** 2)
        if len(similarity) <= at_once:
            return body(similarity, relevance, judged)
        pieces = zip(*(tensor.split(at_once) for tensor in (similarity, relevance, judged)), strict=True)
        return torch.cat([checkpoint(body, *p, use_reentrant=False, preserve_rng_state=False) for p in pieces])

    return in_pieces


def check_all_defined(defined: Tensor, no_relevant: str) -> None:
    """Raise ValueError under ``no_relevant="error"`` if a query has no value; that reads the device."""
    if no_relevant == "error" and not defined.all():
        raise ValueError(
            f"every query must have a document with gain under no_relevant='error', "
            f"got {int((~defined).sum())} of {defined.numel()} without."
        )


def check_lists(similarity: Tensor, relevance: Tensor, gain: Gain, k: int | None, no_relevant: str = "skip") -> None:
    """Raise TypeError or ValueError unless the arguments that list functions share are right."""
    check_floating(similarity, "similarity")
    check_floating(relevance, "relevance")
    check_same_shape(relevance, "relevance", similarity)
    check_gain(gain)
    check_at_least(k, 1, "k")
    check_choice(no_relevant, NO_RELEVANT, "no_relevant")
    check_relevance(relevance)
    check_finite(similarity.detach(), "similarity", where=lambda: ~relevance.isnan())


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average over the last dimension where ``mask`` is true; 0 where it never is."""
    return torch.where(mask, values, 0).sum(-1) / mask.sum(-1).clamp_min(1)


def largest_of(values: Tensor, mask: Tensor) -> Tensor:
    """Return each list's largest value where ``mask`` is true, a constant, ``(Q, 1)``; 0 where it never is."""
    largest = torch.where(mask, values.detach(), -torch.inf).amax(-1, keepdim=True)
    return torch.where(largest > -torch.inf, largest, 0)


def precise_logits(similarity: Tensor, temperature: float, mask: Tensor) -> Tensor:
    """Return s/τ, up to a constant of each list, so that the difference of any two documents keeps its digits.

    In float64: beside a document that is 1,000 higher, float32 would round what sets two others apart to 6e-5, centred
    or not. Devices without float64 get it centred on the list's largest.
    """
    if similarity.device.type == "mps":
        return (similarity - largest_of(similarity, mask)) / temperature
    return similarity.double() / temperature


def log_odds(similarity: Tensor, rivals: Tensor, temperature: float) -> Tensor:
    """Compute, for each document j, log Σ e^((s_k - s_j)/τ) over the rivals k of its list: ``(Q, D)``.

    From the largest rival on, so that only differences that matter are rounded; ``-inf``, without gradient, in a list
    without rivals.
    """
    top = largest_of(similarity, rivals)
    return (top - similarity) / temperature + masked_logsumexp((similarity - top) / temperature, rivals)[:, None]


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """Compute log Σ exp over the last dimension where ``mask`` is true; ``-inf``, without gradient, if it never is."""
    some = mask.any(-1, keepdim=True)
    filled = torch.where(mask, values, torch.where(some, -torch.inf, 0))
    return torch.where(some[..., 0], filled.logsumexp(-1), -torch.inf)


def logsumexp_below(values: Tensor, relevance: Tensor, judged: Tensor, *, ties: bool) -> Tensor:
    """Compute, for each document j, log Σ exp over the judged documents k of lower relevance; time O(D log D).

    Args:
        values: Shape ``(Q, D)``.
        relevance: At least 0, shape ``(Q, D)``.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        ties: Count those of equal relevance too, j itself among them.

    Returns:
        Shape ``(Q, D)``; ``-inf``, without gradient, where there are none.

    Example:
        >>> grades = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
        >>> logsumexp_below(torch.zeros(1, 4), grades, grades >= 0, ties=False).exp()
        tensor([[3.0000, 1.0000, 1.0000, 0.0000]])
    """
    keys = torch.where(judged, relevance, torch.inf)  # unjudged documents come last, below nothing
    ascending, order = keys.sort(dim=-1)
    cumulative = values.gather(-1, order).logcumsumexp(-1)
    count = torch.searchsorted(ascending, keys, right=ties)
    below = cumulative.gather(-1, (count - 1).clamp_min(0))
    return torch.where(judged & (count > 0), below, -torch.inf)


def count_pairs(relevance: Tensor, judged: Tensor) -> Tensor:
    """Count the pairs of judged documents of different relevance: ``(Q,)``; time O(D log D)."""
    keys = torch.where(judged, relevance, torch.inf)
    below = torch.searchsorted(keys.sort(dim=-1).values, keys)
    return torch.where(judged, below, 0).sum(-1)


def sum_over_rows(term: Callable[[Tensor, Tensor], Tensor], wanted: Tensor, similarity: Tensor) -> Tensor:
    """Sum, over the wanted documents j of each list, a term that reads all pairs (j, k).

    A few j at a time, computed again in the backward pass: time O(P · D) a list, memory O(D) and a constant.

    Args:
        term: Maps the columns of some documents j ``(Q, p)``, int64, and which of them count ``(Q, p)``, bool, to their
            sum for each list ``(Q,)``, or ``(Q, n)`` for n sums at once.
        wanted: Which documents j to sum over, shape ``(Q, D)``, bool.
        similarity: What ``term`` differentiates by, shape ``(Q, D)``.

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


def differences(values: Tensor, columns: Tensor) -> Tensor:
    """Return v_k - v_j for the documents j in ``columns`` and all k: ``(Q, D)`` and ``(Q, p)`` to ``(Q, p, D)``."""
    return values[:, None, :] - values.gather(1, columns)[:, :, None]
