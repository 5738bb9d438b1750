"""Every form of data that people have, as they make it by hand: a file, a line to read it, and a batch for a loss."""

from __future__ import annotations

import gzip
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image as Pictures

from st_rankloss import RankingCollator, recipes
from st_rankloss.collators import Reader
from st_rankloss.data import Part, read, read_clicks, read_trec
from st_rankloss.relevance import Lists, Qrels
from tests.models import word_model


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def batch(part: Part, relevance=None):
    """The batch of all rows, which the relevance of the task's recipe has read."""
    relevance = relevance or (Lists() if part.task == "retrieval" else getattr(recipes, part.task)().relevance)
    model = word_model(part.texts())
    weightless = [name for name in part.dataset.column_names if "weight" not in name]
    rows = list(part.dataset.select_columns(weightless))
    return RankingCollator(model.preprocess, readers={None: Reader(relevance)})(rows)


def lists(part: Part):
    return {
        row["query"]: dict(zip(row["documents"], row["labels"], strict=True)) for row in part.dataset
    }  # queries of these files differ in text


def batches_by_list_and_by_id(part: Part):
    sizes = [len(row["documents"]) for row in part.dataset]
    assert batch(part)["label"]["list_sizes"].tolist() == sizes
    assert batch(part, Qrels(part.qrels))["label"]["query_ids"].shape == (len(sizes),)


# Rows of query, document and grade

ROWS = (
    '\ufeffQuery;Passage;Grade\r\nred shoes;Shoes in red;3\r\nred shoes;"Socks; in\nblue";0,5\r\n'
    "hats;A hat;\r\nhats;B hat;1\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_semicolon_csv_with_a_mark_gaps_and_decimal_commas_becomes_lists(tmp_path, encoding):
    part = read(write(tmp_path / "rows.csv", ROWS if encoding == "utf-8" else ROWS[1:], encoding))["train"]
    found = lists(part)
    assert found["red shoes"] == {"Shoes in red": 3.0, "Socks; in\nblue": 0.5}
    assert math.isnan(found["hats"]["A hat"])
    assert found["hats"]["B hat"] == 1
    assert any("decimal commas" in note for note in part.notes)
    assert any("1 gaps" in note for note in part.notes)
    assert any("';'" in note for note in part.notes)
    batches_by_list_and_by_id(part)


def test_jsonl_rows_of_dict_documents_join_titles_and_merge_repeated_queries(tmp_path):
    rows = [
        {"qid": 7, "question": "a", "doc": {"title": "T", "text": "x"}, "rel": 2},
        {"qid": 8, "question": "b", "doc": {"title": "", "text": "y"}, "rel": 1},
        {"qid": 7, "question": "a", "doc": {"title": "U", "text": "z"}, "rel": 0},
    ]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write(lines(*rows))
    part = read(tmp_path / "rows.jsonl.gz")["train"]
    assert lists(part) == {"a": {"T x": 2.0, "U z": 0.0}, "b": {"y": 1.0}}
    assert part.dataset["query_id"][:] == ["7", "8"]
    assert part.queries == {"7": "a", "8": "b"}
    batches_by_list_and_by_id(part)


def test_ids_keep_their_leading_zeros_and_texts_that_look_like_numbers_or_gaps_stay_texts(tmp_path):
    text = "qid,query,docid,document,label\n007,NA,010,1984,2\n007,NA,1e5,null,0\n"
    part = read(write(tmp_path / "rows.csv", text))["train"]
    assert part.qrels == {"007": {"010": 2.0, "1e5": 0.0}}
    assert part.queries == {"007": "NA"}
    assert part.corpus == {"010": "1984", "1e5": "null"}


LONG = {"query": ["a", "a", "b"], "document": ["x", "y", "x"], "grade": [1, 0, 2]}
GROUPED = {"query": ["a", "b"], "documents": [["x", "y"], ["x"]], "labels": [[1, 0], [2]]}


@pytest.mark.parametrize(
    ("columns", "options", "documents", "queries"),
    [
        (LONG | {"document_weight": [1, 0.5, 2]}, {}, [[1, 0.5], [2]], None),
        (LONG | {"query_weight": [3, 3, 4]}, {}, None, [3, 4]),
        (LONG | {"document_weights": [1, 0.5, 2], "query_weights": [3, 3, 4]}, {}, [[1, 0.5], [2]], [3, 4]),
        (LONG | {"sure": [1, 0.5, 2], "weight": [3, 3, 4]}, {"weight": "sure", "query_weight": "weight"},
         [[1, 0.5], [2]], [3, 4]),
        (GROUPED | {"document_weights": [[1, 0.5], [2]], "weight": [3, 4]}, {}, [[1, 0.5], [2]], [3, 4]),
        (GROUPED | {"weight": [3, 4]}, {}, None, [3, 4]),
        (GROUPED | {"weight": [[1, 0.5], [2]], "query_weight": [3, 4]}, {}, [[1, 0.5], [2]], [3, 4]),
    ],
)  # fmt: skip
def test_weights_of_documents_and_of_queries_are_both_read(columns, options, documents, queries):
    dataset = read(columns, **options)["train"].dataset
    assert dataset["document_weights"][:] == documents if documents else "document_weights" not in dataset.column_names
    assert dataset["query_weight"][:] == queries if queries else "query_weight" not in dataset.column_names


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"document_weight": [1, 1, 1], "weight": [3, 3, 4]},
            "in one column, got 'document_weight' and 'weight': pass",
        ),
        ({"query_weight": [3, 1, 4]}, "a query must have one weight, got 3 and 1 in row 1 for 'a'"),
        ({"document_weight": [1, -1, 1]}, "column 'document_weight' must hold weights of at least 0, got -1 in row 1"),
    ],
)
def test_weights_that_contradict_each_other_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        read(LONG | columns)


