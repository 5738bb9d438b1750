"""Read the data that people have into parts of rows for ranking losses.

`read` finds out the form of files, folders and datasets; each form has a reader of its own, which says more.
"""

from __future__ import annotations

from st_rankloss.data.clicks import read_clicks
from st_rankloss.data.collection import read_collection, read_trec
from st_rankloss.data.grouping import group_into_lists
from st_rankloss.data.images import read_images
from st_rankloss.data.ir_collections import read_ir_datasets
from st_rankloss.data.labelled import read_labelled, read_texts_alone
from st_rankloss.data.listed import read_lists
from st_rankloss.data.part import COLUMNS, PARTS, Part
from st_rankloss.data.positives import read_positives
from st_rankloss.data.reading import read
from st_rankloss.data.rows import read_rows
from st_rankloss.data.scored_pairs import read_scored_pairs
from st_rankloss.data.splitting import split
from st_rankloss.data.tables import Table, read_table

__all__ = [
    "COLUMNS",
    "PARTS",
    "Part",
    "Table",
    "group_into_lists",
    "read",
    "read_clicks",
    "read_collection",
    "read_images",
    "read_ir_datasets",
    "read_labelled",
    "read_lists",
    "read_positives",
    "read_rows",
    "read_scored_pairs",
    "read_table",
    "read_texts_alone",
    "read_trec",
    "split",
]
