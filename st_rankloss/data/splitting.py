"""Split a part into train, dev and test, so that nothing that belongs together is torn apart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasets import IterableDataset

from st_rankloss.data.contents import contents
from st_rankloss.data.part import PARTS, Part
from st_rankloss.labels import holds_class_ids, is_missing, is_multi_hot

_MOST_CONNECTED = 0.5
"""Above this share of pairs in one chain of shared sentences, pairs are split one by one."""


def split(
    parts: Mapping[str, Part], *, seed: int = 0, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> dict[str, Part]:
    """Return parts train, dev and test; those that are missing are taken from the train part.

    Queries stay whole, and so do all rows of one text or image. Sentences of pairs stay in one part, with all that they
    are paired with, unless most pairs hang together. Texts are compared in lower case, without runs of white space.
    Every class and every label keeps a row in the train part. Those of at least three texts or images also have a row
    in dev and in test if these have room for twice as many; otherwise the two most common ones do.

    Args:
        parts: Parts by name, as from `read`; given ones stay as they are.
        seed: Seed of the choice.
        shares: Shares of train, dev and test, above 0; those of dev and test are shares of the train part that is
            given.

    Returns:
        The three parts, each with the whole corpus; their notes say what was taken from where.

    Raises:
        ValueError: If a part is missing and the train part is missing, streaming or too small to give it.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"text": [f"text {i}" for i in range(20)], "label": ["a", "b"] * 10})
        >>> {name: len(part) for name, part in split({"train": Part("classification", rows)}).items()}
        {'train': 16, 'dev': 2, 'test': 2}
    """
    if len(shares) != 3 or min(shares) <= 0:
        raise ValueError(f"shares must be three numbers above 0, of train, dev and test, got {shares!r}.")
    missing = [name for name in PARTS[1:] if name not in parts]
    if not missing:
        return dict(parts)
    train = _train(parts, missing)
    wanted = {name: max(1, round(len(train) * shares[PARTS.index(name)] / sum(shares))) for name in missing}
    groups, note = _groups(train)
    taken = _choose(groups, _labels(train), wanted, seed)
    if empty := [name for name in missing if not taken[name]]:
        raise ValueError(
            f"{train.source or 'the train part'}: it must have enough rows to split off {' and '.join(empty)}, got "
            f"{len(train)} rows that make {len(set(groups))} groups: read a {empty[0]} part from another file."
        )
    used = {row for rows in taken.values() for row in rows}
    chosen = {"train": [row for row in range(len(train)) if row not in used], **taken}
    notes = (f"split at random, with seed {seed}, from {len(train):,} rows", *note)
    found = {name: _select(train, rows, notes) for name, rows in chosen.items()}
    return {name: found.get(name) or parts[name] for name in PARTS}


def _train(parts: Mapping[str, Part], missing: list[str]) -> Part:
    if "train" not in parts:
        raise ValueError(
            f"{next((part.source for part in parts.values()), '')}: the data must have a train part to train on and to "
            f"take {' and '.join(missing)} from, got only {', '.join(parts)}: name the part train."
        )
    if isinstance(parts["train"].dataset, IterableDataset):
        raise ValueError(
            f"a streaming part cannot be split: give files for {' and '.join(missing)}, or read into memory."
        )
    return parts["train"]


def _key(content: Any) -> Hashable:
    """Return a text as it is compared with others, without case and runs of white space; else the content itself."""
    return " ".join(content.lower().split()) if isinstance(content, str) else content


def _groups(part: Part) -> tuple[list[Hashable], tuple[str, ...]]:
    """Return the group of each row, all of whose rows go into the same part, and a note."""
    if part.task == "sts":
        columns = (contents(part.dataset, name) for name in ("sentence1", "sentence2"))
        return _connected(*([*map(_key, column)] for column in columns))
    return [*map(_key, contents(part.dataset, part.input_columns[0]))], ()


def _connected(first: list[Hashable], second: list[Hashable]) -> tuple[list[Hashable], tuple[str, ...]]:
    """Return the groups of pairs that share sentences, also through other pairs."""
    parent: dict[Hashable, Hashable] = {}

    def root(text: Hashable) -> Hashable:
        parent.setdefault(text, text)
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    for one, other in zip(first, second, strict=True):
        parent[root(one)] = root(other)
    groups = [root(text) for text in first]
    if groups and max(Counter(groups).values()) > _MOST_CONNECTED * len(groups):
        pairs: list[Hashable] = [frozenset(pair) for pair in zip(first, second, strict=True)]
        return pairs, ("most pairs are connected by sentences they share, so a sentence may be in two parts",)
    return groups, ()


def _labels(part: Part) -> list[list[Hashable]]:
    """Return the labels of each row that train must keep and that dev and test should hold."""
    if part.task not in ("classification", "hierarchy", "multi_label", "sts", "regression"):
        return [[]] * len(part)
    column = [*contents(part.dataset, "label")]
    if part.task == "multi_label":
        if is_multi_hot(column, class_ids=holds_class_ids(part.dataset.features["label"])):
            return [[place for place, there in enumerate(value or ()) if there] for value in column]
        return [list(value or ()) for value in column]
    if part.task in ("classification", "hierarchy"):
        paths = [tuple(value) if isinstance(value, list) else (value,) for value in column]
        return [[] if all(is_missing(name, code=True) for name in path) else [path] for path in paths]
    counts = Counter(map(str, column))
    return [[str(value)] if counts[str(value)] > 2 and not is_missing(value) else [] for value in column]


def _choose(
    groups: Sequence[Hashable], labels: Sequence[Sequence[Hashable]], wanted: Mapping[str, int], seed: int
) -> dict[str, list[int]]:
    """Return the rows of each wanted part; the train part keeps a group, and a row of each label."""
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    order = list(members)
    random.Random(seed).shuffle(order)
    left = Counter(label for row in labels for label in row)
    taken: dict[str, list[int]] = {name: [] for name in wanted}
    held: dict[str, set[Hashable]] = {name: set() for name in wanted}
    gone: set[Hashable] = set()

    def take(group: Hashable, name: str) -> bool:
        rows = members[group]
        room = wanted[name] - len(taken[name])
        leaving = Counter(label for row in rows for label in labels[row])
        too_large = room <= 0 or (len(rows) > room and taken[name])
        if group in gone or too_large or any(left[label] == leaving[label] for label in leaving):
            return False
        left.subtract(leaving)
        taken[name] += rows
        held[name].update(leaving)
        gone.add(group)
        return True

    holders: dict[Hashable, dict[Hashable, None]] = {}
    for group in sorted(order, key=lambda group: len(members[group])):
        for label in (label for row in members[group] for label in labels[row]):
            holders.setdefault(label, {})[group] = None
    common = sorted((each for each in holders if len(holders[each]) > len(wanted)), key=lambda x: -len(holders[x]))
    for label in common if len(common) <= min(wanted.values()) // 2 else common[:2]:
        for name in wanted:
            if label not in held[name]:
                any(take(group, name) for group in holders[label])
    for group in order[1:]:  # one stays
        take(group, max(wanted, key=lambda name: wanted[name] - len(taken[name])))
    return {name: sorted(rows) for name, rows in taken.items()}


def _select(part: Part, rows: list[int], notes: tuple[str, ...]) -> Part:
    dataset = part.dataset.select(rows)
    if part.task != "retrieval":
        return replace(part, dataset=dataset, notes=part.notes + notes)
    ids = dataset["query_id"][:]
    return replace(
        part,
        dataset=dataset,
        queries={query: part.queries[query] for query in ids},
        qrels={query: part.qrels[query] for query in ids if query in part.qrels},
        notes=part.notes + notes,
    )