def test_weights_of_judgements_become_weights_of_documents():
    part = read({"query": ["a", "a"], "document": ["x", "y"], "grade": [1, 0], "weight": [2, 0.5]})["train"]
    assert part.dataset["document_weights"][:] == [[2.0, 0.5]]


def test_named_columns_win(tmp_path):
    path = write(tmp_path / "rows.tsv", "frage\tantwort\tnote\ttext\na\tx\t1\tother\na\ty\t0\tother\n")
    part = read(path, query="frage", document="antwort", grade="note")["train"]
    assert lists(part) == {"a": {"x": 1.0, "y": 0.0}}
    assert any("not read: 'text'" in note for note in part.notes)


# Lists, pairs, triplets


def test_lists_with_ids_and_a_missing_grade_are_read(tmp_path):
    row = {
        "query": "a",
        "documents": [{"text": "x"}, {"title": "T", "text": "y"}],
        "grades": [2, None],
        "doc_ids": [1, 2],
    }
    part = read(write(tmp_path / "lists.jsonl", lines(row)))["train"]
    assert part.dataset["documents"][0] == ["x", "T y"]
    assert part.qrels[part.dataset["query_id"][0]] == {"1": 2.0}
    batches_by_list_and_by_id(part)


def test_flagembedding_jsonl_is_read_with_its_scores_as_grades(tmp_path):
    rows = [
        {"query": "a", "pos": ["x"], "neg": ["y", "z"], "pos_scores": [0.9], "neg_scores": [0.2, 0.1], "prompt": "p"},
        {"query": "b", "pos": ["z"], "neg": ["x"], "pos_scores": [0.5], "neg_scores": [0.4], "prompt": "p"},
    ]
    part = read(write(tmp_path / "flag.jsonl", lines(*rows)))["train"]
    assert lists(part) == {"a": {"x": 0.9, "y": 0.2, "z": 0.1}, "b": {"z": 0.5, "x": 0.4}}
    assert any("not read: 'prompt'" in note for note in part.notes)
    assert lists(read(tmp_path / "flag.jsonl", scores=False)["train"])["b"] == {"z": 1.0, "x": 0.0}
    batches_by_list_and_by_id(part)


def test_negative_teacher_scores_are_refused_until_a_scale_is_given(tmp_path):
    row = {"query": "a", "pos": ["x"], "neg": ["y"], "pos_scores": [3.0], "neg_scores": [-1.0]}
    path = write(tmp_path / "flag.jsonl", lines(row))
    with pytest.raises(ValueError, match=r"flag.jsonl: column 'neg_scores' .* got -1.0 in row 0: pass scale="):
        read(path)
    assert lists(read(path, scale=(-1, 3))["train"]) == {"a": {"x": 1.0, "y": 0.0}}
    assert lists(read(path, scale="sigmoid")["train"])["a"]["y"] == pytest.approx(1 / (1 + math.e))


