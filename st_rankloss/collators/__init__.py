"""Collators for labels of any kind and ragged lists of documents."""

from __future__ import annotations

from st_rankloss.collators.base import GradedCollator, Reader
from st_rankloss.collators.beside import ROW_NUMBER, id_names, weight_columns
from st_rankloss.collators.cross_encoder import CrossEncoderRankingCollator
from st_rankloss.collators.inputs import Row, holds_lists, list_columns
from st_rankloss.collators.ranking import RankingCollator

__all__ = [
    "ROW_NUMBER",
    "CrossEncoderRankingCollator",
    "GradedCollator",
    "RankingCollator",
    "Reader",
    "Row",
    "holds_lists",
    "id_names",
    "list_columns",
    "weight_columns",
]
