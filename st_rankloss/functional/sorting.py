"""Relaxed sorting: NeuralSort, whose soft permutation gives the share of each document at each rank, and GroCo."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from st_rankloss.functional.conditions import any_relevant, two_grades, two_kinds
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import discount, gains_of_clean, over_largest
from st_rankloss.functional.lists import few_lists_at_once, log_weighted, masked_mean, masses
from st_rankloss.functional.ndcg import ideal_of_gains
from st_rankloss.functional.ranks import list_columns
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
    gains = over_largest(gains_of_clean(relevance, gain))
    permutation = sinkhorn(neural_sort(similarity, judged, temperature, weights), iterations, weights)
    at_rank = (permutation * gains[:, None, :]).sum(-1)[:, :k]
    place = torch.arange(1, at_rank.shape[1] + 1, device=gains.device, dtype=gains.dtype)
    ideal = ideal_of_gains(gains, k, weights)
    return (at_rank * discount(place)).sum(-1) / torch.where(ideal > 0, ideal, 1)


@list_function("binary", learns=two_kinds)
@few_lists_at_once
def groco(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Softness = 1.0,
    negatives: Count = 10,
) -> Tensor:
    r"""Compute GroCo loss: a soft sort should leave each document in the ranks of its group.

    .. math:: -\frac{1}{n} \Big[ \sum_{j \in P} \log m_j + \sum_{k \in N} \log (1 - m_k) \Big]

    m is a document's share in the ranks of the relevant documents, after an odd-even sorting network whose comparators
    keep two neighbours in order with share :math:`\frac 1 2 + \frac 1 \pi \arctan \frac{a - b}{\tau}`. N are the
    hardest irrelevant documents and n counts the documents of both groups. The relevant documents enter the network
    ahead of the irrelevant ones, each group sorted by similarity.

    Args:
        temperature: Width of the soft comparison, above 0, in units of ``similarity``; or ``"auto"``. The swaps have
            heavy tails, so that the paper's 1 also suits cosines.
        negatives: Number of irrelevant documents, at least 1; documents tied with the last one count too.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> groco(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]), temperature=0.1)
        tensor(0.0923)

    Source: Shvetsova et al. (2023), "Learning by Sorting: Self-supervised Learning with Group Ordering Constraints",
    arXiv 2301.02009, as in their code, which also keeps the documents' embeddings constant in the gradient; the network
    is from Petersen et al. (2022), "Monotonic Differentiable Sorting Networks", arXiv 2203.09630. Cost: time and memory
    O(n²) per list on a CPU, O(D²) elsewhere: shares are computed from the last layer back, without a soft permutation.
    """
    columns, listed = list_columns(_hardest(similarity, relevance, judged, negatives))
    value, relevant = similarity.gather(1, columns), (relevance > 0).gather(1, columns) & listed
    order = value.detach().argsort(dim=-1, stable=True)
    group = torch.where(listed, relevant.long(), 2).gather(1, order)  # the network sorts upwards, unlisted wires last
    order = order.gather(1, group.argsort(dim=-1, stable=True))
    value, relevant, listed = (tensor.gather(1, order) for tensor in (value, relevant, listed))
    weights = None if weights is None else weights.gather(1, columns).gather(1, order)
    swaps = _odd_even_swaps(value, listed, temperature)
    inside = relevant.to(value.dtype)
    for layer in reversed(range(len(swaps))):
        inside = _exchanged(inside, swaps[layer], layer % 2)
    own = torch.where(relevant, inside, 1 - inside)
    return masked_mean(-own.clamp_min(torch.finfo(own.dtype).tiny).log(), listed, weights)


def _hardest(similarity: Tensor, relevance: Tensor, judged: Tensor, count: int) -> Tensor:
    """Return which documents are relevant, or among the ``count`` most similar irrelevant ones and their ties."""
    irrelevant = judged & (relevance == 0)
    among = torch.where(irrelevant, similarity.detach(), -torch.inf)
    least = among.topk(min(count, among.shape[1])).values[:, -1:]
    return (judged & (relevance > 0)) | (irrelevant & (among >= least))


def _odd_even_swaps(value: Tensor, listed: Tensor, temperature: float) -> list[Tensor]:
    """Sort the listed wires upwards, softly; return the share that each comparator swaps, layer by layer."""
    length = listed.sum(-1, keepdim=True)
    swaps = []
    for layer in range(value.shape[1]):
        first = layer % 2
        gap = value[:, first + 1 :: 2] - value[:, first:-1:2]
        active = listed[:, first + 1 :: 2] & (layer < length)
        swap = torch.where(active, 0.5 - torch.atan(gap / temperature) / math.pi, 0)
        value = _exchanged(value, swap, first)
        swaps.append(swap)
    return swaps


def _exchanged(values: Tensor, swap: Tensor, first: int) -> Tensor:
    """Swap the shares ``swap`` between neighbours, in pairs from the wire ``first`` on."""
    last = first + 2 * swap.shape[-1]
    low, high = values[:, first:last:2], values[:, first + 1 : last : 2]
    moved = swap * (high - low)
    pairs = torch.stack([low + moved, high - moved], -1).flatten(1)
    return torch.cat([values[:, :first], pairs, values[:, last:]], 1)
