"""What `read` detects, refuses and streams."""

from __future__ import annotations

import json
import random

import pytest
from datasets import IterableDataset
from torch.utils.data import DataLoader

from st_rankloss.data import read

STREAMED = {
    "rows": {"query": ["a", "a", "b"], "document": ["x", "y", "z"], "grade": [3, 0.5, 1]},
    "lists": {"query": ["a", "b"], "documents": [["x", "y"], ["z"]], "labels": [[1, 0], [2]]},
    "positives": {"query": ["a", "b"], "pos": [["x"], ["z"]], "neg": [["y"], ["x", "y"]]},
    "pairs": {"sentence1": ["x", "y"], "sentence2": ["y", "z"], "score": [4.5, 0]},
    "classes": {"text": ["x", "y", "z"], "label": ["c", None, "d"]},
    "numbers": {"text": ["x", "y", "z"], "label": [1.5, None, 2]},
    "sets": {"text": ["x", "y"], "tags": [["a", "b"], []]},
    "paths": {"text": ["x", "y"], "category": ["A > B", "A"]},
    "texts": {"text": ["x", "y"]},
}


@pytest.mark.parametrize("form", STREAMED)
def test_streaming_gives_the_rows_of_the_map_style_set_again_and_again(form, tmp_path):
    columns = STREAMED[form]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held, streamed = read(path)["train"], read(path, streaming=True)["train"]
    assert isinstance(streamed.dataset, IterableDataset)
    assert streamed.task == held.task
    assert list(streamed.dataset) == list(held.dataset) == list(streamed.dataset)
    assert streamed.dataset.features == held.dataset.features
    assert streamed.input_columns == held.input_columns


def test_a_streaming_part_is_read_by_a_worker(tmp_path):
    (tmp_path / "rows.csv").write_text("query,document,grade\na,x,1\na,y,0\nb,z,2\n")
    dataset = read(tmp_path / "rows.csv", streaming=True)["train"].dataset
    assert [row["query"] for row in DataLoader(dataset, batch_size=None, num_workers=1)] == ["a", "b"]


@pytest.mark.parametrize("seed", range(20))
def test_streaming_equals_grouping_where_queries_are_sorted_and_refuses_them_where_not(seed, tmp_path):
    draw = random.Random(seed)
    rows = [(f"q{draw.randrange(6)}", f"d{i}", draw.choice(["1", "0.5", ""])) for i in range(draw.randint(2, 40))]
    rows[0] = (*rows[0][:2], "1")
    path = tmp_path / "rows.csv"

    def write(rows):
        path.write_text("query,document,grade\n" + "".join(",".join(row) + "\n" for row in rows))

    write(sorted(rows))
    held, streamed = read(path)["train"].dataset, read(path, streaming=True)["train"].dataset
    assert str(list(streamed)) == str(list(held))  # as text, since NaN differs from itself
    write([*sorted(rows), ("q-between", "d", "1"), (sorted(rows)[0][0], "late", "1")])
    with pytest.raises(ValueError, match=rf"rows of one query must be neighbours .* in row {len(rows) + 1}: sort"):
        list(read(path, streaming=True)["train"].dataset)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"query": ["a"], "document": ["x"], "note": [1]}, {}, r"need a column for grade, such as grade='note'"),
        ({"frage": ["a"], "antwort": ["x"]}, {}, r"got \['frage', 'antwort'\]: name its columns"),
        (
            {"query": ["a"], "document": ["x"], "grade": [1]},
            {"quer": "x"},
            r"quer= must be an option .* nearest is 'query'",
        ),
        (
            {"query": ["a"], "document": ["x"], "grade": [1]},
            {"query": "queri"},
            r"query='queri' must be a column, got the columns .*; the nearest is 'query'",
        ),
        ({"query": ["a"], "document": ["x"], "grade": [1]}, {"task": "sts"}, r"the table must have the columns of"),
        (
            {"query": ["a"], "document": ["x"], "grade": ["good"]},
            {},
            r"column 'grade' must hold numbers, got 'good' in row 0",
        ),
        ({"query": ["a"], "document": ["x"], "grade": [-1]}, {}, r"grades of at least 0, got -1 in row 0: pass scale="),
        (
            {"query": ["a", "a"], "document": ["x", "x"], "grade": [1, 2]},
            {},
            r"one grade per query, got 1 and 2 in row 1",
        ),
        (
            {"qid": [1, 1], "query": ["a", "b"], "document": ["x", "x"], "grade": [1, 1]},
            {},
            r"an id must belong to one query, got 'a' and 'b' in row 1 for '1'",
        ),
        ({"query": ["a"], "document": [5], "grade": [1]}, {}, r"column 'document' must hold texts, got 5 in row 0"),
        ({"query": ["a"], "documents": [["x"]], "grades": [[1, 2]]}, {}, r"one value for each of the 1 documents"),
        ({"text": ["a"], "label": [None]}, {}, r"column 'label' must hold labels, got none in 1 rows"),
        (
            {"text": ["a", "b"], "label": ["x", "y"]},
            {"task": "regression"},
            r"column 'label' must hold numbers, got 'x'",
        ),
        ({"Query": ["a"], "query": ["b"], "document": ["x"], "grade": [1]}, {}, r"column of the query must be clear"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(rows, options, message):
    with pytest.raises(ValueError, match=message):
        read([dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)], **options)


def test_rows_without_a_text_are_left_out_and_counted():
    rows = {"query": ["a", "", None], "document": ["x", "y", "z"], "grade": [1, 1, 1]}
    part = read(rows)["train"]
    assert part.dataset["query"][:] == ["a"]
    assert any("rows without a query are left out: 2, the first in row 1" in note for note in part.notes)
