"""Cross-entropies of a list: softmax with graded labels, InfoNCE with several positives, distributions, calibrated."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from st_rankloss.functional.checks import check_floating, check_temperature
from st_rankloss.functional.gains import Gain, check_gain, gains_of, over_largest
from st_rankloss.functional.lists import (
    any_relevant,
    by_gain,
    differences,
    log_odds,
    masked_logsumexp,
    masked_mean,
    per_list,
    sum_over_rows,
    two_grades,
    two_kinds,
)
from st_rankloss.functional.ranks import exact_ranks
from st_rankloss.functional.settings import check_count, check_settings
from st_rankloss.kernels.pair_sums import softplus


def softmax_cross_entropy(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    gain: Gain = "linear",
    poly: float = 0.0,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute the cross-entropy between the softmax of similarities and the normalised gains.

    .. math:: -\sum_j t_j \log p_j + \epsilon \Big(1 - \sum_j t_j p_j\Big), \qquad
        t_j = \frac{g(y_j)}{\sum_k g(y_k)}, \quad p = \mathrm{softmax}(s / \tau)

    With one relevant document it is InfoNCE, sentence-transformers' MultipleNegativesRankingLoss at
    ``scale = 1 / temperature``; with soft similarities of a frozen encoder as relevance, it is CWCL. Time and memory
    O(D) per query.

    It is a likelihood and not a function of the order: documents that are all equally relevant teach it to make their
    similarities equal.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; float16 and bfloat16 are computed in
            float32, also under autocast.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``;
            not differentiated.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.
        poly: ε, at least 0: adds the first term of the PolyLoss expansion.
        no_relevant: What a query without gain gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` a ValueError.

    Returns:
        Cross-entropy, at least 0, lower is better, shape ``(...)``, float32 or float64.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, ``temperature`` is not above 0, a name is unknown or, on a CPU, a
            relevance is negative or a judged similarity not finite; with ``no_relevant="error"`` if a query
            has no gain.

    Example:
        >>> similarity = torch.tensor([0.9, 0.2, 0.7])
        >>> softmax_cross_entropy(similarity, torch.tensor([1.0, 0.0, 0.5]), temperature=0.1)
        tensor(0.7944)

    Source: Cao et al. (2007), "Learning to rank: from pairwise approach to listwise approach" (ListNet);
    Zhuang et al. (2023), "RankT5", for both terms; Leng et al. (2022), "PolyLoss"; Srinivasa et al. (2023), "CWCL",
    arXiv 2309.14580.
    """
    check_settings(temperature=temperature, poly=poly)
    check_gain(gain)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        target = over_largest(gains_of(relevance, gain))
        total = target.sum(-1, keepdim=True)
        target = target / torch.where(total > 0, total, 1)
        log_likelihood = _log_softmax(similarity, temperature, judged)
        loss = -(target * log_likelihood).sum(-1)
        return loss + poly * (1 - (target * log_likelihood.exp()).sum(-1)) if poly else loss

    return per_list(body, similarity, relevance, by_gain(any_relevant, gain), no_relevant)


