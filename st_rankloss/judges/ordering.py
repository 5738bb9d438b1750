"""The order of a few documents: as a language model writes it, or as the first identifier's probabilities have it."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from st_rankloss.judgements import check_inputs
from st_rankloss.judges.asking import Answer, ask_twice
from st_rankloss.judges.language_model import LanguageModel, as_language_model
from st_rankloss.judges.lists import List
from st_rankloss.judges.parsing import read_order
from st_rankloss.judges.prompts import FIRST, ORDER, check_template, fill, numbered


@dataclass(frozen=True)
class WrittenOrder:
    """Ask for an order such as "[2] > [1]".

    Args:
        answer: A `LanguageModel` or any other function of prompts; wrap it in `Cached` to keep its answers.
        prompt: A text with {query}, {documents} and, if you like, {count}.

    Raises:
        ValueError: If the prompt lacks one of them.

    Example:
        >>> WrittenOrder(lambda prompts: ["[2] > [1]"] * len(prompts))([("red", ("sea", "rose"))])
        [[1, 0]]

    Source: Sun et al. (2023), Is ChatGPT Good at Search? (RankGPT), arXiv 2304.09542. Their code completes an answer
    that lacks documents; here it is asked for once more, and then None.
    """

    answer: Answer
    prompt: str = ORDER

    def __post_init__(self) -> None:
        check_template(self.prompt, ("query", "documents"))

    def prompts(self, lists: Sequence[List]) -> list[str]:
        """Return the prompt of each list.

        Args:
            lists: Queries and their documents, texts.

        Returns:
            The prompts.
        """
        return [list_prompt(self.prompt, row, [str(i + 1) for i in range(len(row[1]))]) for row in lists]

    def __call__(self, lists: Sequence[List]) -> list[list[int] | None]:
        """Order lists.

        Args:
            lists: Queries and their documents, texts.

        Returns:
            Places of documents from 0, best first; None for an answer that is not an order of all of them.
        """
        orders: list[list[int] | None] = []
        sizes = [len(documents) for _, documents in lists]

        def read(number: int, text: str) -> Sequence[int | None]:
            return read_order(text, sizes[number]) or [None] * sizes[number]

        for order in ask_twice(self.answer, self.prompts(lists), read):
            whole = [place for place in order if place is not None]
            orders.append(whole if len(whole) == len(order) else None)
        return orders


@dataclass(frozen=True)
class FirstTokenOrder:
    """Order documents by the probability that the answer begins with their identifier, a letter: one pass, no writing.

    Args:
        model: A `LanguageModel`, or the folder or id on the hub of one.
        prompt: A text with {query}, {documents} and, if you like, {count}.

    Raises:
        ValueError: If the prompt lacks one of them.

    Example:
        ::

            order = FirstTokenOrder("Qwen/Qwen3-4B-Instruct-2507")
            order([("what is red", ("a sea", "a colour"))])

    Source: Reddy et al. (2024), FIRST: Faster Improved Listwise Reranking with Single Token Decoding, arXiv 2406.15657,
    whose model is trained for it; the prompt is ours.
    """

    model: LanguageModel | str
    prompt: str = FIRST

    def __post_init__(self) -> None:
        check_template(self.prompt, ("query", "documents"))
        _ = self.language_model

    @cached_property
    def language_model(self) -> LanguageModel:
        """The language model."""
        return as_language_model(self.model)

    @property
    def identity(self) -> str | None:
        """What determines the orders, for `Cached`; None if the model has no name."""
        return self.language_model.identity and json.dumps(
            [type(self).__name__, self.language_model.identity, self.prompt]
        )

    def prompts(self, lists: Sequence[List]) -> list[str]:
        """Return the prompt of each list.

        Args:
            lists: Queries and their documents, texts, at most 26 each.

        Returns:
            The prompts.

        Raises:
            ValueError: If a list is longer.
        """
        longest = max((len(documents) for _, documents in lists), default=0)
        if longest > len(string.ascii_uppercase):
            raise ValueError(f"a list must have at most 26 documents, one per letter, got {longest}; lower the window.")
        return [list_prompt(self.prompt, row, string.ascii_uppercase[: len(row[1])]) for row in lists]

    def prompt_tokens(self, lists: Sequence[List]) -> list[int]:
        """Return the number of tokens of each list's prompt.

        Args:
            lists: Queries and their documents, texts.

        Returns:
            The lengths.
        """
        return self.language_model.prompt_tokens(self.prompts(lists))

    def __call__(self, lists: Sequence[List]) -> list[list[int] | None]:
        """Order lists.

        Args:
            lists: Queries and their documents, texts, at most 26 each.

        Returns:
            Places of documents from 0, best first, the first of equals first; None for a prompt that is too long.
        """
        prompts = self.prompts(lists)
        letters = [f"[{letter}" for letter in string.ascii_uppercase[: max((len(d) for _, d in lists), default=0)]]
        scores = self.language_model.log_probabilities(prompts, letters)
        own = [row[: len(documents)] for row, (_, documents) in zip(scores, lists, strict=True)]
        return [None if row.isnan().any() else row.argsort(descending=True, stable=True).tolist() for row in own]


def list_prompt(prompt: str, row: List, names: Sequence[str], **values: str) -> str:
    """Return the prompt of a list, after a check that all of it is text.

    Args:
        prompt: A template.
        row: A query and its documents.
        names: The identifier of each document.
        **values: Other values of the template.

    Returns:
        The prompt.

    Raises:
        ValueError: If something is not a text.

    Example:
        >>> list_prompt("{query}? {documents}", ("red", ("rose",)), ["A"])
        'red? [A] rose'
    """
    query, documents = row
    check_inputs(enumerate([query, *documents]), "a list", "item", text_only=True)
    texts = {"query": query, "documents": numbered(documents, names), "count": str(len(documents))}
    return fill(prompt, **texts, **values)
