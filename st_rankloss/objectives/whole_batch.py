"""Objectives that read the whole batch at once, of all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_rankloss.functional import (
    contextual_similarity,
    many_views,
    set_information,
    unified_negatives,
    wasserstein,
)
from st_rankloss.functional.lists import irrelevant_of, two_kinds
from st_rankloss.objectives.base import Configured


class _WholeBatch(Configured):
    """An objective whose function maps the whole batch to a loss, or to each query's part of it."""

    separable = False

    def _try(self, settings: dict[str, Any]) -> None:
        type(self).function(torch.ones(1, 1), torch.ones(1, 1), **settings)

    def __call__(self, similarity: Tensor, relevance: Tensor) -> Tensor:
        """Compute each query's part, 0 where it is not defined."""
        with torch.autocast(similarity.device.type, enabled=False):
            value = type(self).function(similarity, relevance, **self._settings(), **self.fixed)
        return torch.where(self.defined(relevance), value, 0)


class _Square(_WholeBatch):
    """A `_WholeBatch` whose every sample is a query and a document."""

    needs = staticmethod(two_kinds)

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError unless there is one column, and nothing mixed into it."""
        if len(sizes) != 1 or mixed:
            raise ValueError(
                f"{type(self).__name__} needs every sample to be a query and a document: one input column without "
                f"mixup, got {len(sizes)} columns{' and mixup' if mixed else ''}."
            )


@dataclass(frozen=True)
class Wasserstein(_WholeBatch):
    """`wasserstein`, SyCL's: the batch's lists as Gaussians.

    Args:
        temperature: Divides the similarities, above 0.
        label_temperature: Divides the grades, above 0, in units of relevance.
    """

    function = staticmethod(wasserstein)

    temperature: float = 0.05
    label_temperature: float = 1.0


@dataclass(frozen=True)
class UnifiedNegatives(_WholeBatch):
    """`unified_negatives`, UNPG's: each relevant pair against the irrelevant pairs of all queries.

    Args:
        temperature: Divides the similarities, above 0.
        whisker: How far beyond the quartiles pairs count, at least 0, in interquartile ranges.
    """

    function = staticmethod(unified_negatives)

    temperature: float = 0.05
    whisker: float = 1.5

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have a relevant document, if the batch has an irrelevant pair to compare it with."""
        return super().defined(relevance) & irrelevant_of(relevance).any()


@dataclass(frozen=True)
class ContextualSimilarity(_Square):
    """`contextual_similarity`: samples of one class have the same neighbours; for one column of samples.

    Args:
        neighbours: How many, at least 1, the sample itself included.
        width: How much farther than the last neighbour still counts, at least 0, in squared distance.
        upper: Similarity below which related pairs are pulled, at least 0.
        lower: Similarity above which others are pushed, at least 0.
        alpha: Weight of the contextual part, in (0, 1].
    """

    function = staticmethod(contextual_similarity)

    neighbours: int = 4
    width: float = 0.05
    upper: float = 0.9
    lower: float = 0.6
    alpha: float = 0.5


@dataclass(frozen=True)
class SetInformation(_Square):
    """`set_information`, SCoRe's: submodular functions of the classes; for one column of samples.

    Args:
        set_function: ``"facility_location"``, ``"graph_cut"`` or ``"log_det"``.
        regularisation: Weight of outsiders in the graph cut, ridge of the determinants, above 0.
    """

    function = staticmethod(set_information)

    set_function: str = "facility_location"
    regularisation: float = 1.0


@dataclass(frozen=True)
class MVInfoNCE(_Square):
    """`many_views`: one InfoNCE term for all views of a sample; for one column through `ViewsCollator`.

    Args:
        temperature: Divides the similarities, above 0.
    """

    function = staticmethod(many_views)

    temperature: float = 0.1


@dataclass(frozen=True)
class MVDHEL(MVInfoNCE):
    """`many_views`, decoupled: alignment over all views of a sample, uniformity within each view.

    Args:
        temperature: Divides the similarities, above 0.
    """

    fixed: ClassVar[dict[str, Any]] = {"decoupled": True}
