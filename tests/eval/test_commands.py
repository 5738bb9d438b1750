"""The command line: whole comparisons on tiny data, single models, and wrong input."""

from __future__ import annotations

import json
import logging
import re
import warnings

import numpy as np
import pytest
import yaml
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from eval import commands
from eval.__main__ import main
from eval.results import read_results
from eval.training import workers
from tests.eval.tiny import RECORDS, WORDS, InThisProcess, trial
from tests.models import word_model, word_tokenizer

COMMANDS = ("tasks", "tune", "compare", "ablate", "report", "evaluate")

UNTOUCHED = ["--protocol", "untouched"]


@pytest.fixture
def local(world):
    """Options for the tiny data."""
    return ["--data", str(world.folder), "--records", str(world.path)]


@pytest.fixture
def given(local, tmp_path):
    """Options of a run on the tiny data."""
    return [*local, "--output", str(tmp_path / "runs.jsonl"), "--jobs", "1"]


@pytest.fixture
def planned(monkeypatch):
    """What would have been run."""
    found = []

    class Nobody:
        def __init__(self, results, jobs):
            pass

        def run_all(self, specs):
            found.extend(specs)

        def tune_all(self, tunings):
            found.extend(tuning.ask()[0] for tuning in tunings for _ in range(tuning.left))

    monkeypatch.setattr(commands, "Executor", Nobody)
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a small model."""
    path = tmp_path_factory.mktemp("models") / "small"
    word_model(WORDS).save(str(path))
    return path


def done(command, given):
    """Run a command, and check that it succeeds."""
    assert main([*command.split(), *given]) == 0


def refused(capsys, *arguments):
    """The error of a command that ends with one line."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    (error,) = shown.err.strip().splitlines()
    assert error.startswith("error: ")
    return error


def evaluated(folder, *arguments, model):
    """The main score of each task, from mteb's files."""
    assert main(["evaluate", str(model), "--output", str(folder), *(str(a) for a in arguments)]) == 0
    found = {}
    for path in folder.glob("results/*/*/*.json"):
        content = json.loads(path.read_text("utf-8"))
        if "scores" in content:
            ((rows,),) = content["scores"].values()
            found[path.parts[-3], content["task_name"]] = rows["main_score"]
    return found


# Whole comparisons.


