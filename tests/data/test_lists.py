"""data.lists: limited lists that change every epoch, mined negatives and judged zeros, against plain loops."""

from __future__ import annotations

import copy
import json
import logging
import math
import random

import pytest
import torch
from datasets import Dataset, Features, IterableDataset, List, Value, load_dataset
from torch.utils.data import DataLoader

from st_rankloss.data import lists, set_epoch
from st_rankloss.data.lists import samplers_of

ROW = {"query": ["a"], "documents": [list("uvwxyz")], "labels": [[0, 3, 1, 0, 3, 2]]}
DATASET = Dataset.from_dict(ROW)


def random_columns(rows, seed, **more):
    draw = random.Random(seed)
    lengths = [draw.randint(1, 9) for _ in range(rows)]
    return {
        "query": [f"q{i}" for i in range(rows)],
        "documents": [[f"d{i}-{j}" for j in range(n)] for i, n in enumerate(lengths)],
        "labels": [[draw.choice([0.0, 0.0, 1.0, 2.5, None]) for _ in range(n)] for n in lengths],
        "document_ids": [[f"{i}:{j}" for j in range(n)] for i, n in enumerate(lengths)],
        "document_weights": [[float(j) for j in range(n)] for n in lengths],
        "query_id": [f"id{i}" for i in range(rows)],
    } | more


def at(dataset, epoch):
    set_epoch(dataset, epoch)
    return list(dataset)


def both_kinds(columns, **options):
    dataset = Dataset.from_dict(columns)
    return [lists(dataset, **options), lists(dataset.to_iterable_dataset(), **options)]


@pytest.mark.parametrize("seed", range(12))
def test_rows_keep_their_best_documents_and_their_columns_stay_aligned(seed):
    draw = random.Random(seed)
    most = draw.randint(1, 6)
    keep = draw.randint(0, most)
    columns = random_columns(300, seed)
    for dataset in both_kinds(columns, most=most, keep_best=keep, seed=seed):
        for epoch in (0, 1, 5):
            rows = at(dataset, epoch)
            assert len(rows) == 300
            for i, row in enumerate(rows):
                places = [int(name.split("-")[1]) for name in row["documents"]]
                assert len(places) == min(most, len(columns["documents"][i]))
                assert places == sorted(set(places))
                assert row["labels"] == [columns["labels"][i][place] for place in places]
                assert row["document_ids"] == [f"{i}:{place}" for place in places]
                assert row["document_weights"] == places
                rank = [-1 if grade is None else grade for grade in columns["labels"][i]]
                best = sorted(rank, reverse=True)[: min(keep, len(places))]
                kept = sorted((rank[place] for place in places), reverse=True)
                assert all(have >= want for have, want in zip(kept, best, strict=False))


@pytest.mark.parametrize("seed", range(8))
def test_every_document_is_seen_within_a_cycle_of_epochs(seed):
    draw = random.Random(seed)
    keep = draw.randint(0, 2)
    most = keep + draw.randint(1, 3)
    columns = random_columns(100, seed)
    dataset = lists(Dataset.from_dict(columns), most=most, keep_best=keep, seed=seed)
    seen = [set() for _ in columns["query"]]
    for epoch in range(math.ceil((9 - keep) / (most - keep))):
        for i, row in enumerate(at(dataset, epoch)):
            seen[i] |= set(row["documents"])
            cycle = math.ceil((len(columns["documents"][i]) - keep) / (most - keep))
            if epoch == cycle - 1:
                assert seen[i] == set(columns["documents"][i])


def test_epochs_seeds_and_queries_differ_and_repeat():
    columns = random_columns(40, 0, documents=[[f"d{j}" for j in range(8)] for _ in range(40)])
    columns = {"query": columns["query"], "documents": columns["documents"]}
    first, again, other = (lists(Dataset.from_dict(columns), most=3, seed=seed) for seed in (1, 1, 2))
    assert at(first, 3) == at(again, 3) != at(other, 3)
    assert at(first, 3) != at(first, 4)
    assert len({tuple(row["documents"]) for row in at(first, 0)}) > 10


