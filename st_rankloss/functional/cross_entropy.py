"""Cross-entropies of a list: softmax with graded labels, InfoNCE with several positives, divergences, calibration."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.conditions import (
    any_relevant,
    own_among_others,
    relevant_among_others,
    two_grades,
    two_kinds,
)
from st_rankloss.functional.declaration import batch_function, list_function
from st_rankloss.functional.gains import gains_of_clean, over_largest
from st_rankloss.functional.lists import (
    differences,
    kth_largest,
    largest_of,
    log_odds,
    masked_logsumexp,
    masked_mean,
    mass_of,
    masses,
    sum_over_rows,
    weighted_sum,
)
from st_rankloss.functional.ranks import exact_ranks
from st_rankloss.functional.settings import (
    AUTO_LABEL_TEMPERATURE,
    AtLeast0,
    Count,
    Finite,
    Flag,
    GainSetting,
    LabelTemperature,
    Positive,
    Share,
    Temperature,
    choice,
)
from st_rankloss.kernels.pair_sums import softplus


@list_function("graded", learns=relevant_among_others, defined=any_relevant)
def softmax_cross_entropy(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.05,
    gain: GainSetting = "linear",
    poly: AtLeast0 = 0.0,
) -> Tensor:
    r"""Compute the cross-entropy between the softmax of similarities and the normalised gains.

    .. math:: -\sum_j t_j \log p_j + \epsilon \Big(1 - \sum_j t_j p_j\Big), \qquad
        t_j = \frac{g(y_j)}{\sum_k g(y_k)}, \quad p = \mathrm{softmax}(s / \tau)

    With one relevant document it is InfoNCE, which sentence-transformers calls MultipleNegativesRankingLoss, with
    ``scale = 1 / temperature``; with similarities from a frozen encoder as relevance, it is the weighted direction of
    `cwcl`. Time and memory O(D) per query.

    It is a likelihood, not a function of the order: equally relevant documents are pulled to equal similarities.

    Args:
        poly: ε, at least 0, the weight of the first term of the PolyLoss expansion.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``, float32 or float64.

    Example:
        >>> similarity = torch.tensor([0.9, 0.2, 0.7])
        >>> softmax_cross_entropy(similarity, torch.tensor([1.0, 0.0, 0.5]), temperature=0.1)
        tensor(0.7944)

    Source: Cao et al. (2007), "Learning to rank: from pairwise approach to listwise approach" (ListNet);
    Zhuang et al. (2023), "RankT5", for both terms; Leng et al. (2022), "PolyLoss".
    """
    target = over_largest(gains_of_clean(relevance, gain))
    target = target if weights is None else target * weights
    total = target.sum(-1, keepdim=True)
    target = target / torch.where(total > 0, total, 1)
    log_likelihood = _log_softmax(similarity, temperature, judged, weights)
    loss = -(target * log_likelihood).sum(-1)
    return loss + poly * (1 - (target * log_likelihood.exp()).sum(-1)) if poly else loss


@list_function("binary", learns=relevant_among_others, defined=any_relevant)
def sup_con(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.05
) -> Tensor:
    r"""Compute the supervised contrastive loss: each relevant document against all documents.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \Big[ \log \sum_k e^{s_k/\tau} - s_j/\tau \Big]

    Relevant documents compete with one another, so the minimum is log |P|. A list of relevant documents only still has
    a gradient: their likelihood is highest when their similarities are equal.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> sup_con(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 1.0]), temperature=0.1)
        tensor(1.1278)

    Source: Khosla et al. (2020), "Supervised Contrastive Learning", arXiv 2004.11362. Time and memory O(D).
    """
    return masked_mean(log_odds(similarity, judged, temperature, weights), relevance > 0, weights)


@list_function("binary", learns=two_kinds)
def info_nce(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.05
) -> Tensor:
    r"""Compute InfoNCE with several relevant documents, each against the irrelevant ones only.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \Big[ \log \Big( e^{s_j/\tau} + \sum_{k \in N} e^{s_k/\tau} \Big)
        - s_j/\tau \Big]

    Unlike in `sup_con`, relevant documents do not push one another away.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> info_nce(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.0038)

    Source: separate terms for several positives as in Zhang et al. (2025), "CoDiEmb", arXiv 2508.11442. Time and memory
    O(D).
    """
    relevant = relevance > 0
    return masked_mean(softplus(log_odds(similarity, judged & ~relevant, temperature, weights)), relevant, weights)


@list_function("binary", learns=two_kinds)
def dcl(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.05
) -> Tensor:
    r"""Compute the decoupled contrastive loss: `info_nce` without the relevant document in its own denominator.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \Big[ \log \sum_{k \in N} e^{s_k/\tau} - s_j/\tau \Big]

    It has no lower bound, and its gradient does not vanish as the relevant document pulls ahead.

    Returns:
        Log-odds, lower is better, shape ``(...)``.

    Example:
        >>> dcl(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 1.0]), temperature=0.1)
        tensor(-6.0000)

    Source: Yeh et al. (2022), "Decoupled Contrastive Learning", arXiv 2110.06848, for one relevant document; the mean
    over several is ours. Time and memory O(D).
    """
    relevant = relevance > 0
    return masked_mean(log_odds(similarity, judged & ~relevant, temperature, weights), relevant, weights)


@batch_function("binary", learns=two_kinds)
def dclw(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.1,
    sigma: Positive = 0.5,
) -> Tensor:
    r"""Compute DCLW loss: `dcl` with more weight on the relevant pairs that are still far apart.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \Big[ \log \sum_{k \in N} e^{s_k/\tau} - w_j s_j/\tau \Big], \qquad
        w_j = 2 - \frac{e^{s_j/\sigma}}{\operatorname{mean} e^{s/\sigma}}

    The mean in the weights, which are not differentiated, is over the relevant pairs of all queries that also have an
    irrelevant document, so that the weights average 1.

    Args:
        temperature: τ, above 0, in units of ``similarity``.
        sigma: σ, above 0, in units of ``similarity``: the smaller, the more weights differ.

    Returns:
        Loss, lower is better, shape ``(Q,)``; 0 for a query without both kinds of documents.

    Example:
        >>> dclw(torch.tensor([[0.9, 0.2], [0.3, 0.8]]), torch.eye(2))
        tensor([-6.1030, -5.7973])

    Source: Yeh et al. (2022), "Decoupled Contrastive Learning", arXiv 2110.06848, with the ratio to the mean of the
    paper, whose code is not public; a reimplementation takes a softmax over the batch instead. Constant weights are
    those of the lightly package. Several relevant documents per query are ours. Time and memory O(Q · D).
    """
    relevant = relevance > 0
    irrelevant = judged & ~relevant
    relevant = relevant & irrelevant.any(-1, keepdim=True)
    grown = torch.where(
        relevant, (similarity.detach() - largest_of(similarity.flatten(), relevant.flatten())) / sigma, 0
    )
    grown = torch.where(relevant, grown.exp(), 0)
    flat = None if weights is None else weights.flatten()
    mean = masked_mean(grown.flatten(), relevant.flatten(), flat)
    weight = 2 - grown / torch.where(mean > 0, mean, 1)
    odds = log_odds(similarity, irrelevant, temperature, weights) + (1 - weight) * similarity / temperature
    return masked_mean(odds, relevant, weights)


@batch_function("graded", learns=own_among_others)
def cwcl(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Positive = 0.05
) -> Tensor:
    r"""Compute CWCL: queries against documents with soft weights, and documents against queries one to one.

    .. math:: \frac{1}{2} \Big[ -\sum_j \frac{y_{qj}}{\sum_k y_{qk}} \log \frac{e^{s_{qj}/\tau}}{\sum_k e^{s_{qk}/\tau}}
        - \log \frac{e^{s_{qq}/\tau}}{\sum_r e^{s_{rq}/\tau}} \Big]

    Document q is the own document of query q; further documents only compete. The first term is
    `softmax_cross_entropy`, the second is InfoNCE.

    Args:
        similarity: Shape ``(Q, D)`` with D ≥ Q.
        relevance: Similarity of the frozen encoder's embeddings of the documents, in [0, 1], as from
            ``Vectors(threshold=-1)``: half the cosine plus one half.
        temperature: τ, above 0, in units of ``similarity``.

    Returns:
        Loss, at least 0, lower is better, shape ``(Q,)``; 0 for a query whose own document is unjudged, or alone.

    Example:
        >>> cwcl(torch.tensor([[0.9, 0.2], [0.3, 0.8]]), torch.tensor([[1.0, 0.5], [0.5, 1.0]]), temperature=0.5)
        tensor([0.4752, 0.4549])

    Source: Srinivasa et al. (2023), "CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss", arXiv
    2309.14580. The mean of the two directions, where the paper adds them, is ours. Time and memory O(Q · D).
    """
    queries, documents = similarity.shape
    if documents < queries:
        raise ValueError(f"every query needs a document of its own, got {documents} documents for {queries} queries.")
    target = over_largest(relevance)
    target = target if weights is None else target * weights
    total = target.sum(-1, keepdim=True)
    target = target / torch.where(total > 0, total, 1)
    weighted = -(target * _log_softmax(similarity, temperature, judged, weights)).sum(-1)
    plain = log_odds(similarity[:, :queries].T, judged[:, :queries].T, temperature).diagonal()
    return torch.where(own_among_others(relevance, judged), (weighted + plain) / 2, 0)


@list_function("graded", learns=two_grades)
def list_net(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.05,
    label_temperature: LabelTemperature = "auto",
    symmetric: Flag = False,
) -> Tensor:
    r"""Compute the divergence of the softmax of similarities from the softmax of the grades.

    .. math:: \mathrm{KL}\left(\mathrm{softmax}(y / \tau_y) \,\|\, \mathrm{softmax}(s / \tau)\right)

    Unlike `softmax_cross_entropy`, it is 0 when similarities differ by τ/τ_y times the difference of the grades. A τ_y
    near the largest grade makes all documents almost equally likely, which pulls all embeddings together.

    Args:
        symmetric: Average with the divergence in the other direction.

    Returns:
        Divergence, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> list_net(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.1008)

    Source: Cao et al. (2007), ListNet, with ``label_temperature=1.0``, up to the constant entropy of the target. Gu et
    al. (2025), "UniME-V2", arXiv 2510.13515, with ``symmetric=True``, a judge's scores as relevance, and one
    temperature for both. Time and memory O(D).
    """
    if label_temperature == "auto":
        highest = relevance.amax(-1, keepdim=True)
        relevance, label_temperature = relevance / torch.where(highest > 0, highest, 1), AUTO_LABEL_TEMPERATURE
    target = _log_softmax(relevance, label_temperature, judged, weights)
    given = _log_softmax(similarity, temperature, judged, weights)
    divergence = _divergence(target, given, judged, weights)
    if not symmetric:
        return divergence
    # A share that rounds to 0 would be infinitely far from any other.
    target = target.clamp_min(math.log(torch.finfo(target.dtype).tiny))
    return 0.5 * divergence + 0.5 * _divergence(given, target, judged, weights)


@list_function("graded", learns=two_grades)
def rank_kl(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.05,
    label_temperature: Positive = 0.05,
) -> Tensor:
    r"""Compute the divergence of the softmax of similarities from the softmax of the ranks of the grades.

    .. math:: \mathrm{KL}\left(\mathrm{softmax}\left(\frac{n - \rho}{(n - 1) \tau_y}\right) \,\Big\|\,
        \mathrm{softmax}(s / \tau)\right)

    ρ is the rank by relevance, with mean ranks for ties: (n - ρ)/(n - 1) is 1 for the best document, 0 for the worst.

    Args:
        label_temperature: Divides the ranks, which run from 0 to 1; above 0.

    Returns:
        Divergence, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> rank_kl(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.1273)

    Source: Zhang et al. (2025), "CoDiEmb", arXiv 2508.11442, for STS; its code divides by n. Time O(D log D), memory
    O(D).
    """
    length = masses(judged, weights, similarity).sum(-1, keepdim=True)
    ranks = torch.where(judged, exact_ranks(relevance, mask=judged, weights=weights), 0)
    wanted = (length - ranks) / (length - 1).clamp_min(1)
    target = _log_softmax(wanted, label_temperature, judged, weights)
    return _divergence(target, _log_softmax(similarity, temperature, judged, weights), judged, weights)


@list_function("graded", learns=any_relevant, most=1)
def regression_compatible(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.1,
    bias: Finite = 0.0,
    alpha: Share = 0.5,
) -> Tensor:
    r"""Compute a calibrated listwise loss: its minimum both orders documents and predicts probabilities.

    .. math:: \alpha \Big[ -\sum_j \frac{y_j}{\sum y} \log \frac{p_j}{\sum_k p_k} \Big]
        + (1 - \alpha) \frac{1}{D} \sum_j \mathrm{BCE}(p_j, y_j), \qquad p = \sigma(s / \tau + b)

    The list term normalises sigmoids instead of exponentials, so both terms have their minimum at p = y.

    Args:
        relevance: In [0, 1], NaN where unjudged, shape ``(..., D)``; not differentiated.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        bias: b, added after the division.
        alpha: Weight of the list term, in (0, 1].

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> regression_compatible(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.5]), temperature=1.0)
        tensor(0.8248)

    Source: Bai et al. (2023), "Regression Compatible Listwise Objectives for Calibrated Ranking with Binary Relevance",
    arXiv 2211.01494; grades between 0 and 1, temperature and bias (not needed for a ranker's logits) are ours. Time and
    memory O(D).

    Sigmoids are calibrated, not just ordered: a list of relevant documents only still has a gradient.
    """
    logits = similarity / temperature + bias
    log_likely = F.logsigmoid(logits)
    share = relevance if weights is None else relevance * weights
    share = share / share.sum(-1, keepdim=True).clamp_min(torch.finfo(relevance.dtype).tiny)
    listwise = masked_logsumexp(log_likely, judged, weights) - (share * log_likely).sum(-1)
    each = F.binary_cross_entropy_with_logits(logits, relevance, reduction="none")
    return alpha * listwise + (1 - alpha) * masked_mean(each, judged, weights)


@list_function("binary", learns=two_kinds)
def psl(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Positive = 0.1,
    activation: Annotated[str, choice("tanh", "relu", "atan")] = "tanh",
    width: Positive = 2.0,
) -> Tensor:
    r"""Compute PSL: a softmax loss with a slower-growing function in place of the exponential.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \log \Big( 1 + \sum_{k \in N}
        \phi\left(\frac{s_k - s_j}{w}\right)^{1/\tau} \Big), \qquad
        \phi(d) = \tanh d + 1, \; d + 1, \; \arctan d + 1, \text{ at least } 0

    Irrelevant documents far above the relevant one, which may be false negatives, weigh less than in a softmax, and the
    sum is closer to a count. The 1 is the relevant document itself, φ(0).

    Args:
        temperature: τ, above 0; the exponent is its inverse.
        activation: φ, ``"tanh"``, ``"relu"`` or ``"atan"``.
        width: w, above 0, scales differences to [-1, 1]: 2 for cosines.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> psl(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.3123)

    Source: Yang et al. (2024), "PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
    Recommendation"; including the relevant document in the sum, which keeps the loss above 0, is ours. Cost: O(P · D)
    per query, a few pairs at a time.
    """

    def log_activated(d: Tensor) -> Tensor:
        if activation == "tanh":  # tanh d + 1 is 2σ(2d)
            return math.log(2) + F.logsigmoid(2 * d)
        grown = 1 + (torch.atan(d) if activation == "atan" else d)
        return torch.where(grown > 0, torch.where(grown > 0, grown, 1).log(), -torch.inf)

    relevant = relevance > 0
    irrelevant = (judged & ~relevant)[:, None, :]

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        grown = log_activated(differences(similarity, columns) / width) / temperature
        rivals = masked_logsumexp(grown, irrelevant.expand_as(grown), None if weights is None else weights[:, None, :])
        return weighted_sum(softplus(rivals), listed, columns, weights)

    return sum_over_rows(of_rows, relevant, similarity) / mass_of(relevant, weights)


@list_function("binary", learns=two_kinds)
def softmax_at_k(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    k: Count = 10,
    temperature: Positive = 0.05,
    weight_temperature: Positive = 0.1,
) -> Tensor:
    r"""Compute SL@K: softmax losses of the positives, weighted by proximity to the top k.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \sigma\left(\frac{s_j - \beta_k}{\tau_w}\right)
        \log \sum_k e^{(s_k - s_j)/\tau}

    β is the k-th largest similarity of the list (the smallest, if the list is shorter). Weights are not differentiated;
    they rise with a document's similarity, so a better order may have a higher loss, but the gradient still leads to
    it. The loss is a surrogate for NDCG@k, which is constant if all documents are relevant: such a list has no value.

    Args:
        k: Cutoff, at least 1.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        weight_temperature: τ_w, above 0, in units of ``similarity``.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> softmax_at_k(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]), k=1, temperature=0.1)
        tensor(0.0639)

    Source: Yang et al. (2025), "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in
    Recommender Systems", arXiv 2508.05673. They store β per user, estimate it from samples every few epochs, and
    differentiate the weights; here β is that of the list at hand, exact, and weights are constants, since their
    gradient would push hard positives down. Time O(D log D),
    memory O(D).
    """
    relevant = relevance > 0
    own = torch.where(judged, similarity.detach(), -torch.inf)
    weight = torch.sigmoid((own - kth_largest(own, judged, k, weights)) / weight_temperature)
    surprise = log_odds(similarity, judged, temperature, weights)
    return masked_mean(torch.where(relevant, weight, 0) * surprise, relevant, weights)


def _divergence(target: Tensor, given: Tensor, judged: Tensor, weights: Tensor | None) -> Tensor:
    """Compute the divergence of one distribution from another, of log-likelihoods."""
    each = target.exp() * (target - given)
    each = torch.where(judged, each if weights is None else each * weights, 0)
    return each.sum(-1).clamp_min(0)  # negative only by rounding


def _log_softmax(values: Tensor, temperature: float, judged: Tensor, weights: Tensor | None) -> Tensor:
    """Compute log-softmax over the judged documents, 0 elsewhere; finite even where float32 would overflow."""
    least = torch.finfo(values.dtype).min
    return torch.where(judged, (-log_odds(values, judged, temperature, weights)).clamp_min(least), 0)