def test_a_comparison_from_tuning_to_report(given, tmp_path, capsys, monkeypatch):
    chosen = ["--tasks", "alike", "--losses", "CoSENT", "Pearson"]
    assert main(["tune", *given, *chosen, "--trials", "2"]) == 0
    (trials, _) = read_results([tmp_path / "runs.jsonl"])
    assert {(trial.loss, trial.stage, trial.status) for trial in trials} == {
        (loss, "dev", "ok") for loss in ("CoSENT", "Pearson")
    }
    assert len(trials) == 4
    monkeypatch.setattr(workers, "ProcessPoolExecutor", InThisProcess)  # one start of a worker is enough
    assert main(["compare", *given, *chosen, "--seeds", "2"]) == 0
    lines = [line for line in read_results([tmp_path / "runs.jsonl"])[0] if line.stage == "test"]
    assert sorted((line.loss, line.seed, line.status) for line in lines) == [
        (loss, seed, "ok")
        for loss, seed in (("CoSENT", 0), ("CoSENT", 1), ("Pearson", 0), ("Pearson", 1), ("before", 0))
    ]
    for line in lines:
        best = max(
            (trial for trial in trials if trial.loss == line.loss),
            key=lambda trial: trial.scores["spearman"],
            default=line,
        )
        assert (line.setting, line.learning_rate) == (best.setting, best.learning_rate)
        assert line.loss != "before" or (line.setting, line.learning_rate) == ({}, 0.0)
    assert main(["report", str(tmp_path / "runs.jsonl"), "--output", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text("utf-8")
    for line in lines:
        assert line.loss == "before" or line.loss in text
    assert (tmp_path / "report" / "report.html").exists()
    before = (tmp_path / "runs.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["tune", *given, *chosen, "--trials", "2"]) == 0
    assert main(["compare", *given, *chosen, "--seeds", "2"]) == 0
    assert (tmp_path / "runs.jsonl").read_bytes() == before
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 runs, 4 of them done; about 0 minutes" in shown
    assert "5 runs, 5 of them done; about 0 minutes" in shown


def test_a_plan_is_of_what_was_asked_for(given, planned):
    assert (
        main(
            [
                "compare",
                *given,
                *[
                    "--tasks",
                    "topics",
                    "alike",
                    "--losses",
                    "recipe",
                    "CoSENT",
                    "--protocol",
                    "untouched",
                    "--seeds",
                    "1",
                ],
            ]
        )
        == 0
    )
    found = [f"{spec.record.name} {spec.loss}" for spec in planned]
    assert found == ["topics before", "alike before", "topics recipe", "alike recipe", "alike CoSENT"]
    del planned[:]
    assert (
        main(
            [
                "tune",
                *given,
                *["--tasks", "alike", "--losses", "CoSENT", "--steps", "7", "--batch-size", "4", "--limit", "9"],
            ]
        )
        == 0
    )
    assert len(planned) == 9
    assert {(spec.record.steps, spec.record.batch_size, spec.limit) for spec in planned} == {(7, 4, 9)}


def test_a_budget_is_that_of_the_record_that_is_trained_on(given, planned):
    assert (
        main(
            [
                "compare",
                *given,
                *[
                    "--tasks",
                    "judged",
                    "--losses",
                    "MNRL",
                    "--protocol",
                    "untouched",
                    "--steps",
                    "7",
                    "--batch-size",
                    "4",
                ],
            ]
        )
        == 0
    )
    assert {(spec.trained.name, spec.trained.steps, spec.trained.batch_size) for spec in planned} == {("search", 7, 4)}


@pytest.mark.parametrize("there", [b"", b'{"key": "unfinis'])
def test_a_dry_run_runs_nothing_and_writes_nothing(given, planned, tmp_path, capsys, there):
    path = tmp_path / "runs.jsonl"
    if there:
        path.write_bytes(there)
    for command in (
        ["tune", "--losses", "CoSENT"],
        ["compare", "--losses", "CoSENT", *UNTOUCHED, "--seeds", "2"],
    ):
        assert main([*command, *given, "--tasks", "alike", "--dry-run"]) == 0
    assert not planned
    assert (path.read_bytes() if path.exists() else b"") == there
    assert [p.name for p in tmp_path.iterdir()] == (["runs.jsonl"] if there else [])
    shown = capsys.readouterr().out
    assert "9 runs, 0 of them done" in shown
    assert len(re.findall(r"^  alike · static · CoSENT · scale .* · lr .* · seed 0 · dev$", shown, re.M)) == 9
    assert len(re.findall(r"^  alike · static · CoSENT · scale .* · lr .* · seed [01] · test$", shown, re.M)) == 2
    assert re.search(r"^  alike · static · before · seed 0 · test$", shown, re.M)


def test_tasks_are_listed_with_their_losses(world, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["tasks", "--records", str(world.path)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("documentation", "stsb", *RECORDS))
    assert "static-minilm" in shown
    assert "batch-hard triplet" in " ".join(re.sub("[│ ]+", " ", shown).split())


# Single models.


def test_a_model_is_scored_on_every_kind_of_task(local, saved, tmp_path, capsys):
    names = [name for name in RECORDS if name not in ("lines", "pictures", "marks")]
    found = evaluated(tmp_path, *local, "--tasks", *names, model=saved)
    standard = {"topics.Classification", "topics.Clustering", "tree.Classification", "tree.Clustering"}
    standard |= {"sets.MultilabelClassification", "number.Regression"}
    assert {task for _, task in found} == {*names, *standard}
    assert {model for model, _ in found} == {"local__small"}
    shown = capsys.readouterr().out
    for (_, task), value in found.items():
        assert re.search(rf"{re.escape(task)[:12]}.*{value:.4f}", shown), task


@pytest.mark.parametrize("task", ["search", "judged"])
def test_a_search_through_faiss_finds_the_same(local, saved, tmp_path, task):
    plain = evaluated(tmp_path / "plain", *local, "--tasks", task, model=saved)
    faiss = evaluated(tmp_path / "faiss", *local, "--tasks", task, "--faiss", model=saved)
    assert plain == {("local__small", task): pytest.approx(faiss["local__small-faiss", task], abs=1e-5)}


def test_an_encoder_is_made_from_a_records_texts(local, tmp_path):
    assert list(evaluated(tmp_path, *local, "--tasks", "alike", model="static")) == [("local__static", "alike")]


def test_a_model_has_the_name_it_is_given(local, saved, tmp_path):
    found = evaluated(tmp_path, *local, "--tasks", "alike", "--name", "mine/best", model=saved)
    assert list(found) == [("mine__best", "alike")]


@pytest.mark.parametrize("first", [["--limit", "6"], ["--split", "dev"]])
def test_a_score_is_of_the_data_that_were_asked_for(local, saved, tmp_path, first):
    expected = evaluated(tmp_path / "fresh", *local, "--tasks", "tree", model=saved)
    command = ["evaluate", str(saved), "--output", str(tmp_path / "used"), *local, "--tasks", "tree"]
    assert main([*command, *first]) == main(command) == 0
    found = {}
    for path in (tmp_path / "used").glob("results/*/*/*.json"):
        content = json.loads(path.read_text("utf-8"))
        if "scores" in content:
            found[path.parts[-3], content["task_name"]] = content["scores"]["test"][0]["main_score"]
    assert found == pytest.approx(expected)


def test_two_models_of_one_name_and_weights_never_share_a_score(world, tmp_path, monkeypatch):
    part = world.data("alike").parts["test"]
    columns = {"sentence1": part.first, "sentence2": part.second, "score": part.scores}
    monkeypatch.setattr(
        "mteb.abstasks.abstask.load_dataset", lambda **given: DatasetDict({"test": Dataset.from_dict(columns)})
    )
    shape = word_model(WORDS)[0].embedding.weight.shape
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    own = []
    for i, words in enumerate((sorted(WORDS), sorted(WORDS, reverse=True))):  # another word to each row
        path = tmp_path / str(i) / "model"
        SentenceTransformer(modules=[StaticEmbedding(word_tokenizer(words), embedding_weights=weights)]).save(str(path))
        own += evaluated(tmp_path / f"own{i}", "--tasks", "STS12", model=path).values()
        evaluated(tmp_path / "shared", "--tasks", "STS12", model=path)
    assert own[0] != own[1]
    files = (tmp_path / "shared").glob("results/local__model/*/STS12.json")
    scores = [json.loads(path.read_text("utf-8"))["scores"]["test"][0]["main_score"] for path in files]
    assert sorted(scores) == sorted(own)


@pytest.mark.parametrize("task", ["lines", "judged"])
def test_records_without_a_training_or_test_part_end_with_a_score_or_one_line(local, saved, tmp_path, task):
    for model in (str(saved), "static"):
        assert main(["evaluate", model, *local, "--output", str(tmp_path), "--tasks", task]) in (0, 2)


# Wrong input.


@pytest.mark.parametrize("command", ["tune", "compare"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--tasks", "alik"], "unknown task 'alik'; did you mean alike"),
        (["--tasks", "alike", "--losses", "CoSNT"], "unknown loss 'CoSNT'; did you mean CoSENT"),
        (["--tasks", "alike", "--encoders", "statc"], "unknown encoder .*'statc'; did you mean static"),
        (["--tasks", "alike", "--batch-size", "1"], "batch_size must be an integer of at least 2, got 1"),
    ],
)
def test_unknown_names_have_close_ones(given, planned, capsys, tmp_path, command, wrong, message):
    assert re.search(message, refused(capsys, command, *given, *wrong))
    assert not planned
    assert not list(tmp_path.iterdir())


def test_an_unknown_ablation_has_close_names(given, planned, capsys):
    assert "'temprature'; did you mean temperature" in refused(capsys, "ablate", *given, "--ablations", "temprature")
    assert "run `python -m eval tune`" in refused(capsys, "ablate", *given)


def test_losses_must_be_tuned_first(given, planned, capsys):
    error = refused(capsys, "compare", *given, "--tasks", "alike", "--losses", "CoSENT")
    assert "not tuned yet: CoSENT on alike" in error


def test_a_model_or_task_that_is_unknown_has_close_names(local, saved, capsys, tmp_path):
    own = [*local, "--output", tmp_path]
    assert "did you mean static" in refused(capsys, "evaluate", "statc", *own, "--tasks", "alike")
    error = refused(capsys, "evaluate", saved, *own, "--tasks", "NFCorpuss")
    assert "did you mean" in error
    assert "NFCorpus" in error.split("Known")[0]
    assert "made from a record's texts" in refused(capsys, "evaluate", "static", *own, "--tasks", "STS12")


def test_a_model_that_is_nowhere_ends_with_one_line(local, capsys, tmp_path):
    own = [*local, "--output", tmp_path, "--tasks", "alike"]
    assert "no/such-model" in refused(capsys, "evaluate", "no/such-model", *own)


@pytest.fixture
def misnamed(world, tmp_path):
    """A file of records with a column that is not in the data."""
    content = RECORDS["alike"] | {"columns": {"first": "on", "second": "two", "score": "score"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"mine": content}), encoding="utf-8")
    return path


def test_an_unknown_column_has_close_names(world, saved, misnamed, tmp_path, capsys):
    own = ["--records", misnamed, "--data", world.folder, "--output", tmp_path / "out", "--tasks", "mine"]
    error = refused(capsys, "evaluate", saved, *own)
    assert "column of mine, file alike/{split}.parquet: 'on'; did you mean one" in error


@pytest.mark.parametrize("command", [["tune"], ["compare", *UNTOUCHED]])
def test_an_unknown_column_is_reported_before_anything_runs(world, misnamed, planned, tmp_path, capsys, command):
    own = ["--records", misnamed, "--data", world.folder, "--output", tmp_path / "runs.jsonl", "--tasks", "mine"]
    assert "'on'; did you mean one" in refused(capsys, *command, *own)
    assert not planned


@pytest.mark.parametrize("command", [["tune"], ["compare", *UNTOUCHED]])
def test_missing_data_are_reported_before_anything_runs(world, planned, tmp_path, capsys, command):
    own = ["--records", world.path, "--output", tmp_path / "runs.jsonl", "--tasks", "alike"]
    assert "--data FOLDER" in refused(capsys, *command, *own)
    assert not planned
    assert "there is no" in refused(capsys, *command, *own, "--data", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("command", "option"),
    [("tune", name) for name in ("--trials", "--steps", "--batch-size", "--limit", "--jobs")]
    + [("compare", name) for name in ("--seeds", "--steps", "--limit")],
)
@pytest.mark.parametrize("number", ["0", "-3"])
def test_numbers_must_be_positive(given, monkeypatch, capsys, command, option, number):
    monkeypatch.setattr("eval.training.workers.Executor.run_all", lambda self, specs: None)
    monkeypatch.setattr("eval.training.workers.Executor.tune_all", lambda self, tunings: None)
    untuned = UNTOUCHED if command == "compare" else []
    try:
        code = main([command, *given, "--tasks", "alike", "--losses", "CoSENT", *untuned, option, number])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert number in capsys.readouterr().err


def test_lines_of_other_versions_are_refused(given, planned, tmp_path, capsys, choice):
    there = trial(choice, "SupCon", 0.5, versions={"torch": "0.4"})
    (tmp_path / "runs.jsonl").write_text(there.line, encoding="utf-8")
    error = refused(capsys, "tune", *given, "--tasks", "alike")
    assert "torch 0.4 there" in error
    assert "--mixed" in error


def test_a_report_of_nothing_is_an_error(tmp_path, capsys):
    refused(capsys, "report", tmp_path / "none.jsonl", "--output", tmp_path / "report")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=lambda names: " ".join(names) or "none")
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m eval {' '.join(command)}".rstrip())
    if not command:
        assert all(f"python -m eval {name}" in shown for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["tun"], ["evaluate"], ["report"], ["compare", "--sceds", "3"]])
def test_the_parser_refuses_what_it_does_not_know(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_command_line_is_quiet_about_the_host(given, planned, capsys):
    assert main(["tune", *given, "--tasks", "alike"]) == 0
    logging.getLogger("somebody").info("said")
    with warnings.catch_warnings(record=True):
        assert capsys.readouterr().err == ""
