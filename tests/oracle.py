"""The mathematics of the package as loops over Python floats: the reference of the tests.

Every function takes one query's list of numbers and reads as the definition in the docstring of the function
it checks. Nothing here is vectorised, shared with the package or meant to be fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Numbers = Sequence[float]
Flags = Sequence[bool]


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    """log(1 + e^x), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid_slope(x: float) -> float:
    """The derivative of the sigmoid."""
    return sigmoid(x) * sigmoid(-x)


def soft_ranks(
    similarity: Numbers,
    temperature: float,
    *,
    weights: Numbers | None = None,
    mask: Flags | None = None,
    wanted: Flags | None = None,
) -> list[float]:
    """r_j = 1 + sum over the other documents k in the list of w_k sigmoid((s_k - s_j) / temperature)."""
    size = len(similarity)
    weights = weights or [1.0] * size
    mask = mask or [True] * size
    wanted = wanted or [True] * size
    ranks = []
    for j in range(size):
        rank = 1.0
        for k in range(size):
            if k != j and mask[k]:
                rank += weights[k] * sigmoid((similarity[k] - similarity[j]) / temperature)
        ranks.append(rank if mask[j] and wanted[j] else math.inf)
    return ranks


def soft_ranks_gradient(
    similarity: Numbers,
    upstream: Numbers,
    temperature: float,
    *,
    weights: Numbers | None = None,
    mask: Flags | None = None,
    wanted: Flags | None = None,
) -> list[float]:
    """The gradient of sum_j upstream_j r_j with respect to the similarities, pair by pair.

    The pair (j, k) adds w_k sigmoid((s_k - s_j) / temperature) to r_j: it pushes s_k up and s_j down.
    """
    size = len(similarity)
    weights = weights or [1.0] * size
    mask = mask or [True] * size
    wanted = wanted or [True] * size
    gradient = [0.0] * size
    for j in range(size):
        if not (mask[j] and wanted[j]):
            continue
        for k in range(size):
            if k != j and mask[k]:
                slope = weights[k] * sigmoid_slope((similarity[k] - similarity[j]) / temperature) / temperature
                gradient[k] += upstream[j] * slope
                gradient[j] -= upstream[j] * slope
    return gradient


def exact_ranks(similarity: Numbers, *, mask: Flags | None = None, wanted: Flags | None = None) -> list[float]:
    """1 + the number of documents above + half the number of other documents level: ties share their mean."""
    size = len(similarity)
    mask = mask or [True] * size
    wanted = wanted or [True] * size
    ranks = []
    for j in range(size):
        rank = 1.0
        for k in range(size):
            if k != j and mask[k]:
                if similarity[k] > similarity[j]:
                    rank += 1
                elif similarity[k] == similarity[j]:
                    rank += 0.5
        ranks.append(rank if mask[j] and wanted[j] else math.inf)
    return ranks


def discount(rank: float) -> float:
    """1 / log2(1 + rank); 0 for a document without a rank."""
    return 1 / math.log2(1 + rank)


def gain_of(relevance: float, gain: str) -> float:
    """Return y (linear) or 2^y - 1 (exponential), unscaled."""
    return relevance if gain == "linear" else 2**relevance - 1


def judged(similarity: Numbers, relevance: Numbers) -> tuple[list[float], list[float]]:
    """Remove the unjudged documents (relevance NaN): they are not in the list."""
    pairs = [(s, y) for s, y in zip(similarity, relevance, strict=True) if not math.isnan(y)]
    return [s for s, _ in pairs], [y for _, y in pairs]


def ideal_dcg(relevance: Numbers, *, gain: str = "linear", k: int | None = None) -> float:
    """DCG of the best order, cut hard at k."""
    best_first = sorted((gain_of(y, gain) for y in relevance if not math.isnan(y)), reverse=True)
    return sum(g * discount(rank) for rank, g in enumerate(best_first[:k], start=1))


def dcg(similarity: Numbers, relevance: Numbers, *, gain: str = "linear", k: int | None = None) -> float:
    """DCG cut hard at k; tied documents share their places, each of which is as likely for any of them."""
    similarity, relevance = judged(similarity, relevance)
    total = 0.0
    for s, y in zip(similarity, relevance, strict=True):
        above = sum(other > s for other in similarity)
        places = range(above + 1, above + sum(other == s for other in similarity) + 1)
        total += gain_of(y, gain) * sum(discount(n) for n in places if k is None or n <= k) / len(places)
    return total


def ndcg(similarity: Numbers, relevance: Numbers, *, gain: str = "linear", k: int | None = None) -> float:
    """DCG over ideal DCG; NaN where nothing is relevant."""
    ideal = ideal_dcg(relevance, gain=gain, k=k)
    return dcg(similarity, relevance, gain=gain, k=k) / ideal if ideal > 0 else math.nan


def approx_ndcg(
    similarity: Numbers,
    relevance: Numbers,
    *,
    temperature: float,
    gain: str = "linear",
    k: int | None = None,
    cutoff_temperature: float = 1.0,
) -> float:
    """NDCG with soft ranks; at k, each discount times sigmoid((k + 1/2 - r) / cutoff_temperature).

    Where all gains are equal no order is better than another, and NDCG is 1.
    """
    similarity, relevance = judged(similarity, relevance)
    ideal = ideal_dcg(relevance, gain=gain, k=k)
    if ideal == 0:
        return math.nan
    if len(set(relevance)) == 1:
        return 1.0
    total = 0.0
    for rank, y in zip(soft_ranks(similarity, temperature), relevance, strict=True):
        inside = 1.0 if k is None else sigmoid((k + 0.5 - rank) / cutoff_temperature)
        total += gain_of(y, gain) * discount(rank) * inside
    return total / ideal


def softmax_cross_entropy(
    similarity: Numbers, relevance: Numbers, *, temperature: float, gain: str = "linear"
) -> float:
    """-sum_j t_j log softmax(s / temperature)_j over the judged documents, t = gains over their sum."""
    similarity, relevance = judged(similarity, relevance)
    gains = [gain_of(y, gain) for y in relevance]
    if not sum(gains) > 0:
        return math.nan
    top = max(similarity)
    log_normaliser = top / temperature + math.log(sum(math.exp((s - top) / temperature) for s in similarity))
    return -sum(g / sum(gains) * (s / temperature - log_normaliser) for g, s in zip(gains, similarity, strict=True))


def slope(function: Callable[[Numbers], float], point: Numbers, step: float) -> list[float]:
    """The gradient of a function by central differences, (f(-2h) - 8f(-h) + 8f(h) - f(2h)) / 12h."""
    gradient = []
    for i in range(len(point)):
        at = [function([x + shift * step if n == i else x for n, x in enumerate(point)]) for shift in (-2, -1, 1, 2)]
        gradient.append((at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step))
    return gradient
