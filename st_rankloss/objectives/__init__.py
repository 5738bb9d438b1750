"""Objectives: configured, named, differentiable ranking losses for `RankingLoss`.

Each is a function of `st_rankloss.functional` with its settings; the docstring of either gives formula, source and
cost. The table at the end lists them.

Wrappers: `OverPairs` ranks a batch's scored pairs as one list, for STS; `AcrossQueries` ranks the documents of all
queries as one list; `Perturbed` averages over noise; `Focal` gives hard queries more weight. Objectives can be added
and weighted: ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``. Any function of (similarity, relevance) that returns one
loss per query also works.

Other names: CWCL is `SoftmaxCrossEntropy` with the relevance `Vectors()`; ListMLE is `PlackettLuce()`; PLD is
``PlackettLuce(positions="confidence")``; AnglE is ``OverPairs(CoSENT())`` with ``similarity_fct=angle_sim``; the MW
loss is ``AcrossQueries(MannWhitney())``. What mixes embeddings is an option of the loss, ``mixup=``, for any objective:
MoCHi, SupReMix, RankMixup and others are strategies of `st_rankloss.losses.mixing`.
"""

from __future__ import annotations

from st_rankloss.objectives.average_precision import HierarchicalAP, SmoothAP, SupAP
from st_rankloss.objectives.base import Configured, CustomObjective, Mixture, Objective, as_objective
from st_rankloss.objectives.correlation import ApproxRankMSE, Pearson, SoftKendall, SoftSpearman
from st_rankloss.objectives.cross_entropy import (
    DCL,
    PSL,
    InfoNCE,
    ListNet,
    RankKL,
    RegressionCompatible,
    SoftmaxAtK,
    SoftmaxCrossEntropy,
    SupCon,
)
from st_rankloss.objectives.hits import ApproxMRR, ApproxRecall
from st_rankloss.objectives.metric_learning import MultiSimilarity, ThresholdMargin
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
    UnifiedNegatives,
    Wasserstein,
)
from st_rankloss.objectives.wrappers import AcrossQueries, Focal, OverPairs, Perturbed

__all__ = [
    "AcrossQueries", "ApproxMRR", "ApproxNDCG", "ApproxRankMSE", "ApproxRecall", "CoSENT", "Configured",
    "ContextualSimilarity", "CustomObjective", "DCL", "Focal", "GroCo", "HierarchicalAP", "InfoNCE", "LambdaLoss",
    "ListNet", "MVDHEL", "MVInfoNCE", "MannWhitney", "MarginMSE", "Mixture", "MultiSimilarity",
    "NeuralNDCG", "Objective", "OverPairs", "PRO", "PSL", "Pearson", "Perturbed", "PlackettLuce", "PolicyGradient",
    "RankKL", "RankList", "RankNContrast", "RankNet", "RegressionCompatible", "SetInformation", "SmoothAP",
    "SoftKendall", "SoftSpearman", "SoftmaxAtK", "SoftmaxCrossEntropy", "SupAP", "SupCon", "ThresholdMargin",
    "TripletAlignment", "UnifiedNegatives", "Wasserstein", "as_objective",
]  # fmt: skip


def _table() -> str:
    """List the declared objectives for the documentation."""
    rows = [("objective", "labels", "optimises")]
    for name in __all__:
        if (function := getattr(globals()[name], "function", None)) is not None:
            summary = function.__doc__.partition("\n")[0].removeprefix("Compute ")
            rows.append((f"`{name}`", function.declaration.labels, summary))
    rule = "  ".join("=" * max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join([rule, *(f"{name:24}{labels:8}{what}" for name, labels, what in rows), rule, ""])


__doc__ += "\n" + _table()
