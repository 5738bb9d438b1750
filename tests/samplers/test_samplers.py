"""Every batch sampler keeps its promise, in every epoch, for every row that can take part."""

from __future__ import annotations

import itertools
import logging
import pickle
import random
from collections import Counter

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.utils.data import DataLoader

from st_rankloss import ANDCGLoss, samplers
from st_rankloss.relevance import Classes
from st_rankloss.samplers.base import DefaultBatchSampler
from tests.models import word_model

LABELS = ["label", "labels", "score", "scores"]
ROWS = 240
DRAW = random.Random(0)
COMMON = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3]  # some classes are larger than others


def table(label=None, **columns):
    columns = {"text": [f"w{i % 50} w{i % 7}" for i in range(ROWS)]} | columns
    return Dataset.from_dict(columns if label is None else columns | {"label": label})


CLASS = [DRAW.choice(COMMON) for _ in range(ROWS - 12)] + [10, 10, 10, 11, 11, 12] + [13] * 6
PATHS = [[DRAW.randrange(4), DRAW.randrange(3), DRAW.randrange(4)] for _ in range(ROWS)]
OBJECTS = [[f"m{i // 9}", f"m{i // 9}.c{i % 9 // 2}", f"o{i}"] for i in range(ROWS)]  # as documentation's paths
SETS = [DRAW.sample("aaaaabbbcdefgh", DRAW.randrange(1, 4)) for _ in range(ROWS - 5)]
SETS += [["x", "y"], ["y"], ["y"], ["x"], ["z"]]
HOT = [[int(name in names) for name in "abcdefghxyz"] for names in SETS]
NUMBERS = [DRAW.gauss(0, 1) ** 3 for _ in range(ROWS)]
QUERIES = [f"q{DRAW.randrange(60)}" for _ in range(ROWS)]


# What a batch of each sampler promises. Each returns nothing or fails.


def several_classes_with_company(dataset, batch, per_class=4):
    counts = Counter(dataset[batch]["label"])
    assert len(counts) >= 2
    assert min(counts.values()) >= 2
    everywhere = Counter(dataset["label"])
    short = sum(n < min(per_class, everywhere[c]) and n != everywhere[c] % per_class for c, n in counts.items())
    assert short <= 3  # cut at either end of the batch, or short of a row


def company_at_its_level(dataset, batch, levels):
    """A batch is of several coarsest classes, and no row is alone in its finest class."""
    paths = [tuple(path[:levels]) for path in dataset[batch]["label"]]
    assert len({path[0] for path in paths}) > 1
    assert min(Counter(paths).values()) > 1


def relatives_in_the_module(dataset, batch):
    modules = Counter(path[0] for path in dataset[batch]["label"])
    assert len(modules) > 1
    lonely = sum(n == 1 for n in modules.values())
    assert lonely <= len(modules) / 4  # odd ones out of a module's single objects


def shared_labels(dataset, batch):
    labels = dataset[batch]["label"]
    names = [{i for i, x in enumerate(row) if x} if isinstance(row[0], int) else set(row) for row in labels]
    for i, own in enumerate(names):
        assert any(own & other for j, other in enumerate(names) if i != j)
    assert not set.intersection(*names)


def the_whole_range(dataset, batch):
    """Each eighth of the numbers has its share of the batch."""
    edges = np.quantile(dataset["label"], np.arange(1, 8) / 8)
    shares = np.bincount(np.searchsorted(edges, dataset[batch]["label"]), minlength=8)
    assert shares.min() >= len(batch) / 8 - 3
    assert shares.max() <= len(batch) / 8 + 3


def no_query_twice(dataset, batch):
    for column in ("query", "query_id"):
        if column in dataset.column_names:
            assert len(set(dataset[batch][column])) == len(batch)


MODEL = word_model([f"w{i}" for i in range(60)])

