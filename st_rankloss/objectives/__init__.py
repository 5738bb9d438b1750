"""Objectives: configured, named, differentiable ranking losses, as `RankingLoss` takes them.

========================  ==============================  =========  ==================  ===============================
objective                 optimises                       labels     time per query      source
========================  ==============================  =========  ==================  ===============================
`ApproxNDCG`              NDCG                            graded     ranks of P          Qin, Liu, Li 2010
`SoftSpearman`            Spearman correlation            any order  ranks of all        ranks of Qin, Liu, Li 2010
`SoftKendall`             Kendall correlation             any order  pairs by grade      the same ranks
`Pearson`                 Pearson correlation             continuous D                   CoDiEmb 2025
`ApproxRankMSE`           rank error                      any order  ranks of all        Rank-DistiLLM 2024
`SmoothAP`                average precision               binary     ranks of P, twice   Brown et al. 2020
`SupAP`                   average precision, bounded      binary     P · D               ROADMAP 2021
`HierarchicalAP`          average precision               graded     ranks by grade      HAPPIER 2022
`ApproxMRR`               reciprocal rank                 binary     ranks of P          Qin, Liu, Li 2010
`ApproxRecall`            recall at k                     binary     ranks of P          Patel et al. 2022
`NeuralNDCG`              NDCG                            graded     D²                  Pobrotyn, Białobrzeski 2021
`GroCo`                   relevant documents first        binary     D² log² D           Shvetsova et al. 2023
`SoftmaxCrossEntropy`     likelihood of gains             graded     D                   ListNet, RankT5, CWCL, PolyLoss
`SupCon`                  likelihood of each positive     binary     D                   Khosla et al. 2020
`InfoNCE`                 the same, positives apart       binary     D                   several positives, CoDiEmb
`DCL`                     the same, decoupled             binary     D                   Yeh et al. 2022
`ListNet`                 distribution of grades          continuous D                   Cao et al. 2007, UniME-V2
`RankKL`                  distribution of ranks           any order  D log D             CoDiEmb 2025
`PlackettLuce`            likelihood of the order         any order  D log D             ListMLE, PLD
`PRO`                     the same, sharpened by gaps     continuous P · D               Song et al. 2023, CoDiEmb
`RankNContrast`           order by distance               continuous D log D             Zha et al. 2023
`RegressionCompatible`    order and probabilities         in [0, 1]  D                   Bai et al. 2023
`PSL`                     softer than softmax             binary     P · D               Yang et al. 2024
`SoftmaxAtK`              NDCG at k                       binary     D log D             SL@K 2025
`PolicyGradient`          expected NDCG                   graded     samples · D log D   PG-RANK 2023
`RankNet`                 pairs                           any order  pairs by grade      Burges et al. 2005, E2Rank
`MannWhitney`             AUC                             binary     D log D             MW loss 2025
`LambdaLoss`              NDCG                            graded     P · D               Wang et al. 2018
`RankList`                pairs, by distance of grades    any order  D log D             Naini et al. 2025
`CoSENT`                  pairs, hardest first            any order  D log D             sentence-transformers
`MarginMSE`               margins of a teacher            continuous D                   Hofstätter et al. 2020
`TripletAlignment`        margin over a soft hardest      binary     D                   RDE 2024
`MultiSimilarity`         thresholds of similarity        binary     D                   Wang et al. 2019
`ThresholdMargin`         one threshold, a regulariser    binary     D                   TCM 2023
`Wasserstein` ¹           distribution over a batch       graded     Q · D + Q²          SyCL 2025
`UnifiedNegatives` ¹      all negatives of a batch        binary     D log (Q · D)       UNPG 2022
`ContextualSimilarity` ¹  neighbourhoods                  binary     D²                  Liao et al. 2023
`SetInformation` ¹        sets of a class                 binary     D; D² of log-det    SCoRe 2024
`MVInfoNCE` ¹             views of a sample               views      D                   Koromilas et al. 2025
`MVDHEL` ¹                the same, decoupled             views      D                   Koromilas et al. 2025
========================  ==============================  =========  ==================  ===============================

D documents, of which P are relevant; a rank among all costs at most D log D, see `st_rankloss.kernels`. "Pairs by
grade" cost a rank of all documents for each grade, up to 16 grades, and P · D beyond. ¹ reads the whole batch.

Around any of them: `OverPairs`, one list of a batch's scored pairs, for STS; `AcrossQueries`, one list of all
queries' documents; `Perturbed`, averaged over noise; `Focal`, hard queries count more; `MixedNegatives`, harder
negatives (MoCHi). They mix by ``+`` and by a number: ``ApproxNDCG() + 0.2 * SoftmaxCrossEntropy()``. Any function of
(similarity, relevance) that returns a loss for each query serves as well.

What other names are here: CWCL is `SoftmaxCrossEntropy` with the relevance `Vectors()`; ListMLE is `PlackettLuce()`;
PLD is ``PlackettLuce(positions="confidence")``; AnglE is ``OverPairs(CoSENT())`` with ``similarity_fct=angle_sim``; the
MW loss is ``AcrossQueries(MannWhitney())``; SupReMix is `RankNContrast` or `SupCon` with
``mixup=EmbeddingMixup(labels=True)``.
"""

