"""Batches of classes, of nested classes, and of samples that share labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from st_rankloss.labels import holds_class_ids, read_classes, read_paths, read_sets
from st_rankloss.samplers.base import Indices, MakeSampler, PlannedBatchSampler, build, factory, gather, places
from st_rankloss.samplers.layout import lay_out

Paths = list[tuple[Any, ...]]
"""The classes of each row, coarse to fine; empty if unlabelled."""


@factory
def classes(per_class: int = 4) -> MakeSampler:
    """P × K batches of ``batch_size / per_class`` classes with ``per_class`` rows each.

    Every batch, including the last, has at least two classes with at least two rows each. If class sizes do not fit,
    groups have fewer rows, or one more; only a class too large to be used up otherwise gets more than that in a batch.
    No row occurs twice in an epoch, so rows sit out, in turn, if a class has more than the others can accompany at two
    per batch, or an odd number. Rows without a label, and the only row of a class, never take part. All these numbers
    are logged.

    Labels: integers or strings.

    Time: below 0.3 s per epoch for 100,000 rows.

    Args:
        per_class: Rows of one class in a batch, at least 2; ``batch_size`` must be even, a multiple of it, and
            at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_class`` is below 2; when training starts: if it does not fit ``batch_size``, or fewer
            than two classes have two rows.

    Example:
        >>> from datasets import Dataset
        >>> dataset = Dataset.from_dict({"text": list("abcdefgh"), "label": [0, 0, 1, 1, 0, 0, 1, 1]})
        >>> sampler = classes(per_class=2)(dataset, batch_size=4, valid_label_columns=["label"])
        >>> [sorted(dataset[batch]["label"]) for batch in sampler]
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    _check_least([per_class], [2], "per_class")
    return partial(build, NestedSampler, per_level=(per_class,), paths_of=_read_classes)


@factory
def hierarchy(per_level: Sequence[int] = (2, 2)) -> MakeSampler:
    """Nested P × K batches: each row meets rows of its finest class, of its coarser classes, and of other classes.

    Every batch, including the last, has at least two coarsest classes, and each row has a partner in it: another row of
    its finest class that has two rows in the dataset. That is the class at the last level of ``per_level``, or a
    coarser one if the row is alone at that level or its path ends early.

    A batch consists of groups of one coarsest class each; a group takes ``per_level[0]`` of its sub-classes, and so on,
    down to ``per_level[-1]`` rows of one finest class, or all there are if a class has fewer. Levels below the last one
    in ``per_level`` are ignored. Rows sit out as in `classes`, and a row alone in its coarsest class never takes part.

    Labels: paths, coarse to fine, of integers (-1 for none) or strings.

    Time: below 0.5 s per epoch for 100,000 rows.

    Args:
        per_level: Members to take from each class, coarse to fine, each at least 1 and the last at least 2;
            ``batch_size`` must be even, a multiple of their product, and at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If a number is too small; when training starts: if they do not fit ``batch_size``, a path is
            too short, or fewer than two coarsest classes have two rows.

    Example:
        ::

            batch_sampler=samplers.hierarchy(per_level=(2, 4))  # 2 sub-classes of each class, 4 rows of each
    """
    if not per_level:
        raise ValueError(f"per_level must have one number per level, got {per_level!r}.")
    _check_least(per_level, [1] * (len(per_level) - 1) + [2], "per_level")
    return partial(build, NestedSampler, per_level=tuple(per_level), paths_of=_read_paths)


