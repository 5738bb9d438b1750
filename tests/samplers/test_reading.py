"""What samplers read: labels of every kind as the dataset's features declare them, and nothing but the labels."""

from __future__ import annotations

import logging
import math
import random

import pytest
from datasets import ClassLabel, Dataset, Features, Image, IterableDataset, List, Value

from st_rankloss import samplers

NAMES = [f"c{i}" for i in range(200)]
DRAW = random.Random(0)
SETS = [sorted(DRAW.sample(range(200), DRAW.randrange(1, 3))) for _ in range(960)]


def sampler_of(factory, size=8, features=None, **columns):
    rows = len(next(iter(columns.values())))
    features = features and Features({"text": Value("string"), **features})
    dataset = Dataset.from_dict({"text": [f"t{i}" for i in range(rows)], **columns}, features=features)
    return factory(dataset, size, valid_label_columns=["label"])


def left_out(sampler, rows):
    return set(range(rows)) - {row for batch in sampler for row in batch}


IDS = {"label": List(ClassLabel(names=NAMES))}
FORMS_OF_SETS = {
    "strings": ([[NAMES[i] for i in labels] for labels in SETS], None),
    "ids": (SETS, None),
    "declared ids": (SETS, IDS),
    "multi-hot": ([[int(i in labels) for i in range(200)] for labels in SETS], None),
    "multi-hot of booleans": ([[i in labels for i in range(200)] for labels in SETS], None),
}


@pytest.mark.parametrize("form", FORMS_OF_SETS)
def test_sets_of_labels_mean_the_same_in_every_form(form):
    values, features = FORMS_OF_SETS[form]
    sampler = sampler_of(samplers.multi_label(4), 32, features, label=values)
    sets = [set(labels) for labels in SETS]
    found = [any(sets[i] & sets[j] for j in batch if j != i) for batch in sampler for i in batch]
    assert all(found)
    assert len(found) > 900


@pytest.mark.parametrize(("declared", "shared"), [(True, True), (False, False)])
def test_the_features_decide_whether_zeros_and_ones_are_ids(declared, shared):
    # As ids, rows of [0, 0] share class 0; as a multi-hot they have no label.
    values = [[0, 0], [1, 0]] * 8 + [[1, 1]] * 8
    features = {"label": List(ClassLabel(num_classes=2) if declared else Value("int64"))}
    sampler = sampler_of(samplers.multi_label(2), 8, features, label=values)
    assert (0 in {row for batch in sampler for row in batch}) == shared


def test_lists_of_strings_that_look_like_numbers_are_labels():
    sampler = sampler_of(samplers.multi_label(2), 8, None, label=[["0"], ["1"]] * 12)
    assert not left_out(sampler, 24)


UNLABELLED = {
    "classes": (samplers.classes(2), [None, -1, 0, 1] * 6),
    "classes as pandas writes them": (samplers.classes(2), [math.nan, None, 0.0, 1.0] * 6),
    "names": (samplers.classes(2), [None, "", "a", "b"] * 6),
    "declared classes": (samplers.classes(2), [None, -1, 0, 1] * 6),
    "paths": (samplers.hierarchy((1, 2)), [None, [-1, -1], [0, 1], [1, None]] * 6),
    "paths of names": (samplers.hierarchy((1, 2)), [[], [None, None], ["a", "b"], ["b", ""]] * 6),
    "sets": (samplers.multi_label(2), [None, [], ["a"], ["b"]] * 6),
    "numbers": (samplers.numeric(1), [None, math.nan, 1.5, 2.5] * 6),
}


@pytest.mark.parametrize("case", UNLABELLED)
def test_unlabelled_rows_sit_out_and_are_counted(case, caplog):
    factory, values = UNLABELLED[case]
    features = {"label": ClassLabel(num_classes=2)} if case == "declared classes" else None
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        sampler = sampler_of(factory, 4, features, label=values)
    assert left_out(sampler, 24) == {row for row in range(24) if row % 4 < 2}
    assert "12 of 24 rows have no label in 'label' and never take part" in caplog.text


@pytest.mark.parametrize("case", UNLABELLED)
def test_labels_that_are_all_missing_are_an_error(case):
    factory, _ = UNLABELLED[case]
    with pytest.raises(ValueError, match="needs labels in 'label', got 24 rows without one"):
        sampler_of(factory, 4, {"label": List(Value("string"))} if "path" in case or case == "sets" else None,
                   label=[None] * 24)  # fmt: skip


def test_several_numbers_per_row_are_an_error():
    with pytest.raises(ValueError, match=r"needs one number per row in 'label', got \[0.5, 1.5\]"):
        sampler_of(samplers.numeric(), label=[[0.5, 1.5]] * 24)


def test_a_row_without_a_query_is_an_error():
    with pytest.raises(ValueError, match="column 'query' must hold a query in every row, got None in row 1"):
        samplers.lists("query")(Dataset.from_dict({"query": ["a", None, "b"]}), 2)


@pytest.mark.parametrize("kind", ["classes", "lists"])
def test_no_file_is_read(tmp_path, kind):
    columns = {"image": [str(tmp_path / f"missing{i % 6}.png") for i in range(24)], "label": [i % 3 for i in range(24)]}
    dataset = Dataset.from_dict(columns, features=Features({"image": Image(), "label": Value("int64")}))
    factory = samplers.classes(2) if kind == "classes" else samplers.lists()
    for batch in factory(dataset, 4, valid_label_columns=["label"]):
        assert kind == "classes" or len({row % 6 for row in batch}) == 4  # the same file is the same query


@pytest.mark.parametrize(
    "factory", [samplers.classes(), samplers.hierarchy(), samplers.multi_label(), samplers.numeric(), samplers.lists(),
                samplers.qrels(), samplers.neighbours(object())]
)  # fmt: skip
def test_a_stream_is_refused_by_name(factory):
    stream = IterableDataset.from_generator(lambda: iter([{"text": "a", "label": 0}]))
    with pytest.raises(ValueError, match=r"needs a Dataset, .* got an IterableDataset \(streaming\)"):
        factory(stream, 8, valid_label_columns=["label"])
