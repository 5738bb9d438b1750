"""Relaxed sorting: NeuralSort, sorting networks, and losses on their soft permutations.

A soft permutation gives the share of each document at each rank: ``(Q, ranks, D)``, quadratic in the list.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from st_rankloss.functional.conditions import any_relevant, two_grades, two_kinds
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import discount, gains_of, over_largest
from st_rankloss.functional.lists import few_lists_at_once, log_weighted, masked_mean, masses
from st_rankloss.functional.ndcg import ideal_of_gains
from st_rankloss.functional.settings import Count, Cutoff, GainSetting, Softness


def neural_sort(similarity: Tensor, judged: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    r"""Compute the soft permutation of NeuralSort.

    .. math:: P_{i\cdot} = \mathrm{softmax}\left(\frac{(n + 1 - 2i)\, s - A}{\tau}\right), \qquad
        A_j = \sum_k |s_j - s_k|

    Args:
        similarity: Shape ``(Q, D)``.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        temperature: τ, above 0, in units of ``similarity``.
        weights: Copies of each document, shape ``(Q, D)``, no more in all than D; None means 1.

    Returns:
        Shape ``(Q, D, D)``, rank by document; rows sum to 1, those beyond the length of the list are 0.

    Example:
        >>> judged = torch.ones(1, 2, dtype=torch.bool)
        >>> neural_sort(torch.tensor([[0.2, 0.9]]), judged, 0.1).round(decimals=3)
        tensor([[[0.0010, 0.9990],
                 [0.9990, 0.0010]]])

    Source: Grover et al. (2019), "Stochastic Optimization of Sorting Networks via Continuous Relaxations", arXiv
    1903.08850. Cost: time and memory O(D²) per list.
    """
    documents = similarity.shape[1]
    mass = masses(judged, weights, similarity)
    length = mass.sum(-1, keepdim=True).round()
    place = torch.arange(1, documents + 1, device=similarity.device)
    spread = (mass[:, None, :] * (similarity[:, :, None] - similarity[:, None, :]).abs()).sum(-1)
    logits = ((length + 1 - 2 * place)[:, :, None] * similarity[:, None, :] - spread[:, None, :]) / temperature
    logits = log_weighted(logits, None if weights is None else weights[:, None, :])
    logits = torch.where(judged[:, None, :], logits, torch.finfo(logits.dtype).min)
    inside = (place <= length)[:, :, None] & judged[:, None, :]
    return torch.where(inside, logits.softmax(-1), 0)


def sinkhorn(permutation: Tensor, iterations: int, weights: Tensor | None = None) -> Tensor:
    """Normalise a soft permutation so that its columns sum more nearly to 1, or to the weights of the documents.

    Args:
        permutation: At least 0, shape ``(Q, D, D)``; rows and columns of zeros stay zero.
        iterations: Number of column and row normalisations, at least 1.
        weights: Shape ``(Q, D)``; None means 1.

    Returns:
        Shape ``(Q, D, D)``.

    Example:
        >>> sinkhorn(torch.tensor([[[0.9, 0.1], [0.6, 0.4]]]), 20).round(decimals=2)
        tensor([[[0.7100, 0.2900],
                 [0.2900, 0.7100]]])

    Source: Sinkhorn (1964).
    """
    for _ in range(iterations):
        for dimension in (1, 2):
            total = permutation.sum(dimension, keepdim=True)
            permutation = permutation / torch.where(total > 0, total, 1)
            if weights is not None and dimension == 1:
                permutation = permutation * weights[:, None, :]
    return permutation


def network_sort(similarity: Tensor, judged: Tensor, temperature: float) -> Tensor:
    r"""Compute the soft permutation of a differentiable sorting network.

    Each comparator sends the larger of two values to the better rank with weight
    :math:`\alpha = \sigma((a - b)/\tau)` and the smaller one with the rest. Documents enter the network sorted by
    similarity, so their order in the batch does not matter; the network is Batcher's odd-even mergesort.

    Args:
        similarity: Shape ``(Q, D)``.
        judged: Which documents are in the list, shape ``(Q, D)``, bool.
        temperature: τ, above 0, in units of ``similarity``.

    Returns:
        Shape ``(Q, D, D)``, rank by document; rows and columns sum to 1, those beyond the list are 0.

    Example:
        >>> judged = torch.ones(1, 2, dtype=torch.bool)
        >>> network_sort(torch.tensor([[0.2, 0.9]]), judged, 0.1).round(decimals=3)
        tensor([[[0.0010, 0.9990],
                 [0.9990, 0.0010]]])

    Source: Petersen et al. (2021), "Differentiable Sorting Networks for Scalable Sorting and Ranking Supervision",
    arXiv 2105.04019; Batcher (1968). Presorting is ours. Cost: O(D² log² D) time per list, and the same memory under
    autograd.
    """
    order = torch.where(judged, similarity.detach(), -torch.inf).argsort(dim=-1, descending=True, stable=True)
    value = similarity.gather(1, order)
    length = judged.sum(-1)
    documents = similarity.shape[1]
    permutation = torch.eye(documents, dtype=value.dtype, device=value.device).expand(len(value), -1, -1)
    for low, high, block in _layers_on(documents, value.device):
        # A shorter list uses a smaller network, without comparators beyond its end.
        active = (high < length[:, None]) & (block < length)[:, None]
        swap = torch.where(active, torch.sigmoid((value[:, high] - value[:, low]) / temperature), 0)
        value = value + _exchanged(swap, value[:, low], value[:, high], low, high, value)
        swap = swap[:, :, None]
        permutation = permutation + _exchanged(swap, permutation[:, low], permutation[:, high], low, high, permutation)
    inside = torch.arange(documents, device=value.device) < length[:, None]
    permutation = torch.where(inside[:, :, None] & inside[:, None, :], permutation, 0)
    return torch.zeros_like(permutation).scatter(2, order[:, None, :].expand_as(permutation), permutation)


def _exchanged(swap: Tensor, a: Tensor, b: Tensor, low: Tensor, high: Tensor, like: Tensor) -> Tensor:
    """Compute the change in wires ``low`` and ``high`` when they swap a share ``swap`` of their contents a and b."""
    moved = swap * (b - a)
    return torch.zeros_like(like).index_copy(1, low, moved).index_add(1, high, -moved)


@lru_cache(maxsize=64)
def _layers_on(wires: int, device: torch.device) -> list[tuple[Tensor, Tensor, int]]:
    """Return the layers of Batcher's network as cached indices on a device."""

    def on(ends: tuple[int, ...]) -> Tensor:
        return torch.tensor(ends).to(device, non_blocking=True)

    with torch.inference_mode(mode=False):  # so that they can be saved for backward
        return [(on(first), on(second), block) for first, second, block in _batcher(wires)]


