"""Data that could mean several things: refused by name, or read as they say, never changed without a word."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image

from st_rankloss import recipes
from st_rankloss.data import read, read_corpus
from st_rankloss.data.splits import part_of
from st_rankloss.relevance import Classes, Hierarchy, MultiLabel, Pairs


def one(source, **options):
    return read(source, **options)["train"]


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "text", "ids", "numbers"),
    [
        ("g.tsv", "text\tlabels\na\t27\nb\t14,3\nc\t15,6\n", [["27"], ["14", "3"], ["15", "6"]], [27.0, 14.3, 15.6]),
        ("g.csv", 'text,labels\na,"100,300"\nb,300\n', [["100", "300"], ["300"]], [100300.0, 300.0]),
    ],
)
def test_commas_between_whole_numbers_are_of_ids_or_of_numbers_as_the_caller_says(
    name, text, ids, numbers, streaming, tmp_path
):
    path = write(tmp_path / name, text)
    with pytest.raises(
        ValueError, match=f"{name}: column 'labels' .* pass separator=',' for ids, or task='regression'"
    ):
        read(path, streaming=streaming)
    assert [row["label"] for row in one(path, separator=",", streaming=streaming).dataset] == ids
    assert [row["label"] for row in one(path, task="regression", streaming=streaming).dataset] == numbers


def test_commas_that_are_clear_are_read(tmp_path):
    assert one(write(tmp_path / "p.csv", "text;price\na;1,5\nb;2\n")).dataset["label"][:] == [1.5, 2.0]
    assert one(write(tmp_path / "d.csv", "text;label\na;3,5\nb;2\n")).dataset["label"][:] == [3.5, 2.0]
    sets = write(tmp_path / "s.tsv", "text\ttags\tvalue\na\t0,3\t1\nb\t1,2,3\t2\n")
    assert one(sets, separator=",", weight="value").dataset["label"][:] == [["0", "3"], ["1", "2", "3"]]
    with pytest.raises(ValueError, match="pass separator=',' for ids"):
        read(sets)
    with pytest.raises(ValueError, match="pass separator=',' for ids"):
        read(write(tmp_path / "l.tsv", "text\ta\tb\nx\t27\t1\ny\t14,3\t2\n"), label=["a", "b"])


@pytest.mark.parametrize("first", [1278347468690915330, 99278347468690915330])
def test_long_ids_stay_apart(first, tmp_path):
    path = write(tmp_path / "a.csv", "text,author\n" + "".join(f"t,{first + n % 4}\n" for n in range(12)))
    labels = one(path, label="author").dataset["label"][:]
    assert list(map(int, labels)) == [first + n % 4 for n in range(12)]


def test_two_splits_of_one_part_are_refused_and_plain_dicts_are_splits():
    rows = Dataset.from_dict({"text": ["a"], "label": ["x"]})
    with pytest.raises(ValueError, match="'validation_matched', 'validation_mismatched', which are all dev: join them"):
        read(DatasetDict(train=rows, validation_matched=rows, validation_mismatched=rows))
    assert [*read({"train": rows, "test": rows})] == ["train", "test"]
    with pytest.raises(ValueError, match="every split must have rows, got none in 'test'"):
        read({"train": rows, "test": rows.select([])})


def test_codes_of_entailment_are_no_scores():
    names = ["entailment", "neutral", "contradiction"]
    texts = {"sentence1": list("abc"), "sentence2": list("def"), "label": [0, 1, 2]}
    string = Value("string")
    features = Features({"sentence1": string, "sentence2": string, "label": ClassLabel(names=names)})
    with pytest.raises(ValueError, match="column 'label' must hold scores, got the classes 'entailment'"):
        recipes.for_dataset(Dataset.from_dict(texts, features=features))
    coded = {"premise": list("abcd"), "hypothesis": list("efgh"), "label": [0, 1, 2, -1]}
    with pytest.raises(
        ValueError, match=r"'label' must hold scores, got codes .*: pass scale=\{0: 1, 1: 0.5, 2: 0, -1"
    ):
        read(coded)
    assert one(coded, scale={0: 1, 1: 0.5, 2: 0, -1: None}).dataset["label"][:] == [1.0, 0.5, 0.0]
    assert one(coded, scale={0: 0, 1: 1, 2: 2, -1: None}).dataset["label"][:] == [0.0, 1.0, 2.0]
    binary = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "score": [0, 1]}
    assert one(binary).dataset["label"][:] == [0.0, 1.0]
    assert one(coded | {"label": [0, 3.5, 5, 1]}).dataset["label"][:] == [0.0, 3.5, 5.0, 1.0]


@pytest.mark.parametrize("streaming", [False, True])
def test_lists_that_are_written_as_texts_are_lists(streaming, tmp_path):
    tags = pd.DataFrame({"text": ["x", "y", "z", "w"], "labels": [["food", "it's"], ["plant"], [], None]})
    tags.to_csv(tmp_path / "tags.csv", index=False)
    part = one(tmp_path / "tags.csv", streaming=streaming)
    assert part.task == "multi_label"
    assert [row["label"] for row in part.dataset] == [["food", "it's"], ["plant"], [], None]
    assert any(note.startswith("column 'labels': texts such as") for note in part.notes)
    path = write(tmp_path / "l.csv", 'query,documents,labels\na,"[""x"", ""y""]","[1, 0]"\nb,"[""z""]","[2]"\n')
    assert [row["labels"] for row in one(path, streaming=streaming).dataset] == [[1.0, 0.0], [2.0]]
    numpy = write(tmp_path / "n.csv", "text,labels\nx,['a' 'b']\ny,['c']\n")
    assert [row["label"] for row in one(numpy, streaming=streaming).dataset] == ["['a' 'b']", "['c']"]
    answers = write(
        tmp_path / "a.csv", 'question,answer,emb\nsort 2 1,"[1, 2]","[0.1, 2]"\nsort 4 3,"[3, 4]","[1, 2]"\n'
    )
    assert [row["documents"] for row in one(answers, streaming=streaming).dataset] == [["[1, 2]"], ["[3, 4]"]]
    brackets = write(tmp_path / "t.csv", "text,label\n[CLS] a,x\n[1] b,y\n")
    assert [row["text"] for row in one(brackets, streaming=streaming).dataset] == ["[CLS] a", "[1] b"]


@pytest.mark.parametrize(
    "rows",
    [
        {"query": ["a", "b"], "documents": [{"text": ["x", "y"], "score": [3, 0]}, {"text": ["z"], "score": [1]}]},
        {"query": ["a b", "b c"], "passage1": ["x", "y"], "passage2": ["z", "w"], "label": [3.2, -1.1]},
        {"query": ["a", "b"], "positive_1": ["x", "y"], "positive_2": ["z", "w"], "negative_1": ["q", "r"]},
        {"question": ["a", "b"], "options": [["x y", "y"], ["z", "w"]]},
    ],
)
def test_queries_beside_documents_that_are_not_understood_are_refused(rows):
    with pytest.raises(ValueError, match="the table must have the columns of a known form"):
        read(rows)


def test_passages_of_dpr_and_tevatron_win_over_answers():
    passage = {"title": "t", "text": "x"}
    rows = [{"question": "a", "answers": ["1"], "positive_ctxs": [passage], "hard_negative_ctxs": [{"text": "y"}]}]
    assert one(rows).dataset["documents"][:] == [["t x", "y"]]
    rows = [{"query": "a", "answers": ["1"], "positive_passages": [passage], "negative_passages": []}]
    assert one(rows).dataset["documents"][:] == [["t x"]]


def test_a_transform_is_applied():
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    named = rows.cast_column("label", ClassLabel(names=["x", "y"])).with_transform(dict)
    assert one(named).dataset["label"][:] == ["x", "y"]
    changed = rows.with_transform(lambda batch: batch | {"label": [f"class {n}" for n in batch["label"]]})
    assert one(changed).dataset["label"][:] == ["class 0", "class 1"]


@pytest.mark.parametrize("odd", ["unknown", "-", "12.5%"])
def test_numbers_with_an_odd_cell_are_no_classes(odd, tmp_path):
    path = write(tmp_path / "n.csv", "text,label\n" + "".join(f"t,{n * 1.37:.2f}\n" for n in range(30)) + f"t,{odd}\n")
    with pytest.raises(ValueError, match=f"column 'label' must hold numbers, got '{odd}' in row 30"):
        read(path)
    for classes in (["1", "2", "x"], ["3.8", *["3.9"] * 20, "3.8.1"]):
        assert one({"text": ["a"] * len(classes), "label": classes}).task == "classification"


def test_files_of_a_folder_that_are_left_out_are_noted(tmp_path):
    for name in ("train", "eval", "old"):
        write(tmp_path / f"{name}.csv", "text,label\na,x\nb,y\n")
    assert [part_of(name) for name in ("eval_train.csv", "eval_test.csv", "evaluation.tsv")] == ["train", "test", "dev"]
    parts = read(tmp_path)
    assert [*parts] == ["train", "dev"]
    assert all("files that are left out: old.csv" in part.notes for part in parts.values())


@pytest.mark.parametrize(
    ("labels", "paths"),
    [
        (["Food > Fruit", "Food>Fruit"], [["Food", "Fruit"]] * 2),
        (["food -> fruit", "food->veg"], [["food", "fruit"], ["food", "veg"]]),
        (["Income > high >50K", "TV > >50 inch"], [["Income", "high >50K"], ["TV", ">50 inch"]]),
        (["R / D", "a / b"], [["R", "D"], ["a", "b"]]),
    ],
)
def test_separators_of_paths_may_have_spaces(labels, paths):
    assert one({"text": ["a", "b"], "label": labels}).dataset["label"][:] == paths


def test_a_path_may_start_with_a_slash_but_has_no_gap():
    rows = {"text": ["a", "b"], "label": ["/food/fruit", "/food"]}
    assert one(rows, separator="/").dataset["label"][:] == [["food", "fruit"], ["food"]]
    with pytest.raises(ValueError, match="a path without gaps"):
        read({"text": ["a", "b"], "label": ["food > > apple", "food > x"]})
    with pytest.raises(ValueError, match="a path without gaps"):
        read({"text": ["a", "b"], "label": ["food > apple", " > x"]})
    with pytest.raises(ValueError, match=r"one separator of levels, '>' or '->', got 'A -> C' in row 1"):
        read({"text": ["a", "b"], "label": ["A > B", "A -> C"]})


class Frame:
    """A data frame of a library that knows only the interface of Arrow, such as polars."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_frames_of_arrow_are_read():
    assert one(Frame(pa.table({"text": ["a"], "label": ["x"]}))).dataset["label"][:] == ["x"]