def test_ties_for_the_best_are_drawn_at_random():
    dataset = lists(DATASET, most=1)
    assert {at(dataset, epoch)[0]["documents"][0] for epoch in range(20)} == {"v", "y"}


def test_the_order_of_rows_and_other_rows_do_not_matter():
    columns = random_columns(50, 3)
    dataset = lists(Dataset.from_dict(columns), most=3)
    set_epoch(dataset, 2)
    expected = {row["query"]: row for row in dataset}
    assert {row["query"]: row for row in dataset.shuffle(seed=1).select(range(20))}.items() <= expected.items()


@pytest.mark.parametrize("zeros", ["keep", "drop"])
def test_judged_zeros_are_kept_or_dropped(zeros, caplog):
    columns = random_columns(200, 5)
    expected = []
    for i, grades in enumerate(columns["labels"]):
        kept = [f"d{i}-{j}" for j, grade in enumerate(grades) if zeros == "keep" or grade != 0]
        expected += [kept] if kept else []
    with caplog.at_level(logging.WARNING):
        for dataset in both_kinds(columns, zeros=zeros):
            assert [row["documents"] for row in at(dataset, 0)] == expected
    assert (f"{200 - len(expected)} of 200 rows are left out" in caplog.text) == (zeros == "drop")


def test_mined_documents_follow_unless_the_row_has_them():
    negatives = {"a": [("1", "v"), ("2", "new"), ("2", "new"), ("3", "good", 0.5)]}
    for dataset in both_kinds(ROW | {"labels": [[0.0, 3.0, 1.0, 0.0, 3.0, 2.0]]}, negatives=negatives):
        (row,) = at(dataset, 0)
        assert row["documents"] == [*"uvwxyz", "new", "good"]
        assert row["labels"] == [0, 3, 1, 0, 3, 2, 0, 0.5]


def test_a_dropped_zero_does_not_come_back_as_a_negative():
    (row,) = lists(DATASET, zeros="drop", negatives={"a": [("1", "u"), ("2", "new")]})
    assert row["documents"] == ["v", "w", "y", "z", "new"]
    assert row["labels"] == [3, 1, 3, 2, 0]


def test_mined_rows_are_matched_by_id_or_by_text_and_get_ids_and_weights():
    mined = Dataset.from_dict(
        {
            "query": ["a"],
            "documents": [["u", "n"]],
            "labels": [[3.0, 0.0]],
            "query_id": ["7"],
            "document_ids": [["1", "9"]],
        }
    )
    columns = {"query": ["a"], "documents": [["u"]], "labels": [[3.0]], "document_weights": [[2.0]]}
    (by_text,) = lists(Dataset.from_dict(columns), negatives=mined)
    assert (by_text["documents"], by_text["labels"], by_text["document_weights"]) == (["u", "n"], [3, 0], [2, 1])
    with_ids = columns | {"query": ["another text"], "query_id": [7], "document_ids": [["1"]]}
    (by_id,) = lists(Dataset.from_dict(with_ids), negatives=mined)
    assert (by_id["documents"], by_id["document_ids"]) == (["u", "n"], ["1", "9"])


def test_negatives_of_other_queries_are_refused_and_gaps_are_logged(caplog):
    with pytest.raises(ValueError, match="got none of them: their first key is 'b', that of the dataset 'a'"):
        lists(DATASET, negatives={"b": [("1", "v")]})
    with caplog.at_level(logging.WARNING):
        lists(
            Dataset.from_dict({n: c * 2 for n, c in ROW.items()} | {"query": ["a", "b"]}), negatives={"b": [("1", "v")]}
        )
    assert "1 of 2 rows have negatives, by 'query'" in caplog.text


