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
OPTIONS["hierarchy"] += ["--coarse-column", "domain", "--fine-column", "intent"]
OPTIONS["regression"] += ["--number-column", "valence"]


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
    reading = importlib.import_module("st_rankloss.data.reading")
    rows = Dataset.from_dict({"text": table(120), "label": [i % 5 for i in range(120)]})
    monkeypatch.setattr("st_rankloss.data.hub.get_dataset_config_names", lambda name: ["default"])
    asked, parts = [], DatasetDict({"train": rows, "validation": rows})
    monkeypatch.setattr(reading, "load_dataset", lambda name, streaming: asked.append(name) or parts)
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


def test_collections_keep_fractions_and_what_was_judged_irrelevant(tmp_path):
    judged_tables(tmp_path, [("p", "1", 0.9), ("p", "2", 0.0), ("q", "3", 0.5), ("r", "1", 0.0)])
    module = importlib.import_module("graded_retrieval")
    options = argparse.Namespace(data=str(tmp_path), columns={}, limit=None)
    found = module.from_data(options)["test"]
    assert found.qrels == {"p": {"1": 0.9, "2": 0.0}, "q": {"3": 0.5}}  # without relevant documents, none to train on
    assert found.queries == {"p": "a", "q": "b"}
    assert found.rows(4)["document_ids"][:] == [["1", "2"], ["3"]]
    scores = module.evaluate(word_model(["red", "green", "blue", "a", "b"]), found)
    assert 0 < scores["ndcg@10"] < 1
    assert scores["recall@100"] == 1


def test_graded_rows_in_one_table_are_a_collection(run, tmp_path):
    texts = table(80)
    rows = {"query": [texts[i // 4] for i in range(80)], "passage": texts, "grade": [3 - i % 4 for i in range(80)]}
    write(Dataset.from_dict(rows), tmp_path / "rows.csv")
    scores = run("graded_retrieval", "--data", str(tmp_path / "rows.csv"))
    assert list(scores) == ["before", "MNRL", "A-NDCG"]
    assert all(0 <= row["ndcg@10"] <= 1 for row in scores.values())


def test_pairs_are_of_the_best_document_and_queries_without_one_are_left_out():
    module, data = importlib.import_module("large_batch"), importlib.import_module("st_rankloss.data")
    rows = {"query": ["a", "b"], "documents": [["x", "y", "z"], ["x"]], "labels": [[1.0, None, 2.0], [0.0]]}
    pairs = module.best_pairs(data.Part("retrieval", Dataset.from_dict(rows)))
    assert pairs.to_dict() == {"query": ["a"], "document": ["z"]}


def test_images_of_the_same_caption_belong_together_without_labels(tmp_path):
    features = Features({"image": Image(), "caption": Value("string")})
    icons = [Pictures.new("RGB", (20, 20), (i * 8, 0, 0)) for i in range(30)]
    write(Dataset.from_dict({"image": icons, "caption": table(30)}, features=features), tmp_path / "icons.parquet")
    module = importlib.import_module("image_text")
    found = module.read_images(argparse.Namespace(data=str(tmp_path / "icons.parquet"), columns={}, limit=None))
    assert found["train"]["label"][:] == found["train"]["caption"][:]


def test_a_label_of_another_kind_is_refused_by_row_and_column(run, tmp_path):
    rows = {"text": table(40), "label": ["low", "high"] * 20}
    write(Dataset.from_dict(rows), tmp_path / "data.jsonl")
    with pytest.raises(ValueError, match="column 'label' must hold numbers, got 'low' in row 0"):
        run("regression", "--data", str(tmp_path / "data.jsonl"))


def test_rows_without_a_label_are_left_out_and_counted(capsys):
    shared = importlib.import_module("shared")
    data = DatasetDict({"train": Dataset.from_dict({"text": ["a", "b", "c"], "label": [1.0, None, 3.0]})})
    found = shared.labelled(data)["train"]
    assert found.to_dict() == {"text": ["a", "c"], "label": [1.0, 3.0]}
    assert "1 of 3 rows of train are left out: they have no label" in capsys.readouterr().out


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
    with pytest.raises(ValueError, match=r"data.jsonl.*'other'"):
        run(name, "--data", str(tmp_path / "data.jsonl"))


@pytest.mark.parametrize("name", TASKS)
def test_help_and_wrong_losses(name, run, capsys):
    with pytest.raises(SystemExit):
        run(name, "--loss", "unheard of")
    assert "invalid choice: 'unheard of' (choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(name, "--help")
    assert f"python examples/{name}.py" in capsys.readouterr().out
