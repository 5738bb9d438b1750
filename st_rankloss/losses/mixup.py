"""Mixed documents with mixed relevance: more grades for a ranking objective to order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.functional.settings import Flag, Positive, check_fields
from st_rankloss.relevance.matrix import MixedMatrix, RowsOfRelevance


@dataclass(frozen=True)
class EmbeddingMixup:
    """Adds mixtures of two documents of the batch, graded by the mixture of their grades.

    A mixed document's embedding is w · a + (1 - w) · b for two documents a, b drawn at random and w drawn from
    Beta(alpha, alpha); its relevance for each query is w · y_a + (1 - w) · y_b, or unjudged if a or b is. With
    ``labels``, the labels are mixed instead, and the mixed label determines relevance: a mixture of two numbers on
    either side of the query's may be the most relevant of all. Every objective can rank mixtures. Cost: that of the
    added documents. Without gradient, as in evaluation, nothing is mixed.

    Args:
        share: Mixed documents per document of the batch, above 0.
        alpha: Above 0; small values keep mixtures near one of their parents, 1 draws the weight uniformly.
        labels: Mix labels, which must be numbers or vectors, instead of grades.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a number is not finite and above 0; in training, if ``labels`` is set and the labels are not
            numbers or vectors.

    Example:
        >>> torch.manual_seed(0).manual_seed(0) is not None
        True
        >>> documents, relevance_of = EmbeddingMixup(share=0.5).mix(torch.eye(4), lambda rows: torch.eye(4)[rows])
        >>> documents.shape, relevance_of(slice(0, 2)).shape
        (torch.Size([6, 4]), torch.Size([2, 6]))
        >>> bool((documents == relevance_of(slice(0, 4)).T).all())  # here embeddings and grades are the same numbers
        True

    Source: Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412; mixing embeddings and
    the labels of their pairs: Venkataramanan et al. (2022), "It Takes Two to Tango: Mixup for Deep Metric Learning",
    arXiv 2106.04990. Grading by the mixture of relevances is ours. Mixing labels: Wu et al. (2023), "Mixup Your Own
    Pairs" (SupReMix), arXiv 2309.16633; our mixtures include its hard negatives (mixed with the query) and hard
    positives (with the query's label).
    """

    share: Positive = 1.0
    alpha: Positive = 1.0
    labels: Flag = False

    def __post_init__(self) -> None:
        check_fields(self)

    def mix(self, documents: Tensor, relevance_of: RowsOfRelevance) -> tuple[Tensor, RowsOfRelevance]:
        """Add mixed documents.

        Args:
            documents: Embeddings, shape ``(D, dimensions)``.
            relevance_of: Their relevance for a slice of the queries, ``(block, D)``; a `RelevanceMatrix` to mix labels.

        Returns:
            Embeddings of shape ``(D + mixed, dimensions)``, and their relevance.
        """
        count = math.ceil(self.share * len(documents))
        first, second = (torch.randint(len(documents), (count,), device=documents.device) for _ in range(2))
        alpha = torch.full((count,), self.alpha, device=documents.device)
        weight = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()

        def blend(values: Tensor) -> Tensor:
            by = weight.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
            return by * values[first] + (1 - by) * values[second]

        return torch.cat([documents, blend(documents)]), MixedMatrix(relevance_of, blend, self.labels)
