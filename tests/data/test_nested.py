"""Objects in cells become columns, without losing a field."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_rankloss.data import read
from st_rankloss.data.nested import unnest
from st_rankloss.data.tables import read_table

QUESTIONS = [
    {
        "question": f"q{i}",
        "answers": [
            {"title": f"t{i}", "text": f"answer {i} {k}", "votes": 3 * k, "author": "a"} for k in range(i % 3 + 1)
        ],
    }
    for i in range(7)
]
"""Answers with votes, in one list per question."""


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_votes_of_answers_are_not_lost(tmp_path):
    for source in (QUESTIONS, written(tmp_path / "rows.jsonl", QUESTIONS), Dataset.from_list(QUESTIONS)):
        with pytest.raises(ValueError, match="to read rows of .* name the column for grade, such as grade='votes'"):
            read(source)
        part = read(source, grade="votes")["train"]
        assert part.dataset["labels"][:] == [[3.0 * k for k in range(i % 3 + 1)] for i in range(7)]
        assert part.dataset["documents"][2] == ["t2 answer 2 0", "t2 answer 2 1", "t2 answer 2 2"]
        assert "the objects in 'answers' are read as the columns 'answers', 'votes', 'author'" in part.notes


def test_known_names_in_objects_are_found():
    rows = [
        {"request": {"query": "a", "qid": "1"}, "results": [{"passage": "x", "rel": 2}, {"passage": "y", "rel": 0}]}
    ]
    part = read(rows)["train"]
    assert (part.dataset["documents"][0], part.dataset["labels"][0]) == (["x", "y"], [2.0, 0.0])
    assert part.dataset["query_id"][:] == ["1"]


def test_documents_of_title_and_text_stay_and_images_too():
    rows = {"document": [{"title": "a", "text": "b"}], "image": [{"bytes": b"", "path": "x.png"}]}
    rows |= {"chat": [[{"role": "user", "content": "hello"}]]}
    table = read_table(rows)
    assert unnest(table) is table


def test_a_field_of_a_taken_name_is_named_after_both():
    table = unnest(read_table([{"id": 7, "document": {"text": "x", "id": 3}}]))
    assert list(table.rows()) == [{"id": 7, "document": {"text": "x"}, "document.id": 3}]
    assert table.names == ["id", "document", "document.id"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([{"text": "x", "votes": 1, "more": 1}], "objects with the fields of the first rows, 'text', 'votes'"),
        ({"text": "x", "votes": 1}, "lists of objects, as in other rows"),
        (["x"], "objects, as in other rows, got 'x' in row 1000"),
    ],
)
def test_later_rows_of_a_stream_keep_to_the_form_of_the_first(tmp_path, cell, message):
    first = {"question": "q", "answers": [{"text": "x", "votes": 1}]}
    path = written(tmp_path / "rows.jsonl", [first] * 1000 + [{"question": "q", "answers": cell}])
    with pytest.raises(ValueError, match=message):
        list(unnest(read_table(path, streaming=True)).rows())


fields = st.dictionaries(st.sampled_from(["text", "votes", "id", "query", "Title"]), st.none() | st.integers(0, 3))
cells = st.none() | st.lists(st.none() | fields, max_size=3)


@given(st.lists(cells, min_size=1, max_size=6))
def test_every_value_of_every_object_is_in_a_column(column):
    rows = [{"query": f"q{i}", "cell": cell} for i, cell in enumerate(column)]
    made = list(unnest(read_table(rows)).rows())
    for row, new in zip(rows, made, strict=True):
        for place, item in enumerate(row["cell"] or ()):
            for name, value in (item or {}).items():
                found = [
                    inner.get(name) if isinstance(inner := new[column][place], dict) else inner
                    for column in ("cell", name, f"cell.{name}")
                    if isinstance(new.get(column), list)
                ]
                assert value in found
