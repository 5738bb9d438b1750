"""Data: files of every kind, and errors in them."""

from __future__ import annotations

import json
import random

import pytest
import torch
from PIL import Image

from eval.tasks.data import Collection, Data, Samples, ScoredPairs, joined, load_data
from eval.tasks.files import read_rows
from eval.tasks.records import Record, load_records
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Numeric
from tests.eval.tiny import PAIRS, SIZES, picture, save_record, write_rows

SAMPLES = {"kind": "samples", "files": "{split}.jsonl", "columns": {"input": "text", "labels": ["label"]}}


def sampled(folder, parts, **changes):
    """The data of a record of samples, whose rows are given by part."""
    for split, rows in parts.items():
        write_rows(folder / f"{split}.jsonl", rows)
    content = SAMPLES | {"labels": "classes", "metrics": ["map"], "files": {s: f"{s}.jsonl" for s in parts}}
    return Data(Record("mine", **(content | changes)), folder)


def labelled(*labels):
    """Rows with a text and a label."""
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def test_pairs_are_read_with_their_scores(tmp_path):
    write_rows(tmp_path / "train.jsonl", [{"a": "one", "b": "two", "s": 3}, {"a": "three", "b": "", "s": 0}])
    record = Record("mine", **(PAIRS | {"files": {"train": "train.jsonl"}, "metrics": ["spearman"]}))
    assert Data(record, tmp_path).parts == {"train": ScoredPairs(["one", "three"], ["two", "."], [3.0, 0.0])}


def test_searches_are_read_with_graded_judgements(tmp_path, caplog):
    corpus = [
        {"did": i, "title": title, "text": text} for i, title, text in ((1, "A", "b"), (2, "", "c"), (3, "D", ""))
    ]
    write_rows(tmp_path / "corpus.jsonl", corpus)
    queries = [{"qid": query, "query": f"find {query}"} for query in ("p", "q", "r", "s")]
    qrels = [("p", 1, 3), ("p", 2, 0), ("p", 9, 1), ("q", 3, 0), ("z", 1, 1), ("r", 2, 0.9), ("s", 9, 1)]
    for split in ("train", "dev", "test"):
        write_rows(tmp_path / f"queries_{split}.jsonl", queries)
        rows = [{"qid": query, "did": did, "grade": grade} for query, did, grade in qrels]
        write_rows(tmp_path / f"qrels_{split}.jsonl", rows)
    files = {"corpus": "corpus.jsonl", "queries": "queries_{split}.jsonl", "qrels": "qrels_{split}.jsonl"}
    columns = {"query_id": "qid", "query": "query", "document_id": "did", "document": ["title", "text"]}
    record = Record("mine", "retrieval", files, columns | {"grade": "grade"}, ["ndcg_at_10"])
    parts = Data(record, tmp_path).parts
    expected = Collection(  # no query without a relevant document, or, to train on, without one that is there
        {"p": "find p", "r": "find r"},
        {"1": "A b", "2": "c", "3": "D"},
        {"p": {"1": 3.0, "2": 0.0, "9": 1.0}, "r": {"2": 0.9}},
    )
    assert parts["train"] == expected
    expected.queries["s"], expected.qrels["s"] = "find s", {"9": 1.0}
    assert parts["dev"] == parts["test"] == expected
    assert expected.present("p") == {"1": 3.0, "2": 0.0}
    for split in parts:
        assert f"mine, {split}: no query for the judgements of 'z'" in caplog.text
        assert f"mine, {split}: 1 judged documents are not in the corpus ('9')" in caplog.text
    caplog.clear()
    assert Data(record, tmp_path, 9).parts == parts
    assert "no query" not in caplog.text  # a limit leaves queries out on purpose


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ([("p", "1", 1), ("p", "1", 2)], "row 1: a document must have one grade per query, got 1.0 and 2.0"),
        ([("p", "1", -1)], "row 0: a grade in qrels must be .* got -1 .*; write 0"),
        ([("p", "1", "two")], "row 0: .* got 'two' .*; convert it to a number"),
        ([("p", 1.5, 1)], "row 0: a document id must be a string or an integer, got 1.5"),
    ],
)
def test_wrong_judgements_are_refused_with_their_row(qrels, message, tmp_path):
    write_rows(tmp_path / "corpus.jsonl", [{"did": "1", "text": "b"}])
    write_rows(tmp_path / "queries.jsonl", [{"qid": "p", "query": "find"}])
    write_rows(tmp_path / "qrels.jsonl", [{"qid": query, "did": did, "grade": grade} for query, did, grade in qrels])
    files = {name: f"{name}.jsonl" for name in ("corpus", "queries", "qrels")}
    columns = {"query_id": "qid", "query": "query", "document_id": "did", "document": "text", "grade": "grade"}
    with pytest.raises(ValueError, match=message):
        _ = Data(Record("mine", "retrieval", files, columns, ["ndcg_at_10"]), tmp_path).parts


