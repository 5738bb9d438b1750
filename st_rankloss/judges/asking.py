"""Ask for answers that can be read, once more if they cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from st_rankloss.judges.base import ask

logger = logging.getLogger(__name__)

Answer: TypeAlias = Callable[[list[str]], Sequence[str | None]]
"""Prompts to answers, one per prompt; None means that there is none."""

T = TypeVar("T")

REMINDER = "\n\nReply in the form that is asked for, name each document exactly once, and write nothing else."
"""What the second prompt adds: the same prompt would get the same answer."""


def ask_twice(
    answer: Answer, prompts: Sequence[str], read: Callable[[int, str], Sequence[T | None]]
) -> list[list[T | None]]:
    """Ask prompts, and those whose answers cannot be read in full once more; the number that fails again is logged.

    Args:
        answer: A `LanguageModel` or any other function of prompts.
        prompts: The prompts.
        read: The number of a prompt and an answer to a value per document, None for what cannot be read.

    Returns:
        The values of each prompt's documents; the second answer adds those that the first lacks.

    Example:
        >>> ask_twice(lambda prompts: ["1 2" if REMINDER in p else "1 ?" for p in prompts], ["a"],
        ...           lambda number, text: [int(t) if t.isdigit() else None for t in text.split()])
        [[1, 2]]
    """

    def read_all(numbers: Sequence[int], asked: list[str]) -> list[list[T | None]]:
        return [list(read(i, _text(text))) for i, text in zip(numbers, ask(answer, asked), strict=True)]

    values = read_all(range(len(prompts)), list(prompts)) if prompts else []
    again = [i for i, row in enumerate(values) if None in row]
    if again:
        for i, row in zip(again, read_all(again, [prompts[i] + REMINDER for i in again]), strict=True):
            values[i] = [new if old is None else old for old, new in zip(values[i], row, strict=True)]
    failed = sum(None in values[i] for i in again)
    if failed:
        logger.warning("%d of %d answers could not be read in full, even when asked again.", failed, len(prompts))
    return values


def _text(answer: Any) -> str:
    if not isinstance(answer, str | None):
        raise ValueError(f"an answer to a prompt must be a text or None, got {answer!r:.80} ({type(answer).__name__}).")
    return answer or ""
