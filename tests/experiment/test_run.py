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
from datasets import Dataset, Image
from markupsafe import escape
from PIL import Image as Pillow
from sentence_transformers import SentenceTransformer

from st_rankloss.data import Part
from st_rankloss.experiment import Prepared, Settings, make_table, prepare, run, train, write_report
from st_rankloss.experiment.candidates import candidates
from st_rankloss.experiment.folder import claim, fingerprint
from st_rankloss.experiment.prepared import cut
from st_rankloss.experiment.report import examples
from st_rankloss.experiment.run import _try
from st_rankloss.experiment.table import lines
from st_rankloss.experiment.training import Plan, last_checkpoint
from st_rankloss.trainer import RankingTrainer
from tests.experiment.tiny import COLOURS, THINGS, beir, part
from tests.models import tiny_clip, word_model

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
    with pytest.raises(ValueError, match=r"another run \(seed: 0, now 7\).*--overwrite"):
        train(replace(settings, seed=7), output)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds other files"):
        train(settings, tmp_path / "output", overwrite=True)
    assert (tmp_path / "output" / "thesis.txt").exists()


def test_a_run_continues_only_with_the_same_data_model_and_versions(tmp_path, monkeypatch):
    model, words, output = tmp_path / "model", [*COLOURS, *THINGS], tmp_path / "output"
    word_model(words).save_pretrained(str(model))
    settings = replace(SETTINGS, data=str(beir(tmp_path / "data")), model=str(model))
    prepared = prepare(settings)
    claim(output, prepared, overwrite=False)
    claim(output, prepare(settings), overwrite=False)
    with monkeypatch.context() as patched:
        patched.setattr("st_rankloss.experiment.folder.version", lambda name: "9")
        with pytest.raises(ValueError, match=r"another run \(st_rankloss: .*, now 9; .*torch: .*, now 9\)"):
            claim(output, prepared, overwrite=False)
    corpus = tmp_path / "data" / "corpus.jsonl"
    whole = corpus.read_text(encoding="utf-8")
    corpus.write_text(whole + '\n{"_id": "unjudged", "text": "red sky"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"another run \(the data have changed\)"):
        train(settings, output)
    corpus.write_text(whole, encoding="utf-8")
    other = word_model(words)
    other[0].embedding.weight.data *= 2
    other.save_pretrained(str(model))
    with pytest.raises(ValueError, match=r"another run \(the model has changed\)"):
        train(settings, output)
    claim(output, prepare(settings), overwrite=True)
    claim(output, prepare(settings), overwrite=False)


def test_the_fingerprint_covers_all_that_parts_hold(tmp_path):
    given = part("retrieval")
    (query, judged), *_ = given.qrels.items()
    rows = Dataset.from_dict({"text": [str(i) for i in range(20_000)]})
    others = rows.select([*range(12_344), 12_346, 12_345, *range(12_347, 20_000)])
    paths = [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    for colour, path in enumerate(paths):
        Pillow.new("RGB", (4, 4), (colour, 0, 0)).save(path)
    images = Dataset.from_dict({"image": paths, "caption": ["a", "b"]}).cast_column("image", Image())
    before = fingerprint({"train": Part("image_text", images)})
    Pillow.new("RGB", (4, 4), (9, 9, 9)).save(paths[1])
    found = [
        before,
        fingerprint({"train": Part("image_text", images)}),
        *(fingerprint({"train": Part("self_supervised", x)}) for x in (rows, others)),
        *(fingerprint({"train": part("image_text", count)}) for count in (8, 9)),
        fingerprint({"train": given}),
        fingerprint({"dev": given}),
        fingerprint({"train": replace(given, corpus={**given.corpus, "new": "red"})}),
        fingerprint({"train": replace(given, queries={**given.queries, query: "red"})}),
        fingerprint({"train": replace(given, qrels={**given.qrels, query: {**judged, "d1": 1.0}})}),
    ]
    assert len(set(found)) == len(found)
    assert fingerprint({"train": part("retrieval")}) == fingerprint({"train": given})


def test_overwriting_deletes_a_run_and_nothing_else(finished, tmp_path):
    settings, output, _ = finished
    project = tmp_path / "project"
    (project / "model").mkdir(parents=True)
    files = {"config.yaml": "learning: fast", "data.json": '{"rows": 3}', "model/weights.bin": "weights"}
    for config in (files["config.yaml"], (output / "config.yaml").read_text(encoding="utf-8")):
        files["config.yaml"] = config
        for name, content in files.items():
            (project / name).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match="holds other files"):
            train(settings, project, overwrite=True)
        assert {name: (project / name).read_text(encoding="utf-8") for name in files} == files
    with pytest.raises(ValueError, match="is a file: name a folder"):
        train(settings, project / "config.yaml")


def test_a_run_that_is_read_is_not_overwritten(finished):
    settings, output, _ = finished
    for model in (output / "model", output / "losses" / "usual" / "model"):
        with pytest.raises(ValueError, match=r"belongs to the run .*choose another output folder"):
            train(replace(settings, model=str(model)), output, overwrite=True)
        assert weights(model).any()


def test_a_process_killed_while_it_begins_can_be_repeated(finished, tmp_path, monkeypatch):
    settings, _, _ = finished
    prepared, output = prepare(settings), tmp_path / "output"
    output.mkdir()
    (output / "config.yaml.part").touch()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("st_rankloss.experiment.folder.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            claim(output, prepared, overwrite=False)
    assert not (output / "data.json").exists()
    with (output / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("# mine")
    other = replace(prepared, settings=replace(settings, seed=7))
    with pytest.raises(ValueError, match=r"another run \(seed: 0, now 7\)"):
        claim(output, other, overwrite=False)
    claim(output, prepared, overwrite=False)
    assert (output / "config.yaml").read_text(encoding="utf-8").endswith("# mine")
    claim(output, other, overwrite=True)
    assert Settings.load(output / "config.yaml").seed == 7


def test_a_training_killed_while_it_is_scored_is_not_repeated(finished, tmp_path, monkeypatch):
    settings, whole, result = finished
    output, score, step = tmp_path / "output", run._score, RankingTrainer.training_step
    steps, said = [], []

    def killed(model, part, known=None):
        if known is not None and (output / "losses" / "usual").exists():
            raise KeyboardInterrupt
        return score(model, part, known)

    with monkeypatch.context() as patched:
        patched.setattr(run, "_score", killed)
        with pytest.raises(KeyboardInterrupt):
            train(settings, output, seconds_between_checkpoints=0)
    assert last_checkpoint(output / "losses" / "usual")
    monkeypatch.setattr(RankingTrainer, "training_step", lambda *args, **kw: steps.append(1) or step(*args, **kw))
    again = train(settings, output, report=said.append)
    assert len(steps) == 1 + result.plan.steps  # the last step of the usual loss, and the recipe
    assert not any("before training" in line for line in said)
    assert again.before.means == result.before.means
    assert again.before_dev == result.before_dev
    for name in ("usual", "recipe"):
        assert torch.equal(weights(output / "losses" / name / "model"), weights(whole / "losses" / name / "model"))
    assert not list(output.glob("losses/*/checkpoint-*"))


def test_the_verdict_names_ties_and_trainings_that_do_not_help(finished):
    _, output, result = finished
    assert json.loads((output / "results.json").read_text(encoding="utf-8"))["before_dev"] == result.before_dev
    usual, recipe = (trained.title for trained in result.losses)

    def verdict(before, *after):
        losses = tuple(replace(t, dev={"ndcg@10": x}) for t, x in zip(result.losses, after, strict=True))
        return replace(result, before_dev={"ndcg@10": before}, losses=losses, best="recipe").verdict

    scores = f"{usual} 0.5000, {recipe} 0.6000, before training"
    assert verdict(0.4, 0.5, 0.6) == f"Better on dev: {recipe} (ndcg@10: {scores} 0.4000)."
    assert "Neither loss beats the model before training" in verdict(0.6, 0.5, 0.6)
    assert verdict(0.4, 0.5, 0.5).startswith("Equal on dev (ndcg@10: ")
    assert verdict(0.5, 0.5 + 1e-9, 0.5) == (
        f"Equal on dev (ndcg@10: {usual} 0.5000, {recipe} 0.5000, before training 0.5000). "
        "Neither loss beats the model before training: use that one, or tune."
    )


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
    assert escape(result.verdict) in page


@pytest.mark.parametrize("column", [None, "label", "caption"])
def test_images_are_trained_from_a_file_to_a_report(column, tmp_path):
    draw = random.Random(0)
    lines_ = [",".join(["image", *filter(None, [column])])]
    for i in range(80):
        Pillow.new("RGB", (9, 9), tuple(draw.randrange(256) for _ in range(3))).save(tmp_path / f"{i}.png")
        value = {None: [], "label": [COLOURS[i % 4]], "caption": [f"{COLOURS[i % 4]} {THINGS[i % 10]}"]}[column]
        lines_.append(",".join([f"{i}.png", *value]))
    (tmp_path / "images.csv").write_text("\n".join(lines_), encoding="utf-8")
    tiny_clip(tmp_path / "made", [*COLOURS, *THINGS]).save(str(tmp_path / "clip"))
    settings = Settings(str(tmp_path / "images.csv"), str(tmp_path / "clip"), epochs=1, batch_size=16)
    result = train(settings, tmp_path / "output")
    assert result.sizes == {"train": 64, "dev": 8, "test": 8}
    assert [math.isfinite(trained.test.means["ndcg@10"]) for trained in result.losses] == [True, True]
    write_report(result, tmp_path / "report.html")
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_default_number_of_steps_is_never_tiny(tmp_path):
    prepared = prepare(replace(SETTINGS, data=str(beir(tmp_path / "data")), epochs=None, batch_size=None))
    assert prepared.plan.steps == 100
    assert prepared.plan.batch_size == 8  # the least, of 24 rows


def test_a_limit_draws_rows_and_says_so(tmp_path):
    prepared = prepare(replace(SETTINGS, data=str(beir(tmp_path / "data")), limit=10))
    train_part = prepared.parts["train"]
    assert len(train_part) == 10
    assert list(train_part.queries) == list(train_part.qrels) == train_part.dataset["query_id"][:]
    assert len(train_part.corpus) == len(part("retrieval").corpus)
    assert any("only 10 of 24 rows are used, drawn at random" in note for note in train_part.notes)


@pytest.mark.parametrize("labels", [["a"] * 500 + ["b"] * 500, ["a", "b"] * 500], ids=["sorted", "alternating"])
def test_a_cut_part_has_its_classes_in_their_shares(labels):
    rows = Dataset.from_dict({"text": [str(i) for i in range(1000)], "label": labels})
    kept = cut(Part("classification", rows), 500, seed=0).dataset
    assert 200 < kept["label"][:].count("a") < 300
    assert kept["text"][:] == sorted(kept["text"][:], key=int)


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
