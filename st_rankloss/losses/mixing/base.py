"""What a strategy of mixing does: it takes what a batch ranks, and returns it with mixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from st_rankloss.losses.weights import RowsOfWeights
from st_rankloss.relevance.matrix import RowsOfRelevance

if TYPE_CHECKING:
    from st_rankloss.losses.mixing.own import Drawn


class Sides(NamedTuple):
    """The two sides of a batch, as the similarity compares them: normalised for the cosine."""

    queries: Tensor
    """Embeddings of this process's queries, ``(Q, dimensions)``."""
    documents: Tensor
    """Embeddings of all documents, ``(D, dimensions)``."""
    relevance_of: RowsOfRelevance
    """Maps a slice of the queries to their relevance, ``(block, D)``."""
    all_queries: Tensor
    """Embeddings of the queries of all processes."""
    first: int = 0
    """Index of this process's first query among all."""
    weights: Tensor | None = None
    """Weights of this process's queries, ``(Q,)``; None weights all alike."""
    weights_of: RowsOfWeights | None = None
    """Maps a slice of the queries to the weights of documents in their lists; None weights all alike."""
    own: tuple[Drawn, ...] = ()
    """Mixtures that each query ranks alone, made in its block."""


class Mixing:
    """A strategy of mixing embeddings and their relevance.

    Subclasses implement `__call__`. Several strategies are applied in order; each sees the mixtures of documents and
    the mixed queries of those before it.
    """

    similarities: ClassVar[tuple[Any, ...]] = ()
    """The similarity functions that can compare the mixtures; none means all."""
    of_irrelevant: ClassVar[bool] = False
    """Whether it makes mixtures of documents of relevance 0 only."""
    of_queries: ClassVar[bool] = False
    """Whether it replaces queries by mixtures."""

    def __call__(self, sides: Sides) -> Sides:
        """Add mixtures to documents, replace queries by mixtures, or add mixtures for each query."""
        raise TypeError(f"{type(self).__name__} must define __call__(sides).")

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False) -> None:
        """Raise ValueError if a batch of columns of these sizes cannot be mixed."""

    def check_similarity(self, similarity_fct: Any) -> None:
        """Raise ValueError if a similarity function cannot compare the mixtures."""
        if self.similarities and similarity_fct not in self.similarities:
            raise ValueError(
                f"{type(self).__name__} makes mixtures that {' or '.join(f.__name__ for f in self.similarities)} "
                f"compares, got similarity_fct={getattr(similarity_fct, '__name__', similarity_fct)}: EmbeddingMixup "
                "works with any."
            )


def as_mixings(mixup: Any) -> tuple[Mixing, ...]:
    """Return the strategies that ``mixup=`` stands for: one, several or None; raise TypeError for anything else."""
    given = () if mixup is None else tuple(mixup) if isinstance(mixup, Iterable) else (mixup,)
    if isinstance(mixup, str) or not all(isinstance(each, Mixing) for each in given):
        raise TypeError(f"mixup must be a strategy such as EmbeddingMixup(), several of them, or None, got {mixup!r}.")
    return given


def uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draw from [0, 1), with the type and device of ``like``."""
    return torch.rand(*shape, dtype=like.dtype, device=like.device)


def beta(shape: Sequence[int], like: Tensor, first: float, second: float) -> Tensor:
    """Draw from a Beta distribution, with the type and device of ``like``."""
    one, other = (torch.full(tuple(shape), x, dtype=like.dtype, device=like.device) for x in (first, second))
    return torch.distributions.Beta(one, other, validate_args=False).sample()


def mix_weights(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Mix the weights of two parents; a mixture of a parent of weight 0, which is left out, is left out."""
    return torch.where((first == 0) | (second == 0), 0, torch.lerp(second, first, share))


@dataclass(frozen=True)
class MixedWeights:
    """The weights of documents with extra columns for mixtures.

    Args:
        weights_of: Maps a slice of queries to the weights of documents, ``(block, D)`` or broadcast to it.
        documents: D.
        mixed: Maps the weights of documents, ``(block, D)``, to those of mixtures, ``(block, mixed)``.
    """

    weights_of: RowsOfWeights
    documents: int
    mixed: Callable[[Tensor], Tensor]

    def __call__(self, rows: slice) -> Tensor:
        """Return the weights of documents and mixtures: ``(block, D + mixed)``."""
        weights = self.weights_of(rows)
        weights = weights.expand(len(weights), self.documents)
        return torch.cat([weights, self.mixed(weights)], 1)


def place_of(draws: Tensor, count: int | Tensor) -> Tensor:
    """Map draws from [0, 1) to integers from 0 to count - 1."""
    last = count - 1
    places = (draws * count).long()  # rounding may reach the count
    return torch.minimum(places, last) if isinstance(last, Tensor) else places.clamp_max(last)
