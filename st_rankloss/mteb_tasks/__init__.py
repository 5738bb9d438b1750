"""Tasks of mteb from your own data, for ``mteb.evaluate`` (needs the extra "mteb").

===================  ===================  ==================  ==================================================
task of the part     kind                 main score          what mteb does
===================  ===================  ==================  ==================================================
``retrieval``        ``retrieval`` ¹      ndcg_at_10          searches the corpus
``retrieval``        ``reranking``        ndcg_at_10          ranks each query's judged documents
``sts``              ``sts``              cosine_spearman     correlates cosine and score
``classification``   ``classification``   accuracy            learns from ``train``
``classification``   ``clustering``       v_measure           k-means
``hierarchy``        ``clustering``       v_measure           k-means on each level
``multi_label``      ``multi_label``      lrap                learns from ``train``
``regression``       ``regression``       kendalltau          learns from ``train``
``image_text``       ``image_text``       ndcg_at_10          searches both ways; the score is the mean
``image_text``       ``t2i``, ``i2t``     ndcg_at_10          searches images by texts, or texts by images
===================  ===================  ==================  ==================================================

¹ The first kind of a task is its default.

Example:
    ::

        parts = read("my-data")
        task = mteb_task(parts["test"], "Mine", train=parts["train"])
        mteb.evaluate(named(model, "me/model", "1"), tasks=[task])
"""

from __future__ import annotations

from st_rankloss.mteb_tasks.models import named
from st_rankloss.mteb_tasks.rankings import MOST_GRADE, search_rows, whole_grades
from st_rankloss.mteb_tasks.task import describe, mteb_task

__all__ = ["MOST_GRADE", "describe", "mteb_task", "named", "search_rows", "whole_grades"]
