"""Evaluators that read graded relevance, for ``evaluator=`` of sentence-transformers' trainers."""

from __future__ import annotations

from st_rankloss.evaluation.graded_information_retrieval import GradedInformationRetrievalEvaluator
from st_rankloss.evaluation.graded_nano_beir import GradedNanoBEIREvaluator
from st_rankloss.evaluation.graded_reranking import GradedRerankingEvaluator
from st_rankloss.evaluation.metrics import mean_metrics
from st_rankloss.evaluation.shards import Shards

__all__ = [
    "GradedInformationRetrievalEvaluator",
    "GradedNanoBEIREvaluator",
    "GradedRerankingEvaluator",
    "Shards",
    "mean_metrics",
]