@factory
def multi_label(per_label: int = 4) -> MakeSampler:
    """Batches in which every row shares a label with another, rare labels first.

    Each row represents the rarest of its labels that another row can also represent; these labels are then sampled as
    in `classes`. So every batch, including the last, has different label sets, and each of its rows shares a label with
    another. Rows without a label, or without one that another row shares, never take part; their number is logged.

    Labels: lists of strings, lists of class ids, or multi-hot lists of 0 and 1. Lists of 0 and 1 of equal length are
    multi-hot, unless the dataset's features declare them as classes.

    Time: below 0.3 s per epoch for 100,000 rows, plus about two seconds once to read and choose labels.

    Args:
        per_label: Rows that represent one label in a batch, at least 2; ``batch_size`` must be even, a
            multiple of it, and at least twice as large.

    Returns:
        What ``batch_sampler=`` takes.

    Raises:
        ValueError: If ``per_label`` is below 2; when training starts: as in `classes`.

    Example:
        ::

            batch_sampler=samplers.multi_label(per_label=4)
    """
    _check_least([per_label], [2], "per_label")
    return partial(build, NestedSampler, per_level=(per_label,), paths_of=_choose_labels)


def _check_least(numbers: Sequence[int], least: Sequence[int], name: str) -> None:
    """Raise ValueError unless each number is an integer at or above its lower bound."""
    for number, low in zip(numbers, least, strict=True):
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise ValueError(f"{name} must be an integer of at least {low}, got {number!r}.")


