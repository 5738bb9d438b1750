"""Batches of classes, of classes within classes, and of samples that share labels."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, logger, places

_LOOKED_AT = 32
"""Groups among which one is sought that fills a batch exactly."""


def classes(per_class: int = 4) -> MakeSampler:
    """P × K batches: ``batch_size / per_class`` classes with ``per_class`` samples each.

    No class comes twice in a batch unless it has more samples than the others leave room for, and no batch is of one
    class alone. What remains of a class makes a smaller group, or joins one where it is a single sample, so that
    rare classes take part. Where sizes do not fit, up to two rows a batch, and the last half batch, sit an epoch out;
    others the next time. A class of one sample never takes part. Labels: integers or strings.

    Time: below 0.2 s an epoch for 100,000 rows.

    Args:
        per_class: Samples of one class in a batch, at least 2; ``batch_size`` must be even, a multiple of it, and
            at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_class`` is below 2; when training starts: if it does not fit ``batch_size``, or fewer
            than two classes have two samples.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": list("abcdefgh"), "label": [0, 0, 1, 1, 0, 0, 1, 1]})
        >>> sampler = classes(per_class=2)(dataset, batch_size=4, valid_label_columns=["label"])
        >>> [sorted(dataset[batch]["label"]) for batch in sampler]
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    _check_least([per_class], [2], "per_class")
    return hierarchy(per_level=(per_class,))


def hierarchy(per_level: Sequence[int] = (2, 2)) -> MakeSampler:
    """Nested P × K batches: for each sample others of its finest class, of its coarser classes, and of none.

    A batch is made of groups of one coarsest class; a group of ``per_level[0]`` of its sub-classes where it has as
    many, and so on, down to ``per_level[-1]`` samples of one finest class; where a class has fewer, of what it has.
    Levels below the last one given are ignored. Rows sit out as in `classes`, and a sample alone in its coarsest
    class never takes part.

    Labels: paths, coarse to fine, of integers (-1 for none) or strings.

    Time: below 0.5 s an epoch for 100,000 rows.

    Args:
        per_level: How many of each class are taken, coarse to fine, each at least 1 and the last at least 2;
            ``batch_size`` must be even, a multiple of their product, and at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If a number is too small; when training starts: if they do not fit ``batch_size``, a path is
            too short, or fewer than two coarsest classes have two samples.

    Example:
        ::

            batch_sampler=samplers.hierarchy(per_level=(2, 4))  # 2 sub-classes of each class, 4 samples of each
    """
    if not per_level:
        raise ValueError(f"per_level must have a number for each level, got {per_level!r}.")
    _check_least(per_level, [1] * (len(per_level) - 1) + [2], "per_level")
    return partial(NestedSampler, per_level=tuple(per_level), paths_of=_read_paths)


def multi_label(per_label: int = 4) -> MakeSampler:
    """Batches in which every sample shares a label with others, rare labels first.

    Each sample stands for the rarest of its labels that another sample can stand for, too; these are then
    sampled as `classes` are. Rows that share no label with any other, or have none, never take part.

    Labels: lists of strings, or multi-hot lists of 0 and 1.

    Time: below 0.5 s an epoch for 100,000 rows; a second or so once, to choose labels.

    Args:
        per_label: Samples that stand for one label in a batch, at least 2; ``batch_size`` must be even, a
            multiple of it, and at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_label`` is below 2; when training starts: as `classes`.

    Example:
        ::

            batch_sampler=samplers.multi_label(per_label=4)
    """
    _check_least([per_label], [2], "per_label")
    return partial(NestedSampler, per_level=(per_label,), paths_of=_choose_labels)


def _check_least(numbers: Sequence[int], least: Sequence[int], name: str) -> None:
    """Raise ValueError unless each number is an integer of at least so much."""
    for number, low in zip(numbers, least, strict=True):
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise ValueError(f"{name} must be an integer of at least {low}, got {number!r}.")


