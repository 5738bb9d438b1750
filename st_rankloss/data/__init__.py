"""Read the data that people have into parts of rows for ranking losses.

`read` finds out the form of a file, a folder or a dataset. Each form has a reader, which says what it accepts:

=====================================================================  =====================  ==========================
form                                                                   reader                 task
=====================================================================  =====================  ==========================
rows of query, document and grade; queries repeat                      `read_rows`            retrieval
a query, a list of documents and a list of grades                      `read_lists`           retrieval
query or anchor, positives, negatives: pairs, triplets, tuples,        `read_positives`       retrieval
FlagEmbedding's jsonl, outputs of ``mine_hard_negatives``
a folder of BEIR, or of tables of queries, corpus and judgements       `read_collection`      retrieval
judgements and topics of TREC                                          `read_trec`            retrieval
an id of ir_datasets                                                   `read_ir_datasets`     retrieval
a click log: clicks, impressions, positions                            `read_clicks`          retrieval, with weights
two sentences and a score                                              `read_scored_pairs`    sts
a text and a class, a path "A > B", tags "a|b", or a number            `read_labelled`        classification, hierarchy,
                                                                                              multi_label, regression
an image and a caption, a label, or neither; folders of images named   `read_images`          image_text, or as above
after their label
texts alone                                                            `read_texts_alone`     self_supervised
=====================================================================  =====================  ==========================

Tables may be jsonl, json, csv with any delimiter, tsv or parquet, also compressed, or datasets in memory. Columns are
found by their names, or named by the caller. Rows are counted from 0, lines from 1. Nothing is downloaded unless asked
for. `split` takes missing parts from the train part.
"""

from __future__ import annotations

from st_rankloss.data.clicks import read_clicks
from st_rankloss.data.collection import read_collection, read_trec
from st_rankloss.data.corpus import read_corpus
from st_rankloss.data.grouping import group_into_lists
from st_rankloss.data.images import read_images
from st_rankloss.data.ir_collections import read_ir_datasets
from st_rankloss.data.labelled import read_labelled, read_texts_alone
from st_rankloss.data.listed import read_lists
from st_rankloss.data.lists import lists, set_epoch
from st_rankloss.data.part import COLUMNS, PARTS, Part
from st_rankloss.data.positives import read_positives
from st_rankloss.data.propensities import estimate_propensities
from st_rankloss.data.reading import read
from st_rankloss.data.rows import read_rows
from st_rankloss.data.scored_pairs import read_scored_pairs
from st_rankloss.data.splitting import split
from st_rankloss.data.table import Table
from st_rankloss.data.tables import read_table

__all__ = [
    "COLUMNS",
    "PARTS",
    "Part",
    "Table",
    "estimate_propensities",
    "group_into_lists",
    "lists",
    "read",
    "read_clicks",
    "read_collection",
    "read_corpus",
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
    "set_epoch",
    "split",
]
