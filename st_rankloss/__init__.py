"""Train sentence-transformers models on the ranking metric you report.

Pass `ANDCGLoss` or `RankingLoss` as ``loss=`` to the trainer of the kind of model: `RankingTrainer`,
`SparseEncoderRankingTrainer` or `MultiVectorEncoderRankingTrainer`; and `CrossEncoderRankingLoss` to
`CrossEncoderRankingTrainer`. `relevance` defines how labels are read, and `objectives` what is optimised; six of them
can also be imported from here. `functional` has the underlying functions.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from st_rankloss import augmentations, functional, judges, objectives, relevance
from st_rankloss.losses import (
    ANDCGLoss,
    CachedANDCGLoss,
    CachedCrossEncoderRankingLoss,
    CachedRankingLoss,
    CrossEncoderRankingLoss,
    EmbeddingMixup,
    RankingLoss,
)
from st_rankloss.objectives import (
    ApproxNDCG,
    CoSENT,
    InfoNCE,
    ListNet,
    Objective,
    OverPairs,
    RankNContrast,
    SoftmaxCrossEntropy,
)
from st_rankloss.relevance import UNJUDGED, Relevance

if find_spec("datasets"):  # without it, as sentence-transformers, all that computes losses works, but no trainer
    from st_rankloss import data, mining, recipes, samplers, teachers
    from st_rankloss.collators import CrossEncoderRankingCollator, RankingCollator
    from st_rankloss.diagnostics import RankingDiagnostics
    from st_rankloss.evaluation import (
        GradedInformationRetrievalEvaluator,
        GradedNanoBEIREvaluator,
        GradedRerankingEvaluator,
    )
    from st_rankloss.inspection import Inspection, inspect
    from st_rankloss.trainer import (
        CrossEncoderRankingTrainer,
        MultiVectorEncoderRankingTrainer,
        RankingTrainer,
        SparseEncoderRankingTrainer,
    )
    from st_rankloss.views import ViewsCollator

__all__ = [
    "UNJUDGED",
    "ANDCGLoss",
    "ApproxNDCG",
    "CachedANDCGLoss",
    "CachedCrossEncoderRankingLoss",
    "CachedRankingLoss",
    "CoSENT",
    "CrossEncoderRankingLoss",
    "CrossEncoderRankingCollator",
    "CrossEncoderRankingTrainer",
    "EmbeddingMixup",
    "GradedInformationRetrievalEvaluator",
    "GradedNanoBEIREvaluator",
    "GradedRerankingEvaluator",
    "InfoNCE",
    "Inspection",
    "ListNet",
    "MultiVectorEncoderRankingTrainer",
    "Objective",
    "OverPairs",
    "RankNContrast",
    "RankingCollator",
    "RankingDiagnostics",
    "RankingLoss",
    "RankingTrainer",
    "Relevance",
    "SoftmaxCrossEntropy",
    "SparseEncoderRankingTrainer",
    "ViewsCollator",
    "augmentations",
    "data",
    "functional",
    "inspect",
    "judges",
    "mining",
    "objectives",
    "recipes",
    "relevance",
    "samplers",
    "teachers",
]

__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        raise ImportError(f"st_rankloss.{name} needs the package datasets; install it with: pip install datasets")
    raise AttributeError(f"module 'st_rankloss' has no attribute {name!r}")
