"""What is compared: every loss with its role and its own grid of settings, by kind of task.

A loss has three settings, or one if there is nothing to set; with the grid of learning rates that makes nine trials
for each. Objectives of binary labels read the finest classes, or whether two sets share a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as host
from torch import Tensor, nn

from eval.data import Collection, Data, Record, check_name
from st_rankloss import RankingLoss, recipes
from st_rankloss import objectives as o
from st_rankloss.objectives import Objective, OverPairs
from st_rankloss.recipes import Recipe
from st_rankloss.relevance import Pairs, Qrels, Relevance, Views

Setting = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """What a loss must know of a task: its record and training part.

    Args:
        data: The record and its parts.
        augmented: Whether samples come in several views.
    """

    data: Data
    augmented: bool = False

    @property
    def record(self) -> Record:
        """The record."""
        return self.data.record

    @property
    def qrels(self) -> Mapping[str, Mapping[str, float]]:
        """Judgements of the training queries."""
        part = self.data.parts["train"]
        assert isinstance(part, Collection)
        return part.qrels

    @property
    def relevance(self) -> Relevance:
        """Graded relevance of the labels."""
        if self.record.kind == "retrieval":
            return Qrels(self.qrels)
        if self.record.kind == "pairs":
            return Pairs()
        if self.record.kind == "texts":
            return Views()
        return Views(self.record.relevance) if self.augmented else self.record.relevance

    @property
    def binary(self) -> Relevance | Callable[[Any, Any], Tensor]:
        """Relevance for objectives of binary labels."""
        if self.record.labels == "classes" and len(self.record.label_columns) > 1:
            return same_finest
        return self.relevance

    def finest(self, labels: Tensor) -> Tensor:
        """Return the finest class of each row."""
        return labels if labels.dim() == 1 else labels[:, -1]

    @property
    def classes(self) -> int:
        """Number of finest classes, labels or numbers."""
        labels = self.data.parts["train"].labels
        if self.record.labels == "classes":
            return int(self.finest(labels).max()) + 1
        return int(labels.reshape(len(labels), -1).shape[1])


def same_finest(query_labels: Tensor, document_labels: Tensor) -> Tensor:
    """Return 1 where two paths end in the same finest class, else 0."""
    return (query_labels[:, -1:] == document_labels[:, -1]).float()


Make = Callable[..., nn.Module]


@dataclass(frozen=True)
class Contender:
    """A loss in the comparison.

    Args:
        name: In tables.
        role: ``recipe``, ``usual`` or ``family``.
        make: Makes the loss of a model, a `Problem` and a setting.
        settings: What is tuned beside the learning rate.
        pairs: Whether it reads the first document of a query only.
    """

    name: str
    role: str
    make: Make
    settings: Sequence[Setting] = field(default_factory=lambda: ({},))
    pairs: bool = False


def family(
    name: str, kind: Callable[..., Objective], *settings: Setting, binary: bool = False, over_pairs: bool = False
) -> Contender:
    """Enter one of the library's objectives."""

    def make(model: SentenceTransformer, problem: Problem, **setting: Any) -> nn.Module:
        objective = OverPairs(kind(**setting)) if over_pairs else kind(**setting)
        relevance = problem.binary if binary else problem.relevance
        return RankingLoss(model, objective, relevance, symmetric=problem.record.has_captions)

    return Contender(name, "family", make, settings or ({},))


def usual(name: str, make: Make, *settings: Setting, pairs: bool = False) -> Contender:
    """Enter a loss that the task is usually trained with."""
    return Contender(name, "usual", make, settings or ({},), pairs)


def recipe(make: Callable[..., Recipe], *settings: Setting) -> Contender:
    """Enter the library's recipe."""

    def make_loss(model: SentenceTransformer, problem: Problem, **setting: Any) -> nn.Module:
        return make(problem, **setting).loss(model)

    return Contender("recipe", "recipe", make_loss, settings)


def _over(name: str, values: Iterable[Any], **others: Any) -> list[Setting]:
    return [{name: value, **others} for value in values]


SHARP = _over("temperature", (0.03, 0.05, 0.1))
"""Temperatures of soft ranks."""

