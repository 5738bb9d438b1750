"""Objectives: configured, named, differentiable ranking losses for `RankingLoss`.

Six ended at or near the top of the comparison of losses (`eval/results`), each for its kind of labels:

- `ApproxNDCG`: grades, hierarchies and sets of labels;
- `SoftmaxCrossEntropy`: grades, as a softmax; for pairs, it is MultipleNegativesRankingLoss;
- `ListNet`: graded lists for search, hierarchies, captions of images;
- `InfoNCE`: classes and sets of labels;
- `CoSENT`: scored pairs, as ``OverPairs(CoSENT(3.0))``;
- `RankNContrast`: numbers.

The list at the end has all objectives by family, with the labels that each reads. Each is a function of
`st_rankloss.functional` with its settings; the docstring of either has the formula, the source and the cost.

Wrappers: `OverPairs` ranks a batch's scored pairs as one list, for STS; `AcrossQueries` ranks the documents of all
queries as one list; `Perturbed` averages over noise; `Focal` gives hard queries more weight; `FalseNegatives` gives
irrelevant documents that look relevant less; `Margin` requires relevant documents to lead (ArcFace, CosFace).
Objectives can be added and weighted: ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``. Any function of (similarity,
relevance) that returns one loss per query also works.

Other names: ListMLE is `PlackettLuce()`; PLD is ``PlackettLuce(positions="confidence")`` if the teacher is right;
UniME-V2 is ``ListNet(0.01, 0.01, symmetric=True)`` with a judge's scores; SyCL is `Wasserstein`; AnglE is
``OverPairs(CoSENT())`` with ``similarity_fct=angle_sim``; the MW loss is ``AcrossQueries(MannWhitney())``. Strategies
that mix embeddings, such as MoCHi and SupReMix, are options of the loss, ``mixup=``, see `st_rankloss.losses.mixing`.
"""

from __future__ import annotations

import sys

from st_rankloss.objectives.average_precision import HierarchicalAP, HierarchicalSupAP, SmoothAP, SupAP
from st_rankloss.objectives.base import Configured, CustomObjective, Mixture, Objective, as_objective
from st_rankloss.objectives.correlation import ApproxRankMSE, Pearson, SoftKendall, SoftSpearman
from st_rankloss.objectives.cross_entropy import (
    CWCL,
    DCL,
    DCLW,
    PSL,
    InfoNCE,
    ListNet,
    RankKL,
    RegressionCompatible,
    SoftmaxAtK,
    SoftmaxCrossEntropy,
    SupCon,
)
from st_rankloss.objectives.distillation import InverseRankNet, PartialRanking
from st_rankloss.objectives.hits import ApproxMRR, ApproxRecall
from st_rankloss.objectives.margins import Margin
from st_rankloss.objectives.metric_learning import Circle, MultiSimilarity, Quadruplet, ThresholdMargin
from st_rankloss.objectives.ndcg import ApproxNDCG
from st_rankloss.objectives.pairwise import (
    CoSENT,
    LambdaLoss,
    MannWhitney,
    MarginMSE,
    RankList,
    RankNet,
    TripletAlignment,
)
from st_rankloss.objectives.plackett_luce import PRO, PlackettLuce, PolicyGradient, RankNContrast
from st_rankloss.objectives.sorting import GroCo, NeuralNDCG
from st_rankloss.objectives.whole_batch import (
    MVDHEL,
    ContextualSimilarity,
    MVInfoNCE,
    SetInformation,
    SharedNegatives,
    Wasserstein,
)
from st_rankloss.objectives.wrappers import AcrossQueries, FalseNegatives, Focal, OverPairs, Perturbed

__all__ = [
    "AcrossQueries", "ApproxMRR", "ApproxNDCG", "ApproxRankMSE", "ApproxRecall", "CWCL", "Circle", "CoSENT",
    "Configured", "ContextualSimilarity", "CustomObjective", "DCL", "DCLW", "FalseNegatives", "Focal", "GroCo",
    "HierarchicalAP",
    "HierarchicalSupAP", "InfoNCE", "InverseRankNet", "LambdaLoss", "ListNet", "MVDHEL", "MVInfoNCE", "MannWhitney",
    "Margin", "MarginMSE", "Mixture", "MultiSimilarity", "NeuralNDCG", "Objective", "OverPairs", "PRO", "PSL",
    "PartialRanking", "Pearson", "Perturbed", "PlackettLuce", "PolicyGradient", "Quadruplet", "RankKL", "RankList",
    "RankNContrast", "RankNet", "RegressionCompatible", "SetInformation", "SharedNegatives", "SmoothAP",
    "SoftKendall", "SoftSpearman", "SoftmaxAtK", "SoftmaxCrossEntropy", "SupAP", "SupCon", "ThresholdMargin",
    "TripletAlignment", "Wasserstein", "as_objective",
]  # fmt: skip


def _families() -> str:
    """List the declared objectives by family for the documentation."""
    families: dict[str, list[str]] = {}
    for name in __all__:
        kind = globals()[name]
        if (function := getattr(kind, "function", None)) is not None:
            summary = function.__doc__.partition("\n")[0].removeprefix("Compute ")
            family = (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
            families.setdefault(family, []).append(f"- `{name}` ({function.declaration.labels}): {summary}")
    return "\n\n".join("\n".join([f"{family}\n", *lines]) for family, lines in sorted(families.items())) + "\n"


__doc__ += "\n" + _families()
