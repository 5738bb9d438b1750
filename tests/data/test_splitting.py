"""Splitting into train, dev and test: nothing that belongs together is torn apart, over random tables."""

from __future__ import annotations

import random

import pytest
from datasets import Dataset

from st_rankloss.data import Part, read, split


def texts(part, *columns):
    return {" ".join(text.lower().split()) for name in columns for text in part.dataset[name]}


def apart(parts, *columns):
    found = [texts(part, *columns) for part in parts.values()]
    return all(not one & other for place, one in enumerate(found) for other in found[place + 1 :])


def rows_of(parts, *columns):
    return sorted(str([row[name] for name in columns]) for part in parts.values() for row in part.dataset)


@pytest.mark.parametrize("seed", range(40))
def test_queries_stay_whole_and_every_part_has_the_whole_corpus(seed):
    draw = random.Random(seed)
    rows = [
        {
            "query_id": str(number := draw.randrange(30)),
            "query": f"Query {number % 20}",
            "document": f"d{i}",
            "grade": i % 3,
        }
        for i in range(draw.randint(30, 120))
    ]
    whole = read(rows)["train"]
    parts = split({"train": whole}, seed=seed)
    assert list(parts) == ["train", "dev", "test"]
    assert apart(parts, "query")
    assert rows_of(parts, "query_id", "documents", "labels") == rows_of(
        {"train": whole}, "query_id", "documents", "labels"
    )
    for part in parts.values():
        assert len(part) > 0
        assert part.corpus == whole.corpus
        assert list(part.queries) == part.dataset["query_id"][:]
        assert part.qrels == {query: whole.qrels[query] for query in part.queries if query in whole.qrels}


@pytest.mark.parametrize("seed", range(40))
def test_no_sentence_is_in_two_parts(seed):
    draw = random.Random(seed)
    pairs = [(f"s{draw.randrange(200)}", f"t{draw.randrange(200)}") for _ in range(draw.randint(20, 60))]
    rows = {"sentence1": [a for a, _ in pairs], "sentence2": [b for _, b in pairs], "label": [1.0] * len(pairs)}
    parts = split({"train": Part("sts", Dataset.from_dict(rows))}, seed=seed)
    assert apart(parts, "sentence1", "sentence2")
    assert sum(map(len, parts.values())) == len(pairs)


def test_pairs_that_all_hang_together_are_split_one_by_one_and_noted():
    rows = {"sentence1": ["hub"] * 40, "sentence2": [f"s{i}" for i in range(40)], "label": [1.0] * 40}
    parts = split({"train": Part("sts", Dataset.from_dict(rows))})
    assert {name: len(part) for name, part in parts.items()} == {"train": 32, "dev": 4, "test": 4}
    assert any("a sentence may be in two parts" in note for note in parts["dev"].notes)


@pytest.mark.parametrize("seed", range(40))
def test_equal_texts_stay_together_and_every_class_keeps_a_row_to_train_on(seed):
    draw = random.Random(seed)
    size = draw.randint(40, 150)
    rows = {
        "text": [
            f"Text  {draw.randrange(60)}".upper() if draw.random() < 0.5 else f"text {draw.randrange(60)}"
            for _ in range(size)
        ],
        "label": [f"c{int(draw.expovariate(0.3))}" for _ in range(size)],
    }
    parts = split({"train": Part("classification", Dataset.from_dict(rows))}, seed=seed)
    assert apart(parts, "text")
    assert set(parts["train"].dataset["label"]) == set(rows["label"])
    assert rows_of(parts, "text", "label") == sorted(
        str(list(pair)) for pair in zip(rows["text"], rows["label"], strict=True)
    )


@pytest.mark.parametrize("task", ["classification", "hierarchy", "multi_label", "sts", "regression"])
@pytest.mark.parametrize("seed", range(20))
def test_dev_and_test_hold_every_common_label(task, seed):
    draw = random.Random(seed)
    sizes = [draw.randint(80, 120), *(draw.randint(3, 12) for _ in range(draw.randint(1, 3)))]
    codes = [code for code, size in enumerate(sizes) for _ in range(size)]
    draw.shuffle(codes)
    label = {
        "classification": lambda code: f"c{code}",
        "hierarchy": lambda code: ["root", f"c{code}"],
        "multi_label": lambda code: [int(place == code) for place in range(5)] if seed % 2 else [f"c{code}"],
    }.get(task, float)
    rows = {"label": [label(code) for code in codes]}
    for column in ("sentence1", "sentence2") if task == "sts" else ("text",):
        rows[column] = [f"{column} {i}" for i in range(len(codes))]
    parts = split({"train": Part(task, Dataset.from_dict(rows))}, seed=seed)
    for part in parts.values():
        assert {str(label) for label in part.dataset["label"]} == {str(label) for label in rows["label"]}
        assert abs(len(part) - len(codes) * (0.8 if part is parts["train"] else 0.1)) <= 1


@pytest.mark.parametrize("seed", range(10))
def test_with_many_small_classes_rows_of_dev_still_have_partners(seed):
    rows = {"text": [f"t{i}" for i in range(308)], "label": [i % 77 for i in range(308)]}
    dev = split({"train": Part("classification", Dataset.from_dict(rows))}, seed=seed)["dev"].dataset["label"][:]
    assert len(set(dev)) < len(dev) == 31


def test_rows_without_a_class_are_not_a_class():
    rows = {"text": [f"t{i}" for i in range(60)], "label": [-1] * 40 + [0, 1] * 10}
    for seed in range(10):
        parts = split({"train": Part("classification", Dataset.from_dict(rows))}, seed=seed)
        assert all({0, 1} <= {*part.dataset["label"]} for part in parts.values())


def plain_part(count=100):
    return Part("self_supervised", Dataset.from_dict({"text": [f"t{i}" for i in range(count)]}))


def test_the_same_seed_gives_the_same_parts_and_another_seed_others():
    first, same, other = (split({"train": plain_part()}, seed=seed) for seed in (1, 1, 2))
    assert first["dev"].dataset["text"][:] == same["dev"].dataset["text"][:] != other["dev"].dataset["text"][:]


def test_given_parts_stay_and_only_missing_ones_are_taken():
    test = plain_part(7)
    parts = split({"train": plain_part(), "test": test}, shares=(0.7, 0.2, 0.1))
    assert parts["test"] is test
    assert (len(parts["train"]), len(parts["dev"])) == (80, 20)
    given = {"train": plain_part(), "dev": test, "test": test}
    assert split(given) == given


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"test": plain_part()}, "must have a train part to train on and to take .* from, got only"),
        ({"train": plain_part(2)}, "must have enough rows to split off"),
    ],
)
def test_what_cannot_be_split_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        split(parts)


def test_a_streaming_part_is_not_split():
    part = plain_part()
    streaming = Part(part.task, part.dataset.to_iterable_dataset())
    with pytest.raises(ValueError, match="a streaming part cannot be split"):
        split({"train": streaming})