MINED = {
    "triplet": {"anchor": ["a", "a"], "positive": ["x", "x"], "negative": ["y", "z"]},
    "n-tuple": {"anchor": ["a"], "positive": ["x"], "negative_1": ["y"], "negative_2": ["z"]},
    "labeled-pair": {"anchor": ["a"] * 3, "positive": ["x", "y", "z"], "label": [1, 0, 0]},
    "labeled-list": {"anchor": ["a"], "positive": [["x", "y", "z"]], "labels": [[1, 0, 0]]},
    "list of negatives": {"anchor": ["a"], "positive": ["x"], "negatives": [["y", "z"]]},
}
SCORED = {
    "triplet": {**MINED["triplet"], "scores": [[0.9, 0.3], [0.9, 0.1]]},
    "n-tuple": {**MINED["n-tuple"], "scores": [[0.9, 0.3, 0.1]]},
    "labeled-pair": {"anchor": ["a"] * 3, "positive": ["x", "y", "z"], "score": [0.9, 0.3, 0.1]},
    "labeled-list": {"anchor": ["a"], "positive": [["x", "y", "z"]], "scores": [[0.9, 0.3, 0.1]]},
}


@pytest.mark.parametrize("form", MINED)
def test_every_form_of_mined_negatives_makes_the_same_list(form):
    part = read(Dataset.from_dict(MINED[form]))["train"]
    assert lists(part) == {"a": {"x": 1.0, "y": 0.0, "z": 0.0}}
    batches_by_list_and_by_id(part)


@pytest.mark.parametrize("form", SCORED)
def test_scores_of_mined_negatives_are_grades(form):
    assert lists(read(Dataset.from_dict(SCORED[form]))["train"]) == {"a": {"x": 0.9, "y": 0.3, "z": 0.1}}


def test_pairs_alone_are_positives_and_a_positive_that_is_also_a_negative_stays_positive():
    assert lists(read({"question": ["a"], "answer": ["x"]})["train"]) == {"a": {"x": 1.0}}
    rows = {"anchor": ["a", "a"], "positive": ["x", "y"], "negative": ["y", "x"]}
    part = read(rows)["train"]
    assert lists(part) == {"a": {"x": 1.0, "y": 1.0}}
    assert any("both positive and negative for a query are positive: 2" in note for note in part.notes)


# Collections


def beir(folder, header=True):
    write(
        folder / "corpus.jsonl",
        lines({"_id": "d1", "title": "T", "text": "x"}, {"_id": "d2", "title": "", "text": "y"}),
    )
    write(
        folder / "queries.jsonl", lines({"_id": "1", "text": "a"}, {"_id": "2", "text": "b"}, {"_id": "3", "text": "c"})
    )
    head = "query-id\tcorpus-id\tscore\n" if header else ""
    write(folder / "qrels" / "train.tsv", head + "1\td1\t2\n1\td2\t0\n2\td2\t1\n2\td9\t1\n9\td1\t1\n")
    write(folder / "qrels" / "test.tsv", head + "3\td1\t1\n")
    return folder


@pytest.mark.parametrize("header", [True, False])
def test_a_beir_folder_has_parts_with_the_whole_corpus_and_notes_wrong_ids(tmp_path, header):
    parts = read(beir(tmp_path, header))
    assert list(parts) == ["train", "test"]
    train = parts["train"]
    assert train.corpus == parts["test"].corpus == {"d1": "T x", "d2": "y"}
    assert train.qrels == {"1": {"d1": 2.0, "d2": 0.0}, "2": {"d2": 1.0}}
    assert train.queries == {"1": "a", "2": "b"}
    assert lists(parts["test"]) == {"c": {"T x": 1.0}}
    notes = " ".join(train.notes)
    assert "unknown queries are left out: '9'" in notes
    assert "1 judgements, of 'd9'" in notes
    batches_by_list_and_by_id(train)


def test_a_folder_of_tables_has_queries_and_judgements_per_part(tmp_path):
    Dataset.from_dict({"doc_id": ["d1", "d2"], "text": ["x", "y"]}).to_parquet(tmp_path / "corpus.parquet")
    for name, query in (("train", "a"), ("dev", "b")):
        write(tmp_path / f"queries_{name}.csv", f"query_id,title\n{name},{query}\n")
        write(tmp_path / f"qrels_{name}.csv", f"query_id,doc_id,relevance\n{name},d1,0.5\n")
    parts = read(tmp_path)
    assert {name: part.qrels for name, part in parts.items()} == {
        "train": {"train": {"d1": 0.5}},
        "dev": {"dev": {"d1": 0.5}},
    }
    assert parts["dev"].queries == {"dev": "b"}


