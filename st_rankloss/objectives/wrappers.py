"""Objectives that wrap another: over pairs, across queries, perturbed, re-weighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from st_rankloss.functional.lists import clean_relevance
from st_rankloss.functional.ranks import upcast
from st_rankloss.functional.settings import AtLeast0, Count, Finite, Positive, check_fields
from st_rankloss.objectives.base import Configured, Mixture, Objective, given, nested
from st_rankloss.objectives.cross_entropy import CWCL


class _Wrapper(Objective):
    """An objective that wraps another one, ``objective``, and reports under its name."""

    objective: Objective

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.objective, Objective):
            remedy = ": wrap a function in CustomObjective(...)" if callable(self.objective) else ""
            raise TypeError(f"objective must be an Objective, got {self.objective!r}{remedy}.")
        check_fields(self)

    @property
    def separable(self) -> bool:  # type: ignore[override]
        """Whether the wrapped objective is separable."""
        return self.objective.separable

    @property
    def one_loss(self) -> bool:  # type: ignore[override]
        """Whether all queries have the same loss."""
        return self.objective.one_loss

    @property
    def weighs_queries(self) -> bool:  # type: ignore[override]
        """Whether the weights of queries change the loss."""
        return self.objective.weighs_queries

    @property
    def labels(self) -> frozenset[str]:
        """How the wrapped objective reads relevance."""
        return self.objective.labels

    def __call__(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of each query."""
        parts = iter(self.parts(similarity, relevance, weights).values())
        return sum(parts, start=next(parts))

    @property
    def weighs(self) -> bool:
        """Whether documents may have weights."""
        return self.objective.weighs

    def defined(self, relevance: Tensor) -> Tensor:
        """Return which queries have a defined loss."""
        return self.objective.defined(relevance)

    def config(self) -> dict[str, Any]:
        """Return the settings, including those of the wrapped objective."""
        settings = {name: value for name, value in vars(self).items() if name != "objective"}
        return {type(self.objective).__name__: self.objective.config(), **settings}

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError if the wrapped objective cannot use a batch of these columns."""
        self.objective.check_columns(sizes, lists=lists, mixed=mixed)

    def _named(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"{type(self).__name__}({name})": part for name, part in parts.items()}


class OneList(_Wrapper):
    """An objective over one list made from the whole batch; every query reports the loss of that list."""

    separable = False
    one_loss = True

    def __post_init__(self) -> None:
        """Check the settings, and that the objective reads any list."""
        super().__post_init__()
        for each in nested(self.objective):
            if isinstance(each, CWCL) or (isinstance(each, Configured) and each.declaration.square):
                raise ValueError(
                    f"{type(self).__name__} needs an objective of lists, got {each!r}, which compares the queries of a "
                    "batch with their own documents: pass it to the loss as it is."
                )

    @property
    def weighs_queries(self) -> bool:  # type: ignore[override]
        """Whether the objective takes weights of documents, which are then those of queries too."""
        return self.objective.weighs

    def one_list(self, values: Tensor) -> Tensor:
        """Turn a ``(Q, D)`` matrix into one list ``(1, n)``."""
        raise NotImplementedError

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the objective's terms over the one list."""
        one = None if weights is None else self.one_list(weights)
        parts = self.objective.parts(self.one_list(similarity), self.one_list(relevance), **given(one))
        return self._named({name: part.expand(len(similarity)) for name, part in parts.items()})

    def defined(self, relevance: Tensor) -> Tensor:
        """Return, for all queries alike, whether the list's loss is defined."""
        return self.objective.defined(self.one_list(relevance)).expand(len(relevance))


