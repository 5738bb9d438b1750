"""What `read` detects, refuses and streams."""

from __future__ import annotations

import io
import json
import pickle
import random
import re

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, IterableDataset
from PIL import Image
from torch.utils.data import DataLoader

from st_rankloss.data import read
from st_rankloss.data.scaling import suggest_scale

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
    assert list(pickle.loads(pickle.dumps(dataset))) == list(dataset)  # as a spawned worker gets it
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
        ({"query": ["a"], "document": ["x"], "note": [1]}, {}, r"name the column for grade, such as grade='note'"),
        ({"frage": ["a"], "antwort": ["x"]}, {}, r"got 'frage', 'antwort': name its columns"),
        (
            {"search_term": ["a"], "product_uid": ["p"], "grade": [1]},
            {},
            r"the text of each document, got ids in 'product_uid': join the texts to the table",
        ),
        (
            {"qid": ["a"], "docid": ["p"], "grade": [1]},
            {},
            r"the text of each document, got ids in 'docid': .* tables named queries, corpus and qrels",
        ),
        (
            {"request": [{"text": "a"}], "results": [[{"title": "x"}]]},
            {},
            r"got 'request', 'results': name its columns, such as query='\.\.\.'",
        ),
        ({"text": ["a"], "stars": [1]}, {"number": "stars"}, r"number= must be an option .*'weight'\]\.$"),
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
        (
            {"premise": ["a"] * 3, "hypothesis": ["x", "y", "z"], "label": ["yes", "no", "maybe"]},
            {},
            r"or grade its words, such as scale=\{'yes': \.\.\., 'no': \.\.\., 'maybe': \.\.\.\} with a grade for each",
        ),
        (
            {"text": ["a", "b"], "x": [0, 2], "y": [1, 0]},
            {"label": ["x", "y"], "task": "multi_label"},
            r"labels of multi_label must have 0 and 1 in each, .*, got the columns 'x', 'y': name others",
        ),
        (
            {"text": ["a", "b"], "x": [0, None], "y": [1, 0]},
            {"label": ["x", "y"]},
            r"column 'x' must hold 0 or 1 in each row with a label, got None in row 1",
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


TICKETS = {"ticket": [f"printer {i} is broken" for i in range(30)], "team": ["net", "bill", "ware"] * 10}
ISSUES = {"wording": TICKETS["ticket"], "team": TICKETS["team"], "no": list(range(30))}
FLAGS = {"urgent": [0, 1] * 15, "angry": [1, 0, 0] * 10}
WORDS = {"query": [f"q {i}" for i in range(20)], "id": list(range(20)), "item_title": [f"d {i}" for i in range(20)]}
WORDS |= {"our_label": list("ESCI") * 5}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            TICKETS | {"no": list(range(30))},
            r"texts with a label, name the column for label, such as label='team', or pass task='self_supervised' to",
        ),
        (ISSUES, r"name the columns for text and label, such as text='wording', label='team'\. If these are no names"),
        (TICKETS | FLAGS, r"such as label=\['urgent', 'angry'\], or"),
        ({"headline": TICKETS["ticket"], "topic": TICKETS["team"]}, r"such as label='topic', or"),
        (
            WORDS,
            r"to read rows of .* the columns for document and grade, such as document='item_title', grade='our_label', "
            r"scale=\{'I': 0, 'C': 1, 'S': 2, 'E': 3\}\.",
        ),
    ],
)
def test_the_columns_that_are_suggested_look_like_their_roles(rows, message):
    with pytest.raises(ValueError, match=message):
        read(rows)


def test_a_document_is_not_lost_beside_an_unknown_number():
    rows = {"question": ["a b"] * 12, "answer": [f"x {i}" for i in range(12)], "views": list(range(12))}
    with pytest.raises(ValueError, match=r"name the column for grade, .* are relevant, pass positive='answer'\.$"):
        read(rows)
    (part,) = read(rows, positive="answer").values()
    assert len(part.dataset["documents"][0]) == 12


def test_passages_of_ms_marco_are_lists():
    passages = {"is_selected": [1, 0], "passage_text": ["x", "y"], "url": ["u", "v"]}
    names = {"document": "passages.passage_text", "grade": "passages.is_selected"}
    (part,) = read(Dataset.from_list([{"query": "a", "query_id": 3, "passages": passages}]), **names).values()
    assert (part.dataset["documents"][0], part.dataset["labels"][0]) == (["x", "y"], [1.0, 0.0])


def test_texts_alone_are_read_where_a_task_asks_for_them_or_nothing_is_said_of_them():
    rows = {"headline": TICKETS["ticket"], "topic": TICKETS["team"]}
    (part,) = read(rows, task="self_supervised").values()
    assert part.dataset.column_names == ["text"]
    (part,) = read({"title": ["a"] * 30, "text": TICKETS["ticket"], "url": [f"u{i}" for i in range(30)]}).values()
    assert part.task == "self_supervised"