def test_judgements_of_other_ids_only_are_refused_with_examples_of_both(tmp_path):
    beir(tmp_path)
    write(tmp_path / "qrels" / "train.tsv", "q-1\td1\t1\n")
    with pytest.raises(ValueError, match=r"train.tsv: judgements must name ids .* query 'q-1'.* such as '1'"):
        read(tmp_path)


TOPICS = "<top>\n<num> Number: 301\n<title> red\nshoes\n\n<desc> Description:\nlong\n</top>\n"


@pytest.mark.parametrize("topics", [TOPICS, "301\tred shoes\n"])
def test_trec_judgements_topics_and_corpus_are_read(tmp_path, topics):
    qrels = write(tmp_path / "qrels.robust.txt", "301 0 d1 2\n301 0 d2 -2\n")
    write(tmp_path / "topics.robust.txt", topics)
    corpus = write(tmp_path / "corpus.tsv", "d1\tx\nd2\ty\n")
    with pytest.raises(
        ValueError, match=r"qrels.robust.txt: row 2: a grade must be at least 0, got -2: pass negative="
    ):
        read(tmp_path)
    part = read(tmp_path, negative="zero")["train"]
    same = read_trec(qrels=qrels, topics=tmp_path / "topics.robust.txt", corpus=corpus, negative="zero")
    assert lists(part) == lists(same) == {"red shoes": {"x": 2.0, "y": 0.0}}
    assert any("negative grades are read as 0: 1" in note for note in part.notes)
    batches_by_list_and_by_id(part)


def test_a_collection_of_ir_datasets_is_read_only_when_a_download_is_allowed(monkeypatch):
    found = SimpleNamespace(
        has_docs=lambda: True,
        has_queries=lambda: True,
        has_qrels=lambda: True,
        docs_iter=lambda: [SimpleNamespace(doc_id="d1", title="T", text="x")],
        queries_iter=lambda: [SimpleNamespace(query_id="q1", title="a", description="long")],
        qrels_iter=lambda: [SimpleNamespace(query_id="q1", doc_id="d1", relevance=2)],
    )
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load={"trec/test": found}.__getitem__))
    with pytest.raises(ValueError, match="pass download=True"):
        read("ir_datasets:trec/test")
    parts = read("ir_datasets:trec/test", download=True)
    assert lists(parts["test"]) == {"a": {"T x": 2.0}}
    with pytest.raises(ValueError, match="no collection of this id"):
        read("ir_datasets:absent", download=True)


def test_ir_datasets_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ImportError, match=r"st_rankloss\[ir_datasets\]"):
        read("ir_datasets:trec/test", download=True)


# Labelled texts


@pytest.mark.parametrize(
    ("rows", "task", "labels"),
    [
        ("product,category\nx,Food > Fruit\ny,\nz,Food\n", "hierarchy", [["Food", "Fruit"], None, ["Food"]]),
        ("text,tags\nx,a|b\ny,b\nz,\n", "multi_label", [["a", "b"], ["b"], None]),
        ("text;price\nx;1,5\ny;NA\nz;20\n", "regression", [1.5, None, 20.0]),
        ("text,label\nx,cat\ny,\nz,dog\n", "classification", ["cat", None, "dog"]),
        ("text,label\nx,0\ny,1\nz,0\nw,1\n", "classification", [0, 1, 0, 1]),
    ],
)
def test_labels_of_a_catalogue_are_paths_sets_numbers_or_classes(tmp_path, rows, task, labels):
    part = read(write(tmp_path / "catalogue.csv", rows))["train"]
    assert part.task == task
    assert part.dataset["label"][:] == labels
    relevance = recipes.hierarchy(2).relevance if task == "hierarchy" else None
    assert len(batch(part, relevance)["label"] if task != "regression" else labels) > 0


def test_a_class_whose_name_holds_a_separator_makes_no_paths_of_the_others():
    labels = ["research / development", *["sales"] * 5, "a;b", *["law"] * 9, "over|under", *["age > 30"]]
    labels += ["sales"] * 10
    part = read({"text": [f"t{i}" for i in range(len(labels))], "label": labels})["train"]
    assert (part.task, part.dataset["label"][:]) == ("classification", labels)
    assert (
        read({"text": ["x", "y"], "label": ["a > b", "c"]}, task="classification")["train"].dataset["label"][0]
        == "a > b"
    )


