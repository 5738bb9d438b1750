"""Ranks of documents by similarity: exact and soft, 1-based, 1 = most similar."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.checks import (
    check_choice,
    check_finite,
    check_floating,
    check_same_shape,
    check_temperature,
    check_weights,
    is_finite,
)
from st_rankloss.functional.masks import is_everywhere
from st_rankloss.kernels import METHODS, choose_method, sum_pairs


class RankFn(Protocol):
    """A function from similarities to exact or soft ranks."""

    def __call__(self, similarity: Tensor, columns: Tensor, mask: Tensor, listed: Tensor) -> Tensor:
        """Rank ``columns`` (Q, P) of ``similarity`` (Q, D), where ``listed`` (Q, P), among ``mask`` (Q, D)."""
        ...


def exact_ranks(
    similarity: Tensor,
    *,
    mask: Tensor | None = None,
    wanted: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Compute exact ranks; tied documents share their mean rank. Time O(D log D) per query.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating.
        mask: True where a document is in the list, shape ``(..., D)``; None means everywhere.
        wanted: True where a rank is needed, shape ``(..., D)``; None means all of ``mask``.
        weights: Weight of each document, at least 0, shape ``(..., D)``: one of weight 2 takes the ranks of two tied
            copies, and one below 1 counts that much in the ranks of those below it. None means 1.

    Returns:
        Ranks, shape ``(..., D)``; ``inf`` where a document is not in the list or not wanted.

    Raises:
        TypeError: If ``similarity`` or ``weights`` is not floating.
        ValueError: If shapes differ or, on a CPU, a similarity in the list or a weight is not finite.

    Example:
        >>> exact_ranks(torch.tensor([0.9, 0.2, 0.7, 0.7]))
        tensor([1.0000, 4.0000, 2.5000, 2.5000])
    """
    if weights is None:
        return _full_ranks(exact_rank_fn, similarity, mask, wanted)
    return _full_ranks(_WeightedRankFn(_flat_weights(weights, similarity)), similarity, mask, wanted)


def soft_rank(
    similarity: Tensor,
    temperature: float,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    wanted: Tensor | None = None,
    method: str = "auto",
) -> Tensor:
    r"""Compute differentiable ranks.

    .. math:: r_j = 1 + \sum_{k \ne j} w_k \, \sigma\!\left(\frac{s_k - s_j}{\tau}\right)

    Tied documents share their mean rank. As the temperature falls to 0, the ranks become exact.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; float16 and bfloat16 are computed in
            float32, also under autocast.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``. For cosines, use 0.01 to 0.1: a
            gap of one temperature counts as 73 % of a full swap.
        weights: Weight of each document in the ranks of the others, at least 0, shape ``(..., D)``; not
            differentiated; None means 1.
        mask: True where a document is in the list, shape ``(..., D)``; others are neither ranked nor counted. None
            means everywhere.
        wanted: True where a rank is needed, shape ``(..., D)``; None means all of ``mask``. Fewer ranks cost less.
        method: ``"auto"`` or one of ``"dense"``, ``"relevant"``, ``"grid"``, ``"triton"``; see `st_rankloss.kernels`.

    Returns:
        Ranks, shape ``(..., D)``, float32 or float64; ``inf`` where none is needed.

    Raises:
        TypeError: If ``similarity`` or ``weights`` is not floating.
        ValueError: If shapes differ, ``temperature`` is not above 0, ``method`` is unknown, weights require
            a gradient, or, on a CPU, a similarity in the list or a weight is not finite.

    Example:
        >>> soft_rank(torch.tensor([0.9, 0.2, 0.7]), 0.1)
        tensor([1.1201, 2.9924, 1.8875])

    Source: Qin, Liu, Li (2010), "A general approximation framework for direct optimization of information
    retrieval measures". Cost: see `st_rankloss.kernels`; with ``grid`` time and memory are linear in D.
    """
    check_temperature(temperature)
    check_choice(method, ["auto", *METHODS], "method")
    if weights is not None:
        weights = _flat_weights(weights, similarity)
    return _full_ranks(SoftRankFn(temperature, method, weights), similarity, mask, wanted)


