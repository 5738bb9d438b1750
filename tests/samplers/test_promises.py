"""Thousands of random samplers keep their promises: in every batch of every epoch, or by an error at construction.

Each case is drawn from its number alone: the number of rows, how unequal the classes are, what is missing, the
settings, the batch size, ``drop_last``, the seed and 1 to 3 processes. The checks are written from the definitions, in
plain Python. ``RANKLOSS_CASES=20000`` in the environment raises the number of cases, shared out among the samplers.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import math
import os
import random
import re
from collections import Counter

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from datasets import ClassLabel, Dataset, Features, List, Value

from st_rankloss import samplers
from st_rankloss.samplers.neighbours import NeighboursSampler

CASES = int(os.environ.get("RANKLOSS_CASES", "2800"))
COLUMN = "label"
EPOCHS = 3
MISSING = [None, -1]


class Case:
    """A random dataset and sampler: what it was made of, and what a batch promises."""

    may_sit_out_alone = False
    """Whether a last batch of a single row sits out."""

    def __init__(self, draw):
        self.draw = draw
        self.rows = draw.choice([draw.randrange(1, 12), draw.randrange(4, 60), draw.randrange(20, 300)])
        self.drop_last = draw.random() < 0.4
        self.seed = draw.randrange(100)
        self.missing = draw.choice([0, 0, 0.02, 0.3])
        self.features = None
        self.column = COLUMN
        self.make()

    def make(self):
        raise NotImplementedError

    def sampler(self):
        if not hasattr(self, "dataset"):
            self.dataset = Dataset.from_dict({self.column: self.values}, features=self.features)
        return self.factory(
            self.dataset, batch_size=self.size, drop_last=self.drop_last, valid_label_columns=[COLUMN], seed=self.seed
        )

    def size_for(self, group):
        """A batch size that mostly suits groups of so many rows."""
        if self.draw.random() < 0.1:
            return self.draw.randrange(1, 40)
        return group * self.draw.randrange(2, 9) * (1 if self.draw.random() < 0.7 and group % 2 == 0 else 2)

    def skewed(self, classes):
        """A function that draws one of so many classes, some of them far more often than others."""
        skew = self.draw.choice([0, 0, 1, 3])
        weights = [1 / (1 + place) ** skew for place in range(classes)]
        return lambda: self.draw.choices(range(classes), weights)[0]

    def check_refusal(self, message):
        """Fail unless the error is about something that cannot be, and says what."""
        raise NotImplementedError

    def check(self, batch, last):
        """Fail unless a batch keeps the promise; ``last`` is whether it has fewer rows."""
        raise NotImplementedError

    def check_epoch(self, batches):
        """Fail unless all batches of an epoch together keep the promise."""


def fits(size, group):
    return size % 2 == 0 and size % group == 0 and size >= 2 * group


class ClassesCase(Case):
    """Batches of several classes, each with two rows or more."""

    def make(self):
        self.group = self.draw.randrange(2, 7)
        self.size = self.size_for(self.group)
        one = self.skewed(self.draw.choice([1, 2, 2, 3, 5, max(1, self.rows // 4), self.rows]))
        missing, named = self.draw.choice([[None, -1], [None, math.nan, -1.0], [None, ""]]), self.draw.random() < 0.3
        self.truth = [None if self.draw.random() < self.missing else one() for _ in range(self.rows)]
        self.values = [
            self.draw.choice(missing) if label is None else f"c{label}" if "" in missing else label
            for label in self.truth
        ]
        if named and "" not in missing and math.nan not in missing:
            self.features = Features({COLUMN: ClassLabel(num_classes=self.rows + 6)})
        self.factory = samplers.classes(self.group)
        self.counts = Counter(label for label in self.truth if label is not None)
        self.usable = sum(n for n in self.counts.values() if n > 1)

    def check_refusal(self, message):
        if "batch_size must" in message:
            assert not fits(self.size, self.group)
        elif "leaves no batch" in message:
            assert self.drop_last
            assert self.usable < self.size
        elif "two labels" in message:
            assert sum(n > 1 for n in self.counts.values()) < 2
        else:
            assert "rows without one" in message
            assert not self.counts

    def check(self, batch, last):
        counts = Counter(self.truth[row] for row in batch)
        assert None not in counts
        assert len(counts) >= 2
        assert min(counts.values()) >= 2

    def check_epoch(self, batches):
        """No more rows sit out than the sizes of the classes demand."""
        pairs = [n // 2 for n in self.counts.values()]
        full = sum(len(batch) == self.size for batch in batches)
        possible = min(sum(pairs) // (self.size // 2), sum(pairs) - max(pairs))
        assert full >= possible - self.group % 2  # groups of odd size do not always fit


class HierarchyCase(Case):
    """Batches of several coarsest classes, in which no row is alone at its level."""

    def make(self):
        self.levels = self.draw.randrange(1, 4)
        self.per_level = [self.draw.randrange(1, 4) for _ in range(self.levels - 1)] + [self.draw.randrange(2, 5)]
        self.group = math.prod(self.per_level)
        self.size = self.size_for(self.group)
        depth = self.levels + self.draw.randrange(2)
        one = [self.skewed(self.draw.choice([1, 2, 3, 5, max(1, self.rows // 6)])) for _ in range(depth)]
        named = self.draw.random() < 0.3
        self.truth, self.values = [], []
        for _ in range(self.rows):
            path = [f"n{pick()}" if named else pick() for pick in one]
            if self.draw.random() < self.missing:
                path = path[: self.draw.randrange(depth)]
            self.truth.append(tuple(path[: self.levels]))
            gap = self.draw.choice([None] if named else MISSING)
            self.values.append(path + [gap] * self.draw.randrange(depth - len(path) + 1))
        if not any(self.truth):
            self.values = [list(value) or ([None] if named else [-1]) for value in self.values]
        self.factory = samplers.hierarchy(tuple(self.per_level))
        self.counts = Counter(path[:level] for path in self.truth for level in range(1, len(path) + 1))
        self.usable = sum(bool(path) and self.counts[path[:1]] > 1 for path in self.truth)

    def check_refusal(self, message):
        coarsest = [n for path, n in self.counts.items() if len(path) == 1]
        if "batch_size must" in message:
            assert not fits(self.size, self.group)
        elif "leaves no batch" in message:
            assert self.drop_last
            assert self.usable < 2 * self.size  # rows alone at their level may need the same partner
        elif "two labels" in message:
            assert sum(n > 1 for n in coarsest) < 2
        elif "levels, but paths" in message:
            assert max(map(len, self.truth)) < self.levels
        else:
            assert "rows without one" in message
            assert not coarsest

    def check(self, batch, last):
        paths = [self.truth[row] for row in batch]
        here = Counter(path[:level] for path in paths for level in range(1, len(path) + 1))
        assert len({path[:1] for path in paths}) >= 2
        for path in paths:
            finest = max(level for level in range(len(path) + 1) if level and self.counts[path[:level]] > 1)
            assert here[path[:finest]] > 1, "a row is alone at its level"


class MultiLabelCase(Case):
    """Batches of several sets, in which each row shares a label."""

    def make(self):
        self.group = self.draw.randrange(2, 7)
        self.size = self.size_for(self.group)
        names = self.draw.choice([1, 2, 3, 8, max(1, self.rows // 2)])
        one, most = self.skewed(names), self.draw.randrange(1, 5)
        self.truth = [{one() for _ in range(self.draw.randrange(1, most + 1))} for _ in range(self.rows)]
        self.truth = [set() if self.draw.random() < self.missing else labels for labels in self.truth]
        form = self.draw.choice(["strings", "ids", "hot", "declared"])
        if form == "strings":
            self.values = [[f"n{label}" for label in sorted(labels)] for labels in self.truth]
            self.features = Features({COLUMN: List(Value("string"))})
        elif form == "hot":
            self.values = [[int(label in labels) for label in range(names)] for labels in self.truth]
        else:
            self.values = [sorted(labels) for labels in self.truth]
            of = ClassLabel(num_classes=names) if form == "declared" else Value("int64")
            self.features = Features({COLUMN: List(of)})
            alike = len({len(labels) for labels in self.truth}) == 1
            if form == "ids" and alike and all(label < 2 for labels in self.truth for label in labels):
                self.truth = [{0} if 0 in labels else set() for labels in self.truth]  # [0], [1]: multi-hot
                self.truth = [{place for place, x in enumerate(value) if x} for value in self.values]
        self.factory = samplers.multi_label(self.group)

    def check_refusal(self, message):
        if "batch_size must" in message:
            assert not fits(self.size, self.group)
        elif "leaves no batch" in message:
            assert self.drop_last
        elif "two labels" in message:
            shared = Counter(label for labels in self.truth for label in labels)
            sharing = [labels for labels in self.truth if any(shared[label] > 1 for label in labels)]
            # In so few rows, those with the rarest label may be the partners that others need.
            assert len(sharing) < self.size or self.only_one_label_for(sharing)
        else:
            assert "rows without one" in message
            assert not any(self.truth)

    def only_one_label_for(self, sets):
        """Whether no two labels can have two rows each to stand for them."""
        for one, other in itertools.combinations(set.union(*sets), 2):
            with_one, with_other = sum(one in labels for labels in sets), sum(other in labels for labels in sets)
            if min(with_one, with_other) >= 2 and sum(one in labels or other in labels for labels in sets) >= 4:
                return False
        return True

    def check(self, batch, last):
        sets = [self.truth[row] for row in batch]
        for place, labels in enumerate(sets):
            assert any(labels & other for rank, other in enumerate(sets) if rank != place)
        assert len({frozenset(labels) for labels in sets}) > 1


class NumericCase(Case):
    """Batches with their share of every run of the sorted numbers."""

    may_sit_out_alone = True

    def make(self):
        self.share = self.draw.randrange(1, 5)
        self.size = self.draw.choice([2 * self.share, self.draw.randrange(1, 40), self.draw.randrange(2, 9)])
        pick = self.draw.choice(
            [
                lambda: self.draw.gauss(0, 1) ** 3,
                lambda: float(self.draw.randrange(4)),
                lambda: float(self.draw.random() < 0.1),
                lambda: 7.0,
            ]
        )
        self.truth = [None if self.draw.random() < self.missing else pick() for _ in range(self.rows)]
        self.values = [self.draw.choice([None, math.nan]) if x is None else x for x in self.truth]
        self.factory = samplers.numeric(self.share)
        labelled = [row for row, x in enumerate(self.truth) if x is not None]
        self.order = sorted(labelled, key=lambda row: self.truth[row])

    def check_refusal(self, message):
        numbers = {self.truth[row] for row in self.order}
        if "batch_size must" in message:
            assert self.size < 2 * self.share
        elif "leaves no batch" in message:
            assert self.drop_last
            assert len(self.order) < self.size
        elif "different numbers" in message:
            assert len(numbers) == 1
        else:
            assert "rows without one" in message
            assert not numbers

    def check(self, batch, last):
        assert None not in {self.truth[row] for row in batch}
        if last:
            starts = [part * len(self.order) // len(batch) for part in range(len(batch))]
            parts = [bisect.bisect(starts, self.order.index(row)) for row in batch]
            assert sorted(parts) == list(range(1, len(batch) + 1))
        middle = self.truth[self.order[len(self.order) // 2]]
        full, rest = divmod(len(self.order), self.size)
        if sum(self.truth[row] != middle for row in self.order) >= full + rest:
            assert len({self.truth[row] for row in batch}) > 1

    def check_epoch(self, batches):
        full = [batch for batch in batches if len(batch) == self.size]
        order = sorted((row for batch in full for row in batch), key=lambda row: (self.truth[row], row))
        length = max(self.share * len(full), 1)
        for start in range(0, len(order), length):
            run = set(order[start : start + length])
            assert {sum(row in run for row in batch) for batch in full} == {len(run) // len(full)}


class ListsCase(Case):
    """Batches without a query twice."""

    def make(self):
        self.column = "query"
        one = self.skewed(self.draw.choice([1, 3, 10, self.rows, self.rows]))
        self.truth = [one() for _ in range(self.rows)]
        self.values = [f"q{query}" for query in self.truth]
        self.different = len(set(self.truth))
        self.size = self.draw.randrange(1, self.different + 2)
        self.factory = samplers.lists()

    def check_refusal(self, message):
        assert "number of different queries" in message
        assert self.size > self.different

    def check(self, batch, last):
        assert len({self.truth[row] for row in batch}) == len(batch)

    def check_epoch(self, batches):
        """No more rows sit out than those a query has beyond the number of batches, and that has to be so large."""
        sizes = Counter(self.truth).values()
        full = sum(len(batch) == self.size for batch in batches)
        for number, fits_all in ((full, True), (full + 1, False)):
            assert (sum(min(size, number) for size in sizes) >= number * self.size) == fits_all
        if not self.drop_last:
            assert sum(map(len, batches)) == sum(min(size, len(batches)) for size in sizes)


class QrelsCase(ListsCase):
    """As lists, by id."""

    def make(self):
        super().make()
        self.column = "query_id"
        self.factory = samplers.qrels()


class NeighboursCase(Case):
    """Batches of clusters that follow each other; here of made-up clusters."""

    may_sit_out_alone = True

    def make(self):
        self.column = "text"
        self.values = [f"w{row}" for row in range(self.rows)]
        self.size = self.draw.randrange(1, self.rows + 2)
        self.clusters = self.draw.randrange(1, 6)
        self.factory = samplers.neighbours(object(), "text", clusters_per_batch=self.clusters)

    def check_refusal(self, message):
        if "leaves no batch" in message:
            assert self.drop_last
            assert self.rows < self.size
        else:
            assert "two batches" in message
            rest = self.rows % self.size
            assert self.rows // self.size + (rest > 1 and not self.drop_last) < 2

    def check(self, batch, last):
        pass

    def check_epoch(self, batches):
        """The rows of a cluster follow each other."""
        found = [row % 3 for batch in batches for row in batch]
        assert sum(one != other for one, other in zip(found, found[1:], strict=False)) < 3


KINDS = {
    "classes": ClassesCase,
    "hierarchy": HierarchyCase,
    "multi_label": MultiLabelCase,
    "numeric": NumericCase,
    "lists": ListsCase,
    "qrels": QrelsCase,
    "neighbours": NeighboursCase,
}


def left_out(messages):
    """How many rows the log says sit out."""
    found = (re.search(r"(\d+) of \d+ rows (?:have no|share|sits? out)", message) for message in messages)
    return sum(int(match.group(1)) for match in found if match)


def check_epoch(case, batches, logged):
    rows = [row for batch in batches for row in batch]
    assert len(rows) == len(set(rows)), "a row comes twice"
    assert all(isinstance(row, int) and 0 <= row < case.rows for row in rows)
    assert all(len(batch) == case.size for batch in batches[: None if case.drop_last else -1])
    assert 0 < len(batches[-1]) <= case.size
    if case.may_sit_out_alone and case.size > 1:
        assert len(batches[-1]) > 1
    out = case.rows - len(rows) - logged
    assert 0 <= out < case.size if case.drop_last else out == 0, f"{out} rows sit out without a word"
    for batch in batches:
        case.check(batch, last=len(batch) < case.size)
    case.check_epoch(batches)


def check_processes(case, sampler, batches, processes):
    """Each process gets its share of the batches, and none is lost but those that fill no round under drop_last."""
    shards = [BatchSamplerShard(sampler, processes, rank, even_batches=False) for rank in range(processes)]
    whole = batches[: len(batches) // processes * processes] if case.drop_last else batches
    for rank, shard in enumerate(shards):
        assert list(shard) == whole[rank::processes]
        assert len(shard) == len(whole[rank::processes])


@pytest.mark.parametrize("kind", KINDS)
def test_random_samplers_keep_their_promise(kind, caplog, monkeypatch):
    monkeypatch.setattr(NeighboursSampler, "_cluster", lambda self, seed: np.arange(len(self.dataset)) % 3)
    kept = 0
    for number in range(CASES // len(KINDS)):
        case = KINDS[kind](random.Random(f"{kind} {number}"))
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="st_rankloss"):
            try:
                sampler = case.sampler()
            except ValueError as error:
                case.check_refusal(str(error))
                continue
        kept += 1
        logged = left_out([record.getMessage() for record in caplog.records])
        length = len(sampler)
        epochs = []
        for epoch in range(EPOCHS):
            sampler.set_epoch(epoch)
            epochs.append(list(sampler))
            assert len(sampler) == length == len(epochs[-1])
            try:
                check_epoch(case, epochs[-1], logged)
            except AssertionError as error:
                raise AssertionError(f"case {number}, epoch {epoch}, {vars(case)}: {error}") from error
        if sum(map(len, epochs[0])) > 12 and len(epochs[0]) > 1:
            assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
        sampler = case.sampler()  # of the same seed
        check_processes(case, sampler, epochs[0], 1 + number % 3)
    assert kept > 0.4 * (CASES // len(KINDS))  # most cases are not refused
