"""DCG and NDCG, exact and differentiable: one body, with the rank function plugged in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from st_rankloss.functional.gains import Gain, discount, gains_of
from st_rankloss.functional.lists import check_all_defined, check_lists
from st_rankloss.functional.ranks import RankFn, SoftRankFn, exact_rank_fn, list_columns, upcast
from st_rankloss.functional.settings import check_settings


def dcg(similarity: Tensor, relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute the discounted cumulative gain with exact ranks; ties share their mean rank.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1, scaled by 2^-max(y) of the query) or a callable.
        k: Cutoff: ranks above ``k`` count nothing; None means no cutoff.

    Returns:
        DCG, at least 0, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, ``k`` is below 1, ``gain`` is unknown or, on a CPU, a relevance is
            negative.

    Example:
        >>> dcg(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 3.0]))
        tensor(2.3928)
    """
    check_lists(similarity, relevance, gain, k)
    total, _ = _dcg_and_ideal(similarity, relevance, gain, k, exact_rank_fn, hard_cutoff)
    return total


def ideal_dcg(relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute the highest DCG that any order of the judged documents reaches.

    Args:
        relevance: Graded relevance, at least 0, NaN where unjudged, shape ``(..., D)``.
        gain: As in `dcg`.
        k: Cutoff; None means no cutoff.

    Returns:
        Ideal DCG, at least 0, shape ``(...)``.

    Raises:
        TypeError: If ``relevance`` is not floating.
        ValueError: If ``k`` is below 1, ``gain`` is unknown or, on a CPU, a relevance is negative.

    Example:
        >>> ideal_dcg(torch.tensor([0.0, 1.0, 3.0]))
        tensor(3.6309)
    """
    check_lists(relevance, relevance, gain, k)
    return ideal_of_gains(gains_of(upcast(relevance), gain), k)


def ndcg(
    similarity: Tensor,
    relevance: Tensor,
    *,
    gain: Gain = "linear",
    k: int | None = None,
    no_relevant: str = "skip",
) -> Tensor:
    """Compute NDCG with exact ranks, the metric: DCG over ideal DCG.

    With the linear gain this is the nDCG of pytrec_eval and MTEB, except that documents tied in similarity
    share their mean rank (pytrec_eval breaks ties by id, scikit-learn averages their discounts).

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.
        k: Cutoff, in the DCG and in the ideal DCG; None means no cutoff.
        no_relevant: What a query without gain gives: ``"skip"`` NaN, so that ``nanmean`` leaves it out,
            ``"zero"`` 0, ``"error"`` a ValueError.

    Returns:
        NDCG in [0, 1], higher is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, ``k`` is below 1, a name is unknown or, on a CPU, a relevance is
            negative; with ``no_relevant="error"`` if a query has no gain.

    Example:
        >>> ndcg(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 3.0]))
        tensor(0.6590)
    """
    check_lists(similarity, relevance, gain, k, no_relevant)
    return _normalise(*_dcg_and_ideal(similarity, relevance, gain, k, exact_rank_fn, hard_cutoff), no_relevant)


def approx_ndcg(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    gain: Gain = "linear",
    k: int | None = None,
    cutoff_temperature: float = 1.0,
    no_relevant: str = "skip",
    method: str = "auto",
) -> Tensor:
    r"""Compute the differentiable NDCG: `ndcg` with soft ranks.

    .. math:: \frac{1}{\mathrm{IDCG}} \sum_j \frac{g(y_j)}{\log_2(1 + r_j)}\,
        \sigma\!\left(\frac{k + 1/2 - r_j}{\tau_k}\right), \qquad
        r_j = 1 + \sum_{i \ne j} \sigma\!\left(\frac{s_i - s_j}{\tau}\right)

    The cutoff factor is there only if ``k`` is given; the ideal DCG has exact ranks, cut hard at ``k``, so
    that with ``k`` the value may exceed 1: many tied documents at the cutoff all count by half. Without ``k`` it never
    does. A query without gain passes back a zero gradient.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; float16 and bfloat16 are computed in
            float32, also under autocast.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``;
            not differentiated.
        temperature: Width of the soft comparison, above 0, in units of ``similarity``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.
        k: Cutoff; None means no cutoff.
        cutoff_temperature: Width of the soft cutoff, above 0, in ranks.
        no_relevant: What a query without gain gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` a ValueError.
        method: How soft ranks are computed, see `soft_rank`.

    Returns:
        NDCG, higher is better, shape ``(...)``, float32 or float64.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a temperature is not above 0, ``k`` is below 1, a name is unknown or,
            on a CPU, a relevance is negative or a judged similarity not finite; with
            ``no_relevant="error"`` if a query has no gain.

    Example:
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7], [0.2, 0.9, 0.7]])
        >>> relevance = torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]])
        >>> approx_ndcg(similarity, relevance, temperature=0.1)
        tensor([0.9496, 0.6291])

    Source: Qin, Liu, Li (2010), "A general approximation framework for direct optimization of information
    retrieval measures". Cost: that of the soft ranks of the relevant documents.
    """
    check_settings(temperature=temperature, cutoff_temperature=cutoff_temperature, method=method)
    check_lists(similarity, relevance, gain, k, no_relevant)

    def soft_cutoff(ranks: Tensor, k: int) -> Tensor:
        return torch.sigmoid((k + 0.5 - ranks) / cutoff_temperature)

    rank_fn = SoftRankFn(temperature, method)
    return _normalise(*_dcg_and_ideal(similarity, relevance, gain, k, rank_fn, soft_cutoff), no_relevant)


def hard_cutoff(ranks: Tensor, k: int) -> Tensor:
    """Return 1 up to rank ``k`` and 0 beyond."""
    return (ranks <= k).to(ranks.dtype)


def _dcg_and_ideal(
    similarity: Tensor,
    relevance: Tensor,
    gain: Gain,
    k: int | None,
    rank_fn: RankFn,
    cutoff: Callable[[Tensor, int], Tensor],
) -> tuple[Tensor, Tensor]:
    """DCG and ideal DCG, ``(...)`` each: the body of every NDCG. Only documents with gain are ranked."""
    shape, documents = similarity.shape[:-1], similarity.shape[-1]
    rows = (-1, documents) if documents else (shape.numel(), 0)
    similarity, relevance = similarity.reshape(rows), upcast(relevance.detach()).reshape(rows)
    gains = gains_of(relevance, gain)
    columns, listed = list_columns(gains > 0)
    gains = gains.gather(1, columns) * listed
    factors = discount(ranks := rank_fn(similarity, columns, ~relevance.isnan()))
    if k is not None:
        factors = factors * cutoff(ranks, k)
    return (gains * factors).sum(-1).reshape(shape), ideal_of_gains(gains, k).reshape(shape)


def ideal_of_gains(gains: Tensor, k: int | None) -> Tensor:
    """Compute the DCG of the best order of gains ``(..., D)``: ``(...)``."""
    best = gains.sort(dim=-1, descending=True).values[..., :k]
    ranks = torch.arange(1, best.shape[-1] + 1, dtype=gains.dtype, device=gains.device)
    return (best * discount(ranks)).sum(-1)


def _normalise(total: Tensor, ideal: Tensor, no_relevant: str) -> Tensor:
    defined = ideal > 0
    check_all_defined(defined, no_relevant)
    # The divisor is guarded too: a 0/0 that `where` hides would still send back NaN.
    ratio = total / torch.where(defined, ideal, 1)
    return torch.where(defined, ratio, torch.nan if no_relevant == "skip" else 0.0)