def soft_places(
    similarity: Tensor,
    temperature: float,
    *,
    judged: Tensor,
    wanted: Tensor | None = None,
    method: str = "auto",
    weights: Tensor | None = None,
) -> Tensor:
    """Compute the soft ranks of weighted documents, each of which takes the ranks of that many copies.

    Args:
        similarity: Shape ``(Q, D)``.
        temperature: As in `soft_rank`.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        wanted: Which ranks are needed, shape ``(Q, D)``, bool; None means all of ``judged``.
        method: As in `soft_rank`.
        weights: At least 0, shape ``(Q, D)``; None means 1.

    Returns:
        `soft_rank`, which counts the other documents, plus `copies_of` the document itself; 1 where not wanted.
    """
    wanted = judged if wanted is None else wanted
    ranks = soft_rank(similarity, temperature, mask=judged, wanted=wanted, method=method, weights=weights)
    return torch.where(wanted, ranks + copies_of(weights), 1)


def copies_of(weights: Tensor | None) -> Tensor | float:
    """Return how far tied copies of a document push down their own mean rank: (w - 1)/2, at least 0."""
    return 0.0 if weights is None else 0.5 * (weights - 1).clamp_min(0)


class SoftRankFn:
    """A `RankFn` that computes soft ranks."""

    def __init__(self, temperature: float, method: str = "auto", weights: Tensor | None = None) -> None:
        self.temperature, self.method, self.weights = temperature, method, weights

    def __call__(self, similarity: Tensor, columns: Tensor, mask: Tensor, listed: Tensor) -> Tensor:
        """Rank the documents ``columns`` softly, in at least float32."""
        return 1 + sum_over_columns(
            similarity, columns, mask, self.temperature, listed=listed, weights=self.weights, method=self.method
        )


def sum_over_columns(
    similarity: Tensor,
    columns: Tensor,
    mask: Tensor,
    temperature: float,
    *,
    listed: Tensor | None = None,
    weights: Tensor | None = None,
    kernel: str = "sigmoid",
    method: str = "auto",
) -> Tensor:
    """Sum a kernel over pairs: Σ_{k≠j} w_k K((s_k - s_j)/τ) for the documents j in ``columns``, k in ``mask``.

    Args:
        similarity: Shape ``(Q, D)``; float16 and bfloat16 are computed in float32, also under autocast.
        columns: Shape ``(Q, P)``, int64.
        mask: Which documents are in the list, shape ``(Q, D)``, bool.
        temperature: τ, above 0.
        listed: Which of ``columns`` need a sum, see `list_columns`; the value of others is finite, but unspecified.
            None means all.
        weights: At least 0, shape ``(Q, D)``, not differentiated; None means 1.
        kernel: ``"sigmoid"`` or ``"softplus"``.
        method: See `st_rankloss.kernels`.

    Returns:
        The sums, shape ``(Q, P)``.
    """
    with torch.autocast(similarity.device.type, enabled=False):
        similarity = upcast(similarity)
        if not columns.numel():
            return similarity.gather(1, columns)
        counted = mask if weights is None else torch.where(mask, weights.to(similarity.dtype), 0)
        if method == "auto":
            method = choose_method(len(similarity), similarity.shape[1], columns.shape[1], similarity.device)
            method = "auto" if method == "grid" else method  # which depends on the similarities, too
        unread = weights is None and method == "relevant" and is_finite(similarity.detach())
        if not is_everywhere(mask) and not unread:
            similarity = _inside(similarity, mask)
        return sum_pairs(similarity, columns, temperature, counted, kernel, method, listed)


def _inside(similarity: Tensor, mask: Tensor) -> Tensor:
    """Replace similarities outside the list, which would widen the grid, or corrupt sums if they are not finite."""
    inside = torch.where(mask, similarity.detach(), -torch.inf).amax(dim=1, keepdim=True)
    return torch.where(mask, similarity, inside.clamp_min(torch.finfo(inside.dtype).min))


def exact_rank_fn(similarity: Tensor, columns: Tensor, mask: Tensor, listed: Tensor) -> Tensor:
    """Rank the documents ``columns`` exactly, as a `RankFn`."""
    above, not_below = places_of_ties(similarity, columns, mask)
    return 0.5 * (above + 1 + not_below).to(upcast(similarity).dtype)


