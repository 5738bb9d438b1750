"""Runs: training rows, every loss of every kind of task, keys, repeats, failures and learning curves."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from eval import encoders, runs
from eval.batches import make_rows
from eval.data import Data, Record, Samples, ScoredPairs
from eval.encoders import make_encoder
from eval.losses import BINARY, Problem, contenders, find
from eval.runs import BEFORE, PeakMemory, Spec, run, train
from eval.significance import decode_items
from eval.tasks import make_task
from tests.eval.tiny import RECORDS, WORDS

TRAINED = [name for name in RECORDS if name != "judged"]
STATIC = [name for name in TRAINED if name not in ("pictures", "marks")]


def key_of(**changes):
    """The key of a run with changes; those that begin with record_ are the record's."""
    record = Record("mine", "samples", "f", {"input": "text", "labels": ["label"]}, ["map"], "classes", licence="a")
    own = {name.removeprefix("record_"): given for name, given in changes.items() if name.startswith("record_")}
    given = {name: value for name, value in changes.items() if not name.startswith("record_")}
    spec = Spec(replace(record, **own), "static", "SupCon", "dev", {"temperature": 0.1}, 0.05)
    return replace(spec, **given).key


# Keys.

OTHER = {
    "encoder": "bert",
    "loss": "InfoNCE",
    "stage": "test",
    "setting": {"temperature": 0.2},
    "learning_rate": 0.01,
    "seed": 1,
    "limit": 10,
    "sampler": "random",
    "augmented": True,
    "ablation": "temperature",
    "value": 0.2,
    "partner": Record("other", "pairs", "f", {"first": "a", "second": "b", "score": "s"}, ["spearman"]),
}
OTHER_RECORD = {
    "name": "yours",
    "kind": "texts",
    "files": "g",
    "columns": {"input": "text", "labels": ["other"]},
    "metrics": ["map", "accuracy"],
    "labels": "sets",
    "modality": "image",
    "drop": {"label": "oos"},
    "rerank": True,
    "level": 2,
    "relevant_from": 4.0,
    "trained_on": "other",
    "scored_on": "other",
    "batch_size": 32,
    "steps": 7,
    "documents": 2,
}


@pytest.mark.parametrize("name", [f.name for f in fields(Spec) if f.name not in ("record", "folder")])
def test_a_key_is_changed_by_every_field_of_a_run(name):
    assert key_of(**{name: OTHER[name]}) != key_of()


@pytest.mark.parametrize("name", [f.name for f in fields(Record) if f.name not in ("licence", "rate")])
def test_a_key_is_changed_by_every_field_of_its_record(name):
    assert key_of(**{f"record_{name}": OTHER_RECORD[name]}) != key_of()


def test_keys_differ_from_each_other():
    keys = [key_of()] + [key_of(**{name: value}) for name, value in OTHER.items()]
    keys += [key_of(**{f"record_{name}": value}) for name, value in OTHER_RECORD.items()]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 16 for key in keys)


def test_a_key_does_not_depend_on_where_the_data_are(tmp_path):
    partner = OTHER["partner"]
    assert key_of(folder=tmp_path) == key_of()
    assert key_of(record_licence="b") == key_of()
    assert key_of(partner=partner) == key_of(partner=replace(partner, licence="b"))
    assert key_of(partner=partner) != key_of(partner=replace(partner, steps=7))


def test_a_key_does_not_depend_on_the_order_of_a_setting_or_the_kind_of_sequence():
    assert key_of(setting={"a": 1, "b": 2}) == key_of(setting={"b": 2, "a": 1})
    assert key_of(record_metrics=("map",)) == key_of(record_metrics=["map"])


# Rows of training.


def rows_of(world, name, **given):
    """Training rows of a record."""
    record = world.records[name]
    options = {"pairs": False, "seed": 0, "steps": 5, "batch_size": record.batch_size}
    return make_rows(world.data(name), **(options | given))


def inputs(rows):
    """What identifies each row."""
    column = next(
        name for name in ("query_id", "query", "first", "text", "caption", "image") if name in rows.column_names
    )
    found = rows[column]
    return [value.tobytes() if hasattr(value, "tobytes") else value for value in found]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("sampler", ["balanced", "random"])
def test_rows_fill_the_batches_of_all_steps(world, name, sampler):
    rows = rows_of(world, name, sampler=sampler)
    assert len(rows) == 5 * 8
    again, other = rows_of(world, name, sampler=sampler), rows_of(world, name, sampler=sampler, seed=1)
    assert rows.to_dict() == again.to_dict()
    assert inputs(rows) != inputs(other)
    few = rows_of(world, name, sampler=sampler, steps=2)
    assert inputs(few) == inputs(rows)[:16]  # a longer training begins as a shorter one


