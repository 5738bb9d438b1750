"""Rows of (query, document, grade) into lists, against plain loops."""

from __future__ import annotations

import math
import random

import pytest
from datasets import Dataset

from st_rankloss import RankingCollator
from st_rankloss.collators import Reader
from st_rankloss.data import group_into_lists
from st_rankloss.relevance import Lists
from tests.models import word_model


@pytest.mark.parametrize("seed", range(20))
def test_every_query_gets_its_documents_in_the_order_of_the_rows(seed):
    draw = random.Random(seed)
    rows = [
        {"query": f"q{draw.randrange(5)}", "document": f"d{i}", "label": draw.choice([0.0, 1.0, 2.5])}
        for i in range(draw.randint(1, 40))
    ]
    expected = {}
    for row in rows:
        expected.setdefault(row["query"], []).append((row["document"], row["label"]))
    lists = group_into_lists(Dataset.from_list(rows))
    found = {row["query"]: list(zip(row["documents"], row["labels"], strict=True)) for row in lists}
    assert list(found) == list(expected)
    assert found == expected


def test_an_unjudged_document_stays_in_its_list():
    rows = Dataset.from_dict({"query": ["a", "a"], "document": ["x", "y"], "label": [2, None]})
    (labels,) = group_into_lists(rows)["labels"][:]
    assert labels[0] == 2
    assert math.isnan(labels[1])


def test_a_repeated_judgement_counts_once_and_a_contradiction_is_refused():
    columns = {"query": ["a", "a"], "document": ["x", "x"]}
    assert group_into_lists(Dataset.from_dict(columns | {"label": [1, 1]}))["documents"][:] == [["x"]]
    with pytest.raises(ValueError, match="one grade per query, got 1 and 2 in row 1 for the query 'a'"):
        group_into_lists(Dataset.from_dict(columns | {"label": [1, 2]}))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": ["a"], "document": ["x"]}, r"must have the columns .* without \['label'\]"),
        (
            {"query": ["a"], "document": [None], "label": [1]},
            "'document' must hold one text per row, got None in row 0",
        ),
        ({"query": ["a"], "document": ["x"], "label": [-1]}, "finite grades of at least 0, got -1 in row 0"),
    ],
)
def test_what_cannot_be_grouped_is_refused_by_name(columns, message):
    with pytest.raises(ValueError, match=message):
        group_into_lists(Dataset.from_dict(columns))


def test_grouped_lists_rank_all_documents_of_their_query():
    rows = [{"query": f"w{i // 4}", "document": f"w{i}", "label": i % 4} for i in range(16)]
    lists = group_into_lists(Dataset.from_list(rows))
    model = word_model([f"w{i}" for i in range(16)])
    label = RankingCollator(model.preprocess, readers={None: Reader(None)})(list(lists))["label"]
    found = Lists()(*Lists().pair(label, [4, 16]))
    assert found.tolist() == [[float(d % 4 if d // 4 == q else 0) for d in range(16)] for q in range(4)]