def info_nce(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    positives: str = "all",
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute InfoNCE with several positives, each by its own log-likelihood.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \Big[ \log \sum_{k \in C_j} e^{s_k/\tau} - s_j/\tau \Big]

    C, what a positive competes with, are the irrelevant documents and, of the positives,

    - ``"all"``: SupCon. Positives compete with each other, so that the least is log |P|;
    - ``"own"``: itself. A positive does not push others away;
    - ``"none"``: DCL, decoupled: the loss has no lower bound, and its gradient does not fade as the positive wins.

    Without an irrelevant document the last two have nothing to contrast and no value; the first, which is then the
    likelihood of a uniform distribution, makes the positives' similarities equal.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        positives: ``"all"``, ``"own"`` or ``"none"``.
        no_relevant: What a query without relevant document gives (without an irrelevant one, too, unless positives are
            ``"all"``): ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` a ValueError.

    Returns:
        Cross-entropy, lower is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> info_nce(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 1.0]), temperature=0.1, positives="own")
        tensor(0.0038)

    Source: Khosla et al. (2020), "Supervised Contrastive Learning", arXiv 2004.11362; Yeh et al. (2022), "Decoupled
    Contrastive Learning", arXiv 2110.06848, of one positive: its mean over several is ours. Time and memory O(D).
    """
    check_settings(temperature=temperature, positives=positives)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        odds = log_odds(similarity, judged if positives == "all" else judged & ~relevant, temperature)
        return masked_mean(softplus(odds) if positives == "own" else odds, relevant)

    defined = any_relevant if positives == "all" else two_kinds
    return per_list(body, similarity, relevance, defined, no_relevant)


def list_divergence(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    label_temperature: float = 1.0,
    by_rank: bool = False,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute the divergence of the softmax of similarities from that of the grades, or of their ranks.

    .. math:: \mathrm{KL}\left(\mathrm{softmax}(y / \tau_y) \,\|\, \mathrm{softmax}(s / \tau)\right)

    With ``by_rank``, y is (n - ρ)/(n - 1), where ρ is the rank by relevance, ties sharing their mean: 1 for the best
    document, 0 for the worst. Unlike `softmax_cross_entropy` it wants the similarities to differ by what the grades
    differ by, times τ/τ_y, and is 0 then.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``; not
            differentiated.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        label_temperature: Divides the grades, above 0, in units of ``relevance``, or of ranks' 0 to 1.
        by_rank: Take the grades' ranks instead of the grades.
        no_relevant: What a query with a single grade gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` a ValueError.

    Returns:
        Divergence, at least 0, lower is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> list_divergence(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.4150)

    Source: Cao et al. (2007), ListNet, up to the constant entropy of the target; with a judge's scores as relevance,
    Gu et al. (2025), UniME-V2; by ranks, Zhang et al. (2025), "CoDiEmb", arXiv 2508.11442, whose code divides by n.
    Time and memory O(D), by ranks O(D log D) time.
    """
    check_settings(temperature=temperature, label_temperature=label_temperature, by_rank=by_rank)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        wanted = relevance
        if by_rank:
            length = judged.sum(-1, keepdim=True)
            wanted = (length - torch.where(judged, exact_ranks(relevance, mask=judged), 0)) / (length - 1).clamp_min(1)
        target = _log_softmax(wanted, label_temperature, judged)
        surplus = target - _log_softmax(similarity, temperature, judged)
        return torch.where(judged, target.exp() * surplus, 0).sum(-1).clamp_min(0)  # below 0 only by rounding

    return per_list(body, similarity, relevance, two_grades, no_relevant)


def regression_compatible(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    bias: float = 0.0,
    alpha: float = 0.5,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute a listwise loss that calibrates: its best similarities are both in order and probabilities.

    .. math:: \alpha \Big[ -\sum_j \frac{y_j}{\sum y} \log \frac{p_j}{\sum_k p_k} \Big]
        + (1 - \alpha) \frac{1}{D} \sum_j \mathrm{BCE}(p_j, y_j), \qquad p = \sigma(s / \tau + b)

    The list term normalises sigmoids, not exponentials, so that both terms have their minimum at p = y.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: In [0, 1], NaN where unjudged, shape ``(..., D)``; not differentiated.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        bias: b, added after the division.
        alpha: Weight of the list term, in (0, 1].
        no_relevant: What a query without relevant document gives: ``"skip"`` NaN, ``"zero"`` 0, ``"error"`` an error.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is not in [0, 1] or a
            judged similarity not finite; with ``no_relevant="error"`` if a query has no relevant document.

    Example:
        >>> regression_compatible(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.5]), temperature=1.0)
        tensor(0.8248)

    Source: Bai et al. (2023), "Regression Compatible Listwise Objectives for Calibrated Ranking with Binary Relevance",
    arXiv 2211.01494; grades between 0 and 1, and temperature and bias, which logits of a ranker do not need, are ours.
    Time and memory O(D).

    Sigmoids are calibrated, not only ordered: documents that are all relevant still have something to learn from.
    """
    check_settings(temperature=temperature, bias=bias, alpha=alpha)
    if alpha > 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha!r}.")
    check_floating(relevance, "relevance")
    if relevance.device.type == "cpu" and (relevance > 1).any():
        raise ValueError(f"relevance must be in [0, 1], got {relevance[relevance > 1][0].item()!r}.")

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        logits = similarity / temperature + bias
        log_likely = F.logsigmoid(logits)
        share = relevance / relevance.sum(-1, keepdim=True).clamp_min(torch.finfo(relevance.dtype).tiny)
        listwise = masked_logsumexp(log_likely, judged) - (share * log_likely).sum(-1)
        each = F.binary_cross_entropy_with_logits(logits, relevance, reduction="none")
        return alpha * listwise + (1 - alpha) * masked_mean(each, judged)

    return per_list(body, similarity, relevance, any_relevant, no_relevant)