def test_a_stream_of_whole_grades_refuses_negatives_that_it_would_round():
    features = Features({"query": Value("string"), "documents": List(Value("string")), "labels": List(Value("int64"))})
    stream = Dataset.from_dict(ROW, features=features).to_iterable_dataset()
    with pytest.raises(ValueError, match="'labels' must hold the values of negatives too, got 0.5 where .* int64"):
        lists(stream, negatives={"a": [("1", "new", 0.5)]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 0}, "most must be an integer of at least 1"),
        ({"keep_best": -1}, "keep_best must be an integer from 0 to most=None, got -1"),
        ({"most": 2, "keep_best": 3}, "keep_best must be an integer from 0 to most=2, got 3"),
        ({"zeros": "maybe"}, "zeros must be"),
        ({"negatives": {"a": ["text"]}}, "negatives must map a query to a list of"),
        ({"negatives": Dataset.from_dict({"query": ["a"]})}, "the columns of mine_graded_negatives, got"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lists(DATASET, **options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": ["a"], "document": ["b"]}, r"got the input columns \['query', 'document'\], \[\] of lists"),
        ({"query": [], "documents": []}, "dataset must have rows, got none"),
    ],
)
def test_other_datasets_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        lists(Dataset.from_dict(columns), most=1)


def test_zeros_without_grades_are_refused():
    with pytest.raises(ValueError, match="need grades, got no column called label or labels"):
        lists(DATASET.remove_columns("labels"), zeros="drop")
    with pytest.raises(ValueError, match="zeros='drop' must leave documents, got grades of 0 alone"):
        lists(Dataset.from_dict(ROW | {"labels": [[0] * 6]}), zeros="drop")


@pytest.mark.parametrize("name", ["labels", "document_ids"])
def test_columns_of_another_length_are_refused_by_name(name):
    broken = lists(Dataset.from_dict(ROW | {name: [[1, 2]]}), most=2)
    with pytest.raises(
        ValueError, match=rf"'{name}' must hold a list with one value for each of the 6 documents, .*'a'"
    ):
        broken[0]


def test_one_weight_for_all_documents_stays():
    (row,) = lists(Dataset.from_dict(ROW | {"document_weight": [2.0]}), most=2)
    assert (row["document_weight"], len(row["documents"])) == (2.0, 2)


def test_copies_share_the_epoch_and_equal_calls_a_fingerprint():
    dataset, other = lists(DATASET, most=2), lists(DATASET, most=2)
    assert dataset._fingerprint == other._fingerprint != lists(DATASET, most=2, seed=1)._fingerprint
    copied = copy.deepcopy(dataset).select([0])
    set_epoch(dataset, 5)
    assert [int(sampler.epoch) for sampler in samplers_of(copied)] == [5]
    assert [int(sampler.epoch) for sampler in samplers_of(other)] == [0]


def test_a_transform_of_ones_own_comes_first():
    shouted = DATASET.with_transform(
        lambda rows: rows | {"documents": [[d.upper() for d in r] for r in rows["documents"]]}
    )
    assert set(lists(shouted, most=3)[0]["documents"]) < set("UVWXYZ")


def identity(rows):
    return rows


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_persistent_workers_follow_the_epoch(streaming, workers, tmp_path):
    columns = random_columns(12, 8, documents=[[f"d{i}-{j}" for j in range(6)] for i in range(12)])
    columns = {"query": columns["query"], "documents": columns["documents"]}
    source = Dataset.from_dict(columns)
    expected = lists(source, most=2)
    dataset = lists(source.to_iterable_dataset(num_shards=2) if streaming else source, most=2)
    loader = DataLoader(
        dataset, batch_size=4, num_workers=workers, collate_fn=identity, persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
    for epoch in (0, 1, 2, 0):
        set_epoch(dataset, epoch)
        found = {row["query"]: row["documents"] for batch in loader for row in batch}
        assert found == {row["query"]: row["documents"] for row in at(expected, epoch)}


def test_a_jsonl_file_streams_as_it_loads(tmp_path):
    columns = random_columns(30, 9)
    files = []
    for part in (0, 1):
        files.append(str(tmp_path / f"{part}.jsonl"))
        rows = [
            dict(zip(columns, row, strict=True)) for row in list(zip(*columns.values(), strict=True))[15 * part :][:15]
        ]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    stream = load_dataset("json", data_files=files, split="train", streaming=True)
    assert at(lists(stream, most=2), 3) == at(lists(Dataset.from_dict(columns), most=2), 3)


def test_generators_without_features_work():
    stream = lists(IterableDataset.from_generator(lambda: iter(DATASET)), most=2)
    assert at(stream, 1) == at(lists(DATASET, most=2), 1)
    assert torch.equal(samplers_of(stream)[0].epoch, torch.tensor(1))