class NestedSampler(PlannedBatchSampler):
    """Groups within groups, dealt to batches; see `classes`, `hierarchy` and `multi_label`."""

    def __init__(
        self, dataset: Any, batch_size: int, *args: Any, per_level: tuple[int, ...], paths_of: Any, **kwargs: Any
    ) -> None:
        super().__init__(dataset, batch_size, *args, **kwargs)
        self.per_level = per_level
        group = int(np.prod(per_level))
        if batch_size % group or batch_size % 2 or batch_size < 2 * group:
            raise ValueError(
                f"batch_size must be even, a multiple of {group}, the samples of a group, and at least {2 * group}, "
                f"got {batch_size}."
            )
        column = self.label_column()
        paths = paths_of(self.read(column), column, len(per_level))
        self.codes = _number_prefixes(paths, len(per_level))
        alone = places(self.codes[0])[1] == 1
        self.rows = np.flatnonzero(~alone)
        if alone.any():
            logger.warning(
                "%d of %d rows share their label in %r with no other row and never take part in a batch.",
                alone.sum(), len(alone), column,
            )  # fmt: skip
        if len(np.unique(self.codes[0][self.rows])) < 2:
            raise ValueError(
                f"batch_sampler needs at least two labels with two rows each in {column!r}, got "
                f"{len(np.unique(self.codes[0][self.rows]))}."
            )
        self._count_batches()

    def _count_batches(self) -> None:
        """Count the batches that every epoch has, whatever the order of its groups."""
        owner = self.codes[0][self.rows]
        self.largest = np.bincount(owner).argmax()
        others = self.rows[owner != self.largest]
        company = len(self._groups(others, np.random.default_rng(0)))
        # A batch needs a group of another class: of a class too large for that, some rows sit out.
        size = self.per_level[-1]
        room = company * self.batch_size - len(others)
        self.kept = min(len(self.rows) - len(others), room - room % size)
        counts = np.bincount(self.codes[-1][others])
        even = len(self.per_level) == 1 and not (counts % size).any() and self.kept % size == 0
        spent = self.batch_size + (0 if even else 2)  # a batch that cuts a group may lose two rows
        self.full, rest = divmod(len(others) + self.kept, spent)
        self.has_last = not self.drop_last and (2 * rest >= self.batch_size or not self.full)
        self.batches = self.full + self.has_last
        if not self.batches:
            raise ValueError(f"drop_last=True leaves no batch of {self.batch_size} rows in {len(self.rows)} rows.")

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Group rows, lay the groups out so that those of one class part, and cut them into batches."""
        rows = random.permutation(self.rows)
        large = self.codes[0][rows] == self.largest
        rows = np.concatenate([rows[large][: self.kept], rows[~large]])
        groups = self._groups(random.permutation(rows), random)
        queue = deque(groups[i] for i in self._lay_out(groups, random))
        batches = [_fill(queue, self.batch_size) for _ in range(self.batches)]
        order = [*random.permutation(self.full), *range(self.full, self.batches)]
        return [np.concatenate(batches[i]) for i in order]

    def _groups(self, rows: Indices, random: np.random.Generator) -> list[Indices]:
        """Group rows of one coarsest class: a few of one finest class, combined level by level."""
        size = self.per_level[-1]
        place, count = places(self.codes[-1][rows])
        # The item that each row belongs to, at first a few samples; a single left-over sample joins the last of them.
        item = _renumber(self.codes[-1][rows], np.minimum(place // size, ((count - 2) // size).clip(min=0)))
        for level in range(len(self.per_level) - 2, -1, -1):
            first = np.unique(item, return_index=True)[1]
            child, parent = self.codes[level + 1][rows[first]], self.codes[level][rows[first]]
            order = np.lexsort((random.permutation(child.max() + 1)[child], parent))
            place, count = np.empty_like(parent), np.empty_like(parent)
            place[order], count[order] = places(parent[order])
            hands = (count // self.per_level[level]).clip(min=1)
            item = _renumber(parent, place % hands)[item]  # dealt, so that sub-classes mix
        order = np.argsort(item, kind="stable")
        return np.split(rows[order], np.flatnonzero(np.diff(item[order])) + 1)

    def _lay_out(self, groups: list[Indices], random: np.random.Generator) -> Indices:
        """Order groups: dealt to as many hands as batches, each hand's classes taking turns."""
        owner = self.codes[0][[group[0] for group in groups]]
        key = random.permutation(owner.max() + 1)
        key[self.largest] = -1
        order = np.lexsort((random.random(len(groups)), key[owner]))
        hand = np.arange(len(order)) % self.batches
        turn = places(hand * (owner.max() + 1) + owner[order])[0]
        return order[np.lexsort((key[owner[order]], turn, hand))]