def test_columns_of_flags_are_a_set_of_labels():
    rows = {"text": ["a", "b", "c", "d"], "x": [1, 0, 1, None], "y": [0.0, 1.0, 1.0, None]}
    (part,) = read(rows, label=["x", "y"]).values()
    assert part.task == "multi_label"
    assert part.dataset["label"][:] == [["x"], ["y"], ["x", "y"], None]
    (part,) = read({"text": ["a", "b"], "x": [1, 2], "y": [3, 4]}, label=["x", "y"]).values()
    assert (part.task, part.dataset["label"][:]) == ("hierarchy", [[1, 3], [2, 4]])


def test_flags_of_a_csv_file_are_a_set_of_labels_too(tmp_path):
    rows = {"comment_text": TICKETS["ticket"], "toxic": [True, False] * 15, "insult": [False, True, True] * 10}
    pd.DataFrame(rows).to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(ValueError, match=r"such as label=\['toxic', 'insult'\], or"):
        read(tmp_path / "f.csv")
    (part,) = read(tmp_path / "f.csv", label=["toxic", "insult"]).values()
    assert part.dataset["label"][:3] == [["toxic"], ["insult"], ["toxic", "insult"]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({0: ["a"], "label": [1]}, {}, "columns must be named by texts, got 0"),
        ([{0: "a"}], {}, "columns must be named by texts, got 0"),
        ({"text": ["a"] * 4, "a": [[1]] * 4, "b": [0] * 4}, {"label": ["a", "b"]}, "must hold one label per row each"),
        ({"query": TICKETS["ticket"], "relevant": [["a b"]] * 30, "irrelevant": [["c d"]] * 30}, {}, "name the column"),
        ({"text": TICKETS["ticket"], "summary": TICKETS["ticket"]}, {}, "or pass task='self_supervised'"),
        ({"text": TICKETS["ticket"], "annotation.team": TICKETS["team"]}, {}, "such as label='annotation.team', or"),
    ],
)
def test_no_texts_are_dropped_and_no_foreign_error_is_raised(rows, options, message):
    with pytest.raises(ValueError, match=message):
        read(rows, **options)


def test_rows_without_documents_are_counted():
    part = read({"query": ["a", "b", "c"], "documents": [["x"], [], None], "labels": [[1], [], None]})["train"]
    assert part.dataset["query"][:] == ["a"]
    assert any("rows without documents are left out: 2" in note for note in part.notes), part.notes


def test_an_option_of_none_is_no_option():
    part = read({"query": ["a", "a"], "document": ["x", "y"], "grade": [0, 1]}, positive=None)["train"]
    assert part.dataset["labels"][0] == [0.0, 1.0]


def test_pairs_of_questions_are_scored_pairs():
    part = read({"id": [0], "question1": ["a"], "question2": ["b"], "is_duplicate": [1]})["train"]
    assert (part.task, part.dataset["label"][:]) == ("sts", [1.0])


@pytest.mark.parametrize(
    ("name", "task"), [("rating", "regression"), ("Stars", "regression"), ("label", "classification")]
)
def test_ratings_keep_their_order(name, task):
    assert read({"text": [f"t{i}" for i in range(40)], name: [i % 5 for i in range(40)]})["train"].task == task
    given = {"task": "classification", "label": name}
    assert read({"text": ["a", "b"] * 9, name: [1, 2] * 9}, **given)["train"].task == "classification"


def test_a_column_of_parts_divides_a_table(tmp_path):
    rows = {"text": [f"t{i}" for i in range(9)], "label": [0, 1, 2] * 3, "Split": ["train", "test", "valid"] * 3}
    path = tmp_path / "rows.csv"
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [rows, *zip(*rows.values(), strict=True)]))
    for source, streaming in ((rows, False), (path, False), (path, True)):
        parts = read(source, streaming=streaming)
        assert list(parts) == ["train", "dev", "test"]
        for place, name in enumerate(("train", "test", "dev")):
            assert [row["text"] for row in parts[name].dataset] == [f"t{i}" for i in range(place, 9, 3)]
            assert "rows are divided by 'Split'" in parts[name].notes
    assert list(read(rows | {"Split": ["train", "extra", "extra"] * 3})) == ["train"]
    with pytest.raises(
        ValueError, match="column 'Split' must name a part, 'train', 'dev', 'test', in each row, got 'extra'"
    ):
        read(rows | {"Split": ["train", "extra", "test"] * 3})
    assert list(read(rows | {"label": range(9)}, label="Split", task="classification")) == ["train"]
    for gap in (None, " "):
        with pytest.raises(
            ValueError, match="column 'Split' must name a part, .* in each row, got None: fill the cell"
        ):
            read(rows | {"Split": [*rows["Split"][:8], gap]})
    (tmp_path / "folder").mkdir()
    path.rename(tmp_path / "folder" / "data.csv")
    assert list(read(tmp_path / "folder")) == ["train", "dev", "test"]
    assert list(read(rows | {"set": ["train"] * 9})) == ["train", "dev", "test"]


