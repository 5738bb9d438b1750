"""A line of results: its key, and the file it is kept in."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from eval.results import ResultsFile, Spec, decode_items, encode_items
from eval.tasks.records import Record
from tests.eval.tiny import VERSIONS, trial


def key_of(**changes):
    """The key of a run with changes; those that begin with record_ are the record's."""
    record = Record("mine", "samples", "f", {"input": "text", "labels": ["label"]}, ["map"], "classes", licence="a")
    own = {name.removeprefix("record_"): given for name, given in changes.items() if name.startswith("record_")}
    given = {name: value for name, value in changes.items() if not name.startswith("record_")}
    spec = Spec(replace(record, **own), "static", "SupCon", "dev", {"temperature": 0.1}, 0.05)
    return replace(spec, **given).key


OTHER = {"encoder": "bert", "loss": "InfoNCE", "stage": "test", "setting": {"temperature": 0.2}, "learning_rate": 0.01}
OTHER |= {"seed": 1, "limit": 10, "sampler": "random", "augmented": True, "ablation": "temperature", "value": 0.2}
OTHER["protocol"] = "untouched"
OTHER["partner"] = Record("other", "pairs", "f", {"first": "a", "second": "b", "score": "s"}, ["spearman"])
OTHER_RECORD = {"name": "yours", "kind": "texts", "files": "g", "columns": {"input": "text", "labels": ["other"]}}
OTHER_RECORD |= {"metrics": ["map", "accuracy"], "labels": "sets", "modality": "image", "drop": {"label": "oos"}}
OTHER_RECORD |= {"rerank": True, "level": 2, "relevant_from": 4.0, "trained_on": "other", "scored_on": "other"}
OTHER_RECORD |= {"batch_size": 32, "steps": 7, "documents": 2}


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


def test_items_come_back_within_float16():
    values = np.random.default_rng(0).normal(size=999) * 3
    decoded = decode_items(encode_items(values))
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, values, rtol=2**-11, atol=2**-25)
    assert decode_items(encode_items([])).shape == (0,)
    assert math.isnan(decode_items(encode_items([math.nan]))[0])


def test_a_line_is_there_as_soon_as_it_is_added(tmp_path, choice):
    path = tmp_path / "deep" / "runs.jsonl"
    results = ResultsFile(path, VERSIONS)
    assert not path.exists()
    found = trial(choice, "SupCon", 0.5, error="ü\n")
    results.add(found)
    assert ResultsFile(path, VERSIONS).runs == {found.key: found}
    assert results.has(found.key)
    assert not results.has("other")


def test_the_last_line_of_a_key_counts(tmp_path, choice):
    results = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    results.add(trial(choice, "SupCon", None, status="failed"))
    key = next(iter(results.runs))
    assert not results.has(key)
    results.add(trial(choice, "SupCon", 0.5))
    again = ResultsFile(tmp_path / "runs.jsonl", VERSIONS)
    assert again.has(key)
    assert len(again.runs) == 1
    assert len((tmp_path / "runs.jsonl").read_text("utf-8").splitlines()) == 2


def test_an_unfinished_last_line_is_left_out_and_overwritten(tmp_path, choice):
    path = tmp_path / "runs.jsonl"
    first, second = trial(choice, "SupCon", 0.5), trial(choice, "recipe", 0.5)
    ResultsFile(path, VERSIONS).add(first)
    with path.open("a", encoding="utf-8") as file:
        file.write(second.line[:40])
    results = ResultsFile(path, VERSIONS)
    assert list(results.runs) == [first.key]
    results.add(second)
    assert list(ResultsFile(path, VERSIONS).runs) == [first.key, second.key]


def test_any_other_line_must_be_whole(tmp_path, choice):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"key": \n' + trial(choice, "SupCon", 0.5).line, encoding="utf-8")
    with pytest.raises(ValueError, match=r"runs.jsonl, line 1, is not JSON"):
        ResultsFile(path, VERSIONS)


@pytest.mark.parametrize("there", [{"torch": "1.9", "mteb": "2.26"}, {"mteb": "2.26"}])
def test_lines_of_other_versions_are_refused_by_name(tmp_path, choice, there):
    path = tmp_path / "runs.jsonl"
    ResultsFile(path, there).add(trial(choice, "SupCon", 0.5, versions=there))
    with pytest.raises(ValueError, match=rf"other versions \(torch {there.get('torch')} there, 2.0 here\).*--mixed"):
        ResultsFile(path, VERSIONS)
    assert len(ResultsFile(path, VERSIONS, mixed=True).runs) == 1