@pytest.mark.parametrize("name", ["search", "pictures"])
def test_losses_of_pairs_see_the_same_rows(world, name):
    lists, pairs = (rows_of(world, name, pairs=pairs) for pairs in (False, True))
    assert pairs.num_columns == 2
    if name == "search":
        assert pairs["query"] == lists["query"]
        assert pairs["document"] == [documents[0] for documents in lists["documents"]]
    else:
        assert pairs["caption"] == lists["caption"]
        assert [x.tobytes() for x in pairs["image"]] == [x.tobytes() for x in lists["image"]]


def test_a_query_comes_with_its_best_document_first(world):
    train_part = world.data("search").parts["train"]
    rows = rows_of(world, "search")
    assert {len(ids) for ids in rows["document_ids"]} == {3}
    for query, text, ids, documents in zip(
        *(rows[c] for c in ("query_id", "query", "document_ids", "documents")), strict=True
    ):
        grades = train_part.qrels[query]
        assert grades[ids[0]] == max(grades.values())
        assert len(set(ids)) == len(ids)
        assert set(ids) <= set(grades)
        assert text == train_part.queries[query]
        assert documents == [train_part.corpus[d] for d in ids]


@pytest.mark.parametrize("name", ["alike", "search", "pictures", "lines"])
def test_no_row_comes_twice_in_an_epoch(world, name):
    rows = inputs(rows_of(world, name, steps=6))
    count = len(world.data(name).parts["train"])
    if name == "pictures":  # captions repeat
        assert Counter(rows[:24]) == Counter(world.data(name).parts["train"].captions)
        return
    for epoch in (rows[:24], rows[24:]):
        assert len(set(epoch)) == min(24, count)


@pytest.mark.parametrize(("name", "finest"), [("topics", 6), ("tree", 6)])
def test_balanced_batches_hold_several_samples_of_a_class(world, name, finest):
    balanced = np.asarray(rows_of(world, name)["label"]).reshape(40, -1)[:, -1].reshape(5, 8)
    assert balanced.max() < finest
    for batch in balanced:
        assert min(Counter(batch.tolist()).values()) >= 2
        assert len(set(batch.tolist())) >= 2


def test_scores_of_pairs_are_scaled_to_one_in_their_order(world):
    scores = dict(zip(world.data("alike").parts["train"].first, world.data("alike").parts["train"].scores, strict=True))
    rows = rows_of(world, "alike")
    assert [label * max(scores.values()) for label in rows["label"]] == pytest.approx(
        [scores[x] for x in rows["first"]]
    )


def test_scores_below_zero_keep_their_order(world):
    part = ScoredPairs([f"a{i}" for i in range(8)], ["b"] * 8, [float(i) - 9 for i in range(8)])
    data = Data(world.records["alike"])
    data.parts = {"train": part}
    rows = make_rows(data, pairs=False, seed=0, steps=1, batch_size=8)
    order = sorted(range(8), key=lambda i: rows["label"][i])
    assert [rows["first"][i] for i in order] == part.first


@pytest.mark.parametrize("name", TRAINED)
def test_a_batch_larger_than_the_data_is_an_error(world, name):
    with pytest.raises(ValueError, match=r"batch"):
        rows_of(world, name, batch_size=64)


# Losses.


def first_setting(record, loss):
    """The first setting of a loss."""
    return contenders(record)[loss].settings[0]