def _fill(queue: deque[Indices], size: int) -> list[Indices]:
    """Take groups until there are ``size`` rows, or none left; of one that is too long a part, of at least two rows."""
    batch: list[Indices] = []
    gap = size
    while gap and queue:
        if len(queue[0]) > gap:  # rather one that fits, if there is one near by
            fitting = next((i for i, group in enumerate(islice(queue, _LOOKED_AT)) if len(group) == gap), 0)
            queue.rotate(-fitting)
            group = queue.popleft()
            queue.rotate(fitting)
        else:
            group = queue.popleft()
        if gap == 1:  # no room for two: a larger group gives one row up
            i = next(i for i, taken in enumerate(batch) if len(taken) > 2)
            batch[i], gap = batch[i][:-1], 2
        batch.append(group[:gap])
        gap -= len(batch[-1])
        if len(group) - len(batch[-1]) > 1:
            queue.appendleft(group[len(batch[-1]) :])
    return batch


def _renumber(parents: Indices, numbers: Indices) -> Indices:
    """Number pairs of a parent and a number within it from 0."""
    inverse: Indices = np.unique(parents * (numbers.max() + 1) + numbers, return_inverse=True)[1]
    return inverse


def _number_prefixes(paths: list[tuple[Any, ...]], levels: int) -> list[Indices]:
    """Number the beginnings of paths at each level; a path that ends before a level is alone there."""
    codes = []
    for level in range(1, levels + 1):
        numbers: dict[Any, int] = {}
        keys = (path[:level] if len(path) >= level else (row, "ends") for row, path in enumerate(paths))
        codes.append(np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64))
    return codes


def _read_paths(labels: list[Any], column: str, levels: int) -> list[tuple[Any, ...]]:
    """Read classes as paths of one level, and cut paths where they have no label."""
    if levels == 1 and not isinstance(labels[0], list | tuple):
        if isinstance(labels[0], float):
            raise ValueError(f"batch_sampler needs classes in {column!r}, got the number {labels[0]!r}.")
        return [(label,) for label in labels]
    if not isinstance(labels[0], list | tuple):
        raise ValueError(
            f"batch_sampler needs a path of {levels} levels for each row in {column!r}, got {labels[0]!r}."
        )
    if levels > max(map(len, labels)):
        raise ValueError(f"per_level has {levels} levels, but paths in {column!r} at most {max(map(len, labels))}.")
    nothing = (-1, None)
    return [tuple(path[: next((i for i, x in enumerate(path) if x in nothing), len(path))]) for path in labels]


def _choose_labels(labels: list[Any], column: str, levels: int) -> list[tuple[Any, ...]]:
    """Let each row stand for the rarest of its labels that another row can stand for as well."""
    if not isinstance(labels[0], list | tuple):
        raise ValueError(f"batch_sampler needs a set of labels for each row in {column!r}, got {labels[0]!r}.")
    strings = any(isinstance(label, str) for row in labels for label in row)
    sets = [set(row) if strings else {i for i, x in enumerate(row) if x} for row in labels]
    rows_of = defaultdict(list)
    for row, names in enumerate(sets):
        for name in names:
            rows_of[name].append(row)
    by_rarity = sorted(rows_of, key=lambda name: (len(rows_of[name]), str(name)))
    chosen: dict[int, Any] = {}
    for name in by_rarity:
        free = [row for row in rows_of[name] if row not in chosen]
        if len(free) > 1:
            chosen.update(dict.fromkeys(free, name))
    sizes = Counter(chosen.values())
    for row in range(len(sets)):
        if row not in chosen:
            _find_partner(row, sorted(sets[row], key=lambda name: len(rows_of[name])), rows_of, chosen, sizes)
    return [(chosen[row],) if row in chosen else () for row in range(len(sets))]


def _find_partner(
    row: int, names: Sequence[Any], rows_of: dict[Any, list[int]], chosen: dict[int, Any], sizes: Counter[Any]
) -> None:
    """Let a left-over row stand for a label that others stand for, or together with one that can be spared."""
    for name in names:
        partner = next((r for r in rows_of[name] if r != row and sizes[chosen.get(r)] > 2), None)
        if sizes[name] or partner is not None:
            if not sizes[name] and partner is not None:
                sizes[chosen[partner]] -= 1
                chosen[partner], sizes[name] = name, 1
            chosen[row] = name
            sizes[name] += 1
            return