class _WeightedRankFn:
    """A `RankFn` that computes exact ranks of weighted documents."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def __call__(self, similarity: Tensor, columns: Tensor, mask: Tensor, listed: Tensor) -> Tensor:
        """Rank the documents ``columns``: 1, plus the weight above, plus half that of other documents tied."""
        dtype = upcast(similarity).dtype
        wide = torch.float32 if similarity.device.type == "mps" else torch.float64
        weights = torch.where(mask, self.weights, 0).to(wide)
        ascending, order = torch.where(mask, similarity.detach(), -torch.inf).sort(dim=1)
        up_to = F.pad(weights.gather(1, order).cumsum(1), (1, 0))
        own, weight = similarity.detach().gather(1, columns), weights.gather(1, columns)
        below, not_above = (
            up_to.gather(1, torch.searchsorted(ascending.contiguous(), own, right=right)) for right in (False, True)
        )
        tied = (not_above - below - weight).clamp_min(0)
        return (1 + (up_to[:, -1:] - not_above).clamp_min(0) + 0.5 * tied + copies_of(weight)).to(dtype)


def places_of_ties(similarity: Tensor, columns: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Count, for each document, those above it and those not below it; ties share the ranks in between.

    Args:
        similarity: Shape ``(Q, D)``.
        columns: The documents to count for, shape ``(Q, P)``, int64.
        mask: Which documents are in the list, shape ``(Q, D)``, bool.

    Returns:
        The number of documents in the list with a higher similarity, and with one at least as high (including the
        document itself), ``(Q, P)`` int64 each.
    """
    ascending = torch.where(mask, similarity.detach(), -torch.inf).sort(dim=1).values.contiguous()
    own = similarity.detach().gather(1, columns)
    documents = similarity.shape[1]
    above = documents - torch.searchsorted(ascending, own, right=True)
    return above, documents - torch.searchsorted(ascending, own)


def upcast(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32, and return anything else unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def list_columns(wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the wanted documents of each query, so that others cost nothing.

    On a CPU, P is the largest number of wanted documents in a query, or D if that is more than half of them; elsewhere
    P = D, since counting would make the host wait for the device.

    Args:
        wanted: Shape ``(Q, D)``, bool.

    Returns:
        Column indices, shape ``(Q, P)``, int64, and which of them are wanted, shape ``(Q, P)``, bool.
    """
    queries, documents = wanted.shape
    if wanted.device.type != "cpu":
        return _all_columns(wanted), wanted
    if 2 * np.count_nonzero(wanted.numpy()) > wanted.numel():
        return _all_columns(wanted), wanted
    places = torch.from_numpy(np.flatnonzero(wanted.numpy()))  # several times as fast as torch's nonzero
    row = places // max(documents, 1)
    counts = row.bincount(minlength=queries)
    most = int(counts.max()) if queries else 0
    if 2 * most > documents:
        return _all_columns(wanted), wanted
    slot = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    columns = torch.zeros(queries, most, dtype=torch.long)
    columns[row, slot] = places - row * documents
    return columns, torch.arange(most) < counts[:, None]


def _all_columns(wanted: Tensor) -> Tensor:
    return torch.arange(wanted.shape[1], device=wanted.device).expand(wanted.shape)


def _flat_weights(weights: Tensor, similarity: Tensor) -> Tensor:
    """Check weights and return them with one row per list."""
    check_floating(weights, "weights")
    check_same_shape(weights, "weights", similarity)
    check_weights(weights)
    return weights.reshape(-1, weights.shape[-1])


def _full_ranks(rank_fn: RankFn, similarity: Tensor, mask: Tensor | None, wanted: Tensor | None) -> Tensor:
    check_floating(similarity, "similarity")
    if similarity.dim() == 0:
        raise ValueError("similarity must have a last dimension of documents, got a scalar.")
    in_list = torch.ones_like(similarity, dtype=torch.bool)
    for name, chosen in (("mask", mask), ("wanted", wanted)):
        if chosen is not None:
            check_same_shape(chosen, name, similarity)
    mask = in_list if mask is None else mask.bool()
    wanted = mask if wanted is None else mask & wanted.bool()
    check_finite(similarity.detach(), "similarity", where=lambda: mask)

    documents = similarity.shape[-1]
    rows = (-1, documents) if documents else (0, 0)
    columns, listed = list_columns(wanted.reshape(rows))
    ranks = rank_fn(similarity.reshape(rows), columns, mask.reshape(rows), listed)
    if columns.shape[1] == documents:  # all of them, in order
        return torch.where(listed, ranks, torch.inf).reshape(similarity.shape)
    full = ranks.new_full((len(ranks), documents), torch.inf)
    # Entries beyond a query's last wanted document all point at column 0: they are scattered to a column that is cut
    # off.
    full = torch.cat([full, full.new_full((len(full), 1), torch.inf)], dim=1)
    full = full.scatter(1, torch.where(listed, columns, documents), ranks)[:, :documents]
    return full.reshape(similarity.shape)