@dataclass(frozen=True)
class OverPairs(OneList):
    """An objective over a batch's pairs (text, text) with scores, as one list: what STS benchmarks measure.

    The list is the diagonal, each text with its own partner; other texts are ignored. Use it with `Pairs()`. Every
    process ranks the pairs of all processes.

    Args:
        objective: The objective for the list, such as `SoftSpearman`, `CoSENT` or `Pearson`, or a mixture.

    Raises:
        TypeError: If ``objective`` is not an `Objective`.
        ValueError: If ``objective`` compares whole samples; when called, if there are fewer documents than queries.

    Example:
        >>> from st_rankloss.objectives import SoftSpearman
        >>> similarity = torch.tensor([[0.9, 0.5, 0.5], [0.5, 0.2, 0.5], [0.5, 0.5, 0.7]])
        >>> OverPairs(SoftSpearman(0.01))(similarity, torch.diag(torch.tensor([4.0, 1.0, 3.0])))
        tensor([0.0000, 0.0000, 0.0000])
    """

    objective: Objective

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError unless each text has a partner, without mixup."""
        if mixed:
            raise ValueError("OverPairs reads the pairs of a batch only, and mixup adds none: leave mixup out.")
        if len(sizes) < 2 or sizes[0] != sizes[1] or lists:
            raise ValueError(
                f"OverPairs needs a column of texts and one of their partners, got "
                f"{'lists of documents' if lists else f'columns of {list(sizes)} rows'}."
            )
        super().check_columns(sizes, lists=lists, mixed=mixed)

    def one_list(self, values: Tensor) -> Tensor:
        """Take the diagonal."""
        if values.shape[1] < values.shape[0]:
            raise ValueError(f"OverPairs needs a document for each query, got similarity of {tuple(values.shape)}.")
        return values.diagonal()[None]


def reads_pairs_only(objective: Objective) -> bool:
    """Return whether all terms of an objective are `OverPairs`, wrapped or not."""
    if isinstance(objective, Mixture):
        return all(reads_pairs_only(term) for _, term in objective.terms)
    inside = isinstance(objective, _Wrapper) and reads_pairs_only(objective.objective)
    return isinstance(objective, OverPairs) or inside


@dataclass(frozen=True)
class AcrossQueries(OneList):
    """An objective over the documents of all queries as one list, so that similarities are comparable across queries.

    Cost: that of the objective for one list of Q · D documents, from the batch of all processes.

    Args:
        objective: The objective for the list, such as `MannWhitney`, or a mixture.

    Raises:
        TypeError: If ``objective`` is not an `Objective`.
        ValueError: If ``objective`` compares whole samples.

    Example:
        >>> from st_rankloss.objectives import MannWhitney
        >>> similarity = torch.tensor([[0.9, 0.7], [0.1, 0.3]])  # each in order, but by different thresholds
        >>> relevance = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> AcrossQueries(MannWhitney())(similarity, relevance)
        tensor([1.0681, 1.0681])
    """

    objective: Objective

    def one_list(self, values: Tensor) -> Tensor:
        """Take everything."""
        return values.reshape(1, -1)


@dataclass(frozen=True)
class Perturbed(_Wrapper):
    """An objective averaged over similarities with random noise: a smoother loss with fewer plateaus.

    Similarities get Gumbel noise, as in TF-Ranking's variant of ApproxNDCG; every call draws new noise. Cost:
    ``samples`` times that of the objective.

    Args:
        objective: The objective to average.
        noise: Scale of the noise, above 0, in units of similarity.
        samples: Number of draws, at least 1.

    Raises:
        TypeError: If ``objective`` is not an `Objective`.
        ValueError: If a setting is out of its range.

    Source: Bruch et al. (2020), "A Stochastic Treatment of Learning to Rank Scoring Functions".
    """

    objective: Objective
    noise: Positive = 0.05
    samples: Count = 8

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the objective's mean terms."""
        totals: dict[str, Tensor] = {}
        for _ in range(self.samples):
            gumbel = -torch.empty_like(upcast(similarity)).exponential_().log()
            for name, part in self.objective.parts(
                similarity + self.noise * gumbel, relevance, **given(weights)
            ).items():
                totals[name] = totals.get(name, 0) + part / self.samples
        return self._named(totals)


