"""Mixed documents with mixed relevance: more grades for a ranking objective to order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RelevanceOfRows = Callable[[slice], Tensor]
"""Maps a slice of a batch's queries to their relevance, ``(block, D)``."""


@dataclass(frozen=True)
class EmbeddingMixup:
    """Adds documents that are mixtures of two of the batch's, graded by the mixture of their grades.

    A mixed document's embedding is w · a + (1 - w) · b for two documents a, b drawn at random and w drawn from
    Beta(alpha, alpha); its relevance for each query is w · y_a + (1 - w) · y_b, or unjudged where a or b is.
    Every objective can rank them. Cost: that of as many more documents. Nothing is mixed without gradient, as
    in evaluation.

    Args:
        share: Mixed documents for each of the batch's, above 0.
        alpha: Above 0; small values keep mixtures near one of their parents, 1 draws the weight uniformly.

    Raises:
        ValueError: If a number is not finite and above 0.

    Example:
        >>> torch.manual_seed(0).manual_seed(0) is not None
        True
        >>> documents, relevance_of = EmbeddingMixup(share=0.5).mix(torch.eye(4), lambda rows: torch.eye(4)[rows])
        >>> documents.shape, relevance_of(slice(0, 2)).shape
        (torch.Size([6, 4]), torch.Size([2, 6]))
        >>> bool((documents == relevance_of(slice(0, 4)).T).all())  # here embeddings and grades are the same numbers
        True

    Source: Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412; mixing embeddings
    and their pairs' labels: Venkataramanan et al. (2022), "It Takes Two to Tango: Mixup for Deep Metric
    Learning", arXiv 2106.04990. Grading by the mixture of relevances is ours.
    """

    share: float = 1.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), ("alpha", self.alpha)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")

    def mix(self, documents: Tensor, relevance_of: RelevanceOfRows) -> tuple[Tensor, RelevanceOfRows]:
        """Add mixed documents.

        Args:
            documents: Embeddings, shape ``(D, dimensions)``.
            relevance_of: Their relevance for a slice of the queries, ``(block, D)``.

        Returns:
            Embeddings of shape ``(D + mixed, dimensions)``, and their relevance.
        """
        count = math.ceil(self.share * len(documents))
        first, second = (torch.randint(len(documents), (count,), device=documents.device) for _ in range(2))
        alpha = torch.full((count,), self.alpha, device=documents.device)
        weight = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()

        def with_mixed(rows: slice) -> Tensor:
            relevance = relevance_of(rows)
            return torch.cat([relevance, weight * relevance[:, first] + (1 - weight) * relevance[:, second]], dim=1)

        by = weight[:, None].to(documents.dtype)
        return torch.cat([documents, by * documents[first] + (1 - by) * documents[second]]), with_mixed
