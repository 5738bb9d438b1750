"""From a user's data to a trained, evaluated, saved model and a report: what ``st-rankloss train`` runs.

It compares the recipe for the data with the task's usual loss, at its usual settings:

=================  ============================================================================
task               usual loss
=================  ============================================================================
retrieval          MultipleNegativesRankingLoss, on each query's best document
sts                CoSENTLoss
classification     BatchHardSoftMarginTripletLoss; of a hierarchy, on the finest classes
multi_label        SupCon, for which texts are relevant that share a label
regression         squared error of a linear layer on standardised labels; the layer is discarded afterwards
image_text         MultipleNegativesRankingLoss in both directions, as in CLIP
self_supervised    a softmax over copies, as in SimCSE
=================  ============================================================================

Example:
    ::

        from st_rankloss.experiment import Settings, train, write_report

        result = train(Settings("my-beir-folder", model="static-minilm"), "output")
        write_report(result, Path("output/report.html"))
"""

from __future__ import annotations

from st_rankloss.experiment.prepared import Prepared, prepare
from st_rankloss.experiment.report import write_report
from st_rankloss.experiment.run import Result, Trained, train
from st_rankloss.experiment.scores import Scores, score
from st_rankloss.experiment.settings import Settings
from st_rankloss.experiment.table import make_table

__all__ = [
    "Prepared",
    "Result",
    "Scores",
    "Settings",
    "Trained",
    "make_table",
    "prepare",
    "score",
    "train",
    "write_report",
]
