"""The loss for cross-encoders: any relevance × any objective over the pairs that the model scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from st_rankloss._host import embeds_in_step, preprocess_pairs, scores_of
from st_rankloss._models import CrossEncoder, check_one_output, device_of
from st_rankloss.functional.checks import check_finite
from st_rankloss.functional.ranks import upcast
from st_rankloss.functional.settings import check_count
from st_rankloss.losses.base import Batch, GradedLoss, Pairing, uncompiled
from st_rankloss.losses.blocks import BlockwiseSums, count_defined, sum_parts, total_weight, weigh_lists
from st_rankloss.losses.candidates import Candidates, choose_candidates, count_negatives, numbers_of
from st_rankloss.losses.gathering import Shares, gather_objects, largest, several_processes
from st_rankloss.losses.parts import LossParts
from st_rankloss.losses.raw_columns import RawColumns, RawLabels, read_columns, read_labels
from st_rankloss.losses.weights import RowsOfWeights
from st_rankloss.objectives import Objective
from st_rankloss.objectives.base import given
from st_rankloss.relevance import Relevance
from st_rankloss.relevance.matrix import RelevanceMatrix
from st_rankloss.weighting import Weighting

_ENTRIES_AT_ONCE = 2**22
"""Largest block of relevance between queries and all documents, of which the scored ones are kept."""


class CrossEncoderOptions(TypedDict, total=False):
    """Settings that the losses for cross-encoders share; see `CrossEncoderRankingLoss`."""

    objective: Objective | Callable[[Tensor, Tensor], Tensor] | None
    relevance: Relevance | Callable[[Any, Any], Tensor] | None
    num_negatives: int | str | None
    activation_fn: Callable[[Tensor], Tensor] | None
    no_relevant: str
    gather_across_devices: bool
    weighting: Weighting | None


class Job(NamedTuple):
    """A batch before the model runs."""

    candidates: Candidates
    pairing: Pairing
    order: list[list[int]]
    """The pairs of each mini-batch, by number; after them, mini-batches whose scores are dropped."""
    prompt: str | None
    task: str | None


class CrossEncoderRankingLoss(GradedLoss):
    """Make the order of a cross-encoder's scores match the order of relevance, as a ranking objective measures it.

    The model scores each query with its own documents, and with ``num_negatives`` documents drawn from other rows; an
    objective compares the scores of each query. Documents that are not scored are not in its list. Train with the
    `CrossEncoderRankingTrainer`; the CrossEncoderTrainer works too, but reads no ids, weights or string labels.

    Scores are logits: an objective's temperature is in their units, so 1, or ``"auto"`` where the objective has it,
    suits better than the 0.05 that suits cosines. Queries may have weights, as in `RankingLoss`.

    Args:
        model: The CrossEncoder to train, with one output.
        objective: As in `RankingLoss`; None is ``ApproxNDCG(temperature="auto")``.
        relevance: How to read the labels, see `RankingLoss`; None chooses by columns and labels. It also grades the
            drawn documents, so that `Qrels` and `Classes` may call them relevant.
        num_negatives: Documents of other rows that each query is scored with, at least 0, drawn at random in every
            batch; None takes all: Q · D pairs. ``"auto"`` takes 0 if each row has several graded documents or the
            objective is `OverPairs`, which reads no others, all for a single column of texts, and 4 otherwise, as
            sentence-transformers. Copies of a query's own documents are not drawn; to also keep apart the rows of a
            repeated query, train with ``BatchSamplers.NO_DUPLICATES``.
        mini_batch_size: Pairs scored at once, at least 1, sorted by length to save padding; None scores all at once. It
            changes values by rounding only. For less memory use `CachedCrossEncoderRankingLoss`.
        activation_fn: Applied to the scores before the objective; None leaves them as they are.
        no_relevant: As in `RankingLoss`.
        gather_across_devices: Also draw from the documents of other processes, and average over all queries; gradients
            match those of one process with the whole batch.
        weighting: As in `RankingLoss`; needs `CrossEncoderRankingTrainer`.

    Raises:
        TypeError: If ``model`` is not a CrossEncoder, or ``objective``, ``relevance`` or ``activation_fn`` is not
            callable.
        ValueError: If the model has several outputs, a number is out of its range, or ``no_relevant`` is unknown. In
            `forward`, before the model runs, if inputs and labels do not fit each other or the relevance.

    Inputs:
        +----------------------------------+-------------------+-----------------+-----------------+
        | Inputs                           | Labels            | relevance       | num_negatives   |
        +==================================+===================+=================+=================+
        | (query, [documents])             | [grades]          | Lists()         | 0               |
        | (query, document_1, ..., _K)     | K grades          | Lists()         | 0               |
        | (query, document[, negatives])   | none              | Pairs()         | 4               |
        | (text, text)                     | score, float      | Pairs()         | 4               |
        | text                             | class, int        | Classes()       | None: all       |
        | text                             | number, float     | Numeric()       | None: all       |
        | (query, document[, negatives])   | any of a row      | passed          | 4               |
        +----------------------------------+-------------------+-----------------+-----------------+

    Relations:
        - ListNetLoss is this loss with ``ListNet(temperature=1.0, label_temperature=1.0)``, plus the entropy of the
          grades, which has no gradient.
        - MultipleNegativesRankingLoss is this loss with ``SoftmaxCrossEntropy(temperature=0.1)`` and
          ``activation_fn=torch.nn.Sigmoid()``.

    Example:
        ::

            dataset = Dataset.from_dict({"query": [...], "documents": [[...], ...], "labels": [[3, 0], ...]})
            loss = CrossEncoderRankingLoss(model, mini_batch_size=64)
            CrossEncoderRankingTrainer(model=model, train_dataset=dataset, loss=loss).train()
    """

    uses_gradient_cache = False
    """Whether the model also runs in backward, as sentence-transformers asks."""

    more_to_rank = "Score more documents with each query: raise num_negatives, or list documents of different grades."

    def __init__(
        self,
        model: Any,
        *,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None = None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        num_negatives: int | str | None = "auto",
        mini_batch_size: int | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        no_relevant: str = "skip",
        gather_across_devices: bool = False,
        weighting: Weighting | None = None,
    ) -> None:
        super().__init__(
            model,
            objective=objective,
            relevance=relevance,
            kinds=(CrossEncoder,),
            remedy="for models of embeddings use RankingLoss",
            no_relevant=no_relevant,
            gather_across_devices=gather_across_devices,
            weighting=weighting,
        )
        check_one_output(model, type(self).__name__)
        if num_negatives not in (None, "auto"):
            check_count(num_negatives, "num_negatives", least=0)
        if mini_batch_size is not None:
            check_count(mini_batch_size, "mini_batch_size")
        if activation_fn is not None and (not callable(activation_fn) or isinstance(activation_fn, type)):
            raise TypeError(f"activation_fn must be a function of scores, got {activation_fn!r}.")
        self.num_negatives = num_negatives
        self.mini_batch_size = mini_batch_size
        self.activation_fn = nn.Identity() if activation_fn is None else activation_fn

    def forward(
        self,
        inputs: Sequence[Sequence[Any]],
        labels: RawLabels = None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor | LossParts:
        """Compute the loss of a batch.

        Args:
            inputs: Columns of raw inputs: (query, [documents]), (query, document, ...) or one column.
            labels: A tensor, one tensor per row, or tensors by name as `RankingLoss.forward` takes them.
            prompt: Passed to the model's preprocessing.
            task: Passed to the model's preprocessing.

        Returns:
            The loss, a scalar; for a mixture its weighted terms by name, which the trainer sums and logs.
        """
        job = self._prepare(inputs, labels, prompt, task)
        scores = [scores_of(self.model, self._features(job, pairs)) for pairs in job.order]
        return self._compute(scores, job)

    @uncompiled
    def _prepare(self, inputs: Sequence[Sequence[Any]], labels: RawLabels, prompt: str | None, task: str | None) -> Job:
        """Check the batch, and choose what to score, before the model runs."""
        columns = read_columns(inputs)
        batch = read_labels(labels, columns)
        pairing = self._pair(columns.sizes, batch)
        negatives = self.num_negatives
        if isinstance(negatives, str):  # "auto"
            negatives = count_negatives(batch, columns, self.objective)
        if columns.alone and negatives == 0:
            raise ValueError(
                "num_negatives must be at least 1, or None for all, for a single column of texts, which are scored "
                "with each other, got 0."
            )
        candidates = self._choose(inputs, columns, pairing.shares, negatives)
        return Job(candidates, pairing, self._mini_batches(candidates.pairs), prompt, task)

    def _choose(
        self, inputs: Sequence[Sequence[Any]], columns: RawColumns, shares: Shares, negatives: int | None
    ) -> Candidates:
        width = None if self.objective.separable else sum(shares.sizes[1:] or shares.sizes)
        rows = slice(0, columns.sizes[0])
        if len(shares.rows) == 1 or negatives == 0:
            return choose_candidates(columns, rows, numbers_of(shares), negatives, width=width)
        everyone = gather_objects([list(column) for column in inputs], device_of(self.model))
        whole = read_columns([[x for column in same for x in column] for same in zip(*everyone, strict=True)])
        rows = slice(shares.first(0), shares.first(0) + columns.sizes[0])
        return choose_candidates(whole, rows, torch.arange(len(whole.documents)), negatives, width=width)

    def _mini_batches(self, pairs: list[tuple[Any, Any]]) -> list[list[int]]:
        """Cut the pairs into mini-batches, longest first, as many as other processes have where they must keep step."""
        size = self.mini_batch_size or len(pairs)
        numbers = list(range(len(pairs)))
        if size < len(pairs):
            numbers.sort(key=lambda number: -sum(len(text) for text in pairs[number] if isinstance(text, str)))
        batches = [numbers[start : start + size] for start in range(0, len(pairs), size)]
        if embeds_in_step(self.model, cached=self.uses_gradient_cache) and several_processes():
            (most,) = largest([len(batches)], device_of(self.model))
            batches += [[0]] * (most - len(batches))
        return batches

    @uncompiled
    def _features(self, job: Job, numbers: list[int]) -> dict[str, Any]:
        return preprocess_pairs(self.model, [job.candidates.pairs[n] for n in numbers], job.prompt, job.task)

    @uncompiled
    def _compute(self, scores: list[Tensor], job: Job) -> Tensor | LossParts:
        with torch.autocast(scores[0].device.type, enabled=False):
            return self._compare(self.activation_fn(upcast(torch.cat(scores))), job)

    def _compare(self, scores: Tensor, job: Job) -> Tensor | LossParts:
        if scores.device.type == "cpu":
            check_finite(scores.detach(), "scores", "The learning rate may be too high: lower it, or warm up.")
        place, columns, scored = (
            tensor.to(scores.device, non_blocking=True)
            for tensor in (self._in_order(job), job.candidates.columns, job.candidates.scored)
        )
        pairing = job.pairing.to(scores.device)
        # The scores of mini-batches that only keep step come last, and are cut off.
        similarity = scores.new_zeros(scored.numel()).scatter(0, place, scores[: len(place)]).view(scored.shape)
        shares = pairing.shares
        if not self.objective.separable and len(shares.rows) > 1:  # every process computes the loss of all queries
            (both,) = shares.gather([torch.stack([similarity, scored.to(similarity.dtype)], 1)])
            similarity, scored, columns = both[:, 0], both[:, 1] > 0, columns[:1].expand(len(both), -1)
            shares = Shares([shares.sizes])
        relevance = _relevance_of(pairing, shares, columns).masked_fill(~scored, torch.nan).to(similarity.dtype)
        in_lists = pairing.weights.in_lists(
            shares.first(0), by_query=not self.objective.separable and self.objective.weighs
        )
        relevance, of_documents = weigh_lists(relevance, _gathered(in_lists, columns))
        weights = pairing.weights.queries
        if weights is not None:
            weights = weights[shares.first(0) :][: len(similarity)].to(similarity.dtype)
        sums = _sum(self.objective, similarity, relevance, weights, of_documents)
        seen = similarity.detach()

        def see(total: int, learnable: Tensor) -> Batch:
            return Batch(seen.__getitem__, relevance.__getitem__, len(seen), None, total, learnable, sums.losses)

        return self._mean([sums], pairing, shares, see)

    def _in_order(self, job: Job) -> Tensor:
        """Return the places of the pairs' scores in the order in which the model makes them."""
        place = job.candidates.place
        return place[torch.tensor([number for batch in job.order for number in batch])[: len(place)]]

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card."""
        name = getattr(self.activation_fn, "__name__", repr(self.activation_fn))
        return {
            **super().get_config_dict(),
            "num_negatives": self.num_negatives,
            "mini_batch_size": self.mini_batch_size,
            "activation_fn": name,
        }


def _relevance_of(pairing: Pairing, shares: Shares, columns: Tensor) -> Tensor:
    """Compute the relevance of the documents ``columns`` (Q, L) for this process's queries, some queries at a time."""
    alone = len(shares.sizes) == 1
    matrix = RelevanceMatrix(pairing.relevance, pairing.query_labels, pairing.document_labels, shares.first(0), alone)
    size = max(1, _ENTRIES_AT_ONCE // sum(shares.sizes[1:] or shares.sizes))
    blocks = [slice(start, min(start + size, len(columns))) for start in range(0, len(columns), size)]
    return torch.cat([matrix(rows).gather(1, columns[rows]) for rows in blocks])


def _gathered(weights_of: RowsOfWeights | None, columns: Tensor) -> Tensor | None:
    """Return the weights of the documents ``columns`` (Q, L)."""
    if weights_of is None:
        return None
    weights = weights_of(slice(0, len(columns)))
    return weights.gather(1, columns) if weights.shape[1] > 1 else weights


def _sum(
    objective: Objective, similarity: Tensor, relevance: Tensor, weights: Tensor | None, of_documents: Tensor | None
) -> BlockwiseSums:
    counts = objective.defined(relevance)
    defined = count_defined(counts, weights)
    each = counts.to(similarity.dtype) if weights is None else torch.where(counts, weights, 0)
    terms = objective.parts(similarity, relevance, **given(of_documents))
    totals = torch.stack([(torch.where(counts, x, 0) * each).sum() for x in terms.values()])
    total, losses = total_weight(similarity, weights), sum_parts(terms, counts)
    return BlockwiseSums(totals, defined.to(similarity.dtype), each.sum(), total, losses, tuple(terms))
