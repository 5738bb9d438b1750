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
        with pytest.raises(
            ValueError, match="to read rows of .* name the column for grade, such as grade='answers.votes'"
        ):
            read(source)
        part = read(source, grade="answers.votes")["train"]
        assert part.dataset["labels"][:] == [[3.0 * k for k in range(i % 3 + 1)] for i in range(7)]
        assert part.dataset["documents"][2] == ["t2 answer 2 0", "t2 answer 2 1", "t2 answer 2 2"]
        made = ("'answers.votes', 'answers.author'", "'answers.author', 'answers.votes'")  # pyarrow 21 sorts fields
        assert {f"the objects in 'answers' are read as the columns 'answers', {names}" for names in made} & {
            *part.notes
        }


def test_fields_are_read_where_they_are_named():
    rows = [{"request": {"query": "a", "qid": "1"}, "results": [{"passage": {"title": "x"}, "rel": 2}, {"rel": 0}]}]
    rows[0]["results"][1]["passage"] = {"title": "y"}
    names = {"query": "request.query", "document": "results.passage", "grade": "results.rel", "query_id": "request.qid"}
    part = read(rows, **names)["train"]
    assert (part.dataset["documents"][0], part.dataset["labels"][0]) == (["x", "y"], [2.0, 0.0])
    assert part.dataset["query_id"][:] == ["1"]


TEXTS = [f"text {i}" for i in range(20)]


@pytest.mark.parametrize(
    ("rows", "task", "label"),
    [
        ({"anchor": TEXTS, "positive": TEXTS[::-1], "metadata": [{"score": 0.5}] * 20}, "retrieval", 1.0),
        ({"anchor": TEXTS, "passage": TEXTS[::-1], "metadata": [{"positive": True}] * 20}, "retrieval", 1.0),
        ({"text": TEXTS, "label": list("ab") * 10, "meta": [{"label": "q"}] * 20}, "classification", "a"),
        ({"text": TEXTS, "meta": [{"year": 2001, "source": "web"}] * 20}, "self_supervised", None),
    ],
)
def test_metadata_take_no_role(rows, task, label):
    (part,) = read(rows).values()
    assert part.task == task
    first = part.dataset[0]
    assert label is None or label in (first.get("label"), *(first.get("labels") or ()))


def test_labels_in_objects_are_refused_with_their_columns():
    rows = {"text": TEXTS, "label": [{"name": "a", "id": 1}, {"name": "b", "id": 2}] * 10}
    with pytest.raises(ValueError, match=r"such as label='label.name', or pass task='self_supervised'"):
        read(rows)
    with pytest.raises(ValueError, match=r"label='label' must be a column, .*; the nearest is 'label\."):
        read(rows, label="label")
    assert read(rows, label="label.name")["train"].dataset["label"][:2] == ["a", "b"]


def test_lists_of_texts_in_an_object_are_a_column():
    rows = {"question": TEXTS, "answers": [{"text": ["a b", "c"], "score": [3, 0]}] * 20}
    (part,) = read(rows, document="answers.text", grade="answers.score").values()
    assert (part.dataset["documents"][0], part.dataset["labels"][0]) == (["a b", "c"], [3.0, 0.0])


def test_passages_of_tevatron_are_positive_and_negative():
    passage = {"docid": "7", "title": "t", "text": "x"}
    rows = {
        "query": TEXTS,
        "positive_passages": [[passage]] * 20,
        "negative_passages": [[passage | {"docid": "8", "text": "y"}]] * 20,
    }
    (part,) = read(rows).values()
    assert (part.dataset["documents"][0], part.dataset["labels"][0]) == (["t x", "t y"], [1.0, 0.0])
    assert part.dataset["document_ids"][0] == ["7", "8"]


def test_documents_of_title_and_text_stay_and_images_too():
    rows = {"document": [{"title": "a", "text": "b"}], "image": [{"bytes": b"", "path": "x.png"}]}
    rows |= {"chat": [[{"role": "user", "content": "hello"}]]}
    table = read_table(rows)
    assert unnest(table) is table


def test_a_field_never_takes_the_place_of_a_column():
    table = unnest(read_table([{"document.id": 7, "document": {"text": "x", "id": 3}}]))
    assert list(table.rows()) == [{"document.id": 7, "document": {"text": "x"}, "document.id_": 3}]
    assert table.names == ["document.id", "document", "document.id_"]


@pytest.mark.parametrize("cell", [[{"text": "x", "votes": 1, "more": 1}], {"text": "x", "votes": 1}, ["x"], None])
def test_a_cell_of_another_form_matters_only_to_those_who_read_it(tmp_path, cell):
    first = {"text": "q", "label": "a", "meta": [{"text": "x", "votes": 1}]}
    path = written(tmp_path / "rows.jsonl", [first] * 1000 + [first | {"meta": cell, "label": "b"}])
    (part,) = read(path, streaming=True).values()
    assert [row["label"] for row in part.dataset][-1] == "b"
    (part,) = read(path, streaming=True, query="text", document="meta", grade="meta.votes", label=None).values()
    if isinstance(cell, dict) or cell == ["x"]:
        with pytest.raises(ValueError, match="rows.jsonl: column 'meta.*' must hold .* in row 1000"):
            list(part.dataset)


