"""The command as a user types it: what it writes, prints and returns."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer

from st_rankloss import cli
from st_rankloss.cli.evaluate import _task_name
from st_rankloss.cli.train import read_settings
from st_rankloss.data import read
from st_rankloss.experiment import Settings
from st_rankloss.experiment.scores import score
from tests.experiment.tiny import COLOURS, THINGS, beir, part
from tests.models import word_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return beir(tmp_path_factory.mktemp("data") / "beir")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    word_model([*COLOURS, *THINGS]).save_pretrained(str(path))
    return str(path)


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line; return its exit code, what it prints and its errors."""
    monkeypatch.setattr(cli, "Console", lambda **options: Console(width=200, **options))
    monkeypatch.setattr(cli, "_quieten", lambda console: None)  # it would silence the other tests' warnings

    def run_command(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


def test_the_command_and_the_module_are_the_same():
    found = subprocess.run([sys.executable, "-m", "st_rankloss", "--help"], capture_output=True, text=True, check=True)
    assert all(name in found.stdout for name in ("inspect", "train", "mine", "evaluate", "search"))


def test_train_writes_the_model_the_report_and_the_settings(run, folder, tmp_path):
    output = tmp_path / "output"
    code, out, _ = run("train", folder, "--epochs", 2, "--batch-size", 8, "--output", output)
    assert code == 0
    assert {path.name for path in output.iterdir()} == {
        "model", "losses", "report.html", "results.json", "config.yaml", "data.json"
    }  # fmt: skip
    assert SentenceTransformer(str(output / "model"), device="cpu").encode("red").shape == (256,)
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert results["settings"]["epochs"] == 2
    for name in ("before", "usual loss", "recipe", "ndcg@10", str(output)):
        assert name in out
    assert f"{results['before']['ndcg@10']:.4f}" in out

    code, out, _ = run("train", "--config", output / "config.yaml", "--output", tmp_path / "again")
    assert code == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text(encoding="utf-8"))
    assert [loss["test"] for loss in again["losses"]] == [loss["test"] for loss in results["losses"]]