def _batcher(wires: int) -> tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...]:
    """Return the layers of Batcher's network: first and second wires of the comparators, and the merged blocks."""
    layers = []
    block = 1
    while block < wires:
        step = block
        while step >= 1:
            pairs = [
                (i, i + step)
                for start in range(step % block, wires - step, 2 * step)
                for i in range(start, min(start + step, wires - step))
                if i // (2 * block) == (i + step) // (2 * block)
            ]
            if pairs:
                first, second = zip(*pairs, strict=True)
                layers.append((first, second, block))
            step //= 2
        block *= 2
    return tuple(layers)


@list_function("graded", learns=two_grades, defined=any_relevant, metric=True)
@few_lists_at_once
def neural_ndcg(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 0.05,
    gain: GainSetting = "linear",
    k: Cutoff = None,
    iterations: Count = 30,
) -> Tensor:
    r"""Compute the NDCG of softly sorted gains.

    .. math:: \frac{1}{\mathrm{IDCG@k}} \sum_{i \le k} \frac{(\hat P g)_i}{\log_2(1 + i)}

    P̂ is the NeuralSort permutation, with columns normalised by Sinkhorn's algorithm.

    Args:
        iterations: Sinkhorn iterations, at least 1.

    Returns:
        NDCG in [0, 1] up to Sinkhorn's remaining error, higher is better, shape ``(...)``.

    Example:
        >>> neural_ndcg(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([0.0, 1.0, 3.0]), temperature=0.01)
        tensor(0.6590)

    Source: Pobrotyn and Białobrzeski (2021), "NeuralNDCG", arXiv 2102.07831. Cost: time O(D²) per list and Sinkhorn
    iteration; the same memory, for a few lists at a time. Use it for short lists.
    """
    gains = over_largest(gains_of(relevance, gain))
    permutation = sinkhorn(neural_sort(similarity, judged, temperature, weights), iterations, weights)
    at_rank = (permutation * gains[:, None, :]).sum(-1)[:, :k]
    place = torch.arange(1, at_rank.shape[1] + 1, device=gains.device, dtype=gains.dtype)
    ideal = ideal_of_gains(gains, k, weights)
    return (at_rank * discount(place)).sum(-1) / torch.where(ideal > 0, ideal, 1)


@list_function("binary", learns=two_kinds)
@few_lists_at_once
def groco(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Softness = 0.05
) -> Tensor:
    r"""Compute GroCo loss: the relevant documents should fill the first ranks.

    .. math:: -\frac{1}{D} \Big[ \sum_{i \le |P|} \log m_i + \sum_{i > |P|} \log (1 - m_i) \Big], \qquad
        m_i = \sum_{j \in P} \hat P_{ij}

    P̂ is the soft permutation of a sorting network.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> groco(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]), temperature=0.1)
        tensor(0.0853)

    Source: Shvetsova et al. (2023), "Learning by Sorting: Self-supervised Learning with Group Ordering Constraints",
    arXiv 2301.02009; from the abstract only: the target, the mass of the group at each rank, is ours. Cost: that of
    `network_sort`. Use it for short lists.
    """
    relevant = relevance > 0
    permutation = network_sort(similarity, judged, temperature)
    mass, other = ((permutation * group[:, None, :]).sum(-1) for group in (relevant, judged & ~relevant))
    place = torch.arange(1, mass.shape[1] + 1, device=mass.device)
    first = place <= relevant.sum(-1, keepdim=True)
    # 1 - mass, computed as the mass of the others, which does not round to 0 if nearly all documents are relevant.
    surprise = -torch.where(first, mass, other).clamp_min(torch.finfo(mass.dtype).tiny).log()
    return masked_mean(surprise, place <= judged.sum(-1, keepdim=True))