class NestedSampler(PlannedBatchSampler):
    """Deals nested groups to batches; see `classes`, `hierarchy` and `multi_label`.

    A row finds partners in its *home*: the finest of its classes with two rows. Rows of one home are paired up, and
    pairs stay together; a left-over row joins a pair as an extra row, in its home or in one below it.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *args: Any,
        per_level: tuple[int, ...],
        paths_of: Callable[[list[Any], str, int, bool], Paths],
        **kwargs: Any,
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
        paths = paths_of(self.read(column), column, len(per_level), holds_class_ids(dataset.features[column]))
        labelled = np.array([bool(path) for path in paths], dtype=bool)
        self.note_unlabelled(int((~labelled).sum()), column)
        codes = _number_prefixes(paths, len(per_level))
        company = places(codes[0])[1] > 1
        alone = int((labelled & ~company).sum())
        if alone:
            self.notes.append(
                f"{alone} of {len(paths)} rows share their label in {column!r} with no other row to spare, and never "
                "take part."
            )
        self.rows = np.flatnonzero(labelled & company)
        if len(np.unique(codes[0][self.rows])) < 2:
            raise ValueError(
                f"batch_sampler needs at least two labels with two rows each in {column!r}, got "
                f"{len(np.unique(codes[0][self.rows]))}."
            )
        self._find_homes(np.stack(codes)[:, self.rows])
        self._lay_out(column)

    def _find_homes(self, codes: Indices) -> None:
        """Set the level of each row's home and the path to it, with a unique number below that level."""
        counts = np.stack([places(level)[1] for level in codes])
        self.level = (counts > 1).sum(axis=0) - 1
        home = codes[self.level, np.arange(len(self.rows))] + (self.level - len(codes)) * (codes.max() + 1)
        levels = np.arange(len(codes))[:, None]
        path = np.where(levels <= self.level, codes, home)
        self.path = np.stack([np.unique(level, return_inverse=True)[1].reshape(-1) for level in path])

    def _lay_out(self, column: str) -> None:
        """Lay out the groups from the number of pairs and extras of each coarsest class, equal in every epoch."""
        self.odd = self.per_level[-1] % 2
        pairs, extra, owner = self._pair_up(np.random.default_rng(0))
        of_class = np.bincount(owner)
        if of_class.sum() - of_class.max() < len(self.rows) // self.batch_size:
            self.odd = 0  # the others accompany more of a dominant class pair by pair
            pairs, extra, owner = self._pair_up(np.random.default_rng(0))
        extras = np.bincount(owner, weights=extra >= 0).astype(np.int64)
        parents = int(np.prod(self.per_level[:-1]))
        group = parents * (self.per_level[-1] // 2), parents * self.odd
        self.groups = lay_out(np.bincount(owner), extras, self.batch_size, group)
        self.batches = self.groups.full if self.drop_last else self.groups.batches
        used = int(2 * self.groups.pairs.sum() + self.groups.extras.sum())
        if used < len(self.rows):
            count = np.bincount(self.path[0])
            self.notes.append(
                f"{len(self.rows) - used} of {len(self.rows)} rows sit out each epoch, in turn: the labels in "
                f"{column!r}, of {count.min()} to {count.max()} rows, cannot fill more batches of several labels with "
                "at least two rows each."
            )
        if not self.batches:
            raise ValueError(f"drop_last=True leaves no batch of {self.batch_size} rows in {len(self.rows)} rows.")

    def plan(self, random: np.random.Generator) -> list[Indices]:
        """Pair up rows, and assign the pairs to the groups of a shuffled layout."""
        pairs, extra, owner = self._pair_up(random)
        groups = self.groups.shuffled(random)
        # The places in the groups, larger groups of a class first; the first places of a group take an extra.
        order = np.lexsort((random.random(len(groups.owner)), -groups.pairs, groups.owner))
        group = np.repeat(order, groups.pairs[order])
        wants = places(group)[0] < groups.extras[group]
        # For each class, the number of pairs that keep their extra equals the number of places that take one.
        rich = np.flatnonzero(extra >= 0)
        wanted = np.bincount(groups.owner[group], weights=wants, minlength=owner.max() + 1)
        brings = np.zeros(len(extra), dtype=bool)
        rich = random.permutation(rich)
        brings[rich] = places(owner[rich])[0] < wanted[owner[rich]]
        kind, place_kind = 2 * owner + brings, 2 * groups.owner[group] + wants
        needed = np.bincount(place_kind, minlength=kind.max() + 1)
        mixed = random.permutation(len(pairs))
        chosen = mixed[places(kind[mixed])[0] < needed[kind[mixed]]]
        chosen = chosen[self._nest(self.path[:, pairs[chosen, 0]], random)]
        chosen = chosen[np.argsort(kind[chosen], kind="stable")]
        batch = groups.batch[group[np.argsort(place_kind, kind="stable")]]
        with_extra = brings[chosen]
        rows = np.concatenate([pairs[chosen, 0], pairs[chosen, 1], extra[chosen][with_extra]])
        batch = np.concatenate([batch, batch, batch[with_extra]])
        return gather(self.rows[rows], batch, groups.batches)[: self.batches]

    def _pair_up(self, random: np.random.Generator) -> tuple[Indices, Indices, Indices]:
        """Pair up the rows of each home at random, and let left-over rows join a pair.

        Args:
            random: The generator that chooses the pairs.

        Returns:
            The rows of each pair, shape ``(pairs, 2)``; the extra row of each, or -1; the coarsest class of each. The
            number of pairs and extras per class does not depend on ``random``.
        """
        rows = random.permutation(len(self.rows))
        rows = rows[np.argsort(self.path[-1][rows], kind="stable")]
        place, count = places(self.path[-1][rows])
        full = count // self.per_level[-1] * (self.level[rows] == len(self.per_level) - 1) * self.odd
        of_home = np.minimum((count - full + 1) // 2, count // 2)  # a full group of odd size includes an extra
        paired = place < 2 * of_home
        pairs = rows[paired].reshape(-1, 2)
        extra = np.full(len(pairs), -1, dtype=np.int64)
        first = np.cumsum(paired) // 2 - of_home  # the first pair in the home of each left-over row
        left = ~paired & (count > 1)
        extra[(first + place - 2 * of_home)[left]] = rows[left]
        self._add_singles(rows[count == 1], pairs[:, 0], extra, random)
        return pairs, extra, self.path[0][pairs[:, 0]]

    def _add_singles(self, singles: Indices, leads: Indices, extra: Indices, random: np.random.Generator) -> None:
        """Let a row that is alone in its home join a pair below it, preferably one without an extra."""
        for level in range(len(self.per_level) - 2, -1, -1):
            alone = singles[self.level[singles] == level]
            order = np.lexsort((random.random(len(leads)), extra >= 0, self.path[level][leads]))
            found, first = np.unique(self.path[level][leads[order]], return_index=True)
            pair = order[first[np.searchsorted(found, self.path[level][alone])]]
            joins = (extra[pair] < 0) | (random.random(len(pair)) < 0.5)
            extra[pair[joins]] = alone[joins]

    def _nest(self, path: Indices, random: np.random.Generator) -> Indices:
        """Order pairs so that adjacent ones form groups of several sub-classes, level by level.

        Args:
            path: The classes of each pair, shape ``(levels, pairs)``.
            random: The generator that chooses the sub-classes to combine.

        Returns:
            The numbers of the pairs, in order.
        """
        item = _renumber(path[-1], places(path[-1])[0] // (self.per_level[-1] // 2))
        items = [item]
        for level in range(len(self.per_level) - 2, -1, -1):
            first = np.unique(item, return_index=True)[1]
            child, parent = path[level + 1][first], path[level][first]
            order = np.lexsort((random.permutation(child.max() + 1)[child], parent))
            place, count = np.empty_like(parent), np.empty_like(parent)
            place[order], count[order] = places(parent[order])
            hands = (count // self.per_level[level]).clip(min=1)
            item = _renumber(parent, place % hands)[item]  # dealt, so that sub-classes mix
            items.append(item)
        usual = np.bincount(item)[item] == int(np.prod(self.per_level[:-1])) * (self.per_level[-1] // 2)
        return np.lexsort((*items, ~usual))


def _renumber(parents: Indices, numbers: Indices) -> Indices:
    """Number the distinct combinations of a parent and a number within it from 0."""
    inverse: Indices = np.unique(parents * (numbers.max() + 1) + numbers, return_inverse=True)[1].reshape(-1)
    return inverse


def _number_prefixes(paths: Paths, levels: int) -> list[Indices]:
    """Number path prefixes at each level; a path that ends before a level is unique there."""
    codes = []
    for level in range(1, levels + 1):
        numbers: dict[Any, int] = {}
        keys = (path[:level] if len(path) >= level else (row, "ends") for row, path in enumerate(paths))
        codes.append(np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64))
    return codes


def _read_classes(labels: list[Any], column: str, levels: int, class_ids: bool) -> Paths:
    """Read classes as paths of one level."""
    return [() if label is None else (label,) for label in read_classes(labels, column)]


def _read_paths(labels: list[Any], column: str, levels: int, class_ids: bool) -> Paths:
    """Read paths, cut to the sampled levels."""
    paths = read_paths(labels, column)
    longest = max(map(len, paths), default=0)
    if 0 < longest < levels:
        raise ValueError(f"per_level has {levels} levels, but paths in {column!r} at most {longest}.")
    return [path[:levels] for path in paths]


def _choose_labels(labels: list[Any], column: str, levels: int, class_ids: bool) -> Paths:
    """Let each row represent the rarest of its labels that another row can also represent."""
    sets = [sorted(names or (), key=str) for names in read_sets(labels, column, class_ids=class_ids)]
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
    # A row that shares no label stays alone; a row without labels has none.
    return [
        (chosen[row],) if row in chosen else tuple((row, name) for name in sets[row][:1]) for row in range(len(sets))
    ]


def _find_partner(
    row: int, names: Sequence[Any], rows_of: dict[Any, list[int]], chosen: dict[int, Any], sizes: Counter[Any]
) -> None:
    """Let a left-over row represent a label that others represent, or join one that can be spared."""
    for name in names:
        partner = next((r for r in rows_of[name] if r != row and sizes[chosen.get(r)] > 2), None)
        if sizes[name] or partner is not None:
            if not sizes[name] and partner is not None:
                sizes[chosen[partner]] -= 1
                chosen[partner], sizes[name] = name, 1
            chosen[row] = name
            sizes[name] += 1
            return