def test_two_columns_of_labels_are_levels_coarse_to_fine(tmp_path):
    path = write(tmp_path / "intents.csv", "text,intent,domain\nx,pay,bank\ny,oos,\n")
    part = read(path, label=["intent", "domain"])["train"]
    assert part.dataset["label"][:] == [["pay", "bank"], ["oos"]]
    with pytest.raises(ValueError, match="a path without gaps"):
        read(path, label=["domain", "intent"])


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([[0, 1], [1, 1]], [[0, 1], [1, 1]]),
        ([[3, 17], []], [[3, 17], []]),
        ([[0.5, 1.0], [0, 0]], [[0.5, 1.0], [0, 0]]),
    ],
)
def test_ids_and_multi_hots_are_sets(labels, found):
    part = read({"text": ["x", "y"], "labels": labels})["train"]
    assert (part.task, part.dataset["label"][:]) == ("multi_label", found)


def test_whole_numbers_that_rarely_repeat_are_numbers_and_classes_may_be_numbers_with_gaps():
    prices = {"text": [f"t{i}" for i in range(100)], "price": list(range(100))}
    assert read(prices)["train"].task == "regression"
    classes = read({"text": ["x", "y", "z", "w"], "label": [1.0, None, 2.0, 1.0]})["train"]
    assert (classes.task, classes.dataset["label"][:]) == ("classification", [1, None, 2, 1])


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        ([1.5, 2.0], "classification", r"a class \(a string or an integer\), got 1.5 in row 0"),
        (["A", "B"], "multi_label", r"labels of multi_label, with a separator, got 'A' in row 0: pass separator="),
        ([[1.0, 2.0], [2.0, 3.0, 4.0]], "regression", r"2 numbers per row, .* got \[2.0, 3.0, 4.0\] in row 1"),
        ([1.5, [2.0, 3.0]], "regression", "one type, got float in row 0 and list in row 1"),
    ],
)
def test_labels_that_do_not_suit_the_task_are_refused(labels, task, message):
    with pytest.raises(ValueError, match=message):
        read({"text": ["x", "y"], "label": labels}, task=task)


def test_the_task_that_is_asked_for_decides_what_labels_are():
    rows = {"text": ["x", "y"], "label": [3, 4]}
    assert read(rows, task="classification")["train"].dataset["label"][:] == [3, 4]
    assert read(rows, task="regression")["train"].dataset["label"][:] == [3.0, 4.0]


def test_classes_of_a_dataset_are_read_by_name():
    dataset = Dataset.from_dict({"text": ["x", "y"], "label": ["cat", "dog"]}).class_encode_column("label")
    assert read(dataset)["train"].dataset["label"][:] == ["cat", "dog"]
    streamed = read(dataset.to_iterable_dataset())["train"].dataset
    assert [row["label"] for row in streamed] == ["cat", "dog"]


def test_pairs_of_sentences_keep_their_scores_and_pairs_without_one_are_left_out(tmp_path):
    path = write(tmp_path / "sts.csv", "sentence1,sentence2,score\nx,y,4.5\ny,z,\nx,z,0\n")
    part = read(path)["train"]
    assert [tuple(row.values()) for row in part.dataset] == [("x", "y", 4.5), ("x", "z", 0.0)]
    assert any("left out: 1, the first in row 1" in note for note in part.notes)
    assert batch(part)["label"]["label"].tolist() == [4.5, 0.0]


def test_texts_alone_are_read_for_views(tmp_path):
    part = read(write(tmp_path / "texts.txt", "text\nhello, world\n\nbye\n"))["train"]
    assert (part.task, part.dataset["text"][:]) == ("self_supervised", ["hello, world", "bye"])


# Images


def test_images_are_found_beside_their_file_and_a_missing_one_is_named(tmp_path, monkeypatch):
    (tmp_path / "shop" / "pictures").mkdir(parents=True)
    Pictures.new("RGB", (4, 3)).save(tmp_path / "shop" / "pictures" / "a.png")
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "shop" / "images.csv", "path,caption,category\npictures/a.png,a square,cat\n")
    captioned = read(path)["train"]
    assert captioned.task == "image_text"
    assert captioned.dataset[0]["image"].size == (4, 3)
    assert (captioned.dataset[0]["caption"], captioned.dataset[0]["label"]) == ("a square", "cat")
    again = read(captioned.dataset.to_iterable_dataset())["train"].dataset
    assert [row["image"].size for row in again] == [(4, 3)]
    classes = read(path, task="classification")["train"]
    assert classes.dataset.column_names == ["image", "label"]
    write(path, "path,caption\npictures/a.png,x\npictures/b.png,y\n")
    with pytest.raises(ValueError, match=r"images.csv: column 'path' .* got 'pictures/b.png' in row 1: .*relative to"):
        read(path)


