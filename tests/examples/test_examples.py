"""Every example, in a small setting: on the documentation, on files, with each loss."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pictures
from sentence_transformers import SentenceTransformer

from st_rankloss.encoders import RATES, make_encoder
from st_rankloss.labels import read_numbers
from tests.models import tiny_bert, word_model

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if "def main(" in path.read_text(encoding="utf-8"))
TASKS = [name for name in NAMES if name not in ("quickstart", "search")]
MIXED = "A-NDCG + 0.2 softmax"
WORDS = [f"word{i}" for i in range(60)]
TINY = ["--epochs", "1", "--batch-size", "16"]


@pytest.fixture(scope="module")
def entries():
    """Some modules of the standard library, with at least a few objects each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        documentation = importlib.import_module("documentation")
        found = documentation.load(None, packages=["stdlib"], processes=1)
    sizes = {}
    for entry in found:
        sizes[entry.module] = sizes.get(entry.module, 0) + 1
    kept = [module for module, size in sizes.items() if size >= 8][:24]
    # As if of several packages, so that there are classes to tell apart.
    return [
        documentation.Entry(**(vars(entry) | {"package": f"package{kept.index(entry.module) % 3}"}))
        for entry in found
        if entry.module in kept
    ]


@pytest.fixture
def run(entries, monkeypatch, tmp_path):
    """Run an example's main on the small documentation, and return its scores."""
    documentation = importlib.import_module("documentation")
    monkeypatch.setattr(documentation, "load", lambda limit=None, **options: entries)

    def run(name, *arguments):
        module = importlib.import_module(name)
        if name == "multi_label":
            monkeypatch.setattr(module, "LEAST", 3)
        if name == "distillation" and "--teacher-column" not in arguments:
            arguments = ("--teacher-column", str(teacher(tmp_path)), *arguments)
        return module.main([*TINY, "--output", str(tmp_path / "output"), *arguments])

    return run


def teacher(folder):
    """A small static model that stands in for MiniLM."""
    make_encoder("static", ["some text to learn from"], dimensions=24, vocabulary=300).save(str(folder / "teacher"))
    return folder / "teacher"


@pytest.mark.parametrize("name", TASKS)
def test_an_example_compares_its_losses_and_saves_the_last_model(name, run, tmp_path, capsys):
    scores = run(name)
    assert list(scores)[0] == "before"
    assert len(scores) >= 3
    assert list(scores)[-1].startswith("A-NDCG")
    for row in scores.values():
        assert row.keys() == scores["before"].keys()
        assert all(-1 <= value <= 1 + 1e-6 for metric, value in row.items() if metric != "seconds")
    assert json.loads((tmp_path / "output" / "results.json").read_text()) == scores
    model = SentenceTransformer(str(tmp_path / "output" / "model"), device="cpu")
    assert model.encode("three").shape[0] > 1
    table = capsys.readouterr().out
    assert all(loss.split(",")[0] in table for loss in scores)
    assert "seed 0" in table


def table(rows):
    words = ["red", "green", "blue", "dark", "light"]
    return [f"{words[i % 5]} {words[i * 7 % 3]} number{i % 9} thing{i % 4}" for i in range(rows)]


COLUMNS = {
    "classification": {"body": table(120), "kind": [i % 5 for i in range(120)]},
    "hierarchy": {
        "body": table(240), "domain": [f"d{i % 3}" for i in range(240)], "intent": [f"i{i % 12}" for i in range(240)]
    },
    "multi_label": {"body": table(120), "labels": [[f"l{i % 5}", f"l{i % 3}"] for i in range(120)]},
    "regression": {"body": table(120), "valence": [float(i % 9) for i in range(120)]},
    "sts": {"sentence1": table(120), "sentence2": table(240)[120:], "score": [float(i % 6) for i in range(120)]},
    "self_supervised": {"body": table(120)},
    "distillation": {"body": table(120)},
    "large_batch": {"query": table(120), "document": table(240)[120:]},
}  # fmt: skip
OPTIONS = {name: ["--text-column", "body"] for name, columns in COLUMNS.items() if "body" in columns}
OPTIONS["classification"] += ["--label-column", "kind"]


SUFFIXES = [".csv", ".parquet", ".jsonl"]  # in turns; a csv file has no lists


def write(dataset, path):
    {".jsonl": dataset.to_json, ".csv": dataset.to_csv, ".parquet": dataset.to_parquet}[path.suffix](str(path))


@pytest.mark.parametrize(("name", "suffix"), [(name, SUFFIXES[i % 3]) for i, name in enumerate(COLUMNS)])
def test_own_data_by_file_and_column_name(name, suffix, run, tmp_path):
    write(Dataset.from_dict(COLUMNS[name]), tmp_path / f"data{suffix}")
    loss = MIXED if name == "classification" else "A-NDCG"
    scores = run(name, "--data", str(tmp_path / f"data{suffix}"), *OPTIONS.get(name, []), "--loss", loss)
    assert list(scores) == ["before", loss]