@dataclass(frozen=True)
class Focal(_Wrapper):
    """A likelihood re-weighted towards hard queries: the loss times (1 - e^(-loss))^gamma, a constant weight.

    For an objective that is a negative log-likelihood, e^(-loss) is the likelihood, near 1 for an easy query.

    Args:
        objective: For example `SoftmaxCrossEntropy`, `InfoNCE`, or a mixture, whose terms are weighted separately.
        gamma: At least 0; 0 has no effect.

    Raises:
        TypeError: If ``objective`` is not an `Objective`.
        ValueError: If ``gamma`` is out of its range.

    Example:
        >>> from st_rankloss.objectives import InfoNCE
        >>> similarity, relevance = torch.tensor([[0.9, 0.2], [0.2, 0.9]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> Focal(InfoNCE(temperature=1.0))(similarity, relevance)
        tensor([0.2322, 0.9018])

    Source: "KaLM-Embedding-V2" (2025), arXiv 2506.20923; constant weights are ours.
    """

    objective: Objective
    gamma: AtLeast0 = 0.5

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the objective's terms, each with its own weight."""
        if isinstance(self.objective, Mixture):
            each = tuple((weight, Focal(term, self.gamma)) for weight, term in self.objective.terms)
            return Mixture(each).parts(similarity, relevance, weights)
        parts = self.objective.parts(similarity, relevance, **given(weights))
        return self._named({n: (-torch.expm1(-x.detach().clamp_min(0))) ** self.gamma * x for n, x in parts.items()})


@dataclass(frozen=True)
class FalseNegatives(_Wrapper):
    """An objective in whose lists likely false negatives count less: documents far more similar than a relevant one.

    An irrelevant document of similarity s weighs sigmoid((s⁺ + margin - s) / softness), a constant, where s⁺ is that of
    the query's most similar relevant document; it multiplies the document's own weight. Relevant documents keep theirs,
    as do all of a query without relevant documents. A low margin also forgives hard negatives, from which models learn.

    Args:
        objective: One that takes weights of documents, such as `SoftmaxCrossEntropy` or a mixture.
        margin: How much more similar than s⁺ a document of weight ½ is, in units of similarity; negative for documents
            that are nearly as similar.
        softness: How much less similar one of weight .73 is, above 0; the smaller, the closer to leaving out.

    Raises:
        TypeError: If ``objective`` is not an `Objective`, or a setting is not a number.
        ValueError: If ``objective`` takes no weights of documents, or a setting is out of its range.

    Example:
        >>> from st_rankloss.objectives import SoftmaxCrossEntropy
        >>> similarity, relevance = torch.tensor([[0.3, 0.8, 0.1]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> plain = SoftmaxCrossEntropy(temperature=0.1)
        >>> plain(similarity, relevance), FalseNegatives(plain)(similarity, relevance)
        (tensor([5.0076]), tensor([0.1269]))

    Source: weights for unjudged documents by estimated relevance: Cai et al. (2022), "Hard Negatives or False
    Negatives" (CET), arXiv 2209.05072, whose estimates come from two models that are trained for each other. Comparing
    with the relevant document's score: Moreira et al. (2024), "NV-Retriever", arXiv 2407.15831, which leaves mined
    negatives out before training. Estimates by the model in training, and soft weights, are ours.
    """

    objective: Objective
    margin: Finite = 0.1
    softness: Positive = 0.02

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not self.objective.weighs:
            raise ValueError(f"objective must take weights of documents, got {self.objective!r}.")

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the objective's terms with weights."""
        trust = self._trust(upcast(similarity.detach()), relevance, weights)
        return self._named(self.objective.parts(similarity, relevance, trust if weights is None else trust * weights))

    def _trust(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None) -> Tensor:
        grades, judged = clean_relevance(relevance)
        relevant, irrelevant = grades > 0, judged & (grades == 0)
        if weights is not None:
            relevant, irrelevant = relevant & (weights > 0), irrelevant & (weights > 0)
        if not similarity.shape[1]:
            return torch.ones_like(similarity)
        best = torch.where(relevant, similarity, -torch.inf).amax(-1, keepdim=True)
        trust = torch.sigmoid((best + self.margin - similarity) / self.softness)
        trust = trust.clamp_min(torch.finfo(similarity.dtype).tiny)  # 0 would be unjudged
        return torch.where(irrelevant & relevant.any(-1, keepdim=True), trust, 1)