def test_queries_may_be_documents_of_the_corpus(world):
    parts = world.data("judged").parts
    assert list(parts) == ["dev", "test"]
    part = parts["dev"]
    papers = {row["qid"]: row["paper"] for row in read_rows(world.folder / "search/papers_dev.jsonl")}
    assert part.queries == {query: part.corpus[papers[query]] for query in part.queries}


def test_codes_of_classes_are_shared_by_all_parts(tmp_path):
    data = sampled(tmp_path, {"train": labelled("b", "d"), "dev": labelled("d", "a"), "test": labelled("c")})
    found = {split: part.labels.tolist() for split, part in data.parts.items()}
    assert found == {"train": [1, 3], "dev": [3, 0], "test": [2]}


def test_paths_have_codes_for_each_level(world):
    data = world.data("tree")
    rows = {split: read_rows(world.folder / f"topics/{split}.csv") for split in SIZES}
    meaning = {}
    for split, part in data.parts.items():
        kept = [row for row in rows[split] if row["topic"] != "none"]
        assert part.labels.shape == (len(kept), 2) == (SIZES[split], 2)
        for row, path in zip(kept, part.labels.tolist(), strict=True):
            for column, code in zip(("topic", "kind"), path, strict=True):
                assert meaning.setdefault((column, code), row[column]) == row[column]
    assert len(meaning) == 3 + 6


def test_sets_join_columns_of_lists_and_of_names(tmp_path):
    train = [{"text": "x", "tags": ["b", "c"], "group": "a"}, {"text": "y", "tags": [], "group": "c"}]
    test = [{"text": "z", "tags": ["d", "d"], "group": "d"}]
    columns = {"input": "text", "labels": ["tags", "group"]}
    parts = sampled(tmp_path, {"train": train, "test": test}, labels="sets", columns=columns).parts
    assert parts["train"].labels.tolist() == [[1, 1, 1, 0], [0, 0, 1, 0]]
    assert parts["test"].labels.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize(("columns", "shape"), [(["x"], (2,)), ("x", (2,)), (["x", "y"], (2, 2))])
def test_numbers_keep_their_values(tmp_path, columns, shape):
    rows = [{"text": "a", "x": 1, "y": 0.5}, {"text": "b", "x": 2, "y": -0.5}]
    columns = {"input": "text", "labels": columns}
    labels = sampled(tmp_path, {"train": rows}, labels="numbers", columns=columns).parts["train"].labels
    assert labels.shape == shape
    assert labels.dtype == torch.float32
    assert labels.reshape(2, -1)[:, 0].tolist() == [1, 2]
    assert labels.reshape(2, -1)[:, -1].tolist() == ([1, 2] if shape == (2,) else [0.5, -0.5])


@pytest.mark.parametrize(
    ("labels", "columns", "relevance"),
    [
        ("classes", ["label"], Classes()),
        ("classes", "label", Classes()),
        ("classes", ["group", "label"], Hierarchy()),
        ("sets", "label", MultiLabel("jaccard")),
        ("numbers", "label", Numeric()),
    ],
)
def test_relevance_is_that_of_the_labels(labels, columns, relevance):
    record = Record("mine", "samples", "", {"input": "text", "labels": columns}, ["map"], labels)
    assert repr(record.relevance) == repr(relevance)


