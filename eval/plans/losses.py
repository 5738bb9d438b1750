"""The losses of each kind of task, with their roles and grids of settings.

Each loss has three settings, or one if there is nothing to set; with the grid of learning rates that makes nine trials
per loss. Objectives of binary labels read the finest classes, or whether two sets share a label.

A loss's default is that of its class: in sentence-transformers a scale of 20, and a margin of 5 of Euclidean distances
for triplets. SupCon's and SimCSE's are those of their papers; linear layers, which have none, read cosines times
10. RankNContrast's is for distances between vectors of any length, so it has the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as host
from torch import nn

from eval.names import check_name
from eval.plans.contenders import Contender, Head, OnFinest, Problem, Setting, family, recipe, usual
from eval.tasks.records import Record
from st_rankloss import objectives as o
from st_rankloss import recipes


def _over(name: str, values: Iterable[Any], **others: Any) -> list[Setting]:
    return [{name: value, **others} for value in values]


SHARP = _over("temperature", (0.03, 0.05, 0.1))
"""Temperatures of soft ranks."""

SOFT = _over("temperature", (0.05, 0.1, 0.2))
"""Temperatures of softmaxes and pairs."""

SCALES = _over("scale", (5.0, 10.0, 20.0))
"""Scales of sentence-transformers' losses: 1 / temperature."""

PUBLISHED: Setting = {"scale": 20.0}
"""The scale that sentence-transformers' losses have unless told otherwise."""

BOTH_WAYS: Setting = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
"""Arguments with which MNRL is CLIP's loss."""


def _triplet(model: SentenceTransformer, problem: Problem, margin: float | None = None) -> nn.Module:
    if margin is None:
        return OnFinest(host.BatchHardTripletLoss(model), problem)
    distance = host.BatchHardTripletLossDistanceFunction.cosine_distance
    return OnFinest(host.BatchHardTripletLoss(model, distance, margin), problem)


def _host(kind: Callable[..., nn.Module], **fixed: Any) -> Callable[..., nn.Module]:
    return lambda model, problem, **setting: kind(model, **fixed, **setting)


MNRL = usual("MNRL", _host(host.MultipleNegativesRankingLoss), *SCALES, default=PUBLISHED, pairs=True)

