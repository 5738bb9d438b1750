"""What all losses share: reading labels before the model runs, and the mean over the queries of all processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from st_rankloss._host import dot_score, similarity_of
from st_rankloss._models import check_encoder, device_of, scores_pairs
from st_rankloss.functional.checks import check_choice
from st_rankloss.losses.blocks import BlockwiseSums
from st_rankloss.losses.citations import citation_of
from st_rankloss.losses.fit import ROWS, check_views, warn_of_distributions, warn_of_few_irrelevant
from st_rankloss.losses.gathering import Shares, gather_batch, several_processes
from st_rankloss.losses.mixing import Mixing
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.row_weighting import ROW_NUMBERS, check_numbered, check_weighting, weigh_rows
from st_rankloss.losses.weights import Weights, pop_weights
from st_rankloss.objectives import ApproxNDCG, Mixture, Objective, as_objective
from st_rankloss.relevance import Relevance, as_relevance, choose_relevance
from st_rankloss.relevance.base import Labels
from st_rankloss.relevance.matrix import RowsOfRelevance, map_labels
from st_rankloss.weighting import Seen, Weighting

NO_RELEVANT = ("skip", "zero", "error")


def usual_temperature(model: Any) -> float | str:
    """Return the temperature of `ApproxNDCG` for a model's similarities.

    Args:
        model: The model.

    Returns:
        0.05 for similarities between -1 and 1; ``"auto"`` for dot products of sparse embeddings and for scores of
        pairs, whose scale depends on the model.

    Example:
        >>> from sentence_transformers import SparseEncoder
        >>> usual_temperature(SparseEncoder(modules=[nn.Identity()]))
        'auto'
    """
    return "auto" if scores_pairs(model) or similarity_of(model) is dot_score else 0.05


Method = TypeVar("Method", bound=Callable[..., Any])


def uncompiled(method: Method) -> Method:
    """Leave a method out of ``torch.compile``, which compiles what is around it.

    Losses choose methods by the values of a batch and have gradients of their own, so there is little to compile, and
    dynamo fails on some of their classes.
    """
    return cast(Method, torch.compiler.disable(method))


class Pairing(NamedTuple):
    """The relevance between queries and documents of a batch, or of all processes' batches if gathered."""

    relevance: Relevance
    query_labels: Labels
    document_labels: Labels
    shares: Shares
    """The rows of the batch that this process holds."""
    weights: Weights
    rows: Tensor | None = None
    """The number of each query's row in the training data, ``(Q,)``, for a weighting in training."""

    def to(self, device: torch.device) -> Pairing:
        """Move the labels and weights to a device, without waiting for it."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        labels = (map_labels(move, self.query_labels), map_labels(move, self.document_labels))
        weights = Weights(*(w if w is None else move(w) for w in self.weights))
        rows = None if self.rows is None else move(self.rows)
        return Pairing(self.relevance, *labels, self.shares, weights, rows)


class Batch(NamedTuple):
    """A training batch, as `RankingDiagnostics` reads it."""

    similarity_of: Callable[[slice], Tensor]
    """Maps a slice of this process's queries to their similarities, ``(block, D)``; detached."""
    relevance_of: RowsOfRelevance
    queries: int
    """Number of this process's queries."""
    vectors: Tensor | None
    """One vector per query, ``(queries, dimensions)``, detached; None if the model makes none."""
    total: int
    """Number of queries: over all processes if gathered, in both directions if symmetric."""
    learnable: Tensor
    """Number of queries with a defined loss, as a scalar tensor to avoid waiting for the device."""
    losses: Tensor
    """The loss of each of this process's queries, NaN where it is undefined, ``(queries,)``; detached."""


class Observed(nn.Module):
    """Called with each training `Batch`, so that a forward hook can read it."""

    def forward(self, batch: Batch) -> None:
        """Do nothing."""


