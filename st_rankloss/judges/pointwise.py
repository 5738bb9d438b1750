"""One prompt per pair, and the probability of each grade."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from st_rankloss.functional.checks import check_choice
from st_rankloss.judgements import check_inputs
from st_rankloss.judges.base import Pair, check_pairs
from st_rankloss.judges.language_model import LanguageModel, as_language_model
from st_rankloss.judges.prompts import RELEVANCE, check_template, fill
from st_rankloss.judges.scale import Scale, read_scale

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LLMJudge:
    """Grade each pair by the probabilities that a language model gives to the grades of a scale.

    The model answers nothing: the log-probabilities of the scale's texts as its answer are compared, so that each
    grade is on the scale. Pairs whose prompt is too long for the model stay unjudged, which is logged.

    Time: one pass of the model per pair, if each grade is one token.

    Args:
        model: A `LanguageModel`, or the folder or id on the hub of one.
        prompt: A text with {query}, {document} and, if you like, {scale}.
        scale: At least two grades of at least 0.
        texts: What the model writes for each grade, such as ``("No", "Yes")`` for ``(0, 1)``; None means the numbers.
            A model without a chat template may expect a space before them.
        answer: ``"expected"`` is the mean of the grades weighted by their probabilities, a soft grade; ``"likeliest"``
            the most probable one, the lower of equals.

    Raises:
        ValueError: If an argument breaks these rules.

    Example:
        ::

            judge = LLMJudge("Qwen/Qwen3-4B-Instruct-2507", scale=(0, 1, 2, 3))
            judge([("what is red", "a colour"), ("what is red", "a sea")])

    Source: the soft grades of a judge as labels are those of UniME-V2, Gu et al. (2025), arXiv 2510.13515, from the
    logits of "Yes" and "No", and of LG-ANNA; the mean over a scale of several grades is ours, as is the prompt.
    """

    model: LanguageModel | str
    prompt: str = RELEVANCE
    scale: Sequence[float] = (0, 1, 2, 3)
    texts: Sequence[str] | None = None
    answer: str = "expected"

    def __post_init__(self) -> None:
        check_template(self.prompt, ("query", "document"))
        check_choice(self.answer, ("expected", "likeliest"), "answer")
        _ = self._scale, self.language_model

    @cached_property
    def _scale(self) -> Scale:
        return read_scale(self.scale, self.texts)

    @cached_property
    def language_model(self) -> LanguageModel:
        """The language model."""
        return as_language_model(self.model)

    @property
    def identity(self) -> str | None:
        """What determines the grades, for `Cached`; None if the model has no name."""
        settings = [type(self).__name__, self.prompt, self._scale, self.answer]
        return self.language_model.identity and json.dumps([self.language_model.identity, *settings])

    def prompts(self, pairs: Sequence[Pair]) -> list[str]:
        """Return the prompt of each pair.

        Args:
            pairs: Queries and documents, texts.

        Returns:
            The prompts.

        Raises:
            ValueError: If one is not a text.
        """
        check_pairs(pairs)
        check_inputs(((i, text) for i, pair in enumerate(pairs) for text in pair), "pairs", "pair", text_only=True)
        return [fill(self.prompt, query=q, document=d, scale=str(self._scale)) for q, d in pairs]

    def prompt_tokens(self, pairs: Sequence[Pair]) -> list[int]:
        """Return the number of tokens of each pair's prompt.

        Args:
            pairs: Queries and documents, texts.

        Returns:
            The lengths.
        """
        return self.language_model.prompt_tokens(self.prompts(pairs))

    def probabilities(self, pairs: Sequence[Pair]) -> Tensor:
        """Compute the probability of each grade, given that the answer is one of them.

        Args:
            pairs: Queries and documents, texts.

        Returns:
            Probabilities, lowest grade first, shape (pairs, grades); NaN for pairs that are too long.
        """
        return self.language_model.log_probabilities(self.prompts(pairs), self._scale.texts).softmax(-1)

    def __call__(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Grade pairs.

        Args:
            pairs: Queries and documents, texts.

        Returns:
            A grade per pair; None if its prompt is too long.
        """
        probabilities = self.probabilities(pairs).double()
        grades = torch.tensor(self._scale.grades, dtype=torch.float64)
        values = probabilities @ grades if self.answer == "expected" else grades[probabilities.argmax(-1)]
        too_long = probabilities.isnan().any(-1).tolist()
        if any(too_long):
            logger.warning("%d of %d prompts are too long for the model; shorten them.", sum(too_long), len(pairs))
        return [None if gone else value for value, gone in zip(values.tolist(), too_long, strict=True)]
