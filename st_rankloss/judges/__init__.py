"""Grades of (query, document) pairs from any callable, or from a local language model.

A judge is a function of pairs that returns a grade per pair, or None if it cannot tell. It goes wherever a teacher
does: ``teachers.add_scores(dataset, judge, ...)`` labels a dataset, and ``mine_graded_negatives(..., unjudged=judge)``
grades what was mined; None becomes NaN, "unjudged", which the losses leave out.

==================  =====================================================================================
`LLMJudge`          one prompt per pair; grades by the probabilities of the scale's texts
`OrderJudge`        orders each query's documents in windows, by `WrittenOrder` or `FirstTokenOrder`
`ListJudge`         one prompt for several documents; reads a grade for each
`Calibrated`        makes raw scores grades, by `isotonic` or `quantiles` of human judgements
`Cached`            keeps answers on disk, by content
`estimate`          counts the calls, tokens and seconds before you pay
==================  =====================================================================================

`LanguageModel` is a model of transformers for texts, run locally. A model behind an interface, or one that sees images,
is a judge as a function of your own: pairs arrive as the dataset has them. Judges err, favour long or fluent texts, and
can be addressed by a document, so compare a sample with human grades first.

Example:
    ::

        judge = Cached(LLMJudge("Qwen/Qwen3-4B-Instruct-2507", scale=(0, 1, 2, 3)), "grades.sqlite")
        print(estimate(judge, pairs, sample=20))  # calls, tokens and seconds still to pay
        judge = Calibrated(judge, isotonic(judge(judged_pairs), human_grades))
        mined = mine_graded_negatives(queries, corpus, qrels, encoder, num_negatives=8, unjudged=judge)
        RankingTrainer(model=encoder, train_dataset=mined, loss=ANDCGLoss(encoder, relevance=Lists())).train()
"""

from __future__ import annotations

from st_rankloss.judges.base import Judge, JudgeTeacher, Pair
from st_rankloss.judges.cache import Cached
from st_rankloss.judges.calibrate import Calibrated, Calibration, isotonic, quantiles
from st_rankloss.judges.cost import Estimate, estimate
from st_rankloss.judges.language_model import LanguageModel
from st_rankloss.judges.listwise import ListJudge, OrderJudge
from st_rankloss.judges.ordering import FirstTokenOrder, WrittenOrder
from st_rankloss.judges.pointwise import LLMJudge

__all__ = [
    "Cached",
    "Calibrated",
    "Calibration",
    "Estimate",
    "FirstTokenOrder",
    "Judge",
    "JudgeTeacher",
    "LLMJudge",
    "LanguageModel",
    "ListJudge",
    "OrderJudge",
    "Pair",
    "WrittenOrder",
    "estimate",
    "isotonic",
    "quantiles",
]
