"""Conditions for a list to have a value: on relevance (0 where unjudged) and on which documents are judged.

Each maps ``(Q, D)`` relevance, ``(Q, D)`` bool and the settings of its function to ``(Q,)`` bool. For a function with a
setting ``gain``, the conditions read gains instead of relevance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from st_rankloss.functional.masks import count, is_everywhere
from st_rankloss.functional.settings import cutoffs_of

Condition = Callable[..., Tensor]


def any_relevant(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have a relevant document."""
    return relevance.amax(-1) > 0 if relevance.shape[-1] else _none(relevance)


def relevant_among_others(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have a relevant document and any other: the softmax of a single document is always 1."""
    return any_relevant(relevance, judged) & two_judged(relevance, judged)


def own_among_others(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which queries q of a batch have a judged document q, and a relevant one among others."""
    own = torch.nn.functional.pad(judged, (0, len(judged))).diagonal()  # false for a query beyond the documents
    return own & relevant_among_others(relevance, judged)


def two_judged(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have at least two judged documents."""
    return count(judged) > 1


def two_kinds(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have a relevant and an irrelevant document."""
    return any_relevant(relevance, judged) & ((relevance == 0) & judged).any(-1)


def two_kinds_beyond_k(relevance: Tensor, judged: Tensor, *, k: int | Sequence[int], **settings: Any) -> Tensor:
    """Return which lists of more than ``k`` documents have both kinds; shorter lists fit in the first k.

    Of several k, the smallest counts.
    """
    return two_kinds(relevance, judged) & (count(judged) > min(cutoffs_of(k)))


def two_grades(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have documents of different grades."""
    if not relevance.shape[-1]:
        return _none(relevance)
    known = relevance if is_everywhere(judged) else torch.where(judged, relevance, torch.inf)
    return relevance.amax(-1) > known.amin(-1)


def some_irrelevant_in_the_batch(relevance: Tensor, judged: Tensor, **settings: Any) -> Tensor:
    """Return which lists have a relevant document, provided that any list of the batch has an irrelevant one."""
    return any_relevant(relevance, judged) & (judged & (relevance == 0)).any()


def _none(relevance: Tensor) -> Tensor:
    return torch.zeros(relevance.shape[:-1], dtype=torch.bool, device=relevance.device)
