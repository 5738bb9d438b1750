"""DCG and NDCG, exact and differentiable, with one body that takes the discounts of the documents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.checks import check_at_least
from st_rankloss.functional.conditions import any_relevant, two_grades
from st_rankloss.functional.declaration import check_lists, list_function
from st_rankloss.functional.gains import Gain, check_gain, discount, gains_of, gains_of_clean, over_largest
from st_rankloss.functional.lists import weighted_sum
from st_rankloss.functional.ranks import copies_of, list_columns, places_of_ties, sum_over_columns, upcast
from st_rankloss.functional.settings import Cutoff, CutoffTemperature, GainSetting, Method, Softness


def dcg(similarity: Tensor, relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute the discounted cumulative gain of the order by similarity, averaged over the orders of ties.

    Tied documents share the discounts of their ranks, which are 0 beyond ``k``, as in scikit-learn.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1, scaled by 2^-max(y) of the query) or a callable.
        k: Cutoff: ranks after ``k`` count 0; None means no cutoff.

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
    check_metric(similarity, relevance, gain, k)
    return _exact_dcg(similarity, _gains(similarity, relevance, gain), ~relevance.isnan(), k)


def ideal_dcg(relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute the highest DCG of any order of the judged documents.

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
    check_metric(relevance, relevance, gain, k)
    return ideal_of_gains(gains_of(upcast(relevance), gain), k)


def ndcg(similarity: Tensor, relevance: Tensor, *, gain: Gain = "linear", k: int | None = None) -> Tensor:
    """Compute exact NDCG: the DCG of the order by similarity over the ideal DCG.

    With the linear gain this is the nDCG of pytrec_eval and MTEB, except for documents tied in similarity: here the
    value is the mean over all orders of the tied documents, as in scikit-learn; pytrec_eval breaks ties by id.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.
        k: Cutoff of both DCG and ideal DCG; None means no cutoff.

    Returns:
        NDCG in [0, 1], higher is better, shape ``(...)``; NaN for a query without gain, which ``nanmean`` leaves out.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, ``k`` is below 1, a name is unknown or, on a CPU, a relevance is negative.

    Example:
        >>> ndcg(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 3.0]))
        tensor(0.6590)
    """
    check_metric(similarity, relevance, gain, k)
    gains = over_largest(_gains(similarity, relevance, gain))
    ideal = ideal_of_gains(gains, k)
    return torch.where(ideal > 0, _exact_dcg(similarity, gains, ~relevance.isnan(), k) / ideal, torch.nan)


@list_function("graded", learns=two_grades, defined=any_relevant, metric=True)
def approx_ndcg(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    gain: GainSetting = "linear",
    k: Cutoff = None,
    cutoff_temperature: CutoffTemperature = 1.0,
    method: Method = "auto",
) -> Tensor:
    r"""Compute the differentiable NDCG: `ndcg` with soft ranks.

    .. math:: \frac{1}{\mathrm{IDCG}} \sum_j \frac{g(y_j)}{\log_2(1 + r_j)}\,
        \sigma\!\left(\frac{k + 1/2 - r_j}{\tau_k}\right), \qquad
        r_j = 1 + \sum_{i \ne j} \sigma\!\left(\frac{s_i - s_j}{\tau}\right)

    The cutoff factor applies only with ``k``; the ideal DCG uses exact ranks and a hard cutoff, so with ``k`` the value
    may exceed 1: documents tied at the cutoff each count half. Without ``k`` it never does. A query without gain has
    zero gradient, and so does one whose documents all have the same gain: every order has NDCG 1, as in `ndcg`, but the
    tails of the soft ranks would pull the documents apart.

    Returns:
        NDCG, higher is better, shape ``(...)``, float32 or float64.

    Example:
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7], [0.2, 0.9, 0.7]])
        >>> relevance = torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]])
        >>> approx_ndcg(similarity, relevance, temperature=0.1)
        tensor([0.9496, 0.6291])

    Source: Qin, Liu, Li (2010), "A general approximation framework for direct optimization of information
    retrieval measures". Cost: that of the soft ranks of the relevant documents.
    """
    gains = gains_of_clean(relevance, gain)
    columns, listed = list_columns(gains > 0)
    gains = over_largest(gains.gather(1, columns) * listed)
    own = None if weights is None else weights.gather(1, columns)
    ranks = sum_over_columns(similarity, columns, judged, temperature, listed=listed, weights=weights, method=method)
    ranks = 1 + ranks + copies_of(own)
    inside = 1 if k is None else torch.sigmoid((k + 0.5 - ranks) / cutoff_temperature)
    dcg = weighted_sum(gains * discount(ranks) * inside, listed, columns, weights)
    ideal = ideal_of_gains(gains, k, own, ranks=similarity.shape[1])
    return dcg / torch.where(ideal > 0, ideal, 1)


def check_metric(similarity: Tensor, relevance: Tensor, gain: Gain, k: int | None) -> None:
    """Raise TypeError or ValueError unless the arguments of an exact metric are valid."""
    check_lists(similarity, relevance)
    check_gain(gain)
    check_at_least(k, 1, "k")


def _gains(similarity: Tensor, relevance: Tensor, gain: Gain) -> Tensor:
    """Compute gains in the wider of the two dtypes."""
    return gains_of(relevance.detach().to(torch.promote_types(upcast(similarity).dtype, relevance.dtype)), gain)


def _exact_dcg(similarity: Tensor, gains: Tensor, judged: Tensor, k: int | None) -> Tensor:
    """Compute the DCG of gains ``(..., D)``: ``(...)``."""
    shape, documents = similarity.shape[:-1], similarity.shape[-1]
    rows = (-1, documents) if documents else (shape.numel(), 0)
    similarity, gains, judged = similarity.reshape(rows), gains.reshape(rows), judged.reshape(rows)
    wide = torch.float32 if gains.device.type == "mps" else torch.float64  # for differences of sums over thousands
    of_place = discount(torch.arange(1, documents + 1, dtype=wide, device=gains.device))
    if k is not None:
        of_place[k:] = 0
    up_to = torch.cat([of_place.new_zeros(1), of_place.cumsum(0)])

    columns, listed = list_columns(gains > 0)
    above, not_below = places_of_ties(similarity, columns, judged)
    tied = not_below - above
    mean = (up_to[not_below] - up_to[above]) / tied.clamp_min(1)
    alone = of_place[above.clamp_max(documents - 1)]
    discounts = torch.where(tied > 1, mean, alone).to(gains.dtype)
    return (gains.gather(1, columns) * listed * discounts).sum(-1).reshape(shape)


def ideal_of_gains(gains: Tensor, k: int | None, weights: Tensor | None = None, *, ranks: int | None = None) -> Tensor:
    """Compute the DCG of the best order of gains ``(..., D)``: ``(...)``; a document of weight w fills w ranks.

    ``ranks``, if the gains are those of some of a list's documents, is the number of all.
    """
    if weights is not None:
        return _ideal_of_masses(gains, weights, k, ranks or gains.shape[-1])
    best = _descending(gains)[..., :k]
    places = torch.arange(1, best.shape[-1] + 1, dtype=gains.dtype, device=gains.device)
    return (best * discount(places)).sum(-1)


def _descending(values: Tensor) -> Tensor:
    if values.device.type == "cpu" and not values.requires_grad:  # several times as fast as torch's sort
        return torch.from_numpy(np.sort(values.numpy(), axis=-1)).flip(-1)
    return values.sort(dim=-1, descending=True).values


def _ideal_of_masses(gains: Tensor, weights: Tensor, k: int | None, ranks: int) -> Tensor:
    """Compute the DCG of the best order of weighted gains: a document that fills part of a rank has part of it."""
    best, order = gains.sort(dim=-1, descending=True)
    of_place = discount(torch.arange(1, ranks + 1, dtype=gains.dtype, device=gains.device))
    if k is not None:
        of_place[k:] = 0
    up_to = F.pad(of_place.cumsum(0), (1, 0))
    filled = F.pad(weights.gather(-1, order).cumsum(-1), (1, 0)).clamp_max(ranks)
    whole = filled.floor().long()
    discounts = up_to[whole] + (filled - whole) * of_place[whole.clamp_max(ranks - 1)]
    return (best * discounts.diff(dim=-1)).sum(-1)