# Click logs


def test_clicks_become_smoothed_rates_and_weights_against_plain_loops():
    draw = np.random.default_rng(0)
    rows = [
        {
            "query": f"q{draw.integers(4)}",
            "doc": f"d{draw.integers(4)}",
            "impressions": int(n := draw.integers(1, 50)),
            "clicks": int(draw.integers(0, n + 1)),
            "position": int(draw.integers(1, 9)),
        }
        for _ in range(100)
    ]
    part = read_clicks(rows, smoothing=5.0, eta=0.5)
    clicks, examined = {}, {}
    for row in rows:
        key = row["query"], row["doc"]
        clicks[key] = clicks.get(key, 0) + row["clicks"]
        examined[key] = examined.get(key, 0) + row["impressions"] / row["position"] ** 0.5
    mean = sum(clicks.values()) / sum(examined.values())
    checked = 0
    for row in part.dataset:
        for document, grade, weight in zip(row["documents"], row["labels"], row["document_weights"], strict=True):
            key = row["query"], document
            assert grade == pytest.approx((clicks[key] + 5 * mean) / (examined[key] + 5))
            assert weight == pytest.approx(examined[key] / (examined[key] + 5))
            checked += 1
    assert checked == len(clicks)
    batches_by_list_and_by_id(part)


def test_a_click_log_is_found_and_bad_counts_and_lonely_documents_are_named(tmp_path):
    path = write(tmp_path / "log.csv", "query,doc,clicks,impressions\na,x,3,10\na,y,0,10\nb,z,1,2\n")
    part = read(path)["train"]
    assert list(lists(part)) == ["a"]
    assert any("one document only are left out: 1, the first in row 2" in note for note in part.notes)
    write(path, "query,doc,clicks,impressions\na,x,3,2\n")
    with pytest.raises(ValueError, match=r"log.csv: column 'clicks' .* 2 impressions, got 3.0 in row 0"):
        read(path)


@pytest.mark.parametrize("flags", ["True,False", "true,false", "1,0"])
def test_clicks_may_be_flags_in_a_text_file(flags, tmp_path):
    first, second = flags.split(",")
    path = write(tmp_path / "log.csv", f"query,doc,clicked\na,x,{first}\na,y,{second}\n")
    part = read_clicks(str(path), clicks="clicked", smoothing=1.0)
    assert lists(part) == {"a": {"x": 0.75, "y": 0.25}}  # (1 + 1/2) / (1 + 1), (0 + 1/2) / (1 + 1)


@pytest.mark.parametrize(
    ("position", "remedy"),
    [(0, "positions count from 1: add 1 to each"), (-1, "fill the row, or remove it"), (None, "fill the row")],
)
def test_positions_below_1_are_refused_with_a_remedy_that_keeps_the_data(position, remedy):
    log = {"query": ["a", "a"], "doc": ["x", "y"], "clicks": [1, 0], "position": [position, 1]}
    with pytest.raises(
        ValueError, match=rf"'position' must hold numbers of at least 1, got {position} in row 0: {remedy}"
    ):
        read_clicks(log)


@pytest.mark.parametrize("settings", [{"smoothing": None}, {"smoothing": 0}, {"eta": None}, {"eta": "1"}], ids=str)
def test_smoothing_and_attention_must_be_numbers(settings):
    with pytest.raises(ValueError, match="smoothing must be above 0 and eta at least 0, got"):
        read_clicks({"query": ["a", "a"], "doc": ["x", "y"], "clicks": [1, 0]}, **settings)


# Folders, splits, sources


def test_a_folder_of_files_and_a_dict_of_splits_have_parts(tmp_path):
    for name, text in (("train", "x"), ("validation", "y"), ("test", "z")):
        write(tmp_path / f"{name}.csv", f"text,label\n{text},a\n")
    parts = read(tmp_path)
    assert {name: part.dataset["text"][:] for name, part in parts.items()} == {
        "train": ["x"],
        "dev": ["y"],
        "test": ["z"],
    }
    splits = DatasetDict({"train": parts["train"].dataset, "extra": parts["dev"].dataset})
    found = read(splits)
    assert list(found) == ["train"]
    assert any("left out: extra" in note for note in found["train"].notes)
    splits.save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved")["train"].dataset["text"][:] == ["x"]