def pairwise_softmax(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.1,
    activation: str = "tanh",
    width: float = 2.0,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute PSL: a softmax loss whose exponential is replaced by something that grows less.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \log \Big( 1 + \sum_{k \in N}
        \phi\left(\frac{s_k - s_j}{w}\right)^{1/\tau} \Big), \qquad
        \phi(d) = \tanh d + 1, \; d + 1, \; \arctan d + 1, \text{ at least } 0

    Irrelevant documents far above the relevant one, which may be false negatives, pull less than under a softmax, and
    the sum is nearer to a count. The 1 is the relevant document itself, φ(0).

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        temperature: τ, above 0; the exponent is its inverse.
        activation: φ, ``"tanh"``, ``"relu"`` or ``"atan"``.
        width: w, above 0, what differences are divided by so as to lie in [-1, 1]: 2 for cosines.
        no_relevant: What a query without both a relevant and an irrelevant document gives: ``"skip"`` NaN, ``"zero"``
            0, ``"error"`` a ValueError.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> pairwise_softmax(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]))
        tensor(0.3123)

    Source: Yang et al. (2024), "PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
    Recommendation"; that the relevant document counts in the sum, which keeps the loss above 0, is ours. Cost:
    O(P · D) a query, a few pairs at a time.
    """
    check_settings(temperature=temperature, activation=activation)
    check_temperature(width, "width")

    def log_activated(d: Tensor) -> Tensor:
        if activation == "tanh":  # tanh d + 1 is 2σ(2d)
            return math.log(2) + F.logsigmoid(2 * d)
        grown = 1 + (torch.atan(d) if activation == "atan" else d)
        return torch.where(grown > 0, torch.where(grown > 0, grown, 1).log(), -torch.inf)

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        irrelevant = (judged & ~relevant)[:, None, :]

        def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
            grown = log_activated(differences(similarity, columns) / width) / temperature
            return torch.where(listed, softplus(masked_logsumexp(grown, irrelevant.expand_as(grown))), 0).sum(-1)

        return sum_over_rows(of_rows, relevant, similarity) / relevant.sum(-1).clamp_min(1)

    return per_list(body, similarity, relevance, two_kinds, no_relevant)


def softmax_at_k(
    similarity: Tensor,
    relevance: Tensor,
    *,
    k: int = 10,
    temperature: float = 0.05,
    weight_temperature: float = 0.1,
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute SL@K: softmax losses of the positives, weighted by how near they are to the first k.

    .. math:: \frac{1}{|P|} \sum_{j \in P} \sigma\left(\frac{s_j - \beta_k}{\tau_w}\right)
        \log \sum_k e^{(s_k - s_j)/\tau}

    β is the k-th largest similarity of the list (the least, if there are fewer); weights are not differentiated. They
    rise as documents do, so that the value of a better order may be the higher one; its gradient still leads there. It
    stands for NDCG@k, which is the same for every order if all documents are relevant: such a list has no value.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; half precision is computed in float32.
        relevance: Relevant where above 0, NaN where unjudged (not in the list), shape ``(..., D)``.
        k: Cutoff, at least 1.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        weight_temperature: τ_w, above 0, in units of ``similarity``.
        no_relevant: What a query without both a relevant and an irrelevant document gives: ``"skip"`` NaN, ``"zero"``
            0, ``"error"`` a ValueError.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Raises:
        TypeError: If ``similarity`` or ``relevance`` is not floating.
        ValueError: If shapes differ, a setting is out of its range or, on a CPU, a relevance is negative or a judged
            similarity not finite; with ``no_relevant="error"`` if a query has no value.

    Example:
        >>> softmax_at_k(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.0]), k=1, temperature=0.1)
        tensor(0.0639)

    Source: Yang et al. (2025), "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in
    Recommender Systems", arXiv 2508.05673. They estimate β from samples every few epochs and differentiate the
    weights; here β is that of the list, and weights are constants, since their gradient would lower a positive that is
    hard. Time O(D log D), memory O(D).
    """
    check_settings(temperature=temperature, weight_temperature=weight_temperature)
    check_count(k, "k")

    def body(similarity: Tensor, relevance: Tensor, judged: Tensor) -> Tensor:
        relevant = relevance > 0
        own = torch.where(judged, similarity.detach(), -torch.inf)
        best = own.sort(-1, descending=True).values
        last = (judged.sum(-1, keepdim=True) - 1).clamp(0, k - 1)
        weight = torch.sigmoid((own - best.gather(1, last)) / weight_temperature)
        surprise = log_odds(similarity, judged, temperature)
        return masked_mean(torch.where(relevant, weight, 0) * surprise, relevant)

    return per_list(body, similarity, relevance, two_kinds, no_relevant)


def _log_softmax(values: Tensor, temperature: float, judged: Tensor) -> Tensor:
    """Log-softmax over the judged documents, 0 elsewhere; finite, also where float32 cannot hold it."""
    least = torch.finfo(values.dtype).min
    return torch.where(judged, (-log_odds(values, judged, temperature)).clamp_min(least), 0)
