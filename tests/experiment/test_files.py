"""Files that are whole or absent."""

from __future__ import annotations

import json

import pytest

from st_rankloss.experiment.files import save_model, write, write_json
from tests.models import word_model


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("st_rankloss.experiment.files.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(path, "half")
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}


def test_a_saved_model_replaces_an_older_one(tmp_path):
    save_model(word_model(["red"], dim=4), tmp_path / "model")
    (tmp_path / "model" / "stale").touch()
    save_model(word_model(["red", "blue"], dim=8), tmp_path / "model")
    assert not (tmp_path / "model" / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
