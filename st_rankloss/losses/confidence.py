"""A loss that compares a model with an older one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Unpack, cast

import torch
from torch import Tensor, nn

from st_rankloss._host import count_rows, embed, similarity_fct_name
from st_rankloss._models import SentenceTransformer, check_encoder, trained_dimension, unwrapped
from st_rankloss.losses.comparisons import SimilarityFn
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.ranking import RankingLoss, RankingOptions
from st_rankloss.objectives import Objective, RankNet
from st_rankloss.relevance import Relevance


class ConfidenceRankingLoss(RankingLoss):
    """Train a model to beat an older one: rank documents by the gain in similarity over it.

    The objective gets the differences between the similarities of the two models, so a pair of documents is learned
    until the new model separates it better than the old one does, rather than until it is separated. With the default,
    a pair loses log(1 + e^(-(margin of the new model - margin of the old one)/τ)). The old model is not trained; it
    embeds every batch without gradient.

    Args:
        model: The SentenceTransformer to train.
        reference: The older model, of the same vocabulary: it gets the same tokens. It is frozen in place, so to train
            on from it pass ``copy.deepcopy(model)``.
        objective: As in `RankingLoss`; None means `RankNet`.
        relevance: As in `RankingLoss`.
        **options: Settings that all losses share, see `RankingLoss`. ``similarity_fct`` compares the embeddings of
            each model; ``mixup`` must work with any similarity, as `EmbeddingMixup` does.

    Raises:
        TypeError: As `RankingLoss`, also for ``reference``.
        ValueError: As `RankingLoss`; or if ``reference`` is the model itself, has another vocabulary, or does not
            declare the size of its embeddings.

    Example:
        ::

            loss = ConfidenceRankingLoss(model, reference=copy.deepcopy(model))
            SentenceTransformerTrainer(model=model, train_dataset=dataset, loss=loss).train()

    Source: Zhu et al. (2023), "Confidence Ranking for CTR Prediction", arXiv 2307.01206, of which only the abstract was
    read: a ranking function of the scores of two models, with convex surrogates of AUC, is theirs; differences of
    similarities, under any objective, are ours.
    """

    def __init__(
        self,
        model: Any,
        *,
        reference: Any,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None = None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        **options: Unpack[RankingOptions],
    ) -> None:
        for each, name in ((model, type(self).__name__), (reference, "reference")):
            check_encoder(each, (SentenceTransformer,), name)
        _check_reference(unwrapped(model), reference)
        objective = RankNet() if objective is None else objective
        super().__init__(model, objective=objective, relevance=relevance, **options)
        self.similarity_fct = Gain(self.similarity_fct, cast(int, trained_dimension(reference)))
        for mixing in self.mixup:
            mixing.check_similarity(self.similarity_fct)
        self.reference = reference.requires_grad_(False).eval()

    def forward(
        self,
        sentence_features: Iterable[Mapping[str, Any]],
        labels: Tensor | Mapping[str, Any] | None = None,
    ) -> Tensor | LossParts:
        """Compute the loss of a batch; see `RankingLoss`.

        Args:
            sentence_features: The model's inputs, one mapping per column.
            labels: As in `RankingLoss`.

        Returns:
            As `RankingLoss`.
        """
        features = list(sentence_features)
        pairing = self._paired([count_rows(column) for column in features], labels)
        with torch.no_grad():  # on copies, because models write to the features
            before = embed(self.reference.eval(), [dict(column) for column in features])
        after = embed(self.model, features)
        columns = zip(after, before, strict=True)
        return self._compute([torch.cat([new, old.to(new.dtype)], dim=1) for (new, _), (old, _) in columns], pairing)

    def compute_loss_from_embeddings(
        self, embeddings: list[Tensor], labels: Tensor | Mapping[str, Any] | None = None
    ) -> NoReturn:
        """Raise TypeError, because the reference embeds the inputs itself."""
        raise TypeError(f"{type(self).__name__} compares embeddings of two models: call it with inputs.")

    def _vectors(self, queries: Tensor) -> Tensor:
        """Return the model's own part of the embeddings."""
        return queries[:, : -cast(Gain, self.similarity_fct).dimensions]


@dataclass(frozen=True)
class Gain:
    """A similarity of two models' embeddings, side by side: that of the first, less that of the second.

    Args:
        similarity_fct: Compares embeddings of one model.
        dimensions: Size of the second model's embeddings, which come last.

    Example:
        >>> from sentence_transformers.util import dot_score
        >>> query, documents = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
        >>> Gain(dot_score, 1)(query, documents)
        tensor([[ 1., -2.]])
    """

    similarity_fct: SimilarityFn
    dimensions: int

    def __call__(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Compare queries with documents."""
        old = slice(-self.dimensions, None)
        new = slice(-self.dimensions)
        gained = self.similarity_fct(queries[:, new], documents[:, new])
        return gained - self.similarity_fct(queries[:, old], documents[:, old])

    @property
    def __name__(self) -> str:
        """Its name in the model card."""
        return f"gain_in_{similarity_fct_name(self.similarity_fct)}"


def _check_reference(model: Any, reference: nn.Module) -> None:
    if reference is model:
        raise ValueError("reference must not be the model itself, which it freezes: pass copy.deepcopy(model).")
    if trained_dimension(reference) is None:
        raise ValueError("reference must declare the size of its embeddings, got get_embedding_dimension() = None.")
    vocabularies: list[Any] = [
        getattr(getattr(each, "tokenizer", None), "get_vocab", dict)() for each in (model, reference)
    ]
    if vocabularies[0] != vocabularies[1]:
        raise ValueError("reference must have the vocabulary of the model, because both get the same tokens.")