def weights(model):
    """A copy of a model's weights."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@pytest.fixture(scope="module")
def initial(world):
    """The untrained encoder of each record."""
    return {name: weights(make_encoder("static", [world.data(name)], 0)) for name in STATIC}


@pytest.mark.parametrize(
    ("name", "loss"),
    [(name, loss) for name in STATIC for loss in contenders(Record(name=name, **RECORDS[name]))],
)
def test_every_loss_trains(world, initial, name, loss):
    data = world.data(name)
    model = make_encoder("static", [data], 0)
    train(model, world.spec(name, loss, setting=first_setting(data.record, loss)), data)
    moved = [(value - initial[name][key]).abs().max() for key, value in model.named_parameters()]
    assert all(value.isfinite().all() for value in model.parameters())
    assert max(moved) > 1e-4
    assert not model.training


@pytest.mark.parametrize(("name", "loss"), [("pictures", "CLIP"), ("pictures", "A-NDCG"), ("marks", "SupCon")])
def test_losses_of_images_train(world, name, loss):
    data = world.data(name)
    before = weights(make_encoder("clip", [data], 0))
    model = make_encoder("clip", [data], 0)
    train(
        model,
        world.spec(name, loss, encoder="clip", learning_rate=1e-3, setting=first_setting(data.record, loss)),
        data,
    )
    assert any((value - before[key]).abs().max() > 1e-5 for key, value in model.named_parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_every_setting_makes_a_loss(world, name):
    data = world.data(name)
    model = make_encoder("static", [data], 0) if name in STATIC else make_encoder("clip", [data], 0)
    for contender in contenders(data.record).values():
        made = [contender.make(model, Problem(data), **setting) for setting in contender.settings]
        assert len(made) in (1, 3)
        assert len({repr(sorted(setting.items())) for setting in contender.settings}) == len(made)
    assert next(iter(contenders(data.record))) == "recipe"


@pytest.mark.parametrize("contender", BINARY, ids=lambda contender: contender.name)
@pytest.mark.parametrize("name", ["topics", "tree"])
def test_objectives_of_binary_labels_see_the_finest_class(world, name, contender):
    data = world.data(name)
    loss = contender.make(make_encoder("static", [data], 0), Problem(data), **contender.settings[0])
    paths = data.parts["train"].labels[:8]
    relevance = loss.relevance(paths, paths)
    finest = paths if paths.dim() == 1 else paths[:, -1]
    assert relevance.tolist() == [[float(a == b) for b in finest.tolist()] for a in finest.tolist()]


def test_heads_have_a_class_for_every_label(world):
    problems = [Problem(world.data(name)) for name in ("topics", "tree", "sets", "number")]
    assert [problem.classes for problem in problems] == [6, 6, 6 + 3, 1]


def test_a_loss_of_two_roles_is_usual_where_it_is_usual(world):
    assert find(world.records["topics"], "SupCon").role == "usual"
    assert find(world.records["search"], "SupCon").role == "family"
    assert find(world.records["number"], "RankNContrast").role == "usual"
    with pytest.raises(ValueError, match="loss for topics 'SupConn'; did you mean SupCon"):
        find(world.records["topics"], "SupConn")


@pytest.mark.parametrize(("name", "loss"), [("tree", "A-NDCG"), ("topics", "A-NDCG binary"), ("tree", "SupCon")])
def test_views_can_be_added_to_samples(world, name, loss):
    setting = first_setting(world.records[name], loss)
    given = {"setting": setting, "learning_rate": 0.5}
    plain, augmented = (run(world.spec(name, loss, augmented=augmented, **given)) for augmented in (False, True))
    assert augmented["error"] is None
    assert augmented["key"] != plain["key"]
    assert augmented["scores"] != plain["scores"]


# Whole runs.


def without_clock(line):
    """A line without what no two runs share."""
    return {name: value for name, value in line.items() if name not in ("started", "seconds", "peak_memory_mb")}


@pytest.mark.parametrize(
    ("name", "loss"), [("alike", "CoSENT"), ("search", "A-NDCG"), ("tree", "softmax classifier"), ("lines", "recipe")]
)
def test_the_same_run_gives_the_same_scores(world, name, loss):
    spec = world.spec(name, loss, "test", setting=first_setting(world.records[name], loss), learning_rate=0.02)
    first, again, other = run(spec), run(spec), run(replace(spec, seed=1))
    assert first["status"] == "ok", first["error"]
    assert without_clock(first) == without_clock(again)
    assert other["scores"] != first["scores"]
    assert other["key"] != first["key"] == spec.key


@pytest.mark.parametrize("name", ["alike", "search", "tree", "lines"])
def test_the_untrained_encoder_is_only_scored(world, monkeypatch, name):
    monkeypatch.setattr(runs, "train", None)
    line = run(world.spec(name, BEFORE, "test", learning_rate=0.0))
    assert (line["status"], line["role"], line["curve"]) == ("ok", "before", None)
    scored = world.records["alike" if name == "lines" else name]
    data = world.data(scored.name)
    assert len(decode_items(line["items"])) == len(data.parts["test"])
    assert line["scores"][scored.main] == pytest.approx(decode_items(line["items"]).mean(), abs=2e-3)


@pytest.mark.parametrize("name", ["search", "judged"])
def test_bm25_is_scored_without_training(world, monkeypatch, name):
    monkeypatch.setattr(runs, "train", None)
    line, again = (run(world.spec(name, runs.BM25, "test", learning_rate=0.0, seed=seed)) for seed in (0, 1))
    assert line["error"] is None
    assert (line["role"], line["curve"]) == ("before", None)
    assert len(decode_items(line["items"])) == len(world.data(name).parts["test"])
    assert line["scores"] == again["scores"]  # whatever the encoder is
    assert line["scores"]["ndcg_at_10"] > (0.85 if name == "judged" else 0.6)


def test_a_line_says_what_was_run(world):
    setting = {"scale": 20.0}
    line = run(world.spec("search", "MNRL", "test", setting=setting, seed=2, ablation="mine", value=3))
    expected = {"stage": "test", "status": "ok", "error": None, "task": "search", "kind": "retrieval", "seed": 2}
    expected |= {"metric": "ndcg_at_10+mrr_at_10", "encoder": "static", "loss": "MNRL", "role": "usual"}
    expected |= {"setting": setting, "learning_rate": 0.05, "steps": 2, "batch_size": 8, "ablation": "mine", "value": 3}
    assert {name: line[name] for name in expected} == expected
    assert {"torch", "mteb", "st_rankloss", "python"} <= set(line["versions"])
    assert line["seconds"]["train"] > 0
    assert set(line["scores"]) >= {"ndcg_at_10", "mrr_at_10", "ndcg_at_10+mrr_at_10", "auc", "opis"}
    assert run(world.spec("sets", BEFORE))["kind"] == "sets"


def test_scores_of_a_search_are_those_of_a_search(world):
    kept = set(run(world.spec("search", BEFORE))["scores"])
    assert kept <= {"ndcg_at_10", "ndcg_at_100", "mrr_at_10", "map_at_100", "recall_at_100", "ndcg_at_10+mrr_at_10"}


def test_trials_are_scored_on_dev_and_tests_on_test(world):
    scores = {
        stage: run(world.spec("alike", BEFORE, stage))["scores"]["spearman"] for stage in ("dev", "ablation", "test")
    }
    model = make_encoder("static", [world.data("alike")], 0)
    for stage, split in (("dev", "dev"), ("ablation", "dev"), ("test", "test")):
        found = runs.evaluate(model, world.spec("alike", BEFORE), world.data("alike"), split)
        assert scores[stage] == found["scores"]["spearman"]
    assert scores["dev"] != scores["test"]


def test_only_a_test_describes_similarities(world):
    trial, test = (run(world.spec("alike", BEFORE, stage)) for stage in ("dev", "test"))
    assert "histogram" not in trial
    assert "auc" not in trial["scores"]
    assert test["histogram"]
    assert "auc" in test["scores"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"setting": {"temperature": -1.0}}, "ValueError: temperature"),
        ({"setting": {"tempratur": 0.1}}, "TypeError: "),
        ({"encoder": "statc"}, "ValueError: unknown encoder .*did you mean static"),
        ({"loss": "SupConn"}, "ValueError: unknown loss for topics 'SupConn'; did you mean SupCon"),
    ],
)
def test_a_failure_is_a_line_with_its_error(world, changes, error):
    spec = replace(world.spec("topics", "SupCon", setting={"temperature": 0.1}), **changes)
    line = run(spec)
    assert line["status"] == "failed"
    assert line["scores"] == {}
    assert line["key"] == spec.key
    assert re.match(error, line["error"]), line["error"]


def test_a_model_that_diverged_is_a_failure(world):
    line = run(world.spec("alike", "CoSENT", setting={"scale": 5.0}, learning_rate=math.inf))
    assert line["status"] == "failed"


def test_one_record_can_be_trained_on_another(world):
    own = run(world.spec("search", "SupCon", setting={"temperature": 0.1}))
    other = run(world.spec("judged", "SupCon", setting={"temperature": 0.1}))
    assert other["status"] == "ok", other["error"]
    assert (other["task"], other["metric"], other["steps"]) == ("judged", "ndcg_at_10", 2)
    assert (own["trained_on"], other["trained_on"]) == (None, "search")
    assert other["key"] != own["key"]
    spec = world.spec("search", "SupCon", setting={"temperature": 0.1})
    model = make_encoder("static", [world.data("search")], 0)
    train(model, spec, world.data("search"))
    expected = runs.evaluate(model, spec, world.data("judged"), "dev")["scores"]["ndcg_at_10"]
    assert other["scores"]["ndcg_at_10"] == pytest.approx(expected, abs=1e-6)


def test_one_record_can_be_scored_on_another(world):
    line = run(world.spec("lines", "recipe", setting={"weight": 0.1}))
    assert line["status"] == "ok", line["error"]
    assert (line["task"], line["kind"], line["metric"]) == ("lines", "texts", "spearman")
    assert len(decode_items(line["items"])) == len(world.data("alike").parts["dev"])


# Learning curves.


@pytest.mark.parametrize(("steps", "expected"), [(8, [2, 4, 6, 8]), (10, [2, 5, 7, 10]), (2, [1, 2])])
def test_a_learning_curve_has_four_points_that_end_where_training_does(world, steps, expected):
    record = world.record("alike", steps=steps)
    line = run(world.spec("alike", "CoSENT", "test", setting={"scale": 5.0}, record=record))
    points = [step for step, _ in line["curve"]]
    assert points[-1] == steps
    assert len(points) == len(expected)
    assert all(abs(step - wanted) <= 1 for step, wanted in zip(points, expected, strict=True))


def test_the_last_point_of_a_learning_curve_is_the_trained_model(world):
    spec = world.spec("alike", "CoSENT", "test", setting={"scale": 5.0})
    dev = run(replace(spec, stage="dev"))["scores"]["spearman"]
    assert run(spec)["curve"][-1] == (2, pytest.approx(dev, abs=1e-5))
    assert run(replace(spec, seed=1))["curve"] is None


@pytest.mark.parametrize("augmented", [False, True])
def test_a_learning_curve_does_not_change_what_is_learnt(world, augmented):
    name = "topics" if augmented else "lines"
    loss = "A-NDCG binary" if augmented else "A-NDCG"
    spec = world.spec(
        name, loss, "test", setting={"temperature": 0.1}, augmented=augmented, record=world.record(name, steps=6)
    )
    found = []
    for curve in (None, runs._Curve(spec, world.data("alike" if name == "lines" else name))):
        model = make_encoder("static", [world.data(name)], 0)
        train(model, spec, world.data(name), curve)
        found.append(weights(model))
        assert curve is None or len(curve.points) >= 4
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


# Encoders.


def test_random_weights_depend_on_the_seed_alone(world):
    data = world.data("alike")
    first, again, other = (weights(make_encoder("static", [data], seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_an_encoder_embeds_as_if_it_remembered_nothing(world):
    model = make_encoder("static", [world.data("alike")], 0)
    texts = [*world.data("alike").texts()[:5], "a text of words never seen", "", *world.data("alike").texts()[:2]]
    module = model[0]
    plain = StaticEmbedding(module.tokenizer, embedding_weights=module.embedding.weight.detach().numpy())
    for _ in range(2):
        features = {name: value.to(model.device) for name, value in module.preprocess(texts).items()}
        expected = plain.forward({name: value.cpu() for name, value in plain.preprocess(texts).items()})
        torch.testing.assert_close(
            module(features)["sentence_embedding"].cpu(), expected["sentence_embedding"], equal_nan=True
        )


def test_an_encoder_has_the_words_of_its_own_data_whatever_was_read_before(world, monkeypatch):
    def made(words):
        data = Data(world.records["lines"])
        data.parts = {"train": Samples([f"{a} {b}" for a in words for b in words], torch.empty(len(words) ** 2, 0), [])}
        return data

    monkeypatch.setattr(encoders, "id", lambda value: -1, raising=False)  # as if the second lay where the first one had
    make_encoder("static", [made(WORDS[:6])], 0)
    vocabulary = make_encoder("static", [made([f"new{word}" for word in WORDS[:6]])], 0)[0].tokenizer.get_vocab()
    assert any("new" in token for token in vocabulary)


def test_an_unknown_encoder_has_close_names(world):
    with pytest.raises(ValueError, match="unknown encoder .*'minilm2'; did you mean minilm"):
        make_encoder("minilm2", [world.data("alike")], 0)


def test_peak_memory_is_that_since_it_was_asked():
    peak = PeakMemory()
    before = peak.megabytes()
    block = np.ones(30_000_000)
    assert peak.megabytes() > before + 150
    del block
    assert PeakMemory().megabytes() < before + 150


def test_an_evaluation_uses_no_cache(world):
    spec = world.spec("alike", BEFORE)
    model = make_encoder("static", [world.data("alike")], 0)
    first = runs.evaluate(model, spec, world.data("alike"), "dev")
    with torch.no_grad():
        model[0].embedding.weight.copy_(torch.randn_like(model[0].embedding.weight))
    assert runs.evaluate(model, spec, world.data("alike"), "dev")["scores"] != first["scores"]
    assert make_task(world.data("alike"), "dev").items is None
