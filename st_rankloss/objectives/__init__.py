"""Objectives: configured, named, differentiable ranking losses for `RankingLoss`.

Each is a function of `st_rankloss.functional` with its settings; the docstring of either gives formula, source and
cost. The table at the end lists them.

Wrappers: `OverPairs` ranks a batch's scored pairs as one list, for STS; `AcrossQueries` ranks the documents of all
queries as one list; `Perturbed` averages over noise; `Focal` gives hard queries more weight; `FalseNegatives` gives
less to irrelevant documents that look relevant; `MixedNegatives` adds harder negatives (MoCHi). Objectives can be added
and weighted: ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``. Any function of (similarity, relevance) that returns one
loss per query also works.

Other names: ListMLE is `PlackettLuce()`; PLD is ``PlackettLuce(positions="confidence")``, if the teacher is right;
UniME-V2 is ``ListNet(0.01, 0.01, symmetric=True)`` with a judge's scores; SyCL is `Wasserstein`; AnglE is
``OverPairs(CoSENT())`` with ``similarity_fct=angle_sim``; the MW loss is ``AcrossQueries(MannWhitney())``; SupReMix is
`RankNContrast` or `SupCon` with ``mixup=EmbeddingMixup(labels=True)``.
"""

from __future__ import annotations

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
    SharedNegatives,
    Wasserstein,
)
from st_rankloss.objectives.wrappers import AcrossQueries, FalseNegatives, Focal, MixedNegatives, OverPairs, Perturbed

__all__ = [
    "AcrossQueries", "ApproxMRR", "ApproxNDCG", "ApproxRankMSE", "ApproxRecall", "CWCL", "CoSENT", "Configured",
    "ContextualSimilarity", "CustomObjective", "DCL", "DCLW", "FalseNegatives", "Focal", "GroCo", "HierarchicalAP",
    "HierarchicalSupAP", "InfoNCE", "LambdaLoss", "ListNet", "MVDHEL", "MVInfoNCE", "MannWhitney", "MarginMSE",
    "MixedNegatives", "Mixture", "MultiSimilarity", "NeuralNDCG", "Objective", "OverPairs", "PRO", "PSL", "Pearson",
    "Perturbed", "PlackettLuce", "PolicyGradient", "RankKL", "RankList", "RankNContrast", "RankNet",
    "RegressionCompatible", "SetInformation", "SharedNegatives", "SmoothAP", "SoftKendall", "SoftSpearman",
    "SoftmaxAtK", "SoftmaxCrossEntropy", "SupAP", "SupCon", "ThresholdMargin", "TripletAlignment", "Wasserstein",
    "as_objective",
]  # fmt: skip


def _table() -> str:
    """List the declared objectives for the documentation."""
    rows = [("objective", "labels", "optimises")]
    for name in __all__:
        if (function := getattr(globals()[name], "function", None)) is not None:
            summary = function.__doc__.partition("\n")[0].removeprefix("Compute ")
            rows.append((f"`{name}`", function.declaration.labels, summary))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, *lines, rule, ""])


__doc__ += "\n" + _table()
