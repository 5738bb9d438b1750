"""Whether an objective can learn from a batch's relevance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from st_rankloss.functional.lists import irrelevant_of
from st_rankloss.losses.mixing import Mixing
from st_rankloss.objectives import Objective
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric, Relevance, Vectors, Views

ROWS = 64
"""Queries of a batch that `warn_of_few_irrelevant` reads."""

_FEW = 0.05
_OF_LABELS = (Classes, Hierarchy, MultiLabel, Numeric, Vectors)


def check_views(objective: Objective, relevance: Relevance) -> None:
    """Raise ValueError if an objective of views gets the relevance of labels.

    A relevance of the user's own is accepted.
    """
    of_labels = isinstance(relevance, _OF_LABELS) or (isinstance(relevance, Views) and relevance.relevance is not None)
    if "views" in objective.labels and of_labels:
        raise ValueError(
            f"{objective!r} needs views of one sample as relevant documents, got {relevance!r}: of samples with like "
            "labels it pulls only the nearest pair. Use data_collator=ViewsCollator(...) and relevance=Views(), or "
            "another objective, such as SupCon()."
        )


def warn_of_distributions(objective: Objective) -> None:
    """Warn of an objective that cannot tell the rows of a batch apart."""
    if objective.labels == {"distribution"}:
        warnings.warn(
            f"{objective!r} compares distributions over the whole batch and cannot tell its rows apart: add an "
            "objective of single lists, as in Wasserstein() + ListNet().",
            stacklevel=4,
        )


def warn_of_few_irrelevant(objective: Objective, mixings: Sequence[Mixing], relevance: Tensor) -> None:
    """Warn of a binary objective, and of mixtures of irrelevant documents, if hardly any document is irrelevant.

    Args:
        objective: The objective of the loss.
        mixings: Its strategies of mixing.
        relevance: Relevance of some queries, on the CPU, ``(rows, D)``.
    """
    if irrelevant_of(relevance).sum() >= _FEW * int((~relevance.isnan()).sum()):
        return
    narrow = "narrow the relevance, as with Numeric('triangle') or Vectors(threshold=0.5)"
    if "binary" in objective.labels:
        warnings.warn(
            f"{objective!r} reads relevance above 0 as relevant, but almost all documents of this batch have some, so "
            f"it cannot tell them apart: {narrow}, or use an objective of graded relevance, such as ApproxNDCG().",
            stacklevel=4,
        )
    for mixing in mixings:
        if mixing.of_irrelevant:
            warnings.warn(
                f"{mixing!r} mixes documents of relevance 0, but almost all documents of this batch have more, so it "
                f"adds hardly anything: {narrow}, or use EmbeddingMixup().",
                stacklevel=4,
            )
