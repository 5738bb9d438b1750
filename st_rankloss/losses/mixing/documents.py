"""Mixed documents with mixed relevance: more grades for a ranking objective to order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from st_rankloss.functional.settings import Flag, Positive, check_fields
from st_rankloss.losses.mixing.base import MixedWeights, Mixing, Sides, beta, mix_weights
from st_rankloss.relevance.matrix import MixedMatrix, RelevanceMatrix, Rows, RowsOfRelevance, map_labels


@dataclass(frozen=True)
class EmbeddingMixup(Mixing):
    """Adds mixtures of two documents of the batch, graded by the mixture of their grades.

    A mixed document's embedding is w · a + (1 - w) · b for two documents a, b drawn at random and w drawn from
    Beta(alpha, alpha), normalised for the cosine; its relevance for each query is w · y_a + (1 - w) · y_b, or unjudged
    if a or b is. With ``labels``, the labels are mixed instead, and the mixed label determines relevance: a mixture of
    two numbers on either side of the query's may be the most relevant of all. Every objective and every similarity can
    rank mixtures. Cost: that of the added documents. Without gradient, as in evaluation, nothing is mixed.

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
        >>> same = torch.eye(4)
        >>> sides = EmbeddingMixup(share=0.5)(Sides(same, same, lambda rows: same[rows], same))
        >>> sides.documents.shape, sides.relevance_of(slice(0, 2)).shape
        (torch.Size([6, 4]), torch.Size([2, 6]))
        >>> bool((sides.documents == sides.relevance_of(slice(0, 4)).T).all())  # here embeddings and grades are equal
        True

    Source: Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412. Mixing embeddings of
    documents and their relevances is ours; so is mixing labels for relevance. Mixtures chosen for each query are the
    other strategies of `st_rankloss.losses.mixing`.
    """

    share: Positive = 1.0
    alpha: Positive = 1.0
    labels: Flag = False

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, sides: Sides) -> Sides:
        """Add mixed documents."""
        documents = sides.documents
        count = math.ceil(self.share * len(documents))
        first, second = (torch.randint(len(documents), (count,), device=documents.device) for _ in range(2))
        weight = beta((count,), documents, self.alpha, self.alpha)

        def blend(values: Tensor) -> Tensor:
            by = weight.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
            return torch.lerp(values[second], values[first], by)

        def weights_of_mixed(weights: Tensor) -> Tensor:
            return mix_weights(weights[:, first], weights[:, second], weight.to(weights.dtype))

        mixed = _by_labels(sides.relevance_of, blend) if self.labels else _by_grades(blend)
        return sides._replace(
            documents=torch.cat([documents, blend(documents)]),
            relevance_of=MixedMatrix(sides.relevance_of, mixed),
            weights_of=sides.weights_of and MixedWeights(sides.weights_of, len(documents), weights_of_mixed),
        )


def _by_grades(blend: Callable[[Tensor], Tensor]) -> Callable[[Rows, Tensor], Tensor]:
    return lambda _, relevance: blend(relevance.T).T


def _by_labels(matrix: RowsOfRelevance, blend: Callable[[Tensor], Tensor]) -> Callable[[Rows, Tensor], Tensor]:
    if not isinstance(matrix, RelevanceMatrix):
        raise ValueError("labels=True needs the documents' labels, got none: put it before other strategies.")
    others = map_labels(lambda x: blend(_check_numbers(x)), matrix.others)
    return lambda rows, _: matrix.of(rows, others)


def _check_numbers(labels: Tensor) -> Tensor:
    if not labels.is_floating_point():
        raise ValueError(f"labels=True mixes numbers and vectors, got labels of {labels.dtype}.")
    return labels