CASES = {
    "classes": (samplers.classes(4), table(CLASS), 16, several_classes_with_company),
    "class_names": (
        samplers.classes(2), table([f"c{c}" for c in CLASS]), 16, lambda *of: several_classes_with_company(*of, 2)
    ),
    "hierarchy": (samplers.hierarchy((2, 2, 2)), table(PATHS), 64, lambda d, b: company_at_its_level(d, b, 3)),
    "two_levels": (samplers.hierarchy((2, 4)), table(PATHS), 48, lambda d, b: company_at_its_level(d, b, 2)),
    "objects": (samplers.hierarchy((2, 2)), table(OBJECTS), 16, relatives_in_the_module),
    "multi_label": (samplers.multi_label(2), table(SETS), 16, shared_labels),
    "multi_hot": (samplers.multi_label(4), table(HOT), 16, shared_labels),
    "numeric": (samplers.numeric(), table(NUMBERS), 32, the_whole_range),
    "numbers_in_lists": (samplers.numeric(), table([[x] for x in NUMBERS]), 32, lambda d, b: None),
    "integers": (samplers.numeric(), table([i % 60 for i in range(ROWS)]), 32, the_whole_range),
    "lists": (samplers.lists(), table(None, text=QUERIES, query=QUERIES), 16, no_query_twice),
    "qrels": (samplers.qrels(), table(None, query_id=QUERIES, document_id=QUERIES), 16, no_query_twice),
    "neighbours": (samplers.neighbours(MODEL), table(CLASS), 16, lambda d, b: None),
}  # fmt: skip
LONERS = {
    "classes": {CLASS.index(12)},
    "class_names": {CLASS.index(12)},
    "multi_label": {ROWS - 1},
    "multi_hot": {ROWS - 1},
}
every_case = pytest.mark.parametrize("case", CASES)


def make(case, drop_last=False, seed=0, batch_size=None):
    factory, dataset, size, _ = CASES[case]
    return factory(
        dataset, batch_size=batch_size or size, drop_last=drop_last, valid_label_columns=LABELS,
        generator=torch.Generator(), seed=seed,
    )  # fmt: skip


def epochs(sampler, count):
    for epoch in range(count):
        sampler.set_epoch(epoch)
        yield list(sampler)


@pytest.mark.parametrize("drop_last", [False, True])
@every_case
def test_batches_keep_the_promise_and_no_index_comes_twice(case, drop_last):
    _, dataset, size, promise = CASES[case]
    sampler = make(case, drop_last)
    assert isinstance(sampler, DefaultBatchSampler)
    for batches in epochs(sampler, 4):
        assert len(sampler) == len(batches) > 1
        seen = [index for batch in batches for index in batch]
        assert len(seen) == len(set(seen))
        assert set(seen) <= set(range(ROWS))
        assert all(isinstance(index, int) for index in seen)
        assert {len(batch) for batch in batches[:-1]} == {size}
        assert len(batches[-1]) == size if drop_last else 2 <= len(batches[-1]) <= size
        for batch in batches:
            promise(dataset, batch)


@every_case
def test_every_row_that_can_takes_part_over_the_epochs(case):
    taken = Counter(index for batches in epochs(make(case), 12) for batch in batches for index in batch)
    assert set(range(ROWS)) - set(taken) == LONERS.get(case, set())


@pytest.mark.parametrize("case", ["numeric", "integers", "lists", "qrels", "neighbours"])
def test_full_batches_under_drop_last(case):
    sampler = make(case, drop_last=True, batch_size=17)
    assert {len(batch) for batch in sampler} == {17}
    assert len(sampler) <= ROWS // 17


@pytest.mark.parametrize("case", ["numeric", "integers", "lists", "qrels", "neighbours"])
def test_all_rows_without_drop_last(case):
    assert sorted(index for batch in make(case, batch_size=17) for index in batch) == list(range(ROWS))


@every_case
def test_most_rows_take_part_in_each_epoch(case):
    seen = sum(len(batch) for batch in make(case))
    assert seen >= 0.85 * ROWS


@every_case
def test_the_order_depends_on_seed_and_epoch_alone(case):
    first, second, other = make(case), make(case), make(case, seed=1)
    torch.manual_seed(99)
    random.seed(5)
    assert list(epochs(first, 2)) == list(epochs(second, 2))
    orders = [*epochs(make(case), 3), next(epochs(other, 1))]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))
    first.set_epoch(0)
    assert list(first) == orders[0]


