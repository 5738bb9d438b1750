"""Settings and configuration files."""

from __future__ import annotations

from dataclasses import replace

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
        ("data: x\nbatch_size: 1", "batch_size must be at least 2, got 1"),
        ("data: x\nlearning_rate: fast", "learning_rate must be above 0, got 'fast'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        Settings.load(path)


def test_a_missing_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        Settings.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "m", "-3", "0", "1.5", "10 x", "nan", "infm"])
def test_a_budget_is_a_time_or_a_number_of_trials(text):
    with pytest.raises(ValueError, match="tune must be"):
        read_budget(text)