def test_values_in_memory_are_stored_as_they_are():
    text = {"text": ["x", "y"]}
    frame = pd.DataFrame(
        {"label": ["a", None], "n": pd.array([1, None], dtype="Int64"), "d": [pd.Timestamp(0), pd.NaT]}
    )
    assert one(text | dict(frame.items())).dataset["label"][:] == ["a", None]
    assert one(text | {"label": frame["n"]}, task="classification").dataset["label"][:] == [1, None]
    assert one(text | {"label": pa.chunked_array([["a"], ["b"]])}).dataset["label"][:] == ["a", "b"]
    assert one(text | {"label": {"a": 1, "b": 2}.keys()}).dataset["label"][:] == ["a", "b"]
    assert one(text | {"label": np.array([[1.5, 2], [3, 4]])}).dataset["label"][:] == [[1.5, 2.0], [3.0, 4.0]]
    assert one(text | {"label": torch.tensor([1, 1])}).dataset["label"][:] == [1, 1]
    picture = Image.new("L", (2, 3))
    for rows in ({"image": [picture] * 2, "label": ["a", "b"]}, [{"image": picture, "label": "a"}] * 2):
        assert one(rows).dataset[1]["image"].size == (2, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"text": ["a", "b"], "label": [1]},
            r"the dict: columns must have the same length, got {'text': 2, 'label': 1}",
        ),
        ({"text": "a b", "label": "x"}, "the dict: column 'text' must be a list of values, got str"),
        (
            {"text": ["a", "b"], "label": ["x", 1]},
            "the dict: column 'label' must hold values of one type, got str in row",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the data frame: columns must have different names"),
        (
            {"sentence1": ["a"], "sentence2": ["b"], "score": [[5, 4]]},
            r"'score' must hold one finite score per row, got \[5, 4\] in row 0: average",
        ),
        ({"sentence1": ["a"], "sentence2": ["b"], "score": [np.inf]}, "one finite score per row, got inf in row 0"),
    ],
)
def test_values_in_memory_that_are_wrong_are_refused_by_name(rows, message):
    with pytest.raises(ValueError, match=message):
        read(rows)


