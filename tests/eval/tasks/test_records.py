"""Records: which are sound, and errors in wrong ones."""

from __future__ import annotations

import pytest

from eval.tasks.records import load_records
from tests.eval.tiny import PAIRS, save_record


def test_the_projects_records_are_sound():
    records = load_records()
    assert {"documentation", "stsb", "nfcorpus", "emoji"} <= set(records)
    for record in records.values():
        for partner in (record.trained_on, record.scored_on):
            assert not partner or partner in records
        assert record.licence


def test_own_records_are_added_and_replace_others(world, tmp_path):
    path = save_record(tmp_path / "mine.yaml", "stsb", **PAIRS, metrics=["spearman"], steps=7)
    records = load_records([world.path, path])
    assert records["stsb"].steps == 7
    assert records["alike"] == world.records["alike"]
    assert records["nfcorpus"] == load_records()["nfcorpus"]


def test_an_unknown_field_of_a_record_has_close_names(tmp_path):
    path = save_record(tmp_path / "mine.yaml", **PAIRS, metrics=["spearman"], batchsize=3)
    with pytest.raises(ValueError, match="field of the record 'mine' in .*'batchsize'; did you mean batch_size"):
        load_records([path])


@pytest.mark.parametrize("field", ["kind", "files", "columns", "metrics"])
def test_a_record_must_be_whole(tmp_path, field):
    content = PAIRS | {"metrics": ["spearman"]}
    del content[field]
    with pytest.raises(ValueError, match=f"'mine' in .* lacks {field}"):
        load_records([save_record(tmp_path / "mine.yaml", **content)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "pair"}, "unknown kind of the record 'mine' 'pair'; did you mean pairs"),
        ({"kind": "samples", "labels": "clases"}, "labels of the record 'mine' 'clases'; did you mean classes"),
        ({"kind": "samples"}, "unknown labels of the record 'mine' ''"),
        ({"batch_size": 1}, "mine: batch_size must be an integer of at least 2, got 1"),
        ({"batch_size": "8"}, "batch_size must be an integer"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"documents": 0}, "documents must be an integer of at least 1, got 0"),
        ({"metrics": []}, "metrics must name at least one"),
    ],
)
def test_values_of_a_record_are_checked(tmp_path, wrong, message):
    path = save_record(tmp_path / "mine.yaml", **(PAIRS | {"metrics": ["spearman"]} | wrong))
    with pytest.raises(ValueError, match=message):
        load_records([path])


@pytest.mark.parametrize("field", ["trained_on", "scored_on"])
def test_an_unknown_other_record_has_close_names(tmp_path, field):
    path = save_record(tmp_path / "mine.yaml", **PAIRS, metrics=["spearman"], **{field: "stbs"})
    with pytest.raises(ValueError, match="'stbs'; did you mean stsb"):
        load_records([path])
