"""Training rows: the same batches for every loss."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eval.tasks.data import Data, ScoredPairs
from eval.training.batches import make_rows
from tests.eval.tiny import TRAINED


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