def test_a_folder_has_a_file_for_each_part(run, tmp_path):
    for part, start in (("train", 0), ("dev", 60), ("test", 90)):
        rows = Dataset.from_dict({"text": table(120), "label": [i % 5 for i in range(120)]})
        write(rows.select(range(start, start + (60 if part == "train" else 30))), tmp_path / f"{part}.jsonl")
    scores = run("classification", "--data", str(tmp_path), "--loss", "triplet", "--split", "dev")
    assert list(scores) == ["before", "triplet"]


def test_a_set_on_the_hub_is_read_by_its_parts(run, monkeypatch):
    shared = importlib.import_module("shared")
    rows = Dataset.from_dict({"text": table(120), "label": [i % 5 for i in range(120)]})
    asked = []
    monkeypatch.setattr(shared, "load_dataset", lambda name: asked.append(name) or {"train": rows, "validation": rows})
    scores = run("classification", "--data", "someone/something", "--loss", MIXED, "--limit", "80")
    assert asked == ["someone/something"]
    assert scores[MIXED]["accuracy"] >= scores["before"]["accuracy"] - 0.2


def test_images_of_ones_own(run, tmp_path):
    features = Features({"icon": Image(), "name": Value("string"), "group": Value("string")})
    icons = [Pictures.new("RGB", (20, 20), (i * 2, 255 - i * 2, 100)) for i in range(80)]
    columns = {"icon": icons, "name": table(80), "group": [f"g{i // 20}" for i in range(80)]}
    write(Dataset.from_dict(columns, features=features), tmp_path / "icons.parquet")
    named = ["--image-column", "icon", "--caption-column", "name", "--label-column", "group"]
    scores = run("image_text", "--data", str(tmp_path / "icons.parquet"), *named)
    assert list(scores) == ["before", "CLIP", "A-NDCG"]


def judged_tables(folder, qrels):
    """Save tables of three documents and three queries for every split, with these judgements."""
    write(Dataset.from_dict({"doc_id": ["1", "2", "3"], "text": ["red", "green", "blue"]}), folder / "corpus.jsonl")
    queries = Dataset.from_dict({"query_id": ["p", "q", "r"], "title": ["a", "b", "c"]})
    rows = [dict(zip(("query_id", "doc_id", "relevance"), row, strict=True)) for row in qrels]
    for split in ("train", "test"):
        write(queries, folder / f"queries_{split}.jsonl")
        write(Dataset.from_list(rows), folder / f"qrels_{split}.jsonl")


def read_collection(folder):
    """Read tables as the example does."""
    module = importlib.import_module("graded_retrieval")
    columns = {"query-id": "query_id", "query": "title", "document-id": "doc_id", "text": "text"}
    columns |= {"judged-query": "query_id", "judged-document": "doc_id", "grade": "relevance"}
    options = argparse.Namespace(data=str(folder), columns=columns, split="test", limit=None)
    return module, module.from_tables(options)["train"]


def test_collections_keep_fractions_and_what_was_judged_irrelevant(tmp_path):
    judged_tables(tmp_path, [("p", "1", 0.9), ("p", "2", 0.0), ("q", "3", 0.5), ("r", "1", 0.0)])
    module, found = read_collection(tmp_path)
    assert found.qrels == {"p": {"1": 0.9, "2": 0.0}, "q": {"3": 0.5}}  # without relevant documents, none to train on
    assert found.queries == {"p": "a", "q": "b"}
    assert found.rows(4)["document_ids"][:] == [["1", "2"], ["3"]]
    scores = module.evaluate(word_model(["red", "green", "blue", "a", "b"]), found)
    assert 0 < scores["ndcg@10"] < 1
    assert scores["recall@100"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("p", "9", 1.0), "qrels must name ids of corpus, got the unknown '9'"),
        (("z", "1", 1.0), "qrels must name ids of queries, got the unknown 'z'"),
        (("p", "1", -1.0), "row 1: .* got -1.0 .*; write 0"),
    ],
)
def test_wrong_judgements_of_collections_are_refused(row, message, tmp_path):
    judged_tables(tmp_path, [("q", "1", 1.0), row])
    with pytest.raises(ValueError, match=message):
        read_collection(tmp_path)


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_collections_in_tables(where, run, tmp_path, monkeypatch):
    texts = table(40)
    corpus = Dataset.from_dict({"doc_id": [f"d{i}" for i in range(40)], "text": texts})
    queries = {
        part: Dataset.from_dict({"query_id": [f"{part}{i}" for i in range(20)], "title": texts[:20]})
        for part in ("train", "test")
    }
    qrels = {
        part: Dataset.from_dict(
            {
                "query_id": [f"{part}{i // 2}" for i in range(40)],
                "doc_id": [f"d{i // 2 + 20 * (i % 2)}" for i in range(40)],
                "relevance": [2 - i % 2 for i in range(40)],
            }
        )
        for part in ("train", "test")
    }  # fmt: skip
    data = str(tmp_path)
    if where == "folder":
        write(corpus, tmp_path / "corpus.parquet")
        for part in ("train", "test"):
            write(queries[part], tmp_path / f"queries_{part}.jsonl")
            write(qrels[part], tmp_path / f"qrels_{part}.csv")
    else:
        module, data = importlib.import_module("graded_retrieval"), "mteb/something"
        both = Dataset.from_list([*queries["train"], *queries["test"]])
        monkeypatch.setattr(module, "get_dataset_config_names", lambda name: ["corpus", "queries", "default"])
        tables = {("corpus", "corpus"): corpus, ("queries", "queries"): both}
        tables |= {("default", part): qrels[part] for part in qrels}
        monkeypatch.setattr(module, "load_dataset", lambda name, config, split: tables[config, split])
    scores = run("graded_retrieval", "--data", data)
    assert list(scores) == ["before", "MNRL", "A-NDCG"]
    assert all(0 <= row["ndcg@10"] <= 1 for row in scores.values())