class GradedLoss(nn.Module):
    """The part of a loss that does not depend on the kind of model.

    Args:
        model: The model to train.
        objective: As in `RankingLoss`.
        relevance: As in `RankingLoss`.
        kinds: The classes of models that the loss can train.
        remedy: What to use for other models, for the error.
        no_relevant: As in `RankingLoss`.
        gather_across_devices: Whether to rank the queries of all processes together.
        weighting: As in `RankingLoss`.

    Raises:
        TypeError: If ``model`` is of another kind, ``objective`` or ``relevance`` is not callable, or ``weighting`` is
            not a `Weighting`.
        ValueError: If ``no_relevant`` is unknown, or ``weighting`` cannot learn from the model or objective.
    """

    more_to_rank = "Choose a batch sampler that groups related samples, or a larger batch."
    """What gives queries without a gradient more to rank, for the warning."""

    def __init__(
        self,
        model: Any,
        *,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None,
        kinds: tuple[type, ...],
        remedy: str = "",
        no_relevant: str = "skip",
        gather_across_devices: bool = False,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__()
        check_encoder(model, kinds, type(self).__name__, remedy)
        check_choice(no_relevant, NO_RELEVANT, "no_relevant")
        self.model = model
        self.objective = ApproxNDCG(usual_temperature(model)) if objective is None else as_objective(objective)
        self.relevance = None if relevance is None else as_relevance(relevance)
        self.no_relevant = no_relevant
        self.gather_across_devices = gather_across_devices
        check_weighting(weighting, model, self.objective)
        self.weighting = weighting
        self.observed = Observed()
        self._checked_relevance = False
        self.mixup: tuple[Mixing, ...] = ()
        warn_of_distributions(self.objective)

    def _pair(
        self,
        sizes: list[int],
        labels: Tensor | Mapping[str, Any] | None,
        *,
        symmetric: bool = False,
        mixed: bool = False,
    ) -> Pairing:
        """Compute the relevance between queries and documents, before the model runs.

        Args:
            sizes: Rows of each input column.
            labels: As `RankingLoss.forward` gets them.
            symmetric: Whether documents also rank the queries.
            mixed: Whether mixed documents are added.

        Returns:
            The relevance and labels, of all processes if gathered.

        Raises:
            ValueError: If the labels do not fit the columns, the relevance or the objective.
        """
        if not sizes or 0 in sizes:
            raise ValueError(f"a batch needs at least one input in each column, got columns of {sizes} rows.")
        if symmetric and len(sizes) == 1:
            raise ValueError("symmetric=True needs a column of queries and one of documents, got one column.")
        batch = dict(labels) if isinstance(labels, Mapping) else {"label": labels} if labels is not None else {}
        self.objective.check_columns(sizes, lists="list_sizes" in batch, mixed=mixed)
        shares = Shares([sizes])
        if self.gather_across_devices and several_processes():
            batch, shares = gather_batch(batch, sizes, device_of(self.model))
        rows = self._weigh(batch, shares.sizes)
        weights = pop_weights(
            batch,
            shares.sizes,
            symmetric=symmetric,
            weighs_queries=self.objective.weighs_queries,
            weighs=self.objective.weighs,
        )
        relevance = choose_relevance(batch, shares.sizes) if self.relevance is None else self.relevance
        check_views(self.objective, relevance)
        of_queries, of_documents = relevance.pair(batch, shares.sizes)
        if self.weighting is not None and rows is not None:
            self.weighting.check_labels(of_queries, len(sizes))
        return Pairing(relevance, of_queries, of_documents, shares, weights, rows)

    def _weigh(self, batch: dict[str, Any], sizes: list[int]) -> Tensor | None:
        """Multiply a batch's weights by those of the weighting, and return the numbers of its rows, in training."""
        rows = batch.pop(ROW_NUMBERS, None)
        if self.weighting is None or not torch.is_grad_enabled():  # evaluation weighs all rows alike
            return None
        rows = check_numbered(rows, sizes[0])
        weigh_rows(batch, self.weighting.of(rows), alone=len(sizes) == 1, in_lists=self.objective.weighs)
        return rows

    def _mean(
        self,
        directions: Sequence[BlockwiseSums],
        pairing: Pairing,
        shares: Shares,
        see: Callable[[int, Tensor], Batch],
    ) -> Tensor | LossParts:
        """Average over the queries of all processes, in each direction, and over directions.

        The trainer averages gradients over processes, so with gathered batches each process divides by its share of all
        queries.

        Args:
            directions: The sums over the queries, then over the rows of each column of documents if symmetric.
            pairing: The batch.
            shares: The rows that this process summed over.
            see: Makes the `Batch` to observe from its ``total`` and ``learnable``; called only in training.

        Returns:
            The loss, or its terms for a mixture.
        """
        queries = shares.sizes[: len(directions)]
        counted = shares.sum(torch.stack([torch.stack([sums.defined, sums.weight, sums.total]) for sums in directions]))
        defined, weight, total_weight = counted.unbind(1)
        self._check_defined(defined, sum(queries))
        if torch.is_grad_enabled():  # not in evaluation
            batch = see(sum(queries), defined.sum().long())
            self.observed(batch)
            self._tell(batch, pairing)
            self._check_relevance(batch)
        if self.no_relevant == "zero":
            weight = total_weight
        ways = [slice(0, 1), slice(1, None)][: len(directions)]
        means = torch.zeros_like(directions[0].parts)
        for way in ways:
            total = torch.stack([sums.parts for sums in directions[way]]).sum(0)
            count = weight[way].sum()
            count = torch.where(count > 0, count, 1)
            means = means + total * (len(shares.rows) / len(ways)) / count
        parts = LossParts(zip(directions[0].names, means.unbind(), strict=True))
        return parts if isinstance(self.objective, Mixture) else parts.total()

    def _tell(self, batch: Batch, pairing: Pairing) -> None:
        """Tell the weighting this process's part of a batch."""
        if self.weighting is None or pairing.rows is None:
            return
        first, count = pairing.shares.first(0), pairing.shares.rows[pairing.shares.rank][0]
        own = slice(first, first + count)
        # An objective of the whole batch has the queries of all processes.
        place = own if batch.queries > count else slice(0, count)
        vectors = None if batch.vectors is None else batch.vectors[place]
        labels = map_labels(lambda tensor: tensor[own], pairing.query_labels)
        self.weighting.see(Seen(pairing.rows[own], batch.losses[place], vectors, labels))

    def _check_defined(self, defined: Tensor, queries: int) -> None:
        """Raise or warn if the loss of some queries is undefined."""
        if self.no_relevant == "error" and (missing := queries - int(defined.sum())):
            raise ValueError(
                "every query needs a relevant document and an irrelevant or less relevant one to compare it with (by "
                f"{self.objective!r}), under no_relevant='error', got {missing} of {queries} without."
            )
        if defined.device.type == "cpu" and not defined.any():
            warnings.warn(
                "No query of this batch has a relevant document and one to compare it with (by "
                f"{self.objective!r}): the loss is 0 and has no gradient. {self.more_to_rank}",
                stacklevel=2,
            )

    def _check_relevance(self, batch: Batch) -> None:
        """Warn if the objective cannot tell documents apart, up to the first batch that it learns from; on a CPU."""
        if self._checked_relevance or batch.learnable.device.type != "cpu":
            return
        self._checked_relevance = bool(batch.learnable)
        readers = "binary" in self.objective.labels or any(mixing.of_irrelevant for mixing in self.mixup)
        if readers:
            warn_of_few_irrelevant(self.objective, self.mixup, batch.relevance_of(slice(0, min(ROWS, batch.queries))))

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card."""
        return {
            "objective": repr(self.objective),
            "relevance": "chosen by columns and labels" if self.relevance is None else repr(self.relevance),
            "no_relevant": self.no_relevant,
            "gather_across_devices": self.gather_across_devices,
            **({} if self.weighting is None else {"weighting": repr(self.weighting)}),
        }

    @property
    def citation(self) -> str:
        """BibTeX for the model card: of ranking whole batches, and of soft ranks if the objective has those of NDCG."""
        return citation_of(self.objective)
