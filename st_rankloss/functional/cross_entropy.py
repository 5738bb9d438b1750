"""Listwise softmax cross-entropy with graded labels."""

from __future__ import annotations

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_temperature
from st_rankloss.functional.gains import Gain, gains_of
from st_rankloss.functional.ndcg import check_all_defined, check_lists
from st_rankloss.functional.ranks import upcast


def softmax_cross_entropy(
    similarity: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.05,
    gain: Gain = "linear",
    no_relevant: str = "skip",
) -> Tensor:
    r"""Compute the cross-entropy between the softmax of similarities and the normalised gains.

    .. math:: -\sum_j \frac{g(y_j)}{\sum_k g(y_k)} \log \mathrm{softmax}(s / \tau)_j

    With one relevant document it is InfoNCE, sentence-transformers' MultipleNegativesRankingLoss at
    ``scale = 1 / temperature``. Time and memory O(D) per query.

    Args:
        similarity: Predicted similarity, shape ``(..., D)``, floating; float16 and bfloat16 are computed in
            float32, also under autocast.
        relevance: Graded relevance, at least 0, NaN where unjudged (not in the list), shape ``(..., D)``;
            not differentiated.
        temperature: Divides the similarities, above 0, in units of ``similarity``.
        gain: ``"linear"``, ``"exponential"`` (2^y - 1) or a callable of relevance that maps 0 to 0.
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
    Zhuang et al. (2023), "RankT5".
    """
    check_temperature(temperature)
    check_lists(similarity, relevance, gain, None, no_relevant)
    with torch.autocast(similarity.device.type, enabled=False):
        judged = ~relevance.isnan()
        gains = gains_of(upcast(relevance.detach()), gain)
        total = gains.sum(-1, keepdim=True)
        defined = total > 0
        check_all_defined(defined, no_relevant)
        target = gains / torch.where(defined, total, 1)
        logits = torch.where(judged, upcast(similarity) / temperature, -torch.inf)
        # Rows without any judged document would be all -inf, whose log-softmax sends back NaN.
        logits = torch.where(defined, logits, 0)
        surprise = -torch.where(judged, logits.log_softmax(-1), 0)
        loss = (target * surprise).sum(-1)
    return torch.where(defined[..., 0], loss, torch.nan if no_relevant == "skip" else 0.0)
