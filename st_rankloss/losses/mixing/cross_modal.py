"""Mixtures of a query and the document of its row, such as an image and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_rankloss._host import cos_sim
from st_rankloss.functional.settings import Positive, check_fields
from st_rankloss.losses.mixing.base import MixedWeights, Mixing, Sides, beta
from st_rankloss.relevance.matrix import MixedMatrix, Rows, without_self


@dataclass(frozen=True)
class CrossModalMixup(Mixing):
    """Adds mixtures of each query and the document of its row, on the arc between them, for the other queries.

    Queries and documents of two modalities tend to lie in two separate cones; mixtures fill the gap. The mixture of a
    row is as relevant for another query as the row's document, mostly a hard negative, and unjudged for its own query.
    The share of the query is drawn from Beta(alpha, alpha) per row. Use it with ``symmetric=True`` to train both sides.
    Cost: that of a document more per row.

    Args:
        alpha: Above 0; small values keep mixtures near one of their parents, 1 draws the share uniformly.

    Raises:
        TypeError: If ``alpha`` is not a number.
        ValueError: If ``alpha`` is not finite and above 0; in `RankingLoss`, if ``similarity_fct`` is not the cosine;
            in training, if rows lack a second column or have lists of documents.

    Example:
        >>> CrossModalMixup()
        CrossModalMixup(alpha=0.5)

    Source: Oh et al. (2023), "Geodesic Multi-Modal Mixup for Robust Fine-Tuning" (m²-Mix), NeurIPS, arXiv 2203.03897,
    and the authors' code, in which the mixtures are the negatives of a term of its own, with one share per batch.
    """

    similarities: ClassVar[tuple[Any, ...]] = (cos_sim,)
    alpha: Positive = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False) -> None:
        """Raise ValueError unless each row has a query and a document."""
        if len(sizes) < 2 or sizes[0] != sizes[1] or lists:
            raise ValueError(
                "CrossModalMixup mixes each query with the document of its row, in a second input column, got "
                f"{'lists of documents' if lists else f'columns of {list(sizes)} rows'}: use rows of a query and a "
                "document, or another strategy, such as EmbeddingMixup()."
            )

    def __call__(self, sides: Sides) -> Sides:
        """Add the mixtures to the documents."""
        pairs = len(sides.all_queries)
        share = beta((pairs, 1), sides.documents, self.alpha, self.alpha)
        mixed = on_arc(sides.all_queries, sides.documents[:pairs], share)

        def relevance_of_pairs(rows: Rows, relevance: Tensor) -> Tensor:
            return without_self(relevance[:, :pairs], rows, sides.first)

        return sides._replace(
            documents=torch.cat([sides.documents, mixed]),
            relevance_of=MixedMatrix(sides.relevance_of, relevance_of_pairs),
            weights_of=sides.weights_of
            and MixedWeights(sides.weights_of, len(sides.documents), lambda weights: weights[:, :pairs]),
        )


def on_arc(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Interpolate on the shorter arc between unit vectors.

    Args:
        first: Unit vectors, ``(n, dimensions)``.
        second: The same.
        share: Share of the angle on the side of ``first``, in [0, 1], ``(n, 1)``.

    Returns:
        Unit vectors, ``(n, dimensions)``.

    Example:
        >>> on_arc(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[1 / 3]]))
        tensor([[0.5000, 0.8660]])
    """
    cosine = (first * second).sum(1, keepdim=True)
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # its derivative is infinite at 1
    weights = torch.sin(share * angle), torch.sin((1 - share) * angle)
    return (weights[0] * first + weights[1] * second) / torch.sin(angle)