def test_one_column_of_classes_means_the_same_in_a_list_and_alone(tmp_path):
    parts = {split: labelled("a", "a", "b", "b") for split in ("train", "dev")}
    listed = sampled(tmp_path, parts)
    alone = sampled(tmp_path, parts, columns={"input": "text", "labels": "label"})
    labels = alone.parts["dev"].labels
    assert labels.tolist() == listed.parts["dev"].labels.tolist()
    expected = listed.record.relevance(labels, labels).tolist()
    assert alone.record.relevance(labels, labels).tolist() == expected


def test_images_are_decoded_beside_their_captions(world):
    part = world.data("pictures").parts["train"]
    first = read_rows(world.folder / "pictures/train.parquet")[0]
    assert part.captions[0] == first["caption"] == "dark red"
    assert isinstance(part.inputs[0], Image.Image)
    assert part.inputs[0].mode == "RGB"
    assert max(part.inputs[0].getpixel((0, 0))) == part.inputs[0].getpixel((0, 0))[0]
    assert world.records["pictures"].has_captions
    assert not world.records["marks"].has_captions
    assert world.data("marks").parts["train"].captions == []


def test_texts_have_no_labels(world):
    parts = world.data("lines").parts
    assert list(parts) == ["train"]
    assert parts["train"].labels.shape == (SIZES["train"] + 1, 0)  # with the row that `topics` drops


def test_rows_are_dropped_by_value(tmp_path):
    rows = [*labelled("a", "oos", "b"), {"text": "c", "label": "b"}]
    part = sampled(tmp_path, {"train": rows}, drop={"label": "oos", "text": "c"}).parts["train"]
    assert part.inputs == ["text 0", "text 2"]
    assert part.labels.tolist() == [0, 1]  # what is dropped has no code


def test_several_files_are_read_as_one(tmp_path):
    write_rows(tmp_path / "one.jsonl", [{"a": "x", "b": "y", "s": 1.0}])
    write_rows(tmp_path / "two.parquet", [{"a": "v", "b": "w", "s": 2.0, "more": 0}])
    write_rows(tmp_path / "three.csv", [{"a": "t", "b": "u", "s": 3.0}])
    files = {"train": ["one.jsonl", "two.parquet", "three.csv"]}
    part = Data(Record("mine", **(PAIRS | {"files": files, "metrics": ["spearman"]})), tmp_path).parts["train"]
    assert (part.first, part.scores) == (["x", "v", "t"], [1.0, 2.0, 3.0])


def test_tables_with_tabs_are_read(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\none, two\ta\nthree\tb\n", encoding="utf-8")
    assert read_rows(tmp_path / "train.tsv") == [{"text": "one, two", "label": "a"}, {"text": "three", "label": "b"}]


def test_a_missing_text_is_no_word(tmp_path):
    (tmp_path / "train.csv").write_text("title,text,label\n,one,a\ntwo,,b\n,,a\n", encoding="utf-8")
    columns = {"input": ["title", "text"], "labels": ["label"]}
    content = SAMPLES | {"files": {"train": "train.csv"}, "columns": columns, "metrics": ["map"]}
    record = Record("mine", **content, labels="classes")
    assert Data(record, tmp_path).parts["train"].inputs == ["one", "two", "."]


def test_texts_of_several_columns_are_joined():
    row = {"a": "one", "b": "", "c": 3}
    assert joined(row, "a") == "one"
    assert joined(row, ["a", "b", "c"]) == "one 3"
    assert joined(row, ["b"]) == "."


def test_a_limit_is_one_of_each_part_after_dropping(tmp_path, world):
    rows = labelled("oos", "a", "oos", "b", "a")
    data = sampled(tmp_path, {"train": rows, "test": rows}, drop={"label": "oos"})
    limited = Data(data.record, tmp_path, 2)
    assert [part.inputs for part in limited.parts.values()] == [["text 1", "text 3"]] * 2
    search = Data(world.records["search"], world.folder, 5).parts["dev"]
    assert list(search.queries) == list(search.qrels) == list(world.data("search").parts["dev"].queries)[:5]
    assert search.corpus == world.data("search").parts["dev"].corpus


def test_all_texts_come_once_and_in_a_fixed_order(world):
    pairs = world.data("alike").parts
    expected = [text for part in pairs.values() for text in [*part.first, *part.second]]
    assert world.data("alike").texts() == list(dict.fromkeys(expected))
    search = world.data("search").parts["test"]
    assert {*search.queries.values(), *search.corpus.values()} <= set(world.data("search").texts())
    assert set(world.data("pictures").texts()) == set(world.data("pictures").parts["train"].captions)
    assert world.data("marks").texts() == []
    assert world.data("lines").texts() == list(dict.fromkeys(world.data("lines").parts["train"].inputs))


def test_data_are_read_once_until_the_record_changes(world):
    first = load_data(world.records["alike"], world.folder, 3)
    assert load_data(world.record("alike"), world.folder, 3) is first
    assert load_data(world.record("alike"), world.folder, 4) is not first
    assert load_data(world.record("alike", steps=9), world.folder, 3) is not first


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"frist": "a", "second": "b", "score": "s"}, "frist"), ({"first": "a", "second": "b"}, "score")],
)
def test_the_parts_of_columns_are_checked(tmp_path, columns, message):
    write_rows(tmp_path / "train.jsonl", [{"a": "x", "b": "y", "s": 1.0}])
    content = PAIRS | {"metrics": ["spearman"], "columns": columns, "files": {"train": "train.jsonl"}}
    with pytest.raises(ValueError, match=message):
        _ = Data(load_records([save_record(tmp_path / "mine.yaml", **content)])["mine"], tmp_path).parts