OF_PAIRS = (
    recipe(lambda problem, **setting: recipes.sts(**setting), *_over("temperature", (0.015, 0.1, 0.2))),
    usual("CoSENT", _host(host.CoSENTLoss), *_over("scale", (3.0, 5.0, 10.0)), default=PUBLISHED),
    usual("AnglE", _host(host.AnglELoss), *_over("scale", (3.0, 5.0, 10.0)), default=PUBLISHED),
    usual("MSE of cosines", _host(host.CosineSimilarityLoss)),
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


GRADED = (
    family("A-NDCG", o.ApproxNDCG, *SHARP),
    family("A-NDCG exp", o.ApproxNDCG, *[s | {"gain": "exponential"} for s in SHARP]),
    family("A-NDCG@10", o.ApproxNDCG, *[s | {"k": 10} for s in SHARP]),
    family("HierarchicalAP", o.HierarchicalAP, *SHARP),
    family("softmax", o.SoftmaxCrossEntropy, *SOFT),
    family("softmax exp", o.SoftmaxCrossEntropy, *[s | {"gain": "exponential"} for s in SOFT]),
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
    family(
        "Gumbel A-NDCG", lambda noise=0.1: o.Perturbed(o.ApproxNDCG(0.05), noise), *_over("noise", (0.03, 0.1, 0.3))
    ),
)
"""Objectives of graded relevance, for every kind of list."""

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
    family("SupCon", o.SupCon, *SOFT, default={"temperature": 0.1}, binary=True),
    family("InfoNCE", o.InfoNCE, *SOFT, binary=True),
    family("SmoothAP", o.SmoothAP, *SHARP, binary=True),
    family("MannWhitney", o.MannWhitney, *SOFT, binary=True),
    family("MultiSimilarity", o.MultiSimilarity, *_over("beta", (10.0, 25.0, 50.0)), binary=True),
    family("DCL", o.DCL, *SOFT, binary=True),
    family("SupAP", o.SupAP, *_over("temperature", (0.01, 0.03, 0.1)), binary=True),
    family(
        "MW across queries", lambda temperature=0.05: o.AcrossQueries(o.MannWhitney(temperature)), *SOFT, binary=True
    ),
    family("GroCo", o.GroCo, *_over("temperature", (0.1, 0.3, 1.0)), binary=True),
    family("TripletAlignment", o.TripletAlignment, *_over("temperature", (0.015, 0.05, 0.15)), binary=True),
    family("SharedNegatives", o.SharedNegatives, *SOFT, binary=True),
    family("Focal InfoNCE", lambda temperature=0.05: o.Focal(o.InfoNCE(temperature)), *SOFT, binary=True),
    family(
        "InfoNCE + TCM",
        lambda weight=1.0: o.InfoNCE(0.1) + weight * o.ThresholdMargin(),
        *_over("weight", (0.1, 1.0, 10.0)),
        binary=True,
    ),
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
    recipe(
        lambda problem, **setting: recipes.retrieval(problem.qrels, **setting),
        *_over("weight", (0.05, 0.2, 1.0)),
    ),
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
    usual("batch-hard triplet", _triplet, *_over("margin", (0.1, 0.2, 0.4))),
    family("A-NDCG binary", o.ApproxNDCG, *SHARP, binary=True),
    *BINARY,
    *SQUARE,
)
OF_HIERARCHY = (
    recipe(
        lambda problem, **setting: recipes.hierarchy(len(problem.record.label_columns), **setting),
        *_over("weight", (0.2, 0.5, 1.0)),
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
    Contender("SimCSE", "usual", family("", o.SoftmaxCrossEntropy).make, SOFT, default={"temperature": 0.05}),
    family("A-NDCG", o.ApproxNDCG, *SHARP),
    family("DCL", o.DCL, *SOFT),
    family("InfoNCE", o.InfoNCE, *SOFT),
    family("MV-InfoNCE", o.MVInfoNCE, *SOFT),
    family("MV-DHEL", o.MVDHEL, *SOFT),
    family("SoftSpearman", o.SoftSpearman, *SOFT),
)
OF_CAPTIONS = (
    recipe(
        lambda problem, **setting: recipes.image_text(problem.relevance, **setting),
        *_over("weight", (0.1, 0.3, 1.0)),
    ),
    usual("CLIP", _host(host.MultipleNegativesRankingLoss, **BOTH_WAYS), *SCALES, default=PUBLISHED, pairs=True),
    family("A-NDCG", o.ApproxNDCG, *SOFT),
    family("softmax", o.SoftmaxCrossEntropy, *SOFT),
    family("ListNet", o.ListNet, *_over("label_temperature", (0.1, 0.3, 0.5), temperature=0.1)),
    family("HierarchicalAP", o.HierarchicalAP, *SOFT),
    family("InfoNCE", o.InfoNCE, *SOFT),
)

USUAL = {"SupCon": ("classes", "sets"), "RankNContrast": ("numbers",), "softmax": ("numbers",)}
"""Objectives of the library that are a usual loss for some kinds of labels."""


def contenders(record: Record) -> dict[str, Contender]:
    """Return a task's losses by name, the recipe first."""
    several = len(record.label_columns) > 1
    of_kind = {"pairs": OF_PAIRS, "retrieval": OF_LISTS, "texts": OF_TEXTS}
    of_labels = {"classes": OF_HIERARCHY if several else OF_ONE_LEVEL, "sets": OF_SETS, "numbers": OF_NUMBERS}
    chosen = of_kind.get(record.kind) or (OF_CAPTIONS if record.has_captions else of_labels[record.labels])
    roles = {c.name: "usual" if record.labels in USUAL.get(c.name, ()) else c.role for c in chosen}
    return {c.name: replace(c, role=roles[c.name]) for c in chosen}


def find(record: Record, name: str) -> Contender:
    """Return a task's loss by name.

    Raises:
        ValueError: If the task has no loss with that name, with the closest names.
    """
    known = contenders(record)
    check_name(name, known, f"loss for {record.name}")
    return known[name]