SOFT = _over("temperature", (0.05, 0.1, 0.2))
"""Temperatures of softmaxes and pairs."""

SCALES = _over("scale", (5.0, 10.0, 20.0))
"""Scales of sentence-transformers' losses: 1 / temperature."""


class OnFinest(nn.Module):
    """A loss of one class for each row, on paths."""

    def __init__(self, loss: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.loss, self.finest = loss, problem.finest

    def forward(self, features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Compute the loss on the finest classes."""
        found: Tensor = self.loss(features, self.finest(labels))
        return found


class Head(nn.Module):
    """A linear layer, thrown away after training: softmax for classes, sigmoids for sets, squared error of numbers."""

    def __init__(self, model: SentenceTransformer, problem: Problem, scale: float = 10.0) -> None:
        super().__init__()
        self.model, self.problem, self.scale = model, problem, scale
        self.head = nn.Linear(int(model.get_embedding_dimension() or 0), problem.classes)

    def forward(self, features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Compute the loss of the predictions."""
        (inputs,) = features
        embeddings = torch.nn.functional.normalize(self.model(dict(inputs))["sentence_embedding"], dim=1)
        logits = self.scale * self.head(embeddings)
        if self.problem.record.labels == "classes":
            return nn.functional.cross_entropy(logits, self.problem.finest(labels))
        if self.problem.record.labels == "sets":
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        return nn.functional.mse_loss(logits, labels.float().reshape(len(labels), -1))


def _cosine_triplet(model: SentenceTransformer, problem: Problem, margin: float) -> nn.Module:
    distance = host.BatchHardTripletLossDistanceFunction.cosine_distance
    return OnFinest(host.BatchHardTripletLoss(model, distance, margin), problem)


MNRL = usual(
    "MNRL", lambda model, problem, scale: host.MultipleNegativesRankingLoss(model, scale=scale), *SCALES, pairs=True
)

OF_PAIRS = (
    recipe(lambda problem, **setting: recipes.sts(**setting), *_over("temperature", (0.1, 0.15, 0.2))),
    usual(
        "CoSENT", lambda model, problem, scale: host.CoSENTLoss(model, scale=scale), *_over("scale", (3.0, 5.0, 10.0))
    ),
    usual("AnglE", lambda model, problem, scale: host.AnglELoss(model, scale=scale), *_over("scale", (3.0, 5.0, 10.0))),
    usual("MSE of cosines", lambda model, problem: host.CosineSimilarityLoss(model)),
    family("SoftSpearman", o.SoftSpearman, *SOFT, over_pairs=True),
    family("SoftKendall", o.SoftKendall, *SOFT, over_pairs=True),
    family("Pearson", o.Pearson, over_pairs=True),
    family("RankNet", o.RankNet, *_over("temperature", (0.1, 0.2, 0.3)), over_pairs=True),
    family("MarginMSE", o.MarginMSE, over_pairs=True),
    family("RankList", o.RankList, *_over("temperature", (0.1, 0.2, 0.3)), over_pairs=True),
    family("RankKL", o.RankKL, *SOFT, over_pairs=True),
    family("PRO", o.PRO, *SOFT, over_pairs=True),
    family("PlackettLuce", o.PlackettLuce, *SOFT, over_pairs=True),
    family("ListNet", o.ListNet, *_over("label_temperature", (0.1, 0.3, 1.0), temperature=0.1), over_pairs=True),
    family("LambdaLoss", o.LambdaLoss, *SOFT, over_pairs=True),
    family("ApproxRankMSE", o.ApproxRankMSE, *SHARP, over_pairs=True),
    family("A-NDCG", o.ApproxNDCG, *SOFT, over_pairs=True),
)
"""Losses of pairs with scores."""


def _perturbed(noise: float) -> Objective:
    return o.Perturbed(o.ApproxNDCG(0.05), noise)


def _across(temperature: float) -> Objective:
    return o.AcrossQueries(o.MannWhitney(temperature))


def _focal(temperature: float) -> Objective:
    return o.Focal(o.InfoNCE(temperature))


def _with_threshold(weight: float) -> Objective:
    return o.InfoNCE(0.1) + weight * o.ThresholdMargin()


GRADED = (
    family("A-NDCG", o.ApproxNDCG, *SHARP),
    family("A-NDCG exp", o.ApproxNDCG, *_over("temperature", (0.03, 0.05, 0.1), gain="exponential")),
    family("A-NDCG@10", o.ApproxNDCG, *_over("temperature", (0.03, 0.05, 0.1), k=10)),
    family("HierarchicalAP", o.HierarchicalAP, *SHARP),
    family("softmax", o.SoftmaxCrossEntropy, *SOFT),
    family("softmax exp", o.SoftmaxCrossEntropy, *_over("temperature", (0.05, 0.1, 0.2), gain="exponential")),
    family(
        "ListNet",
        o.ListNet,
        {"temperature": 0.2, "label_temperature": 0.5},
        {"temperature": 0.1, "label_temperature": 0.3},
        {"temperature": 0.1, "label_temperature": 0.1},
    ),
    family("PlackettLuce", o.PlackettLuce, *SOFT),
    family("RankNet", o.RankNet, *SOFT),
    family("LambdaLoss", o.LambdaLoss, *SOFT),
    family("NeuralNDCG", o.NeuralNDCG, *SOFT),
    family("PolicyGradient", o.PolicyGradient, *SOFT),
    family("Wasserstein", o.Wasserstein, *_over("temperature", (0.05, 0.1, 0.2), label_temperature=0.3)),
    family("Gumbel A-NDCG", _perturbed, *_over("noise", (0.03, 0.1, 0.3))),
)
"""Objectives of graded relevance that every kind of list can be trained with."""

ORDERED = (
    family("SoftSpearman", o.SoftSpearman, *SOFT),
    family("SoftKendall", o.SoftKendall, *SOFT),
    family("RankNContrast", o.RankNContrast, *_over("temperature", (0.1, 0.3, 0.5))),
    family("RankList", o.RankList, *SOFT),
    family("Pearson", o.Pearson),
    family("RankKL", o.RankKL, *SOFT),
    family("PRO", o.PRO, *SOFT),
    family("RegressionCompatible", o.RegressionCompatible, *SOFT),
)
"""Objectives of the order alone, or of numbers."""

BINARY = (
    family("SupCon", o.SupCon, *SOFT, binary=True),
    family("InfoNCE", o.InfoNCE, *SOFT, binary=True),
    family("SmoothAP", o.SmoothAP, *SHARP, binary=True),
    family("MannWhitney", o.MannWhitney, *SOFT, binary=True),
    family("MultiSimilarity", o.MultiSimilarity, *_over("beta", (10.0, 25.0, 50.0)), binary=True),
    family("DCL", o.DCL, *SOFT, binary=True),
    family("SupAP", o.SupAP, *_over("temperature", (0.01, 0.03, 0.1)), binary=True),
    family("MW across queries", _across, *SOFT, binary=True),
    family("GroCo", o.GroCo, *SOFT, binary=True),
    family("TripletAlignment", o.TripletAlignment, *_over("temperature", (0.015, 0.05, 0.15)), binary=True),
    family("UnifiedNegatives", o.UnifiedNegatives, *SOFT, binary=True),
    family("Focal InfoNCE", _focal, *SOFT, binary=True),
    family("InfoNCE + TCM", _with_threshold, *_over("weight", (0.1, 1.0, 10.0)), binary=True),
)
"""Objectives of binary labels."""

SQUARE = (
    family("ContextualSimilarity", o.ContextualSimilarity, *_over("alpha", (0.2, 0.5, 0.8)), binary=True),
    family(
        "SetInformation",
        o.SetInformation,
        *_over("set_function", ("facility_location", "graph_cut", "log_det")),
        binary=True,
    ),
)
"""Objectives of batches in which every sample is a query and a document."""

OF_LISTS = (
    recipe(lambda problem, **setting: recipes.retrieval(problem.qrels, **setting), *_over("weight", (0.2, 1.0, 5.0))),
    MNRL,
    *GRADED,
    *BINARY,
    family("SoftSpearman", o.SoftSpearman, *SOFT),
    family("ApproxMRR", o.ApproxMRR, *SHARP),
    family("ApproxRecall", o.ApproxRecall, *SHARP),
    family("PSL", o.PSL, *SOFT),
    family("SoftmaxAtK", o.SoftmaxAtK, *SOFT),
)
"""Losses of queries with graded documents."""

OF_CLASSES = (
    usual("softmax classifier", Head, *SCALES),
    usual("batch-hard triplet", _cosine_triplet, *_over("margin", (0.1, 0.2, 0.4))),
    family("A-NDCG binary", o.ApproxNDCG, *SHARP, binary=True),
    *BINARY,
    *SQUARE,
)
OF_HIERARCHY = (
    recipe(
        lambda problem, **setting: recipes.hierarchy(len(problem.record.label_columns), **setting),
        *SHARP,
    ),
    *OF_CLASSES,
    *GRADED,
)
OF_ONE_LEVEL = (
    recipe(lambda problem, **setting: recipes.classification(**setting), *_over("weight", (0.1, 0.3, 1.0))),
    *OF_CLASSES,
)
OF_SETS = (
    recipe(lambda problem, **setting: recipes.multi_label(**setting), *_over("weight", (0.1, 0.3, 1.0))),
    usual("sigmoid classifier", Head, *SCALES),
    *BINARY,
    *GRADED,
)
OF_NUMBERS = (
    recipe(lambda problem, **setting: recipes.regression(**setting), *_over("weight", (0.3, 1.0, 3.0))),
    usual("linear MSE", Head, *_over("scale", (1.0, 3.0, 10.0))),
    *GRADED,
    *ORDERED,
)
OF_TEXTS = (
    recipe(lambda problem, **setting: recipes.self_supervised(**setting), *_over("weight", (0.1, 0.3, 1.0))),
    Contender("SimCSE", "usual", family("", o.SoftmaxCrossEntropy).make, SOFT),
    family("A-NDCG", o.ApproxNDCG, *SHARP),
    family("DCL", o.DCL, *SOFT),
    family("InfoNCE", o.InfoNCE, *SOFT),
    family("MV-InfoNCE", o.MVInfoNCE, *SOFT),
    family("MV-DHEL", o.MVDHEL, *SOFT),
    family("SoftSpearman", o.SoftSpearman, *SOFT),
)
OF_CAPTIONS = (
    recipe(
        lambda problem, **setting: recipes.image_text(problem.relevance, **setting), *_over("weight", (0.1, 0.3, 1.0))
    ),
    usual(
        "CLIP",
        lambda model, problem, scale: host.MultipleNegativesRankingLoss(
            model, scale=scale, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
        ),
        *SCALES,
        pairs=True,
    ),
    family("A-NDCG", o.ApproxNDCG, *SOFT),
    family("softmax", o.SoftmaxCrossEntropy, *SOFT),
    family("ListNet", o.ListNet, *_over("label_temperature", (0.1, 0.3, 0.5), temperature=0.1)),
    family("HierarchicalAP", o.HierarchicalAP, *SOFT),
    family("InfoNCE", o.InfoNCE, *SOFT),
)

USUAL = {"SupCon": ("classes", "sets"), "RankNContrast": ("numbers",), "softmax": ("numbers",)}
"""Objectives of the library that are a usual loss of some labels: SupCon, Rank-N-Contrast, and soft targets."""


def contenders(record: Record) -> dict[str, Contender]:
    """Return the losses of a task by name, the recipe first."""
    several = len(record.label_columns) > 1
    of_kind = {"pairs": OF_PAIRS, "retrieval": OF_LISTS, "texts": OF_TEXTS}
    of_labels = {"classes": OF_HIERARCHY if several else OF_ONE_LEVEL, "sets": OF_SETS, "numbers": OF_NUMBERS}
    chosen = of_kind.get(record.kind) or (OF_CAPTIONS if record.has_captions else of_labels[record.labels])
    roles = {c.name: "usual" if record.labels in USUAL.get(c.name, ()) else c.role for c in chosen}
    return {c.name: Contender(c.name, roles[c.name], c.make, c.settings, c.pairs) for c in chosen}


def find(record: Record, name: str) -> Contender:
    """Return a task's loss by name.

    Raises:
        ValueError: If the task has no loss of that name, with the closest ones.
    """
    known = contenders(record)
    check_name(name, known, f"loss for {record.name}")
    return known[name]
