"""Plans of the classes in each batch and their number of rows, based on class sizes only.

Rows come in *pairs* of one class, and some pairs have an *extra* row, so that a group of p pairs and e <= p extras has
2p + e rows, none of them alone. A batch takes groups of different classes until their extras can fill the remaining
places: since its size is even and extras join last, no batch is ever one row short.

The table of groups is laid out once. Each epoch shuffles it: two batches exchange groups of equal shape and of classes
that the other lacks. So every batch keeps its size and number of classes, every class its number of rows, and every
epoch its number of batches.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np

from st_rankloss.samplers.base import Indices, places

_MORE_ROUNDS = 2
"""Extra rounds of exchanges, beyond those needed for a group to reach any batch from any other."""


@dataclass(frozen=True)
class Groups:
    """A table of groups, each with rows of one class in one batch.

    Attributes:
        batch: The batch of each group; the full ones come first.
        owner: The class of each group.
        pairs: The number of pairs in each group, at least 1.
        extras: The number of extra rows in each group, at most one per pair.
        sizes: A number per class, equal for classes with the same numbers of pairs and extras.
        full: Number of full batches.
        batches: Number of batches, including a smaller last one if any.
    """

    batch: Indices
    owner: Indices
    pairs: Indices
    extras: Indices
    sizes: Indices
    full: int
    batches: int

    def shuffled(self, random: np.random.Generator) -> Groups:
        """Permute classes of equal size, exchange groups between batches, and shuffle the full batches."""
        names = np.empty_like(self.sizes)
        names[np.argsort(self.sizes, kind="stable")] = np.lexsort((random.random(len(names)), self.sizes))
        owner = names[self.owner]
        shape = self.pairs * (self.extras.max(initial=0) + 1) + self.extras
        for _ in range(self.batches.bit_length() + _MORE_ROUNDS):
            couple = (random.permutation(self.batches) // 2)[self.batch]
            # Groups of equal shape can be exchanged if only one of the two batches has their class.
            free = np.flatnonzero(places(couple * len(names) + owner)[1] == 1)
            old = np.lexsort((shape[free], couple[free]))
            new = np.lexsort((random.random(len(free)), shape[free], couple[free]))
            owner[free[old]] = owner[free[new]]
        order = np.append(random.permutation(self.full), np.arange(self.full, self.batches)).astype(np.int64)
        return replace(self, owner=owner, batch=order[self.batch])


def lay_out(pairs: Indices, extras: Indices, batch_size: int, group: tuple[int, int]) -> Groups:
    """Lay out full batches of at least two classes, and a last one from the rest.

    A class usually gets one group of the standard shape per batch. Classes take turns by the share of their rows
    already laid out, so that large and small ones finish together. Only a class too large for that gets more per batch,
    up to all but one pair; if the others cannot accompany all of it, they are spread over the batches pair by pair.

    Args:
        pairs: Number of pairs of each class.
        extras: Number of extra rows of each class, at most its number of pairs.
        batch_size: Rows per batch, even, at least twice those of a group.
        group: Pairs and extras of the standard group.

    Returns:
        The groups. Each batch has at least two classes, with one group each.
    """
    sizes: Indices = np.unique(np.stack([pairs, extras]), axis=1, return_inverse=True)[1].reshape(-1)
    table = _Table(pairs.tolist(), extras.tolist(), batch_size // 2, *group)
    found: list[tuple[int, int, int, int]] = []
    full, last = 0, 0
    while not last and (taken := table.fill()):
        found += [(full, owner, *shape) for owner, shape in taken.items()]
        last = sum(2 * p + e for p, e in taken.values()) < batch_size
        full += not last
    batch, owner, in_pairs, in_extras = np.array(found, dtype=np.int64).reshape(-1, 4).T
    return Groups(batch, owner, in_pairs, in_extras, sizes, full, full + last)


class _Table:
    """The remainder of each class while batches are filled; counts are in pairs, except ``rows``."""

    def __init__(self, pairs: list[int], extras: list[int], size: int, group_pairs: int, group_extras: int) -> None:
        self.pairs, self.extras = pairs, extras
        self.left = list(pairs)
        self.total, self.rows = sum(pairs), 2 * sum(pairs) + sum(extras)
        self.size, self.group_pairs, self.group_extras = size, group_pairs, group_extras
        self.start: list[float] = np.random.default_rng(0).random(len(pairs)).tolist()
        self.due = [(self._time(owner), owner) for owner in range(len(pairs)) if pairs[owner]]
        self.largest = [(-count, owner) for owner, count in enumerate(pairs) if count]
        heapq.heapify(self.due)
        heapq.heapify(self.largest)

    def fill(self) -> dict[int, tuple[int, int]]:
        """Take pairs and extras per class for one batch; nothing if fewer than two classes are left."""
        self.taken: dict[int, int] = {}
        self.room, self.spare = self.size, 0
        self._take_large()
        waiting = self._take_usual()
        if len(self.taken) < 2:
            return {}
        extras = self._take_extras()
        for owner in waiting:
            if self.left[owner]:
                heapq.heappush(self.due, (self._time(owner), owner))
        for owner in self.taken:
            if self.left[owner]:
                heapq.heappush(self.largest, (-self.left[owner], owner))
        return {owner: (count, extras.get(owner, 0)) for owner, count in self.taken.items()}

    def _take_large(self) -> None:
        """Take one or more groups of the classes that would otherwise be left over."""
        while self.largest and self.room:
            count, owner = self.largest[0]
            if -count != self.left[owner]:
                heapq.heappop(self.largest)  # outdated
                continue
            if not self.taken:
                batches = max(min(self.rows // (2 * self.size), self.total - self.left[owner]), 1)
            if self.left[owner] < self.group_pairs * batches:
                return
            heapq.heappop(self.largest)
            self._take(owner, max(self.left[owner] // batches, self.group_pairs))

    def _take_usual(self) -> list[int]:
        """Take a group of each class in turn until extras fill the batch; return the classes to queue again."""
        waiting = []
        while len(self.taken) < 2 or self.spare < 2 * self.room:
            if self.due:
                _, owner = heapq.heappop(self.due)
                if self.left[owner]:
                    waiting.append(owner)
                if owner in self.taken or not self.left[owner]:
                    continue
            else:  # fewer classes than groups
                owner = max(self.taken, key=self.left.__getitem__, default=-1)
                if len(self.taken) < 2 or not self.left[owner]:
                    break
            self._take(owner, self._least_filling(owner))
        return waiting

    def _least_filling(self, owner: int) -> int:
        """Count the pairs of a group after which extras can fill the batch, at most those of a standard group."""
        for count in range(1, self.group_pairs):
            if self.taken and self.spare + self._extras_of(owner, count) >= 2 * (self.room - count):
                return count
        return self.group_pairs

    def _take(self, owner: int, count: int) -> None:
        """Take pairs of a class, but leave room for a second class."""
        count = min(count, self.left[owner], self.room - (not self.taken))
        before = self.taken.get(owner, 0)
        self.taken[owner] = before + count
        self.spare += self._extras_of(owner, before + count) - self._extras_of(owner, before)
        self.left[owner] -= count
        self.total -= count
        self.rows -= 2 * count
        self.room -= count

    def _extras_of(self, owner: int, pairs: int) -> int:
        """Count the extras that may join a number of pairs of a class."""
        if self.group_extras:
            pairs = -(-pairs * self.group_extras // self.group_pairs)
        return min(self.extras[owner], pairs)

    def _take_extras(self) -> dict[int, int]:
        """Fill the batch with extras, or add as many as its pairs allow."""
        missing, extras = 2 * self.room, {}
        usual = self.spare >= missing
        for owner, count in self.taken.items():
            extras[owner] = min(self._extras_of(owner, count) if usual else min(self.extras[owner], count), missing)
            missing -= extras[owner]
            self.extras[owner] -= extras[owner]
            self.rows -= extras[owner]
        return extras

    def _time(self, owner: int) -> float:
        """Return the priority of a class: the share of it already taken, with a random offset."""
        groups = -(-self.pairs[owner] // self.group_pairs)
        done = (self.pairs[owner] - self.left[owner]) / self.group_pairs
        return (done + self.start[owner]) / groups
