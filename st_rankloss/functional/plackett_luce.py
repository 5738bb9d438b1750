"""Likelihoods of an order: Plackett-Luce, Rank-N-Contrast, PRO, and policy gradients from Plackett-Luce samples."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from st_rankloss.functional.conditions import two_grades
from st_rankloss.functional.declaration import list_function
from st_rankloss.functional.gains import discount, gains_of_clean, over_largest
from st_rankloss.functional.lists import (
    MOST_SQUARED,
    differences,
    log_weighted,
    logsumexp_below,
    masked_logsumexp,
    masked_mean,
    mass_of,
    precise_logits,
    sum_over_rows,
)
from st_rankloss.functional.ndcg import ideal_of_gains
from st_rankloss.functional.ranks import copies_of, exact_ranks
from st_rankloss.functional.settings import (
    Cutoff,
    GainSetting,
    Positive,
    Temperature,
    TwoOrMore,
    choice,
)
from st_rankloss.kernels.pair_sums import softplus


@list_function("graded", learns=two_grades)
def plackett_luce(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.05,
    positions: Annotated[str, choice("equal", "ndcg", "confidence")] = "equal",
    label_temperature: Positive = 1.0,
) -> Tensor:
    r"""Compute the weighted negative log-likelihood of drawing the documents in order of relevance.

    .. math:: \frac{1}{\sum_j w_j} \sum_j w_j
        \Big[ \log \Big( e^{s_j/\tau} + \sum_{y_k < y_j} e^{s_k/\tau} \Big) - s_j/\tau \Big]

    Documents of equal relevance do not compete, so their order does not matter; those of the lowest grade have no term.
    Weights of the documents above the lowest grade:

    - ``"equal"``: 1, ListMLE;
    - ``"ndcg"``: the discount at the rank by relevance, a position-aware ListMLE;
    - ``"confidence"``: their share in the softmax of all grades, as in PLD, for a teacher's scores. These weights are
      not divided by their sum.

    PLD puts the true document first whatever its teacher says. Where the teacher errs, raise the true document's
    relevance just above the highest score; it then also gets the highest weight, where PLD keeps the teacher's.

    Args:
        positions: ``"equal"``, ``"ndcg"`` or ``"confidence"``.
        label_temperature: Divides the grades in the confidence weights, above 0, in units of ``relevance``.

    Returns:
        Mean negative log-likelihood of a position, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> plackett_luce(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.0672)

    Source: Xia et al. (2008), ListMLE; Zhu, Klabjan (2020), "Listwise Learning to Rank by Exploring Unique Ratings",
    whose Unique Softmax has no competition between ties; Lan et al. (2014), position-aware ListMLE, with different
    weights; Bassam, Zhu, Bian (2025), "PLD: A Choice-Theoretic List-Wise Knowledge Distillation", arXiv 2506.12542, for
    confidence weights. The mean is ours. Time O(D log D), memory O(D).
    """
    logits = precise_logits(similarity, temperature, judged)
    below = logsumexp_below(log_weighted(logits, weights), relevance, judged, ties=False)
    contested = below > -torch.inf
    surprise = torch.where(contested, torch.logaddexp(logits, torch.where(contested, below, 0)) - logits, 0)
    if positions == "confidence":
        highest = relevance.amax(-1, keepdim=True)
        worth = torch.where(judged, torch.exp((relevance - highest) / label_temperature), 0)
        return masked_mean(surprise, judged, worth if weights is None else worth * weights)
    weight = contested.to(logits.dtype)
    if positions == "ndcg":
        weight = discount(exact_ranks(relevance, mask=judged, weights=weights)) * contested
    weight = weight if weights is None else weight * weights
    total = weight.sum(-1)
    return (weight * surprise).sum(-1) / torch.where(total > 0, total, 1)


@list_function("graded", learns=two_grades)
def rank_n_contrast(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.1
) -> Tensor:
    r"""Compute Rank-N-Contrast: each document against all equally or less relevant ones.

    .. math:: \frac{1}{D} \sum_j \Big[ \log \sum_{y_k \le y_j} e^{s_k/\tau} - s_j/\tau \Big]

    Documents of equal relevance compete: as grades move apart, the loss approaches its minimum, the mean log size of
    the groups of ties.

    Args:
        relevance: At least 0, NaN where unjudged, shape ``(..., D)``, falling with the distance of labels, as in
            `Numeric`; not differentiated.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> rank_n_contrast(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.1)
        tensor(0.0448)

    Source: Zha et al. (2023), "Rank-N-Contrast: Learning Continuous Representations for Regression", arXiv 2210.01189.
    Time O(D log D), memory O(D), against O(D²) by definition.
    """
    logits = precise_logits(similarity, temperature, judged)
    rivals = logsumexp_below(log_weighted(logits, weights), relevance, judged, ties=True)
    return masked_mean(torch.where(judged, rivals, 0) - logits, judged, weights)


@list_function("graded", learns=two_grades, most=MOST_SQUARED)
def pro(
    similarity: Tensor, relevance: Tensor, judged: Tensor, weights: Tensor | None, temperature: Temperature = 0.05
) -> Tensor:
    r"""Compute PRO: for each document, a softmax against all less relevant ones, sharpened by the gap in relevance.

    .. math:: \frac{1}{n} \sum_j \Big[ \log \Big( e^{w_j s_j/\tau} + \sum_{y_k < y_j} e^{(y_j - y_k) s_k/\tau} \Big)
        - w_j s_j / \tau \Big], \qquad w_j = y_j - \min_k y_k

    over the n documents above the lowest grade. Similarities are multiplied by different gaps, so adding a constant to
    them changes the loss, and the order alone does not determine it. Scale relevance to about 1.

    Args:
        relevance: Graded relevance, at least 0 and at most 1e15, NaN where unjudged (not in the list), shape
            ``(..., D)``; not differentiated.

    Returns:
        Loss, at least 0, lower is better, shape ``(...)``.

    Example:
        >>> pro(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([1.0, 0.0, 0.5]), temperature=0.1)
        tensor(0.0419)

    Source: Song et al. (2023), "Preference Ranking Optimization for Human Alignment", arXiv 2306.17492; in the form of
    Zhang et al. (2025), "CoDiEmb", arXiv 2508.11442. Cost: O(D²) per query, a few pairs at a time.
    """
    lowest = torch.where(judged, relevance, torch.inf).amin(-1, keepdim=True)
    above_lowest = torch.where(judged, relevance - lowest, 0)
    better = above_lowest > 0

    def of_rows(columns: Tensor, listed: Tensor) -> Tensor:
        gaps = -differences(relevance, columns)
        lower = (gaps > 0) & judged[:, None, :] & listed[:, :, None]
        # The difference of the exponents, arranged to avoid cancellation: apart from the part that the rivals' grades
        # add, it is a multiple of a difference of similarities.
        own = similarity.gather(1, columns)[:, :, None]
        odds = gaps * differences(similarity, columns) - above_lowest[:, None, :] * own
        rivals = masked_logsumexp(odds / temperature, lower, None if weights is None else weights[:, None, :])
        losses = softplus(rivals)  # 0 where not listed: there is no rival
        return (losses if weights is None else losses * weights.gather(1, columns)).sum(-1)

    return sum_over_rows(of_rows, better, similarity) / mass_of(better, weights)


@list_function("graded", learns=two_grades)
def policy_gradient(
    similarity: Tensor,
    relevance: Tensor,
    judged: Tensor,
    weights: Tensor | None,
    temperature: Temperature = 0.05,
    gain: GainSetting = "linear",
    k: Cutoff = None,
    samples: TwoOrMore = 8,
) -> Tensor:
    r"""Compute 1 - NDCG of randomly drawn orders, with the policy gradient of the draws.

    Orders are drawn from the Plackett-Luce distribution of the similarities; the gradient is that of
    :math:`-\frac{1}{n} \sum_i (r_i - b_i) \log p(\pi_i)`, where r_i is the NDCG of an order and b_i the mean NDCG of
    the others: unbiased for the expected NDCG. Every call draws new orders.

    Args:
        k: Cutoff of the reward, and of the likelihood; None means no cutoff.
        samples: Orders drawn per query, at least 2.

    Returns:
        1 - mean NDCG of the orders, lower is better, shape ``(...)``.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> policy_gradient(torch.tensor([0.9, 0.2, 0.7]), torch.tensor([2.0, 0.0, 1.0]), temperature=0.01)
        tensor(0.0000)

    Source: Gao et al. (2023), "Policy-Gradient Training of Language Models for Ranking" (PG-RANK), arXiv 2310.04407;
    the leave-one-out baseline is also theirs. Cost: time and memory O(samples · D log D) per query.
    """
    gains = over_largest(gains_of_clean(relevance, gain))
    ideal = ideal_of_gains(gains, k, weights)[:, None]
    far = torch.finfo(similarity.dtype).min / 4
    logits = torch.where(judged, log_weighted(similarity / temperature, weights), far)
    logits = logits[:, None].expand(-1, samples, -1)
    noise = -torch.empty_like(logits).exponential_().log()
    order = (logits.detach() + noise).argsort(-1, descending=True)
    place = torch.arange(1, similarity.shape[1] + 1, device=similarity.device, dtype=similarity.dtype)
    counted = place <= judged.sum(-1)[:, None, None]
    drawn = gains[:, None].expand(-1, samples, -1).gather(-1, order)
    if weights is not None:
        mass = weights[:, None].expand(-1, samples, -1).gather(-1, order)
        place, drawn = 1 + mass.cumsum(-1) - mass + copies_of(mass), drawn * mass
    if k is not None:
        counted = counted & (place <= k)
    reward = torch.where(counted, drawn * discount(place), 0).sum(-1) / torch.where(ideal > 0, ideal, 1)
    ordered = logits.gather(-1, order)
    rest = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    log_likelihood = torch.where(counted, ordered - rest, 0).sum(-1)
    advantage = (reward - reward.mean(-1, keepdim=True)) * samples / (samples - 1)
    surrogate = -(advantage * log_likelihood).mean(-1)
    return 1 - reward.mean(-1) + surrogate - surrogate.detach()