def test_an_unknown_column_has_close_names(tmp_path):
    data = sampled(tmp_path, {"train": labelled("a")}, columns={"input": "txt", "labels": ["label"]})
    with pytest.raises(ValueError, match="column of mine, file .*'txt'; did you mean text"):
        _ = data.parts


def test_an_unknown_column_of_what_is_dropped_has_close_names(tmp_path):
    data = sampled(tmp_path, {"train": labelled("a")}, drop={"lable": "oos"})
    with pytest.raises(ValueError, match="'lable'; did you mean label"):
        _ = data.parts


def test_a_query_that_is_no_document_of_the_corpus_is_an_error_that_names_it(tmp_path, world):
    search = world.folder / "search"
    for name in ("corpus.jsonl", "papers_dev.jsonl", "papers_test.jsonl", "qrels_dev.jsonl", "qrels_test.jsonl"):
        write_rows(tmp_path / "search" / name, read_rows(search / name))
    rows = read_rows(search / "papers_dev.jsonl")
    write_rows(tmp_path / "search/papers_dev.jsonl", [*rows, {"qid": "dev99", "paper": "d99"}])
    with pytest.raises(ValueError, match="d99"):
        _ = Data(world.records["judged"], tmp_path).parts


def test_a_missing_file_has_close_names(tmp_path):
    write_rows(tmp_path / "train.jsonl", labelled("a"))
    with pytest.raises(FileNotFoundError, match=r"there is no .*trian\.jsonl; the folder has train\.jsonl"):
        read_rows(tmp_path / "trian.jsonl")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere.*\."):
        read_rows(tmp_path / "nowhere" / "train.jsonl")


def test_an_unknown_format_names_the_known_ones(tmp_path):
    (tmp_path / "train.jsnl").write_text(json.dumps({"a": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"unknown format of .*'\.jsnl'; did you mean .*\.jsonl"):
        read_rows(tmp_path / "train.jsnl")


def test_files_need_a_folder():
    record = Record("mine", **PAIRS, metrics=["spearman"])
    with pytest.raises(ValueError, match="'mine' reads files: say where they are with --data FOLDER"):
        _ = Data(record, None).parts


def test_pictures_differ():  # else what is tested on them would hold of any images
    draw = random.Random(0)
    assert len({picture(colour, "dark", draw) for colour in ("red", "green", "blue")}) == 3


def test_parts_know_their_length(world):
    parts = [world.data(name).parts["test"] for name in ("alike", "search", "sets")]
    assert [type(part) for part in parts] == [ScoredPairs, Collection, Samples]
    assert [len(part) for part in parts] == [SIZES["test"]] * 3
