"""Settings and configuration files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from st_rankloss.experiment.settings import Settings, read_budget


def test_a_configuration_file_repeats_the_settings(tmp_path):
    given = Settings("my.csv", "minilm", read={"query": "frage"}, epochs=2, tune="5m", seed=3)
    given.save(tmp_path / "config.yaml")
    assert Settings.load(tmp_path / "config.yaml") == given
    assert Settings.load(tmp_path / "config.yaml", seed=4) == replace(given, seed=4)
    assert given.differences(replace(given, seed=4)) == {"seed": (3, 4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: x\nlerning_rate: 1", "unknown setting 'lerning_rate'; did you mean 'learning_rate'"),
        ("- a\n- b", "must hold settings"),
        ("a: [", "cannot be read"),
        ("model: minilm", "must name the data"),
        ("data: x\nbatch_size: 1", "batch_size must be a whole number of at least 2, got 1"),
        ("data: x\nbatch_size: 8.5", "batch_size must be a whole number of at least 2, got 8.5"),
        ("data: x\nlimit: 20.5", "limit must be a whole number of at least 3, got 20.5"),
        ("data: x\nseed: 99999999999", "seed must be a whole number of at least 0 and at most 2147483647"),
        ("data: x\nlearning_rate: fast", "learning_rate must be a finite number above 0, got 'fast'"),
        ("data: x\nlearning_rate: .inf", "learning_rate must be a finite number above 0, got inf"),
        ("data: x\nepochs: .inf", "epochs must be a finite number above 0, got inf"),
        ("data: x\nepochs: true", "epochs must be a finite number above 0, got True"),
        ("data: x\nmodel: 3", "model must be a text, got 3"),
        ("data: [x]", "data must be a text, got ['x']"),
        ("data:", "data must be a text, got None"),
        ("data: x\nread: query", "read must map names to values"),
        ("data: x\nread: {1: x}", "read must map names to values"),
        ("data: x\nread: {task: sts}", "read must not hold task: set task"),
        ("data: x\ntune: true", "tune must be a time"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        Settings.load(path)


def test_numbers_may_be_texts_and_empty_settings_are_the_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: x\nlearning_rate: 2e-5\nbatch_size: '8'\nread:\nseed:\ntune: 8\nlimit: 20.0", encoding="utf-8"
    )
    assert Settings.load(path) == Settings("x", learning_rate=2e-5, batch_size=8, tune="8", limit=20)
    assert type(Settings.load(path).limit) is int


@pytest.mark.parametrize("read", [{"scale": (-1, 1)}, {"scale": {"good": 1, "bad": 0}, "label": ("a", "b")}])
def test_a_saved_file_has_the_same_settings(tmp_path, read):
    given = Settings(Path("my.csv"), Path("my-model"), read=read, tune=8)
    given.save(tmp_path / "config.yaml")
    assert Settings.load(tmp_path / "config.yaml") == given
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_values_that_no_file_holds_are_refused():
    with pytest.raises(ValueError, match=r"read must hold texts, numbers, lists and mappings.*PosixPath|WindowsPath"):
        Settings("x", read={"query": Path("x")})


def test_arguments_of_read_win_one_by_one(tmp_path):
    Settings("x", read={"query": "a", "document": "b"}).save(tmp_path / "config.yaml")
    changed = Settings.load(tmp_path / "config.yaml", read={"document": "c", "download": True})
    assert changed.read == {"query": "a", "document": "c", "download": True}
    assert Settings.load(tmp_path / "config.yaml", seed=1).read == {"query": "a", "document": "b"}


def test_a_configuration_holds_absolute_paths_of_what_exists(tmp_path, monkeypatch):
    for name in ("data.csv", "mine", "static"):
        (tmp_path / name).touch()
    (tmp_path / "link.csv").symlink_to("data.csv")
    monkeypatch.chdir(tmp_path)
    for data, model, kept in (("data.csv", "mine", str(tmp_path / "mine")), ("link.csv", "static", "static")):
        given = Settings(data, model)
        given.save(tmp_path / "config.yaml")
        saved = Settings.load(tmp_path / "config.yaml")
        assert (saved.data, saved.model) == (str(tmp_path / data), kept)
        assert not saved.differences(given)
        assert not given.differences(replace(given, data=os.path.join(".", "data.csv")))
    assert given.differences(replace(given, data="no.csv")) == {"data": ("link.csv", "no.csv")}
    Settings("ir_datasets:x", "org/model").save(tmp_path / "config.yaml")
    assert Settings.load(tmp_path / "config.yaml") == Settings("ir_datasets:x", "org/model")


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        Settings.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "m", "-3", "0", "1.5", "10 x", "nan", "infm"])
def test_a_budget_is_a_time_or_a_number_of_trials(text):
    with pytest.raises(ValueError, match="tune must be"):
        read_budget(text)