from __future__ import annotations

from st_rankloss.objectives.base import Configured, CustomObjective, Mixture, Objective, as_objective
from st_rankloss.objectives.likelihood import (
    DCL,
    PRO,
    PSL,
    InfoNCE,
    ListNet,
    PlackettLuce,
    PolicyGradient,
    RankKL,
    RankNContrast,
    RegressionCompatible,
    SoftmaxAtK,
    SoftmaxCrossEntropy,
    SupCon,
)
from st_rankloss.objectives.metric_learning import MultiSimilarity, ThresholdMargin
from st_rankloss.objectives.metrics import (
    ApproxMRR,
    ApproxNDCG,
    ApproxRankMSE,
    ApproxRecall,
    HierarchicalAP,
    Pearson,
    SmoothAP,
    SoftKendall,
    SoftSpearman,
    SupAP,
)
from st_rankloss.objectives.pairwise import (
    CoSENT,
    LambdaLoss,
    MannWhitney,
    MarginMSE,
    RankList,
    RankNet,
    TripletAlignment,
)
from st_rankloss.objectives.sorting import GroCo, NeuralNDCG
from st_rankloss.objectives.whole_batch import (
    MVDHEL,
    ContextualSimilarity,
    MVInfoNCE,
    SetInformation,
    UnifiedNegatives,
    Wasserstein,
)
from st_rankloss.objectives.wrappers import AcrossQueries, Focal, MixedNegatives, OverPairs, Perturbed

__all__ = [
    "DCL",
    "MVDHEL",
    "PRO",
    "PSL",
    "AcrossQueries",
    "ApproxMRR",
    "ApproxNDCG",
    "ApproxRankMSE",
    "ApproxRecall",
    "CoSENT",
    "Configured",
    "ContextualSimilarity",
    "CustomObjective",
    "Focal",
    "GroCo",
    "HierarchicalAP",
    "InfoNCE",
    "LambdaLoss",
    "ListNet",
    "MVInfoNCE",
    "MannWhitney",
    "MarginMSE",
    "MixedNegatives",
    "Mixture",
    "MultiSimilarity",
    "NeuralNDCG",
    "Objective",
    "OverPairs",
    "Pearson",
    "Perturbed",
    "PlackettLuce",
    "PolicyGradient",
    "RankKL",
    "RankList",
    "RankNContrast",
    "RankNet",
    "RegressionCompatible",
    "SetInformation",
    "SmoothAP",
    "SoftKendall",
    "SoftSpearman",
    "SoftmaxAtK",
    "SoftmaxCrossEntropy",
    "SupAP",
    "SupCon",
    "ThresholdMargin",
    "TripletAlignment",
    "UnifiedNegatives",
    "Wasserstein",
    "as_objective",
]