def test_a_text_is_never_proposed_as_an_id(tmp_path):
    for text in ("query,document,grade\nx,y,1\n", "doc,body\nx,y\n", "red pie\nblue pie\n"):
        with pytest.raises(ValueError, match=r"pass document_id= with the name of its column, or add it"):
            read_corpus(write(tmp_path / "c.csv", text))


@pytest.mark.parametrize(
    ("label", "relevance"),
    [
        (["warm > red", "cold > blue"], Hierarchy),
        (["red|warm", "blue"], MultiLabel),
        (["red", "blue"], Classes),
        ([1.5, 2.25], Pairs),
    ],
)
def test_labels_of_captioned_images_keep_their_form(label, relevance):
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    rows = {"image": [buffer.getvalue()] * 2, "caption": ["a", "b"], "label": label}
    recipe = recipes.for_dataset(one(rows, label="label"))
    assert isinstance(recipe.relevance, relevance)
    assert ("numbers are left out" in recipe.why) == (relevance is Pairs)


def test_lists_that_may_be_paths_are_named_in_the_reasons():
    labels = [["a", "other"], ["c", "other"], ["a", "x"], ["c", "y"]]
    recipe = recipes.for_dataset(Dataset.from_dict({"text": list("abcd"), "label": labels}))
    assert "If the lists are paths, coarse to fine, use recipes.hierarchy" in recipe.why


def test_what_says_nothing_of_relevance_may_stand_beside_queries():
    for other in ({"embedding": [[0.1, 0.2], [0.3, 0.4]]}, {"tokens": [["a"], ["b"]]}, {"title_2": ["x", "y"]}):
        assert one({"query": ["a b", "c d"]} | other).task == "self_supervised"
    assert one({"query": ["a", "b"] * 4, "label": ["x", "y"] * 4, "item_2": [1, 2] * 4}).task == "classification"


def test_numbers_of_classes_are_grades():
    label = ClassLabel(names=["0", "1", "2"])
    rows = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [2, 0]})
    assert one(rows.cast_column("label", label)).dataset["label"][:] == [2.0, 0.0]
    assert recipes.for_dataset(rows.cast_column("label", label)).relevance == Pairs(off_diagonal=0.0)
