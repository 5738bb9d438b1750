"""From a user's data to a trained, evaluated, saved model and a report: what ``st-rankloss train`` runs.

Example:
    ::

        from st_rankloss.experiment import Settings, train, write_report

        result = train(Settings("my-beir-folder", model="static-minilm"), "output")
        write_report(result, Path("output/report.html"))
"""

from __future__ import annotations

from st_rankloss.experiment.report import write_report
from st_rankloss.experiment.run import Prepared, Result, Trained, prepare, train
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