@every_case
def test_processes_share_the_batches_out(case):
    sampler = make(case)
    whole = list(sampler)
    shards = [list(BatchSamplerShard(make(case), 2, rank, even_batches=False)) for rank in range(2)]
    assert shards == [whole[: len(whole) // 2 * 2][rank::2] for rank in range(2)] or shards == [
        whole[0::2],
        whole[1::2],
    ]


@every_case
def test_a_resumed_epoch_goes_on_where_it_stopped(case):
    dataset = CASES[case][1].select_columns("text")
    loader = DataLoader(dataset, batch_sampler=make(case), collate_fn=lambda rows: [row["text"] for row in rows])
    assert list(skip_first_batches(loader, 2)) == list(loader)[2:]


@every_case
def test_formatted_datasets_are_read_alike(case):
    factory, dataset, size, _ = CASES[case]
    formatted = factory(dataset.with_format("torch"), size, valid_label_columns=LABELS)
    assert list(formatted) == list(factory(dataset, size, valid_label_columns=LABELS))


@every_case
def test_the_training_arguments_can_be_saved(case, tmp_path):
    args = SentenceTransformerTrainingArguments(str(tmp_path), batch_sampler=CASES[case][0], use_cpu=True)
    args.to_json_string()
    saved = pickle.dumps(args)
    assert len(saved) < 20_000  # no model in there
    assert "ampler" in repr(pickle.loads(saved).batch_sampler) or "eighbours" in repr(pickle.loads(saved).batch_sampler)


# What is particular to one of them.


def test_two_classes_of_unequal_size_meet_in_every_batch():
    labels = [0] * 501 + [1] * 499
    sampler = samplers.classes()(Dataset.from_dict({"label": labels}), 8, valid_label_columns=LABELS)
    for batches in epochs(sampler, 5):
        counts = [Counter(labels[i] for i in batch) for batch in batches]
        assert len(counts) == 125
        assert sum(count == {0: 4, 1: 4} for count in counts) >= 124
        assert all(min(count[0], count[1]) >= 2 for count in counts)


def test_a_batch_too_small_for_a_third_group_is_no_obstacle():
    labels = ["a"] * 3 + ["b"] * 4
    sampler = samplers.classes(2)(Dataset.from_dict({"label": labels}), 4, valid_label_columns=LABELS)
    for batches in epochs(sampler, 5):
        assert [sorted(labels[i] for i in batch) for batch in batches] == [["a", "a", "b", "b"]]


@pytest.mark.parametrize(
    ("counts", "used"), [([980, 20], 320), ([9500, 500], 8000), ([9000, 900, 100], 10000), ([995, 5], 64)]
)
def test_rows_that_the_other_classes_cannot_accompany_sit_out_and_are_counted(counts, used, caplog):
    labels = [name for name, count in enumerate(counts) for _ in range(count)]
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        sampler = samplers.classes(4)(Dataset.from_dict({"label": labels}), 32, valid_label_columns=LABELS)
    assert sum(map(len, sampler)) == used
    text = f"{len(labels) - used} of {len(labels)} rows sit out each epoch, in turn: the labels in 'label', of"
    assert (text in caplog.text) == (used < len(labels))


def test_no_path_is_alone_at_its_level_where_some_end_early():
    draw = random.Random(0)
    paths = [[draw.randrange(4), -1 if draw.random() < 0.02 else draw.randrange(3)] for _ in range(500)]
    sampler = samplers.hierarchy((1, 2))(Dataset.from_dict({"label": paths}), 8, valid_label_columns=LABELS)
    everywhere = Counter(map(tuple, paths))
    for batches in epochs(sampler, 5):
        for batch in batches:
            here = Counter(tuple(paths[i]) for i in batch)
            assert len({paths[i][0] for i in batch}) >= 2
            assert all(here[path] > 1 or -1 in path or everywhere[path] == 1 for path in here)
            coarse = Counter(paths[i][0] for i in batch)
            assert min(coarse.values()) >= 2


@pytest.mark.parametrize(("case", "levels"), [("hierarchy", 3), ("two_levels", 2)])
def test_most_paths_have_relatives_at_every_level(case, levels):
    with_all = total = 0
    for batches in epochs(make(case), 4):
        for batch in batches:
            paths = [tuple(PATHS[i][:levels]) for i in batch]
            kin = [Counter(path[:level] for path in paths) for level in range(levels + 1)]
            for path in paths:
                counts = [kin[level][path[:level]] for level in range(levels + 1)]
                with_all += all(wider > narrower for wider, narrower in zip(counts, counts[1:], strict=False))
                total += 1
    assert with_all > 0.8 * total


def test_no_batch_of_paths_is_of_one_coarsest_class():
    paths = [[i % 4, (i // 4) % 3] for i in range(500)]
    sampler = samplers.hierarchy()(Dataset.from_dict({"label": paths}), 8, valid_label_columns=LABELS)
    for batches in epochs(sampler, 20):
        assert all(len({paths[i][0] for i in batch}) > 1 for batch in batches)


def test_numbers_fill_batches_and_come_once():
    draw = random.Random(1)
    dataset = Dataset.from_dict({"label": [draw.random() for _ in range(5749)]})
    for batches in epochs(samplers.numeric()(dataset, 1024, valid_label_columns=LABELS), 40):
        assert [len(batch) for batch in batches] == [1024] * 5 + [629]
        assert len({i for batch in batches for i in batch}) == 5749


def test_few_numbers_off_the_median_are_spread_over_the_batches():
    numbers = [0.0] * 230 + [1.0] * 10
    dataset = Dataset.from_dict({"label": numbers})
    for batches in epochs(samplers.numeric()(dataset, 24, valid_label_columns=LABELS), 10):
        assert [sum(numbers[i] for i in batch) for batch in batches] == [1] * 10


@pytest.mark.parametrize(("others", "logged"), [(10, False), (9, True)])
def test_numbers_too_alike_for_every_batch_are_logged(others, logged, caplog):
    dataset = Dataset.from_dict({"label": [0.0] * (240 - others) + [1.0] * others})
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        samplers.numeric()(dataset, 24, valid_label_columns=LABELS)
    assert (f"Only {others} of 240 rows in 'label' differ from the median, 0.0" in caplog.text) == logged


def test_queries_with_more_rows_than_batches_take_turns(caplog):
    queries = list("aaabbbcccd")
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        sampler = samplers.lists()(Dataset.from_dict({"query": queries}), 4)
    assert "3 of 10 rows sit out each epoch, in turn" in caplog.text
    for batches in epochs(sampler, 10):
        assert [len({queries[i] for i in batch}) for batch in batches] == [4, 3] == [len(batch) for batch in batches]


def test_no_class_comes_twice_in_a_batch_where_it_need_not():
    dataset = table([i % 12 for i in range(ROWS)])
    for batch in samplers.classes(4)(dataset, 24, valid_label_columns=LABELS):
        assert sorted(Counter(dataset[batch]["label"]).values()) == [4] * 6


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_a_class_larger_than_all_others_does_not_fill_a_batch_alone(share, drop_last):
    labels = [0 if i < share * ROWS else 1 + i % 2 for i in range(ROWS)]
    sampler = samplers.classes(2)(table(labels), 8, drop_last, valid_label_columns=LABELS)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(len({labels[i] for i in batch}) > 1 for batch in batches)
    assert len({i for batch in batches for i in batch if labels[i]}) >= sum(map(bool, labels)) - 3


def test_left_over_samples_take_turns():
    labels = [i % 5 for i in range(25)]  # five of each, of which one is left over by pairs
    sampler = samplers.classes(2)(table(labels, text=[str(i) for i in range(25)]), 4, valid_label_columns=LABELS)
    counts = Counter(i for batches in epochs(sampler, 40) for batch in batches for i in batch)
    assert len(counts) == 25
    assert min(counts.values()) >= 12


def test_rare_labels_bring_their_samples_together():
    for batches in epochs(make("multi_label"), 5):
        for first, second in ((ROWS - 5, ROWS - 2), (ROWS - 4, ROWS - 3)):  # the two of x, then what is left of y
            assert [first in batch for batch in batches] == [second in batch for batch in batches]


def test_a_left_over_sample_finds_one_that_can_be_spared():
    # Three stand for the rare label a; the only other sample with b would be alone.
    sets = [["a", "b"], ["a", "b"], ["a", "b"], ["b"]] + [["c"]] * 6
    sampler = samplers.multi_label(2)(
        table(None).select(range(10)).add_column("label", sets), 10, valid_label_columns=LABELS
    )
    (batch,) = list(sampler)
    assert sorted(batch) == list(range(10))


def test_neighbours_follow_the_model_of_the_epoch():
    labels = [f"w{i % 6}" for i in range(120)]
    model = word_model(labels, dim=8).train()
    dataset = Dataset.from_dict({"text": labels})
    sampler = samplers.neighbours(model, "text", clusters_per_batch=1)(dataset, 20)
    for batches in epochs(sampler, 3):
        split = sum(
            len({i for i, batch in enumerate(batches) if name in dataset[batch]["text"]}) - 1 for name in set(labels)
        )
        assert split <= len(batches) + 1  # where a batch ends, and where k-means has cut a text's copies
    assert model.training
    with torch.no_grad():  # now all texts are alike but for the parity of their words
        for word in range(6):
            model[0].embedding.weight[model.tokenizer.encode(f"w{word}").ids] = torch.eye(8)[word % 2]
    sampler.set_epoch(0)
    parities = [{int(text[1:]) % 2 for text in dataset[batch]["text"]} for batch in sampler]
    assert sum(len(parity) for parity in parities) <= len(parities) + 2


def test_through_the_trainer_every_batch_has_company(tmp_path):
    model = word_model([f"w{i}" for i in range(60)])
    dataset = table(CLASS)
    shares = []

    class Noting(ANDCGLoss):
        def forward(self, features, labels):
            shares.append(min(Counter(labels.tolist()).values()))
            return super().forward(features, labels)

    args = SentenceTransformerTrainingArguments(
        str(tmp_path), per_device_train_batch_size=16, num_train_epochs=2, batch_sampler=samplers.classes(4),
        save_strategy="epoch", report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=args, train_dataset=dataset, loss=Noting(model, relevance=Classes())
    )
    trainer.train()
    assert trainer.state.global_step == 2 * len(make("classes")) == len(shares)
    assert min(shares) >= 2


# Promises that cannot be kept.


@pytest.mark.parametrize(
    ("factory", "label", "size", "message"),
    [
        (samplers.classes(4), CLASS, 6, "batch_size must be even, a multiple of 4, .* and at least 8, got 6"),
        (samplers.classes(4), CLASS, 4, "at least 8, got 4"),
        (samplers.classes(2), [1] * ROWS, 8, "at least two labels with two rows each in 'label', got 1"),
        (samplers.classes(2), list(range(ROWS)), 8, "at least two labels with two rows each in 'label', got 0"),
        (samplers.classes(2), NUMBERS, 8, "column 'label' must hold a class .* got"),
        (samplers.classes(2), None, 8, "needs a label column, one of .* got a dataset of the columns"),
        (samplers.hierarchy((2, 2)), CLASS, 8, "column 'label' must hold a path: a list of levels"),
        (samplers.hierarchy((2, 2, 2, 2)), PATHS, 32, "per_level has 4 levels, but paths in 'label' at most 3"),
        (samplers.multi_label(2), CLASS, 8, "column 'label' must hold a set of labels"),
        (samplers.multi_label(2), [[str(i)] for i in range(ROWS)], 8, "at least two labels with two rows each"),
        (samplers.numeric(), [1.0] * ROWS, 8, "needs different numbers in 'label', got 1.0 in every row"),
        (
            samplers.numeric(),
            ["a"] * ROWS,
            8,
            "column 'label' must hold a number, .* got 'a' in row 0: cast the column",
        ),
        (samplers.numeric(), [float("nan")] * ROWS, 8, "needs labels in 'label', got 240 rows without one"),
        (samplers.numeric(4), NUMBERS, 7, "batch_size must be at least 8, two quantiles' rows, got 7"),
        (samplers.lists("other"), None, 8, "column must be one of .*, got 'other'"),
        (samplers.qrels(), None, 8, "needs a column of query ids, whose name ends in _id, got the columns"),
        (samplers.neighbours(MODEL, "other"), None, 8, "column must be one of .*, got 'other'"),
        (samplers.neighbours(MODEL), None, ROWS, "needs rows for at least two batches of 240, got 240"),
    ],
)
def test_a_promise_that_cannot_be_kept_ends_at_construction(factory, label, size, message):
    with pytest.raises(ValueError, match=message):
        factory(table(label), size, valid_label_columns=LABELS)


def test_judgements_are_not_taken_for_the_name_of_a_column():
    with pytest.raises(TypeError, match=r"^column must be the name of a column, got a dict\.$"):
        samplers.qrels({"q1": {"d1": 1}})(table(None), 8, valid_label_columns=LABELS)


@pytest.mark.parametrize(
    ("make_factory", "message"),
    [
        (lambda: samplers.classes(1), "per_class must be an integer of at least 2, got 1"),
        (lambda: samplers.hierarchy(()), "per_level must have one number per level, got"),
        (lambda: samplers.hierarchy((0, 2)), "per_level must be an integer of at least 1, got 0"),
        (lambda: samplers.hierarchy((2, 1)), "per_level must be an integer of at least 2, got 1"),
        (lambda: samplers.multi_label(1), "per_label must be an integer of at least 2, got 1"),
        (lambda: samplers.numeric(0), "per_quantile must be an integer of at least 1, got 0"),
        (lambda: samplers.neighbours(MODEL, clusters_per_batch=0), "clusters_per_batch must be an integer"),
        (lambda: samplers.neighbours(MODEL, encode_batch_size=None), "encode_batch_size must be an integer"),
    ],
)
def test_settings_out_of_range_end_at_once(make_factory, message):
    with pytest.raises(ValueError, match=message):
        make_factory()


@pytest.mark.parametrize(
    ("case", "message"),
    [("classes", "1 of 240 rows share their label in 'label' with no other row"), ("multi_label", "1 of 240 rows")],
)
def test_rows_that_never_take_part_are_logged(case, message, caplog):
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        make(case)
    assert message in caplog.text


def test_a_batch_has_no_more_rows_than_there_are_queries():
    with pytest.raises(
        ValueError, match="batch_size must be at most the number of different queries in 'query', 3, got 4"
    ):
        samplers.lists()(Dataset.from_dict({"query": ["a", "b", "c"] * 5}), 4)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_query_with_more_rows_than_batches_is_logged(drop_last, caplog):
    queries = ["often"] * 40 + [f"q{i}" for i in range(83)]
    with caplog.at_level(logging.WARNING, logger="st_rankloss"):
        sampler = samplers.lists()(Dataset.from_dict({"query": queries}), 8, drop_last)
    assert "A query in 'query' has 40 rows, more than the 1" in caplog.text
    seen = Counter()
    for batches in epochs(sampler, 40):
        assert len(batches) == len(sampler)
        assert all(len({queries[i] for i in batch}) == len(batch) for batch in batches)
        assert {len(batch) for batch in batches[:-1]} == {8}
        seen.update(i for batch in batches for i in batch)
    assert set(seen) == set(range(123))


COLUMNS = {
    "query": [f"q{row // 4}" for row in range(32)],
    "documents": [[f"d{row}", f"e{row}"] for row in range(32)],
    "labels": [[1, 0]] * 32,
    "weight": [1.0] * 32,
    "query_id": [row // 4 for row in range(32)],
    "document_ids": [[f"d{row}", f"e{row}"] for row in range(32)],
}


@pytest.mark.parametrize("by_id", [False, True])
def test_queries_are_found_in_any_order_of_columns(by_id):
    for order in itertools.permutations(COLUMNS):
        dataset = Dataset.from_dict({name: COLUMNS[name] for name in order})
        sampler = (samplers.qrels if by_id else samplers.lists)()(dataset, 8, valid_label_columns=LABELS)
        assert [len(set(dataset[batch]["query"])) for batch in sampler] == [8, 8, 8, 8], order


def test_the_ids_of_queries_are_those_of_the_first_input():
    rows = [f"q{row // 4}" for row in range(32)]
    dataset = Dataset.from_dict({"document_id": range(32), "query": rows, "query_id": rows, "document": ["d"] * 32})
    assert [len(set(dataset[batch]["query_id"])) for batch in samplers.qrels()(dataset, 8)] == [8, 8, 8, 8]


def test_neighbours_are_those_of_the_first_input(monkeypatch):
    read = []
    monkeypatch.setattr(MODEL, "encode", lambda inputs, **_: read.append(inputs) or np.eye(len(inputs), 8))
    columns = {"query_id": ["i"] * 32, "weight": [1.0] * 32, "documents": [["a"]] * 32, "query": ["w1"] * 32}
    list(samplers.neighbours(MODEL)(Dataset.from_dict(columns), 8, valid_label_columns=LABELS))
    assert {text for inputs in read for text in inputs} == {"w1"}


@pytest.mark.parametrize("factory", [samplers.lists(), samplers.numeric(), samplers.classes(), samplers.multi_label()])
def test_an_empty_dataset_is_refused(factory):
    with pytest.raises(ValueError, match="different queries in 'text', 0, got 8|got 0 rows without one"):
        factory(Dataset.from_dict({"text": [], "label": []}), 8, valid_label_columns=LABELS)