def test_nothing_is_downloaded_unless_asked():
    with pytest.raises(ValueError, match=r"owner/name: there is no such file or folder; .* pass download=True"):
        read("owner/name")


def test_the_hub_is_asked_only_with_download(monkeypatch):
    asked = []

    def load(name, *, streaming):
        asked.append((name, streaming))
        return DatasetDict({"train": Dataset.from_dict({"text": ["x"], "label": ["a"]})})

    monkeypatch.setattr("st_rankloss.data.reading.load_dataset", load)
    monkeypatch.setattr("st_rankloss.data.hub.get_dataset_config_names", lambda name: ["default"])
    assert read("hub:owner/name", download=True)["train"].dataset["text"][:] == ["x"]
    assert asked == [("owner/name", False)]


def hub_of(monkeypatch, configurations):
    """Stand in for a dataset of the hub: configurations, their splits and columns."""

    def load(name, configuration):
        splits = configurations[configuration].items()
        return DatasetDict({split: Dataset.from_dict(columns) for split, columns in splits})

    monkeypatch.setattr("st_rankloss.data.hub.get_dataset_config_names", lambda name: list(configurations))
    monkeypatch.setattr("st_rankloss.data.hub.load_dataset", load)


CONFIGURATIONS = {
    "corpus": {"corpus": {"_id": ["d1", "d2"], "title": ["Roses", ""], "text": ["are red", "blue skies"]}},
    "queries": {"queries": {"_id": ["1", "2"], "text": ["red", "blue"]}},
    "default": {
        "test": {"query-id": ["2", "2"], "corpus-id": ["d2", "d9"], "score": [2, 1]},
        "train": {"query-id": ["1", "1"], "corpus-id": ["d1", "d2"], "score": [1.0, 0.0]},
    },
}


@pytest.mark.parametrize("qrels", ["default", "qrels"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_collection_of_the_hub_in_configurations_of_mteb_is_read_for_retrieval(qrels, streaming, monkeypatch):
    renamed = {qrels if name == "default" else name: splits for name, splits in CONFIGURATIONS.items()}
    hub_of(monkeypatch, renamed)
    parts = read("owner/name", download=True, streaming=streaming)
    assert list(parts) == ["train", "test"]
    assert parts["train"].qrels == {"1": {"d1": 1.0, "d2": 0.0}}
    assert parts["test"].qrels == {"2": {"d2": 2.0}}
    assert dict(parts["test"].corpus) == {"d1": "Roses are red", "d2": "blue skies"}
    (row,) = parts["test"].dataset
    assert (row["query"], row["documents"], row["labels"]) == ("blue", ["blue skies"], [2.0])
    assert any("documents that the corpus lacks" in note and "d9" in note for note in parts["test"].notes)
    with pytest.raises(ValueError, match="pass download=True"):
        read("owner/name")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"default": None}, {}, r"hub:owner/name: .* judgements in a configuration default or qrels, got \['corpus'"),
        ({"default": {"a": {}, "b": {}}}, {}, r"hub:owner/name: splits of judgements must be named .* \['a', 'b'\]"),
        (
            {"default": {"train": {"query-id": ["1"], "corpus-id": ["d1"], "score": [-1]}}},
            {},
            r"hub:owner/name default/train: row 0: .*got -1: pass negative=",
        ),
        ({"queries": {"queries": {"_id": ["1"], "t": ["red"]}}}, {}, r"hub:owner/name queries/queries: .*query='t'"),
        ({}, {"task": "sts"}, r"owner/name: queries, a corpus and judgements are for retrieval, got task='sts'"),
        ({}, {"gade": "score"}, r"gade= must be an option of queries, corpus and judgements.*nearest is 'grade'"),
    ],
)
def test_a_collection_of_the_hub_that_is_not_whole_is_refused_by_name(change, options, message, monkeypatch):
    changed = CONFIGURATIONS | change
    hub_of(monkeypatch, {name: splits for name, splits in changed.items() if splits is not None})
    with pytest.raises(ValueError, match=message):
        read("owner/name", download=True, **options)