def test_a_part_that_comes_late_is_not_lost(tmp_path):
    rows = [{"text": f"t {i}", "label": i % 3, "split": "train" if i < 1200 else "test"} for i in range(1500)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for streaming in (False, True):
        parts = read(path, streaming=streaming)
        assert {name: len(list(part.dataset)) for name, part in parts.items()} == {"train": 1200, "test": 300}
    late = [*rows[:600], *rows[1200:], *rows[:600], rows[0] | {"split": "dev"}]
    parts = read(IterableDataset.from_generator(lambda: iter(late)), streaming=True)
    with pytest.raises(ValueError, match="names of parts, .*, got 'dev' in row 1500: name all parts within the first"):
        list({name: None for name in parts} and (row for part in parts.values() for row in part.dataset))


def test_all_parts_of_a_table_have_the_task_and_labels_of_the_whole():
    rows = {"text": [f"t {i}" for i in range(220)], "label": [i % 15 for i in range(220)]}
    rows |= {"split": ["train"] * 200 + ["test"] * 20}
    assert {part.task for part in read(rows).values()} == {"classification"}
    rows["label"] = ["a|b", "b"] * 100 + ["a"] * 19 + [None]
    parts = read(rows)
    assert {part.task for part in parts.values()} == {"multi_label"}
    assert parts["test"].dataset["label"][-2:] == [["a"], None]


def test_rows_without_a_text_are_left_out_and_counted():
    rows = {"query": ["a", "", None], "document": ["x", "y", "z"], "grade": [1, 1, 1]}
    part = read(rows)["train"]
    assert part.dataset["query"][:] == ["a"]
    assert any("rows without a query are left out: 2, the first in row 1" in note for note in part.notes)


ROWS = "query,passage,grade\nred,roses,1\nred,skies,0\nblue,skies,2\n"


def write(folder, **files):
    """Write files by name, in which "__" stands for a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": 7}, r"query= must be the name of a column, got 7"),
        ({"query": "query", "document": "query"}, r"one role, got 'query' for query= and document="),
        ({"encoding": "klingon"}, r"rows.csv: encoding= must be one that Python knows.*klingon"),
        ({"delimiter": "ab"}, r"rows.csv: delimiter= must be one character, such as ';', got 'ab'"),
        ({"negative": "zero"}, r"rows of query, document and grade have no option negative=, only .*'scale'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(options, message, tmp_path):
    path = write(tmp_path, rows__csv=ROWS) / "rows.csv"
    with pytest.raises(ValueError, match=message):
        read(path, **options)


@pytest.mark.parametrize("lacking", ["corpus", "queries", "qrels"])
def test_a_folder_that_lacks_a_file_of_a_collection_is_not_read_as_texts(lacking, tmp_path):
    files = {
        "corpus": ("corpus.jsonl", '{"_id": "d", "text": "roses"}\n'),
        "queries": ("queries.jsonl", '{"_id": "q", "text": "red"}\n'),
        "qrels": ("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n"),
    }
    write(tmp_path, **dict(content for word, content in files.items() if word != lacking))
    with pytest.raises(ValueError, match=f"must have all three, got no {lacking}: add a file named {lacking}"):
        read(tmp_path)


def test_the_value_that_makes_a_column_text_is_the_one_that_is_named(tmp_path):
    path = write(tmp_path, rows__csv=ROWS + "blue,roses,good\n") / "rows.csv"
    with pytest.raises(ValueError, match=r"column 'grade' must hold numbers, got 'good' in row 3"):
        read(path)
    with pytest.raises(ValueError, match=r"got '1' in row 0: write numbers without quotes"):
        read([{"query": "red", "document": "roses", "grade": "1"}])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a.csv: the file must have rows, got an empty file"),
        ("a.jsonl", "\n", r"a.jsonl: the file must have rows, got an empty file"),
        ("a.csv", "query,document,grade\n", r"a.csv: a table must have rows, got none, and the columns \['query'"),
        ("a.json", "[]", r"a.json: a table must have rows, got none"),
    ],
)
def test_a_table_without_rows_is_refused_as_such(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, **{name: content}) / name)


def test_a_quote_that_is_never_closed_is_found_by_the_line_it_starts_in(tmp_path):
    path = write(tmp_path, rows__csv=ROWS + '"blue,roses,1\n' + "blue,boats,1\n" * 5) / "rows.csv"
    with pytest.raises(ValueError, match=r"the row starts in line 5, whose quote may not be closed"):
        read(path)


@pytest.mark.parametrize("name", ["dataset_dict.json", "state.json"])
def test_a_damaged_folder_of_save_to_disk_is_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{tmp_path}: the folder must be whole as save_to_disk wrote it"):
        read(write(tmp_path, **{name: "{"}))


def test_an_empty_name_is_not_the_working_directory():
    with pytest.raises(ValueError, match="got an empty name"):
        read("")


def test_a_file_that_is_no_image_is_refused_with_its_row(tmp_path):
    write(tmp_path, rows__csv="image,caption\nfake.png,a cat\n", fake__png="no image")
    with pytest.raises(ValueError, match=r"column 'image' must hold paths of images that can be read.*in row 0"):
        read(tmp_path / "rows.csv")


WORDS = {"excellent": 3, "good": 1.5, "bad": 0, "skip": None}


def test_grades_in_words_are_the_numbers_that_scale_gives_them():
    rows = {"query": ["a"] * 5, "document": list("uvwxy"), "grade": ["good", "excellent", None, "bad", "skip"]}
    lists = {"query": ["a"], "documents": [list("uvwxy")], "grades": [rows["grade"]]}
    for table in (rows, lists):
        assert str(read(table, scale=WORDS)["train"].dataset["labels"][0]) == "[1.5, 3.0, nan, 0.0, nan]"
    positives = {"query": ["a"], "pos": [["u"]], "neg": [["v"]], "pos_scores": [["good"]], "neg_scores": [["bad"]]}
    assert read(positives, scale=WORDS)["train"].dataset["labels"][0] == [1.5, 0.0]
    pairs = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": ["good", "skip"]}
    assert read(pairs, scale=WORDS)["train"].dataset["label"][:] == [1.5]


@pytest.mark.parametrize(
    ("grade", "scale", "message"),
    [
        (
            "god",
            WORDS,
            r"'grade' must hold values of scale=, 'excellent', .*got 'god' in row 0: correct the value, or add",
        ),
        (2, WORDS, r"'grade' must hold values of scale=, .*got 2 in row 0"),
        ("good", {"good": -1}, r"scale must give finite grades of at least 0, or None, got -1 for 'good'"),
        ("good", {"good": "1"}, r"scale must give finite grades of at least 0, or None, got '1' for 'good'"),
        ("good", {"good": True}, r"scale must give finite grades of at least 0, or None, got True for 'good'"),
        ("good", None, r"grade words, such as scale=\{'good': 1\}"),
        ("good", (0, 1), r"grade words, such as scale=\{'good': 1\}"),
    ],
)
def test_a_grade_without_a_number_is_refused_by_name(grade, scale, message):
    with pytest.raises(ValueError, match=message):
        read({"query": ["a"], "document": ["x"], "grade": [grade]}, scale=scale)


def test_a_data_frame_is_read_as_its_csv_file_is(tmp_path):
    frame = pd.DataFrame({"query": ["a", "a", "b"], "document": ["x", None, "z"], "grade": [3, 1, None]})
    frame = pd.concat([frame, frame.assign(query="c", grade=0.5)])[::-1]  # an index that is not a range
    frame.to_csv(tmp_path / "rows.csv", index=False)
    ours, theirs = read(frame)["train"], read(tmp_path / "rows.csv")["train"]
    assert str(ours.dataset[:]) == str(theirs.dataset[:])
    assert "__index" not in str(ours.notes)


def test_a_data_frame_of_mixed_types_is_refused_by_column():
    with pytest.raises(
        ValueError,
        match=r"the data frame: column 'query' must hold values of one type, got str in row 0 and int in row 1",
    ):
        read(pd.DataFrame({"query": ["a", 1], "document": ["x", "y"], "grade": [1, 0]}))


def test_a_folder_of_other_tables_is_refused_with_the_names_of_a_collection(tmp_path):
    folder = write(tmp_path, **{"judgements.tsv": "a\tb\n", "products.tsv": "a\tb\n"})
    with pytest.raises(
        ValueError, match=r"rename judgements.tsv, or join .* a collection queries, corpus and qrels\.$"
    ):
        read(folder)


OFFERS = {"query": [f"sofa {i // 2}" for i in range(20)], "offer": [f"red sofa {i}" for i in range(20)]}
VERDICTS = ["Exact", "Irrelevant"] * 10


def test_a_label_beside_a_query_and_another_text_is_not_read_as_that_of_the_query():
    with pytest.raises(
        ValueError, match=r"such as document='offer', scale=\{'Irrelevant': 0, 'Exact': 1\}, or pass text="
    ):
        read(OFFERS | {"label": VERDICTS})
    with pytest.raises(ValueError, match="the column for document, such as document='offer'"):
        read(OFFERS | {"label": VERDICTS}, grade="label", scale={"Exact": 1, "Irrelevant": 0})
    part = read(OFFERS | {"label": VERDICTS}, document="offer", scale={"Irrelevant": 0, "Exact": 1})["train"]
    assert part.dataset[0]["labels"] == [1, 0]
    for options in ({"text": "query"}, {"task": "classification"}):
        assert read(OFFERS | {"label": VERDICTS}, **options)["train"].dataset["label"][:] == VERDICTS
    named = {"query": OFFERS["query"], "product_name": OFFERS["offer"], "grade": [1, 0] * 10}
    assert read(named)["train"].dataset[0]["documents"] == ["red sofa 0", "red sofa 1"]


@pytest.mark.parametrize("sure", [["False", "True"], ["FALSE", "true"], [False, True]])
def test_true_and_false_are_grades_in_any_case(sure, tmp_path):
    pd.DataFrame(OFFERS | {"relevant": sure * 10}).to_csv(tmp_path / "offers.csv", index=False)
    part = read(tmp_path / "offers.csv", document="offer")["train"]
    assert part.dataset[0]["labels"] == [0, 1]


@pytest.mark.parametrize(
    ("words", "scale"),
    [
        ("ESCI", "{'I': 0, 'C': 1, 'S': 2, 'E': 3}"),
        (["Partial", "Exact"], "{'Partial': 0, 'Exact': 1}"),
        (["good", "bad", "ok"], "{'bad': 0, 'ok': 1, 'good': 2}"),
        (["neutral", "-", "entailment", "contradiction"],
         "{'contradiction': 0, 'neutral': 1, 'entailment': 2, '-': None}"),
        (["B2", "A1"], "{'B2': ..., 'A1': ...} with a grade for each"),
    ],
)  # fmt: skip
def test_a_scale_is_proposed_for_words_whose_order_is_known(words, scale):
    assert suggest_scale([*words]) == f"scale={scale}"


def test_a_scale_without_grades_is_refused():
    rows = OFFERS | {"grade": ["A1", "B2"] * 10}
    with pytest.raises(ValueError, match="scale must give finite grades of at least 0, or None, got Ellipsis for 'A1'"):
        read(rows, document="offer", scale={"A1": ..., "B2": ...})


def test_preferred_answers_are_positives_and_are_never_taken_for_queries():
    answers = {"chosen": [f"yes, it is {i}" for i in range(20)], "rejected": [f"no, it is not {i}" for i in range(20)]}
    part = read({"prompt": [f"is it {i}" for i in range(20)]} | answers, query="prompt")["train"]
    with pytest.raises(ValueError, match="the column for query, such as query='prompt'"):
        read({"prompt": [f"is it {i}" for i in range(20)]} | answers)
    assert part.dataset[0]["documents"] == ["yes, it is 0", "no, it is not 0"]
    assert part.dataset[0]["labels"] == [1, 0]
    with pytest.raises(ValueError, match="the column for query, such as query='NAME'"):
        read(answers)


def test_the_column_that_repeats_is_proposed_for_queries():
    rows = {"Antwort": [f"das ist {i}" for i in range(40)], "Frage": [f"was ist {i // 4}" for i in range(40)]}
    with pytest.raises(ValueError, match="such as query='Frage', document='Antwort', grade='Punkte'"):
        read(rows | {"Punkte": [i % 4 for i in range(40)]})


@pytest.mark.parametrize(
    ("column", "options"), [("SemEval_set", {}), ("usage", {}), ("part of it", {"split": "part of it"})]
)
def test_a_column_of_words_for_parts_divides_a_table_whatever_its_name(column, options):
    rows = {"sentence1": list("abcd"), "sentence2": list("efgh"), "score": [1, 2, 3, 4]}
    parts = read(rows | {column: ["TRAIN", "TRIAL", "TEST", "TEST"]}, **options)
    assert {name: part.dataset["sentence1"][:] for name, part in parts.items()} == {
        "train": ["a"], "dev": ["b"], "test": ["c", "d"]
    }  # fmt: skip
    assert f"rows are divided by {column!r}" in parts["test"].notes


@pytest.mark.parametrize("cells", [["train", "plane", "train", "test"], ["train"] * 4])
def test_other_words_do_not_divide_a_table_and_a_given_column_must(cells):
    rows = {"text": list("abcd"), "label": cells}
    assert read(rows)["train"].dataset["label"][:] == cells
    rows = {"text": list("abcd"), "label": [1, 2, 1, 2], "kind": cells}
    assert list(read(rows)) == ["train"]
    with pytest.raises(ValueError, match="column 'kind' must name "):
        read(rows, split="kind")
    with pytest.raises(ValueError, match="split='kin' must be a column"):
        read(rows, split="kin")


FEELINGS = {"text": [f"this is {i}" for i in range(4)], "valence": [1.5, 2.0, None, 4.0], "arousal": [3, 4, 5, 6]}


def test_several_numbers_per_text_are_a_list_of_numbers():
    for options in ({}, {"task": "regression"}):
        part = read(FEELINGS, label=["valence", "arousal"], **options)["train"]
        assert part.task == "regression"
        assert part.dataset["label"][:2] == [[1.5, 3.0], [2.0, 4.0]]
        assert np.isnan(part.dataset["label"][2]).all()
    assert read({"text": ["a", "b"], "label": [[1.5, 3], None]})["train"].dataset["label"][:] == [[1.5, 3.0], None]
    flags = {"text": ["a", "b"], "x": [0, 1], "y": [1, 1]}
    assert read(flags, label=["x", "y"], task="regression")["train"].dataset["label"][:] == [[0, 1], [1, 1]]
    with pytest.raises(ValueError, match=r"such as label=\['valence', 'arousal'\]"):
        read(FEELINGS)


@pytest.mark.parametrize("images", [False, True])
def test_a_class_of_minus_one_is_no_label_and_the_notes_say_so(images):
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    inputs = {"image": [buffer.getvalue()] * 4} if images else {"text": list("abcd")}
    part = read(inputs | {"label": [-1, 0, None, 1]}, task="classification")["train"]
    assert part.dataset["label"][:] == [None, 0, None, 1]
    assert any("class is -1, which stands for no label" in note for note in part.notes)
    assert any("rows without a label are kept, unlabelled: 1, the first in row 2" in note for note in part.notes)


@pytest.mark.parametrize(
    ("prices", "wrong"),
    [(["$10.99", "$9", None], "$10.99"), ([None, "12,99", "1.250,50"], "1.250,50"), (["EUR 7"], "EUR 7")],
)
def test_prices_that_are_no_plain_numbers_are_refused(prices, wrong):
    rows = {"title": [f"item {i}" for i in range(len(prices))], "price": prices}
    for options in ({}, {"task": "regression"}):
        with pytest.raises(
            ValueError, match=re.escape(f"must hold numbers, got {wrong!r} in row {prices.index(wrong)}: write")
        ):
            read(rows, **options)
    assert read(rows, task="classification")["train"].task == "classification"
    assert read({"title": ["a", "b"], "price": ["cheap", "dear"]})["train"].task == "classification"


def test_a_text_may_be_in_several_columns():
    rows = {"title": ["On ranks", "On sums"], "abstract": ["We rank.", None], "tags": ["cs.LG stat.ML", "cs.LG"]}
    part = read(rows, text=["title", "abstract"], label="tags", separator=" ")["train"]
    assert part.dataset[:] == {"text": ["On ranks We rank.", "On sums"], "label": [["cs.LG", "stat.ML"], ["cs.LG"]]}
    assert (
        read(rows, text=["title", "abstract"], task="self_supervised")["train"].dataset["text"][0]
        == "On ranks We rank."
    )


def test_words_that_are_labels_or_grades_stay_what_they_are():
    texts = [f"this is text {i}" for i in range(12)]
    stages = read({"text": texts, "label": ["development", "testing"] * 6})["train"]
    assert stages.dataset["label"][:2] == ["development", "testing"]
    essays = read({"prompt": ["Write on A", "Write on B"] * 6, "text": texts, "score": [1.5, 2.5, 3.0] * 4})["train"]
    assert (essays.task, essays.dataset["text"][0]) == ("regression", "this is text 0")
    judged = {"query": ["a b"] * 12, "document": texts, "grade": [0, 1, 2] * 4, "rejected": ["yes", "no"] * 6}
    assert read(judged)["train"].dataset[0]["labels"][:3] == [0, 1, 2]
    chat = {"query": texts, "intent": ["x", "y"] * 6, "response": [f"we answer this with {i}" for i in range(12)]}
    assert read(chat)["train"].task == "classification"
    dated = {"question": texts, "label": ["x", "y"] * 6, "created": [f"2020-01-01 10:00:{i:02}" for i in range(12)]}
    assert read(dated)["train"].task == "classification"
    for values in (["1", "2", "3"], ["4 stars", "5 stars", "1 star"], ["3|4", "1", "2"]):
        assert read(Dataset.from_dict({"text": texts[:3], "rating": values}))["train"].task in (
            "classification",
            "multi_label",
        )


def test_rows_that_lack_one_of_their_numbers_are_noted():
    notes = read({"text": ["a", "b"], "v": [1.5, None], "a": [0.5, 0.25]}, label=["v", "a"])["train"].notes
    assert "rows that lack one of their numbers are kept, unlabelled: 1, the first in row 1" in notes


def test_a_column_that_is_only_called_like_titles_may_hold_anything():
    rows = {"query": ["a", "a"], "document": ["x", "y"], "grade": [1, 0], "name": [3, 4]}
    assert read(rows)["train"].dataset[0]["documents"] == ["x", "y"]


def test_titles_of_products_go_before_descriptions_where_they_are_not_joined():
    titles, descriptions = ["red", "blue"], ["c", None]
    lists = {"query": ["a"], "product_title": [titles], "product_description": [descriptions], "grades": [[1, 0]]}
    assert read(lists)["train"].dataset[0]["documents"] == titles
    products = {"query": ["a", "a"], "product_title": titles, "product_description": descriptions}
    clicks = products | {"clicks": [3, 1], "impressions": [9, 9]}
    assert read(clicks)["train"].dataset[0]["documents"] == titles
    assert read(products | {"grade": [1, 0]})["train"].dataset[0]["documents"] == ["red c", "blue"]


@pytest.mark.parametrize("inner", ["", "data"])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("streaming", [False, True])
def test_the_shards_of_a_table_are_one_table(inner, kind, streaming, tmp_path):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)

    def write(name, first, last):
        rows = Dataset.from_dict({"text": [f"text {n}" for n in range(first, last)], "label": [*"abcde"[first:last]]})
        rows.to_parquet(folder / name) if kind == "parquet" else rows.to_json(folder / name)

    (tmp_path / "README.md").write_text("# Data")
    write(f"train-00000-of-00002.{kind}", 0, 2)
    write(f"test.{kind}", 0, 2)
    with pytest.raises(ValueError, match="train-00000-of-00002.*: a table must have all its 2 shards, got 1: complete"):
        read(tmp_path, streaming=streaming)
    write(f"train-00001-of-00002.{kind}", 2, 5)
    parts = read(tmp_path, streaming=streaming)
    assert [*parts] == ["train", "test"]
    assert [row["label"] for row in parts["train"].dataset] == [*"abcde"]
    Dataset.from_dict({"text": [7], "label": ["a"]}).to_parquet(folder / "train-00001-of-00002.parquet")
    if kind == "parquet":
        with pytest.raises(ValueError, match=r"train-\*-of-00002.parquet: .* row 2"):
            [*read(tmp_path, streaming=streaming)["train"].dataset]
        Dataset.from_dict({"words": ["x"]}).to_parquet(folder / "train-00001-of-00002.parquet")
        with pytest.raises(ValueError, match=r"train-00001-of-00002.parquet: a shard must have the columns of the fi"):
            read(tmp_path, streaming=streaming)


def folder_of_images(folder, *names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (i, 0, 0)).save(folder / name)
    return folder


def test_folders_of_images_are_classes_and_folders_in_folders_are_paths(tmp_path):
    classes = folder_of_images(tmp_path / "a", "rose/1.png", "rose/2.JPG", "oak/1.png", "rose/.hidden/3.png")
    (classes / "rose" / "notes.md").write_text("no image", encoding="utf-8")
    (part,) = read(classes).values()
    assert (part.task, part.dataset["label"][:]) == ("classification", ["oak", "rose", "rose"])
    assert [image.getpixel((0, 0))[0] for image in part.dataset["image"][:]][0] == 2
    assert "labels are the names of folders" in part.notes
    assert part.source == str(classes)
    paths = folder_of_images(tmp_path / "b", "flower/rose/1.png", "flower/tulip/1.png", "tree/oak/1.png", "tree/2.png")
    (part,) = read(paths).values()
    assert part.task == "hierarchy"
    assert part.dataset["label"][:] == [["flower", "rose"], ["flower", "tulip"], ["tree"], ["tree", "oak"]]
    (part,) = read(folder_of_images(tmp_path / "c", "1.png", "2.png")).values()
    assert (part.task, part.dataset.column_names) == ("self_supervised", ["image"])
    (part,) = read(classes, task="self_supervised").values()
    assert part.dataset.column_names == ["image"]
    (part,) = read(classes, streaming=True).values()
    assert [row["label"] for row in part.dataset] == ["oak", "rose", "rose"]


def test_folders_of_images_are_divided_by_the_names_of_their_folders(tmp_path):
    for place, top in enumerate(("", "pets/", "pets/all/")):  # as archives unpack
        names = (f"{top}train/rose/1.png", f"{top}train/oak/1.png", f"{top}val/oak/1.png", f"{top}Test/oak/2.png")
        parts = read(folder_of_images(tmp_path / str(place), *names))
        assert {name: part.dataset["label"][:] for name, part in parts.items()} == {
            "train": ["oak", "rose"],
            "dev": ["oak"],
            "test": ["oak"],
        }
    parts = read(
        folder_of_images(
            tmp_path / "seg", "a_train/a_train/x/1.png", "a_train/a_train/y/1.png", "a_test/a_test/y/1.png"
        )
    )
    assert [part.dataset["label"][:] for part in parts.values()] == [["y"], ["x", "y"]]
    parts = read(folder_of_images(tmp_path / "flat", "train/images/1.png", "test/images/1.png"))
    assert [part.task for part in parts.values()] == ["self_supervised"] * 2
    assert "images have no labels: no folders divide them" in parts["train"].notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/1.png", "rose/1.png"), "each must be another of these, got ['rose', 'train']"),
        (("train/1.png", "1.png"), "each must be another of these, got ['.', 'train']"),
        (("train/1.png", "training/1.png"), "each must be another of these"),
        (("rose/train/1.png", "oak/train/1.png"), "got 'train' in one: move it to the top"),
        (("top/1.png", "top/metadata.csv"), "are read from the table: pass"),
    ],
)
def test_folders_of_images_that_are_unclear_are_refused(names, message, tmp_path):
    folder_of_images(tmp_path, *(name for name in names if name.endswith(".png")))
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path)


def test_tables_in_folders_of_parts_are_read_with_the_images_beside_them(tmp_path):
    for part, texts in {"train": ["a rose", "an oak"], "validation": ["a pine"]}.items():
        folder_of_images(tmp_path / part, *(f"{i}.png" for i in range(len(texts))))
        lines = ["file_name,caption", *(f"{i}.png,{text}" for i, text in enumerate(texts))]
        (tmp_path / part / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    parts = read(tmp_path)
    assert {name: part.dataset["caption"][:] for name, part in parts.items()} == {
        "train": ["a rose", "an oak"],
        "dev": ["a pine"],
    }
    (tmp_path / "train" / "more.csv").write_text("file_name,caption\n0.png,a rose", encoding="utf-8")
    with pytest.raises(ValueError, match="one folder for each part, with one table"):
        read(tmp_path)


def test_broken_images_are_named_by_their_row(tmp_path):
    broken = folder_of_images(tmp_path, "rose/1.png", "oak/2.png")
    (broken / "oak" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"paths of images that can be read, got 'oak/1.png' in row 0"):
        read(broken)
    for value in (b"no image", {"bytes": b"no image", "path": None}):
        with pytest.raises(ValueError, match="that can be read, got 'bytes' in row 1"):
            read(
                {"image": [(broken / "oak" / "2.png").read_bytes(), value]}
                if isinstance(value, bytes)
                else [{"image": {"bytes": (broken / "oak" / "2.png").read_bytes(), "path": None}}, {"image": value}]
            )


def test_texts_with_pictures_beside_them_keep_their_grades(tmp_path):
    image = str(folder_of_images(tmp_path, "1.png") / "1.png")
    rows = {"query": ["a", "a"], "document": ["x", "y"], "label": [3, 0], "image": [image] * 2}
    (part,) = read(rows).values()
    assert (part.task, part.dataset["labels"][:]) == ("retrieval", [[3.0, 0.0]])
    assert any("image" in note for note in part.notes)
    rows["image"] = ["https://example.org/1.jpg"] * 2
    assert read(rows)["train"].task == "retrieval"
    assert read({"image": [image], "query": ["a"], "title": ["x"], "grade": [1]})["train"].task == "retrieval"
    for columns in ({"query": ["a"], "label": [1]}, {"document": ["x"], "grade": [1]}):
        with pytest.raises(ValueError, match="grades of images for queries train in Python"):
            read({"image": [image], **columns})
    (part,) = read({"image": [image], "query": ["a"], "label": ["b"]}, image="image", label="label").values()
    assert (part.task, part.dataset["label"][:]) == ("classification", ["b"])


def test_labels_of_images_that_are_named_otherwise_are_not_lost(tmp_path):
    images = [str(folder_of_images(tmp_path, "1.png") / "1.png")] * 12
    rows = {"image": images, "breed": ["pug", "collie", "husky"] * 4, "id": [*range(12)]}
    with pytest.raises(ValueError, match=r"label='breed', or pass task='self_supervised'"):
        read(rows)
    assert read(rows, label="breed")["train"].task == "classification"
    assert read(rows, task="self_supervised")["train"].dataset.column_names == ["image"]
    assert read({"image": images, "id": [*range(12)]})["train"].task == "self_supervised"


def test_images_with_several_captions_have_a_row_for_each(tmp_path):
    images = [str(folder_of_images(tmp_path, "1.png", "2.png") / f"{i}.png") for i in (1, 2, 1)]
    rows = {"image": images, "caption": [["a rose", "red", None], ["a sky"], []], "label": ["u", "v", "u"]}
    (part,) = read(rows).values()
    assert part.dataset["caption"][:] == ["a rose", "red", "a sky"]
    assert part.dataset["label"][:] == ["u", "u", "v"]
    assert any(note.startswith("images with several captions have a row for each: 1") for note in part.notes)
    assert any(note.startswith("images without a caption are left out: 1") for note in part.notes)


def test_pil_images_are_read_as_they_are_now(tmp_path):
    image = Image.open(folder_of_images(tmp_path, "1.png") / "1.png")
    image.paste((255, 0, 0), (0, 0, 2, 2))
    columns = {"image": [image, image], "label": ["a", "b"]}
    rows = [{"image": image, "label": label} for label in "ab"]
    for source in (columns, rows, pd.DataFrame(columns), IterableDataset.from_generator(lambda: iter(rows))):
        (part,) = read(source).values()
        assert [row["image"].getpixel((0, 0)) for row in part.dataset] == [(255, 0, 0)] * 2
