"""Whole runs: data in, model and scores out, killed at any moment."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from sentence_transformers import SentenceTransformer

from st_rankloss.experiment import Prepared, Settings, make_table, prepare, train, write_report
from st_rankloss.experiment.candidates import candidates
from st_rankloss.experiment.report import examples
from st_rankloss.experiment.run import _try
from st_rankloss.experiment.table import lines
from st_rankloss.experiment.training import Plan
from tests.experiment.tiny import COLOURS, THINGS, beir, part
from tests.models import word_model

SETTINGS = Settings("", "static", epochs=3, batch_size=8, learning_rate=0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = replace(SETTINGS, data=str(beir(folder / "data")))
    return settings, folder / "output", train(settings, folder / "output")


def weights(folder):
    return SentenceTransformer(str(folder), device="cpu")[0].embedding.weight.detach()


def test_a_run_improves_on_the_model_before_training(finished):
    _, _, result = finished
    assert [trained.name for trained in result.losses] == ["usual", "recipe"]
    for trained in result.losses:
        assert trained.test.means["ndcg@10"] > result.before.means["ndcg@10"] + 0.05
    assert result.sizes == {"train": 24, "dev": 12, "test": 12}


def test_the_saved_model_is_the_better_one_on_dev(finished):
    _, output, result = finished
    best = max(result.losses, key=lambda trained: trained.dev["ndcg@10"])
    assert result.best in {t.name for t in result.losses if t.dev["ndcg@10"] == best.dev["ndcg@10"]}
    assert torch.equal(weights(output / "model"), weights(output / "losses" / result.best / "model"))
    card = (output / "model" / "README.md").read_text(encoding="utf-8")
    assert card.count("      value: ") == len(result.before.values)  # the scores on test, and no others
    for value in next(t for t in result.losses if t.name == result.best).test.means.values():
        assert f"value: {value}" in card


def test_a_finished_run_is_read_and_not_repeated(finished):
    settings, output, result = finished
    before = (output / "losses" / "usual" / "result.json").stat().st_mtime_ns
    again = train(settings, output)
    assert (output / "losses" / "usual" / "result.json").stat().st_mtime_ns == before
    assert [t.test.means for t in again.losses] == [t.test.means for t in result.losses]


def test_the_configuration_repeats_the_run_exactly(finished, tmp_path):
    _, output, result = finished
    train(Settings.load(output / "config.yaml"), tmp_path / "again")
    assert torch.equal(weights(output / "model"), weights(tmp_path / "again" / "model"))
    assert json.loads((output / "results.json").read_text())["best_by_dev"] == result.best


def test_other_settings_and_data_do_not_continue_a_run(finished, tmp_path):
    settings, output, _ = finished
    with pytest.raises(ValueError, match=r"other settings \(seed: 0, now 7\).*--overwrite"):
        train(replace(settings, seed=7), output)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds other files"):
        train(settings, tmp_path / "output", overwrite=True)
    assert (tmp_path / "output" / "thesis.txt").exists()


def test_changed_data_do_not_continue_a_run(tmp_path):
    settings = replace(SETTINGS, data=str(beir(tmp_path / "data")), epochs=1)
    train(settings, tmp_path / "output")
    queries = tmp_path / "data" / "queries.jsonl"
    queries.write_text(queries.read_text(encoding="utf-8").replace("red", "crimson"), encoding="utf-8")
    with pytest.raises(ValueError, match="the data have changed"):
        train(settings, tmp_path / "output")
    assert train(settings, tmp_path / "output", overwrite=True).sizes["train"] == 24


def test_the_table_has_intervals_around_each_mean(finished):
    _, _, result = finished
    for line in lines(result):
        for estimate in (line.before, *line.after.values(), line.difference):
            assert estimate.low <= estimate.value <= estimate.high
        assert line.difference.value == pytest.approx(line.after["recipe"].value - line.after["usual"].value)
    assert [column.header for column in make_table(result).columns][1:4] == ["before", "usual loss", "recipe"]


def test_the_report_is_one_page_with_examples_that_changed(finished, tmp_path):
    _, _, result = finished
    write_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    better, worse = examples(result)
    assert better
    assert better[0].change == max(example.change for example in better)
    assert all(example.item in page for example in (*better, *worse))
    assert "<svg" in page
    assert not any(loads in page for loads in ("<script", "<link", "src=", "@import"))
    assert "batch_size: 8" in page


def test_the_default_number_of_steps_is_never_tiny(tmp_path):
    prepared = prepare(replace(SETTINGS, data=str(beir(tmp_path / "data")), epochs=None, batch_size=None))
    assert prepared.plan.steps == 100
    assert prepared.plan.batch_size == 8  # the least, of 24 rows


def test_a_limit_keeps_the_first_rows_and_says_so(tmp_path):
    prepared = prepare(replace(SETTINGS, data=str(beir(tmp_path / "data")), limit=10))
    train_part = prepared.parts["train"]
    assert len(train_part) == 10
    assert list(train_part.queries) == train_part.dataset["query_id"][:]
    assert len(train_part.corpus) == len(part("retrieval").corpus)
    assert any("first 10 of 24" in note for note in train_part.notes)


@pytest.mark.parametrize("loss", ["usual", "recipe"])
def test_a_trial_that_diverges_is_worth_less_than_any_other(loss, tmp_path):
    given = {name: part("sts", 32, seed) for seed, name in enumerate(("train", "dev", "test"))}
    model = word_model([*COLOURS, *THINGS])
    candidate = next(each for each in candidates(given["train"], model) if each.name == loss)
    torch.nn.init.constant_(next(model.parameters()), math.nan)
    prepared = Prepared(SETTINGS, given, None, model, (candidate,), Plan(steps=2, batch_size=8, learning_rate=1.0))
    value = _try(prepared, candidate, given["train"].dataset, tmp_path / "trial", 1.0, dict(candidate.defaults))
    assert value == -1


KILLS = int(os.environ.get("RANKLOSS_KILLS", "2"))
EPOCHS = 20 * KILLS

SCRIPT = """
import sys
from functools import partial
from st_rankloss.experiment import Settings, train
settings = Settings(sys.argv[1], "static", epochs=int(sys.argv[3]), batch_size=8, learning_rate=0.05)
train(settings, sys.argv[2], seconds_between_checkpoints=0.05, report=partial(print, flush=True))
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_model(tmp_path):
    data = beir(tmp_path / "data")
    train(replace(SETTINGS, data=str(data), epochs=EPOCHS), tmp_path / "whole", seconds_between_checkpoints=0.05)
    draw, kills = random.Random(0), 0
    command = [sys.executable, "-c", SCRIPT, str(data), str(tmp_path / "killed"), str(EPOCHS)]
    while True:
        patience = draw.uniform(0, 2) if kills < KILLS else math.inf
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
        process.stdout.readline()  # it has read the data
        end = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    assert kills
    assert process.returncode == 0
    for name in ("usual", "recipe"):
        whole, killed = (tmp_path / run / "losses" / name for run in ("whole", "killed"))
        assert torch.equal(weights(whole / "model"), weights(killed / "model"))