def test_a_dry_run_shows_the_plan_and_writes_nothing(run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("train", folder, "--batch-size", 8, "--output", tmp_path / "output", "--dry-run", "--tune", 3)
    assert code == 0
    assert "MultipleNegativesRankingLoss" in out
    assert "100 steps of 8 rows" in out
    assert "seconds" in out
    assert not list(tmp_path.iterdir())


def test_inspect_shows_what_is_wrong_and_says_so_by_its_code(run, folder, tmp_path):
    code, out, _ = run("inspect", folder, "--html", tmp_path / "page.html", "--json", tmp_path / "found.json")
    assert code == 0
    assert "retrieval" in out
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["proposal"]["task"] == "retrieval"
    path = tmp_path / "constant.csv"
    path.write_text("text,label\n" + "\n".join(f"text {i},same" for i in range(40)), encoding="utf-8")
    code, out, _ = run("inspect", path)
    assert code == 1
    assert "constant labels" in out


def test_training_on_data_with_errors_is_refused_before_any_compute(run, tmp_path):
    path = tmp_path / "constant.csv"
    path.write_text("text,label\n" + "\n".join(f"text {i},same" for i in range(40)), encoding="utf-8")
    code, _, err = run("train", path, "--output", tmp_path / "output")
    assert code == 2
    assert "unfit for training" in err
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_mined_negatives_are_read_again(run, folder, model, tmp_path, suffix):
    output = tmp_path / f"mined{suffix}"
    code, out, _ = run("mine", folder, "--model", model, "--negatives", 2, "--output", output)
    assert code == 0
    judged = read(folder)["train"].dataset
    mined = read(output)["train"].dataset
    before = {
        query: list(documents) for query, documents in zip(judged["query_id"], judged["document_ids"], strict=True)
    }
    for row in mined:
        own = before[row["query_id"]]
        assert row["document_ids"][: len(own)] == own
        assert len(row["document_ids"]) == len(own) + 2
        assert row["labels"][len(own) :] == [0, 0]
    assert f"{len(mined)} queries" in out


def test_evaluate_prints_the_scores_of_the_test_part(run, folder, model, tmp_path):
    code, out, _ = run("evaluate", model, folder, "--output", tmp_path / "results")
    assert code == 0
    means = score(SentenceTransformer(model, device="cpu"), read(folder)["test"]).means
    assert f"{means['ndcg@10']:.4f}" in out
    (file,) = (tmp_path / "results").rglob("beir.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["scores"]["test"][0]["ndcg_at_10"] == pytest.approx(means["ndcg@10"], abs=1e-5)


def test_results_of_models_and_data_of_the_same_names_are_kept_apart(run, folder, model, tmp_path, monkeypatch):
    for name, sign in (("first", 1), ("second", -1)):
        chosen = SentenceTransformer(model, device="cpu")
        chosen[0].embedding.weight.data *= sign
        chosen.save_pretrained(str(tmp_path / name / "model"))
        assert run("evaluate", tmp_path / name / "model", folder, "--output", tmp_path / "results")[0] == 0
    files = list((tmp_path / "results").rglob("beir.json"))
    assert len(files) == 2
    code, _, err = run(
        "evaluate", tmp_path / "first" / "model", folder, "--part", "dev", "--output", tmp_path / "results"
    )
    assert code == 2
    assert "beir.json holds the results of other data: choose another --output" in " ".join(err.split())
    assert list((tmp_path / "results").rglob("beir.json")) == files


@pytest.mark.parametrize(
    ("data", "name"),
    [(".", "some"), ("r.v1.csv", "r.v1"), ("r.v2.csv.gz", "r.v2"), ("data.v1", "data.v1"), ("hub:org/a.b", "a.b")],
)
def test_results_files_are_named_after_their_data(tmp_path, monkeypatch, data, name):
    (tmp_path / "some" / "data.v1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "some")
    for file in ("r.v1.csv", "r.v2.csv.gz"):
        Path(file).touch()
    assert _task_name(data) == name


def test_the_part_is_named_and_names_are_shown_as_they_are(run, folder, model, tmp_path):
    only = tmp_path / "x[old] :star:"
    shutil.copytree(folder, only)
    for name in ("test", "dev"):
        (only / "qrels" / f"{name}.tsv").unlink()
    code, out, _ = run("evaluate", model, only)
    assert code == 0
    assert "x[old]:star:,parttrain:24items,95%intervals" in "".join(out.split())
    code, out, _ = run("mine", only, "--model", model, "--output", only.with_suffix(".csv"))
    assert code == 0
    assert "24 queries of part train with" in out
    assert "x[old]:star:.csv" in "".join(out.split())


LEARNED = {"classes": ("cat", "dog"), "numbers": (0.5, 1.5), "label sets": ("a|b", "b")}


@pytest.mark.parametrize("labels", LEARNED.values(), ids=LEARNED)
def test_labels_without_a_training_part_leave_the_other_results_alone(run, folder, model, tmp_path, labels):
    path = tmp_path / "labelled.csv"
    path.write_text("text,label\n" + "".join(f"red rose {i},{labels[i % 2]}\n" for i in range(12)), encoding="utf-8")
    code, out, _ = run("evaluate", model, path, folder, "--output", tmp_path / "results")
    assert code == 0
    assert "12 items, 95 % intervals" in " ".join(out.split())
    assert "labelled.csv: no results file; mteb learns from a training part: pass a folder with files train and" in out
    assert [file.name for file in (tmp_path / "results").rglob("*.json") if file.name != "model_meta.json"] == [
        "beir.json"
    ]


def test_search_answers_queries_from_the_command_line_and_the_input(run, folder, model, monkeypatch):
    code, out, _ = run("search", model, folder, "red rose", "--top", 2)
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith(("0.", "1."))]
    assert len(lines) == 2
    assert "red" in lines[0]
    monkeypatch.setattr(sys, "stdin", io.StringIO("blue sky\n\nred rose\n"))
    code, typed, _ = run("search", model, folder / "corpus.jsonl", "--top", 2)
    assert code == 0
    assert [line for line in typed.splitlines() if line.startswith(("0.", "1."))][2:] == lines


def test_ctrl_d_ends_a_search(run, folder, model, monkeypatch):
    typed = io.StringIO("blue sky\n")
    monkeypatch.setattr(typed, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", typed)
    code, out, err = run("search", model, folder, "--top", 1)
    assert (code, err) == (0, "")
    assert "an empty line or Ctrl-D ends" in out


def test_search_and_evaluation_keep_embeddings_for_another_time(run, folder, model, tmp_path, monkeypatch):
    plain = run("search", model, folder, "red rose", "blue sky"), run("evaluate", model, folder)
    kept = tmp_path / "kept"
    assert run("search", model, folder, "red rose", "blue sky", "--embeddings", kept) == plain[0]
    encoded = []
    encode = SentenceTransformer.encode_document
    monkeypatch.setattr(SentenceTransformer, "encode_document", lambda *a, **o: encoded.append(a) or encode(*a, **o))
    assert run("search", model, folder, "red rose", "blue sky", "--embeddings", kept) == plain[0]
    assert run("evaluate", model, folder, "--embeddings", kept) == plain[1]
    assert not encoded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "DATA is missing"),
        (["train", "FOLDER"], "--output must name a folder"),
        (["train", "FOLDER", "--output", "x", "--epochs", "0"], "epochs must be a finite number above 0, got 0"),
        (["train", "no-such-file.csv", "--output", "x"], "no-such-file.csv"),
        (["train", "FOLDER", "--read", "query", "--output", "x"], "NAME=VALUE"),
        (["train", "FOLDER", "--read", "qery=text", "--output", "x"], "query"),
        (["train", "FOLDER", "--model", "/no/model", "--output", "x"], "static-minilm"),
        (["mine", "FOLDER", "--model", "MODEL", "--output", "x.txt"], ".jsonl"),
        (["evaluate", "MODEL", "FOLDER", "--part", "valid"], "no part 'valid', only train, dev, test: pass --part"),
        (["evaluate", "MODEL", "ROWS", "--part", "dev"], "no part 'dev', only train: pass --part train"),
        (["evaluate", "MODEL", "FOLDER", "FOLDER", "--output", "x"], "one file beir.json for 2 DATA: rename them, or"),
        (["evaluate", "MODEL", "LABELLED", "--output", "x"], "--output would stay empty: mteb learns labels from a"),
        (["evaluate", "MODEL", "STSBenchmark", "--download", "--part", "dev"], "parts of its own: leave out --part"),
        (["mine", "FOLDER", "--model", "MODEL", "--output", "ROWS"], "--output must be a new file, got"),
        (["mine", "FOLDER", "--model", "MODEL", "--output", "ROWS/mined.csv"], "name another file or folder"),
        (["evaluate", "MODEL", "STSBenchmark"], "--download"),
        (["search", "MODEL", "FOLDER", "red", "--top", "0"], "--top must be at least 1"),
        (["inspect", "no-such-folder"], "no-such-folder"),
        (["inspect", "FOLDER", "--read", "task=sts"], "--read must not hold task=: pass --task"),
        (["inspect", "FOLDER", "--json", "no/such.json"], "no/such.json: no such file or directory: name another"),
        (["train", "FOLDER", "--output", "x", "--model", "FOLDER"], "the folder of a model or an id on the hub"),
        (["mine", "FOLDER", "--model", "MODEL", "--output", "INSIDE"], "--output must not be among the data"),
        (["evaluate", "MODEL", "FOLDER", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["evaluate", "MODEL", "FOLDER", "x", "--embeddings", "kept"], "--embeddings is a folder for one DATA, got 2"),
        (["evaluate", "static", "FOLDER"], "name a trained model instead of 'static'"),
        (["search", "MODEL", "FOLDER", "red", "--read", "foo=x"], "document, document_id, title of a corpus, got foo"),
    ],
)
def test_a_mistake_is_named_in_one_message(run, folder, model, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("query,document,grade\nred,red rose,1\nred,blue sky,0\n", encoding="utf-8")
    (tmp_path / "labelled.csv").write_text("text,label\nred,a\nred rose,a\nblue,b\n", encoding="utf-8")
    names = {"FOLDER": folder, "MODEL": model, "INSIDE": folder / "corpus.jsonl"}
    names |= {"ROWS": "rows.csv", "ROWS/mined.csv": "rows.csv/mined.csv", "LABELLED": "labelled.csv"}
    monkeypatch.setattr("st_rankloss.cli.evaluate.score", None)  # whatever is wrong is said before scoring and mining
    monkeypatch.setattr("st_rankloss.cli.mine.mine_graded_negatives", None)
    code, _, err = run(*(names.get(argument, argument) for argument in arguments))
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert err.startswith("error: ")
    assert not (tmp_path / "x").exists()


def test_ctrl_c_says_so(run, folder, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("st_rankloss.cli.inspect.read", interrupted)
    code, _, err = run("inspect", folder)
    assert (code, err) == (130, "Interrupted.\n")


@pytest.mark.parametrize(
    ("error", "arguments", "code", "message"),
    [
        (KeyError("grade"), (), 3, "Traceback"),
        (MemoryError(), (), 2, "error: the memory is too small: pass a smaller --batch-size"),
        (torch.OutOfMemoryError("CUDA"), (), 2, "error: the memory is too small: pass a smaller --batch-size"),
        (ValueError("no grade"), ("--debug",), 2, "Traceback"),
    ],
)
def test_an_error_is_never_taken_for_errors_in_the_data(run, folder, monkeypatch, error, arguments, code, message):
    def failing(*args, **options):
        raise error

    monkeypatch.setattr("st_rankloss.cli.inspect.read", failing)
    found, _, err = run(*arguments, "inspect", folder)
    assert found == code
    assert message in err


@pytest.mark.parametrize(("module", "arguments"), [("matplotlib.figure", ()), ("optuna", ("--tune", 2))])
def test_an_extra_that_the_report_needs_is_missed_before_training(
    run, folder, tmp_path, monkeypatch, module, arguments
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("st_rankloss.cli.train.train", None)
    code, _, err = run("train", folder, "--output", tmp_path / "output", *arguments)
    assert code == 2
    assert f"error: {module} is required" in err


def test_the_command_line_wins_over_the_configuration_name_by_name(tmp_path):
    Settings("my.csv", read={"query": "frage", "document": "text"}, epochs=2).save(tmp_path / "config.yaml")
    line = ["train", "--config", str(tmp_path / "config.yaml"), "--read", "document=body", "--download", "--seed", "3"]
    settings = read_settings(cli.make_parser().parse_args(line))
    read_ = {"query": "frage", "document": "body", "download": True}
    assert settings == Settings("my.csv", read=read_, epochs=2, seed=3)


def test_a_file_written_by_mine_loads_as_a_dataset(run, folder, model, tmp_path):
    run("mine", folder, "--model", model, "--output", tmp_path / "mined.jsonl")
    loaded = load_dataset("json", data_files=str(tmp_path / "mined.jsonl"), split="train")
    assert set(loaded.column_names) >= set(part("retrieval").dataset.column_names)


def test_images_need_a_model_that_reads_them(run, tmp_path):
    rows = ["image,caption"]
    for place, row in enumerate(part("image_text").dataset):
        row["image"].save(tmp_path / f"{place}.png")
        rows.append(f"{place}.png,{row['caption']}")
    (tmp_path / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    code, _, err = run("train", tmp_path / "rows.csv", "--output", tmp_path / "output")
    assert code == 2
    assert "holds images, and the model 'static' reads only text: name a model of images" in " ".join(err.split())


def test_data_of_a_test_part_only_are_refused_by_name(run, folder, tmp_path):
    only = tmp_path / "only"
    shutil.copytree(folder, only)
    for name in ("train", "dev"):
        (only / "qrels" / f"{name}.tsv").unlink()
    code, _, err = run("train", only, "--output", tmp_path / "output")
    assert code == 2
    assert "test.tsv: the data must have a train part to train on" in " ".join(err.split())


def test_a_scale_is_given_as_the_message_writes_it(run, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("query,document,grade\nred,roses,-1\nred,skies,1\nred,boats,0\n", encoding="utf-8")
    code, _, err = run("inspect", path)
    assert code == 2
    assert "pass scale=(lowest, highest)" in " ".join(err.split())
    code, out, _ = run("inspect", path, "--read", "scale=(-1, 1)")
    assert code != 2
    assert "0.5" in out


def test_grades_in_words_are_named_on_the_command_line(run, tmp_path):
    rows = [(f"q{i}", f"d{i + j}", ("yes", "so so", "no")[j]) for i in range(12) for j in range(3)]
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{','.join(row)}\n" for row in [("query", "document", "grade"), *rows]))
    code, output, errors = run("inspect", path, "--read", "scale={yes: 2, so so: 0.5, no: 0}")
    assert code != 2
    assert "0.0 (12), 0.5 (12), 2.0 (12)" in output
    code, output, errors = run("inspect", path, "--read", "scale={yes: 2, no: 0}")
    assert code == 2
    assert "values of scale=, 'yes', 'no', got 'so so' in row 1" in " ".join(errors.split())


def test_mining_keeps_embeddings_for_another_time(run, folder, model, tmp_path):
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for file in files:
        run("mine", folder, "--model", model, "--output", file, "--embeddings", tmp_path / "kept")
    assert (tmp_path / "kept" / "manifest.json").exists()
    assert files[0].read_text() == files[1].read_text()
    run("mine", folder, "--model", model, "--output", tmp_path / "usual.jsonl")
    assert files[0].read_text() == (tmp_path / "usual.jsonl").read_text()
