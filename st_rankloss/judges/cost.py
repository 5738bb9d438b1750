"""What judging will cost, before it is paid for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from st_rankloss.functional.checks import check_at_least
from st_rankloss.judges.base import ask
from st_rankloss.judges.cache import Cached


@dataclass(frozen=True)
class Estimate:
    """The cost of judging some items.

    Args:
        calls: Distinct items to ask.
        cached: Distinct items that the cache answers.
        prompt_tokens: Tokens of the prompts to ask; None if the judge does not count them.
        seconds: Time to ask them; None without a sample.
    """

    calls: int
    cached: int
    prompt_tokens: int | None
    seconds: float | None

    def __str__(self) -> str:
        parts = [f"{self.calls:,} calls", f"{self.cached:,} cached"]
        if self.prompt_tokens is not None:
            parts.append(f"{self.prompt_tokens:,} prompt tokens")
        if self.seconds is not None:
            parts.append(f"about {self.seconds:,.0f} seconds")
        return ", ".join(parts)


def estimate(function: Callable[[list[Any]], Sequence[Any]], items: Sequence[Any], *, sample: int = 0) -> Estimate:
    """Count the calls, tokens and seconds that a judge will need.

    A sample is really asked, spread evenly over the items, after one warm-up call; with `Cached`, its answers are kept
    and its calls no longer count.

    Args:
        function: A judge and its pairs, or what a judge of lists asks and its prompts, as in
            ``estimate(model, list_judge.prompts(lists))``; alone or in `Cached`.
        items: The items, texts or tuples of texts.
        sample: Items to ask and time, at least 0; 0 asks nothing.

    Returns:
        The estimate; seconds grow in proportion to tokens if they are counted, otherwise to calls.

    Raises:
        TypeError: If ``function`` is a judge of lists.
        ValueError: If ``sample`` is negative.

    Example:
        >>> print(estimate(lambda pairs: [1.0] * len(pairs), [("red", "rose"), ("red", "sea"), ("red", "sea")]))
        2 calls, 0 cached
    """
    check_at_least(sample, 0, "sample")
    if getattr(function, "listwise", False):
        raise TypeError(f"function must be what a judge of lists asks, and items its prompts, got {function!r}.")
    distinct = list({_fixed(item): item for item in items}.values())
    pending = _pending(function, distinct)
    seconds_per_unit = _time(function, pending, sample) if sample and pending else 0.0
    pending = _pending(function, pending)
    sizes = _sizes(function, pending)
    return Estimate(
        calls=len(pending),
        cached=len(distinct) - len(pending) if isinstance(function, Cached) else 0,
        prompt_tokens=sum(sizes) if _counts(function) else None,
        seconds=seconds_per_unit * sum(sizes) if sample else None,
    )


def _fixed(item: Any) -> Any:
    """Return a list, of lists or not, as a tuple, which a dictionary can hold."""
    return tuple(map(_fixed, item)) if isinstance(item, list | tuple) else item


def _pending(function: Any, items: list[Any]) -> list[Any]:
    return function.pending(items) if isinstance(function, Cached) else items


def _counts(function: Any) -> bool:
    return hasattr(getattr(function, "function", function), "prompt_tokens")


def _sizes(function: Any, items: list[Any]) -> list[int]:
    """Return the tokens of each item's prompt, or 1 each if they are not counted."""
    inner = getattr(function, "function", function)
    return list(inner.prompt_tokens(items)) if _counts(function) else [1] * len(items)


def _time(function: Any, pending: list[Any], sample: int) -> float:
    """Return the seconds per unit of size of a sample."""
    warm_up, *rest = pending[:: max(1, len(pending) // (sample + 1))][: sample + 1]
    ask(function, [warm_up])
    chosen = rest or [warm_up]
    units = sum(_sizes(function, chosen))
    start = perf_counter()
    ask(function, chosen)
    return (perf_counter() - start) / units
