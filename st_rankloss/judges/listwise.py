"""Judges that see several documents of a query at once.

All pairs of one call with the same query are one list. Documents are compared with each other, so a grade depends on
the list: wrap what answers in `Cached`, not the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from st_rankloss.functional.checks import check_at_least
from st_rankloss.judges.asking import Answer, ask_twice
from st_rankloss.judges.base import Pair, ask
from st_rankloss.judges.lists import List, judge_lists
from st_rankloss.judges.ordering import list_prompt
from st_rankloss.judges.parsing import read_grades
from st_rankloss.judges.prompts import GRADES, check_template
from st_rankloss.judges.scale import Scale, read_scale


@dataclass(frozen=True)
class OrderJudge:
    """Order each query's documents in windows from the last to the first, and score them by place.

    Documents start in the order of the pairs, so give the likely best first, as mining does. The best of a window move
    on to the next one, which overlaps it. The score falls evenly from 1 for the first to 0 for the last: it says which
    is better, not how good, so `Calibrated` can make grades of it. A list with a window that is not ordered stays
    unjudged, as does a single document.

    Time: about documents / ``step`` calls per query, one after the other; those of different queries go together.

    Args:
        order: `WrittenOrder`, `FirstTokenOrder`, or another function of lists, each a query and its documents, that
            returns places from 0, best first, or None.
        window: Documents per call, at least 2.
        step: Documents that the window moves on, from 1 up to ``window - 1``; None means half the window.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> by_length = lambda lists: [sorted(range(len(d)), key=lambda i: len(d[i])) for _, d in lists]
        >>> OrderJudge(by_length, window=3)([("red", "three"), ("red", "to"), ("red", "one"), ("sea", "blue")])
        [0.0000, 1.0000, 0.5000, None]

    Source: sliding windows of Sun et al. (2023), RankGPT, arXiv 2304.09542; scores by place are ours.
    """

    order: Callable[[list[List]], Sequence[Sequence[int] | None]]
    window: int = 20
    step: int | None = None
    listwise = True

    def __post_init__(self) -> None:
        check_at_least(self.window, 2, "window")
        check_at_least(self.step, 1, "step")
        if self.step is not None and self.step >= self.window:
            raise ValueError(f"step must be below window, {self.window}, so that windows overlap, got {self.step}.")

    def windows(self, count: int) -> list[range]:
        """Return the windows over a list, last documents first.

        Args:
            count: The number of documents.

        Returns:
            Places of the documents in each window; none for a single document.

        Example:
            >>> OrderJudge(len, window=4, step=2).windows(7)
            [range(3, 7), range(1, 5), range(0, 4)]
        """
        step = self.step or self.window // 2
        starts = range(max(0, count - self.window), -step, -step) if count > 1 else ()
        return [range(max(0, start), min(count, max(0, start) + self.window)) for start in starts]

    def __call__(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Score pairs.

        Args:
            pairs: Queries and documents.

        Returns:
            Scores in [0, 1]; None for lists that were not ordered.
        """
        return judge_lists(pairs, self._score)

    def _score(self, lists: list[List]) -> list[list[float | None]]:
        ranked = {i: list(range(len(documents))) for i, (_, documents) in enumerate(lists) if len(documents) > 1}
        windows = {i: self.windows(len(row)) for i, row in ranked.items()}
        for turn in range(max(map(len, windows.values()), default=0)):
            self._sort({i: windows[i][turn] for i in ranked if turn < len(windows[i])}, lists, ranked)
        return [_by_place(ranked.get(i), len(documents)) for i, (_, documents) in enumerate(lists)]

    def _sort(self, windows: dict[int, range], lists: list[List], ranked: dict[int, list[int]]) -> None:
        """Sort a window of each list; remove the lists where that fails."""
        if not windows:
            return
        places = [ranked[i][own.start : own.stop] for i, own in windows.items()]
        asked = [(lists[i][0], tuple(lists[i][1][d] for d in own)) for i, own in zip(windows, places, strict=True)]
        for (i, window), own, order in zip(windows.items(), places, ask(self.order, asked), strict=True):
            if order is None:
                del ranked[i]
            elif len(order) == len(own) and set(order) == set(range(len(own))):
                ranked[i][window.start : window.stop] = [own[place] for place in order]
            else:
                raise ValueError(f"an order must name each place from 0 to {len(own) - 1} once, got {order!r}.")


def _by_place(ranked: list[int] | None, count: int) -> list[float | None]:
    """Return the score of each document by its place; None without an order."""
    if ranked is None:
        return [None] * count
    place = {document: i for i, document in enumerate(ranked)}
    return [1 - place[document] / (count - 1) for document in range(count)]


@dataclass(frozen=True)
class ListJudge:
    r"""Ask for the grades of several documents in one prompt, one line per document.

    Args:
        answer: A `LanguageModel` or any other function of prompts; wrap it in `Cached` to keep its answers.
        prompt: A text with {query}, {documents} and, if you like, {scale} and {count}.
        scale: At least two grades of at least 0.
        texts: What the model writes for each grade; None means the numbers.
        window: Documents per prompt at most, at least 1.

    Raises:
        ValueError: If an argument breaks these rules.

    Example:
        >>> judge = ListJudge(lambda prompts: ["[1]: 2\n[2]: who knows"] * len(prompts))
        >>> judge([("red", "rose"), ("red", "sea")])
        [2.0000, None]
    """

    answer: Answer
    prompt: str = GRADES
    scale: Sequence[float] = (0, 1, 2, 3)
    texts: Sequence[str] | None = None
    window: int = 10
    listwise = True

    def __post_init__(self) -> None:
        check_template(self.prompt, ("query", "documents"))
        check_at_least(self.window, 1, "window")
        _ = self._scale

    @cached_property
    def _scale(self) -> Scale:
        return read_scale(self.scale, self.texts)

    def __call__(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Grade pairs.

        Args:
            pairs: Queries and documents, texts.

        Returns:
            A grade per pair; None for those without a readable one in two answers.
        """
        return judge_lists(pairs, self._grade)

    def prompts(self, lists: Sequence[List]) -> list[str]:
        """Return the prompts of lists, ``window`` documents each.

        Args:
            lists: Queries and their documents, texts.

        Returns:
            The prompts.
        """
        scale = str(self._scale)
        return [
            list_prompt(self.prompt, part, [str(i + 1) for i in range(len(part[1]))], scale=scale)
            for part in self._parts(lists)
        ]

    def _parts(self, lists: Sequence[List]) -> list[List]:
        starts = ((query, own, start) for query, own in lists for start in range(0, len(own), self.window))
        return [(query, own[start : start + self.window]) for query, own, start in starts]

    def _grade(self, lists: list[List]) -> list[list[float | None]]:
        sizes = [len(documents) for _, documents in self._parts(lists)]

        def read(number: int, text: str) -> list[float | None]:
            return read_grades(text, sizes[number], *self._scale)

        grades = iter([grade for row in ask_twice(self.answer, self.prompts(lists), read) for grade in row])
        return [[next(grades) for _ in documents] for _, documents in lists]