@pytest.mark.parametrize(
    ("name", "column", "values", "message"),
    [
        (
            "multi_label",
            "labels",
            ["a|b", "b"] * 40,
            "column 'labels' must hold a set .* got '.*' in row .*: split",
        ),
        ("regression", "number", ["1.5", "2"] * 40, "column 'number' must hold a number.* got '.*' in row .*: cast"),
        ("sts", "score", ["1.5", "2"] * 40, "column 'score' must hold a number.* got '.*' in row .*: cast"),
        ("classification", "label", [0.5, 1.5] * 40, "column 'label' must hold a class .* got .*.5 in row"),
        ("hierarchy", "fine", [0.5, 1.5] * 40, "column 'fine' must hold a class .* got .*.5 in row"),
    ],
)
def test_labels_of_another_kind_are_refused_by_name(name, column, values, message, run, tmp_path):
    columns = {key: values if key == column else table(80) for key in ("text", "first", "second", "coarse", column)}
    Dataset.from_dict(columns).to_json(tmp_path / "data.jsonl")
    names = {
        "regression": ["text", "number"],
        "sts": ["first", "second", "score"],
        "hierarchy": ["text", "coarse", "fine"],
    }
    given = names.get(name, ["text", column])
    with pytest.raises(ValueError, match=message):
        run(name, "--data", str(tmp_path / "data.jsonl"), *(x for key in given for x in (f"--{key}-column", key)))


def test_rows_without_a_label_are_left_out_and_counted(capsys):
    shared = importlib.import_module("shared")
    data = DatasetDict({"train": Dataset.from_dict({"x": [1.0, None, 3.0], "text": ["a", "b", "c"]})})
    found = shared.read_labels(data, "x", read_numbers)["train"]
    assert found.to_dict() == {"text": ["a", "c"], "x": [1.0, 3.0]}
    assert "1 of 3 rows of train are left out: they have no 'x'" in capsys.readouterr().out


def test_a_multi_hot_names_labels_by_their_place():
    module = importlib.import_module("multi_label")
    assert module.read_names([[0, 1, 1], [1, 0, 0], None], "labels") == [["1", "2"], ["0"], None]


@pytest.mark.parametrize(
    ("kind", "own_model", "given", "expected"),
    [
        ("static", True, None, 0.2),
        ("static", False, None, 0.2),  # one with random embeddings learns like one made here
        ("trained", False, None, RATES["static-minilm"]),
        ("bert", True, None, 0.2),  # tuned for the transformer that the example makes
        ("bert", False, None, RATES["transformer"]),
        ("bert", False, 1e-4, 1e-4),
        ("bert", False, 0.2, 0.2),
        ("static", True, 0.5, 0.5),
    ],
)
def test_the_learning_rate_follows_the_kind_of_encoder(kind, own_model, given, expected, tmp_path):
    shared = importlib.import_module("shared")
    model = tiny_bert(tmp_path, ["red"]) if kind == "bert" else word_model(WORDS)
    if kind == "trained":
        model[0].embedding.weight.data *= 0.1
    options = argparse.Namespace(learning_rate=given, own_model=own_model)
    assert shared.learning_rate(model, options, 0.2) == expected


def test_a_pretrained_transformer_is_trained_at_its_own_rate(run, tmp_path, monkeypatch):
    shared = importlib.import_module("shared")
    tiny_bert(tmp_path / "bert", table(40)[0].split()).save_pretrained(str(tmp_path / "model"))
    rates = []
    monkeypatch.setattr(shared.RankingTrainer, "train", lambda trainer: rates.append(trainer.args.learning_rate))
    run("sts", "--model", str(tmp_path / "model"))
    run("sts")
    assert rates == [RATES["transformer"]] * 2 + [0.2, 0.2]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_not_there_is_named(name, run, tmp_path):
    write(Dataset.from_dict({"other": table(30)}), tmp_path / "data.jsonl")
    with pytest.raises(ValueError, match=r"data.jsonl has the columns \['other'\], but not --\w+-column \w+"):
        run(name, "--data", str(tmp_path / "data.jsonl"))


@pytest.mark.parametrize("name", TASKS)
def test_help_and_wrong_losses(name, run, capsys):
    with pytest.raises(SystemExit):
        run(name, "--loss", "unheard of")
    assert "invalid choice: 'unheard of' (choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(name, "--help")
    assert f"python examples/{name}.py" in capsys.readouterr().out