fields = st.dictionaries(st.sampled_from(["text", "votes", "id", "query", "Title"]), st.none() | st.integers(0, 3))
cells = st.none() | st.lists(st.none() | fields, max_size=3)


@given(st.lists(cells, min_size=1, max_size=6))
def test_every_value_of_every_object_is_in_a_column(column):
    rows = [{"query": f"q{i}", "cell": cell} for i, cell in enumerate(column)]
    made = list(unnest(read_table(rows)).rows())
    for row, new in zip(rows, made, strict=True):
        for place, item in enumerate(row["cell"] or ()):
            for name, value in (item or {}).items():
                own = new.get(f"cell.{name}")
                found = new["cell"][place].get(name) if own is None else own[place]
                assert value == found


@pytest.mark.parametrize("name", ["docid", "doc_id", "_id", "id", "pid", "passage_id"])
@pytest.mark.parametrize("streaming", [False, True])
def test_ids_of_passages_are_ids_of_documents(name, streaming, tmp_path):
    row = {
        "query_id": "1",
        "query": "what",
        "positive_passages": [{name: "7#1", "title": "T", "text": "x"}],
        "negative_passages": [{name: "8#1", "title": "U", "text": "y"}, {name: "9#1", "title": "", "text": "z"}],
    }
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row) + "\n")
    part = read(path, streaming=streaming)["train"]
    (found,) = part.dataset
    assert found["documents"] == ["T x", "U y", "z"]
    assert found["document_ids"] == ["7#1", "8#1", "9#1"]
    assert f"'positive_passages.{name}'" in str(part.notes)


def test_ids_beside_documents_are_read_and_may_be_named():
    columns = {"query": ["a"], "pos": [["x"]], "neg": [["y", "z"]]}
    ids = {"pos_id": [["1"]], "neg_id": [["2", "3"]]}
    assert read(columns | ids)["train"].qrels.popitem()[1] == {"1": 1.0, "2": 0.0, "3": 0.0}
    named = {"nr": [["1"]], "nrs": [["2", "3"]]}
    part = read(columns | named, document_id=["nr", "nrs"])["train"]
    assert part.corpus == {"1": "x", "2": "y", "3": "z"}
    with pytest.raises(ValueError, match=r"document_id= must name a column for each of 'pos', 'neg', got 'nr'"):
        read(columns | named, document_id="nr")
    with pytest.raises(ValueError, match=r"'neg_id' must hold one id for each of the 2 documents of its row, .*row 0"):
        read(columns | ids | {"neg_id": [["2"]]})


@pytest.mark.parametrize("lists", [False, True])
def test_ids_of_documents_of_rows_and_lists_are_read(lists):
    documents = [{"docid": "7", "text": "x"}, {"docid": "8", "text": "y"}]
    if lists:
        rows = [{"query": "a", "documents": documents, "grades": [1, 0]}]
    else:
        rows = [{"query": "a", "document": each, "grade": grade} for each, grade in zip(documents, (1, 0), strict=True)]
    assert read(rows)["train"].corpus == {"7": "x", "8": "y"}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("texts", [False, True])
def test_ids_that_number_the_documents_of_each_row_are_no_ids(first, texts):
    def documents(*names):
        return [{"id": str(n) if texts else n, "text": name} for n, name in enumerate(names, first)]

    rows = [{"query": "a", "documents": documents("x", "y")}, {"query": "b", "documents": documents("z", "x")}]
    part = read([row | {"labels": [1, 0]} for row in rows])["train"]
    assert [row["documents"] for row in part.dataset] == [["x", "y"], ["z", "x"]]
    assert len(part.corpus) == 3
    assert "not read: 'documents.id'" in str(part.notes)
    pairs = [{"query": q, "pos": documents("x"), "neg": documents("y", f"z {q}")} for q in "ab"]
    assert len(read(pairs)["train"].corpus) == 4


def test_names_and_descriptions_of_products_are_one_text():
    rows = {"query": ["sofa"] * 2, "product_title": ["red sofa", "blue rug"], "product_description": ["Red.", None]}
    assert list(read(rows | {"grade": [1, 0]})["train"].corpus.values()) == ["red sofa Red.", "blue rug"]


def test_documents_and_grades_in_the_same_objects_are_proposed_together():
    rows = [
        {
            "query": f"what is {n}",
            "answers": [f"the answer {n}"],
            "passages": {"is_selected": [1, 0], "passage_text": [f"some long text {n}", f"another text {n}"]},
            "query_type": "ab"[n % 2],
        }
        for n in range(20)
    ]
    proposed = {"document": "passages.passage_text", "grade": "passages.is_selected"}
    with pytest.raises(ValueError, match="document='passages.passage_text', grade='passages.is_selected'.$"):
        read(rows)
    assert read(rows, **proposed)["train"].dataset["labels"][0] == [1.0, 0.0]
    words = [{"query": f"q {n}", "hits": [{"text": f"x {n}", "label": "good"}, {"text": "y", "label": "bad"}]}
             for n in range(20)]  # fmt: skip
    with pytest.raises(ValueError, match=r"document='hits', grade='hits.label', scale={'bad': 0, 'good': 1}"):
        read(words)
