"""A local language model of transformers: what it would answer, and how likely given answers are."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from st_rankloss.functional.checks import check_at_least

Tokens = tuple[int, ...]


class LanguageModel:
    """A causal language model that answers prompts greedily, and gives the probabilities of answers.

    As a function of a list of prompts it returns the answers; nothing is sampled. A tokenizer's chat template is
    applied, the prompt being the user's message. A name is loaded on first use, on the devices that transformers
    chooses (``device_map="auto"``). The model is put into evaluation mode. Code from the hub is never run.

    Args:
        model: A folder, an id on the hub (downloaded on first use), or a loaded model.
        tokenizer: The tokenizer of a loaded model; None for a name.
        batch_size: Prompts per batch, at least 1; it has no effect on the results beyond rounding.
        max_new_tokens: Length of an answer at most, at least 1.
        template_options: Arguments for the chat template, such as ``{"enable_thinking": False}``.
        **options: Arguments of ``AutoModelForCausalLM.from_pretrained`` for a name, such as ``dtype`` or ``revision``.

    Raises:
        TypeError: If a loaded model has no tokenizer, or a name has one.
        ValueError: If a number is out of its range, or options ask for remote code.

    Example:
        ::

            model = LanguageModel("Qwen/Qwen3-4B-Instruct-2507", batch_size=16)
            model(["What is the capital of France?"])
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        batch_size: int = 8,
        max_new_tokens: int = 256,
        template_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        check_at_least(batch_size, 1, "batch_size")
        check_at_least(max_new_tokens, 1, "max_new_tokens")
        self.name = str(model) if isinstance(model, str | Path) else None
        if (self.name is None) != (tokenizer is not None):
            raise TypeError(
                "model must be a folder or an id on the hub, alone, or a loaded model with its tokenizer, as in "
                f"LanguageModel(model, tokenizer), got {type(model).__name__} and {type(tokenizer).__name__}."
            )
        if options.get("trust_remote_code") or (self.name is None and options):
            raise ValueError(f"options are for loading a name, without remote code, got {options}; load it yourself.")
        self.batch_size, self.max_new_tokens = batch_size, max_new_tokens
        self.template_options, self.options = dict(template_options or {}), options
        if self.name is None:
            self.model, self.tokenizer = model.eval(), tokenizer

    @cached_property
    def model(self) -> Any:
        """The model."""
        return self._load(AutoModelForCausalLM, **{"device_map": "auto"} | self.options).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self._load(AutoTokenizer, **{k: v for k, v in self.options.items() if k in ("revision", "cache_dir")})

    def _load(self, kind: Any, **options: Any) -> Any:
        try:
            return kind.from_pretrained(self.name, **options)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"model must be the folder or the id on the hub of a causal language model, got {self.name!r}: "
                f"{str(error).splitlines()[0]}"
            ) from error

    @property
    def identity(self) -> str | None:
        """What determines the answers, for `Cached`; None for a loaded model, whose weights may be any."""
        settings = [self.name, self.options, self.template_options, self.max_new_tokens]
        return None if self.name is None else json.dumps(settings, sort_keys=True, default=str)

    def prompt_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt, with the chat template; it loads the tokenizer only.

        Args:
            prompts: The prompts.

        Returns:
            Their lengths.
        """
        return [len(self._encode(prompt)) for prompt in prompts]

    def __call__(self, prompts: Sequence[str]) -> list[str | None]:
        """Answer prompts.

        Args:
            prompts: The prompts.

        Returns:
            The answers; None for a prompt that leaves no room for ``max_new_tokens`` more.
        """
        answers: list[str | None] = [None] * len(prompts)
        pad = self.tokenizer.pad_token_id
        for places, rows in self._batches([self._encode(prompt) for prompt in prompts], room=self.max_new_tokens):
            longest = max(map(len, rows))
            ids = torch.tensor([(0,) * (longest - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
            made = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=self.max_new_tokens,
                pad_token_id=0 if pad is None else pad,
                **{"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None},
            )
            texts = self.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
            for place, text in zip(places, texts, strict=True):
                answers[place] = text
        return answers

    @torch.inference_mode()
    def log_probabilities(self, prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        """Compute the log-probability of each text as the beginning of the answer to each prompt.

        It is the sum over the text's tokens of their log-probabilities, given the prompt and the tokens before. Texts
        of one token cost one pass per prompt, as do texts that only differ in their last one.

        Args:
            prompts: The prompts.
            texts: The beginnings of answers; no one's tokens may begin another's, which would make it less likely by
                definition.

        Returns:
            Log-probabilities, shape (prompts, texts), float32; NaN for prompts that are too long for the model.

        Raises:
            ValueError: If the tokens of a text are none, or begin those of another.
        """
        answers = self._answers(texts)
        paths = _longest([answer[:-1] for answer in answers])
        rows = [self._encode(prompt) + path for prompt in prompts for path in paths]
        result = torch.full((len(prompts), len(texts)), torch.nan)
        for places, batch in self._batches(rows):
            starts = [len(row) - len(paths[place % len(paths)]) - 1 for place, row in zip(places, batch, strict=True)]
            for place, scores in zip(places, self._forward(batch, starts), strict=True):
                path = paths[place % len(paths)]
                own = [column for column, answer in enumerate(answers) if path[: len(answer) - 1] == answer[:-1]]
                sums = [scores[range(len(answers[column])), list(answers[column])].sum() for column in own]
                result[place // len(paths), own] = torch.stack(sums).cpu()
        return result

    def _forward(self, rows: list[Tokens], starts: list[int]) -> Iterator[Tensor]:
        """Yield each row's log-probabilities of the token after each place from its start on.

        Rows are padded on the right, so that neither positions nor attention know about it in a causal model.
        """
        longest = max(map(len, rows))
        ids = torch.tensor([row + (0,) * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        wanted = [range(start, len(row)) for start, row in zip(starts, rows, strict=True)]
        kept = sorted(set().union(*wanted))
        column = {place: i for i, place in enumerate(kept)}
        options = {}
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:  # others give logits everywhere
            options["logits_to_keep"] = torch.tensor(kept, device=self.model.device)
        device = self.model.device
        logits = self.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False, **options).logits
        if not options:
            logits = logits[:, kept]
        for row, places in zip(logits, wanted, strict=True):
            yield row[[column[place] for place in places]].float().log_softmax(-1)

    def _batches(self, rows: list[Tokens], room: int = 0) -> Iterator[tuple[list[int], list[Tokens]]]:
        """Yield the numbers and tokens of rows that fit the model, those of similar length together, longest first."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
        fitting = (i for i in sorted(range(len(rows)), key=lambda i: -len(rows[i])) if len(rows[i]) + room <= limit)
        while places := list(islice(fitting, self.batch_size)):
            yield places, [rows[place] for place in places]

    def _encode(self, prompt: str) -> Tokens:
        if not self.tokenizer.chat_template:
            ids = self.tokenizer(prompt)["input_ids"]
        else:
            messages = [{"role": "user", "content": prompt}]
            options = {"tokenize": False, "add_generation_prompt": True} | self.template_options
            text = self.tokenizer.apply_chat_template(messages, **options)
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise ValueError(f"a prompt must have a token, got {prompt!r}.")
        return tuple(ids)

    def _answers(self, texts: Sequence[str]) -> list[Tokens]:
        answers = [tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        for i, one in enumerate(answers):
            for j, other in enumerate(answers):
                if i != j and other[: len(one)] == one:
                    raise ValueError(
                        f"no text's tokens may begin another's, got {texts[i]!r} and {texts[j]!r}, which are {one} "
                        f"and {other} to this tokenizer; write them otherwise, such as '01' and '10', or 'A' and 'B'."
                    )
        return answers


def as_language_model(model: LanguageModel | str | Path) -> LanguageModel:
    """Return a `LanguageModel` unchanged, and a name as one with default settings."""
    return model if isinstance(model, LanguageModel) else LanguageModel(model)


def _longest(paths: list[Tokens]) -> list[Tokens]:
    """Return the distinct paths that begin no other one."""
    distinct = list(dict.fromkeys(paths))
    return [path for path in distinct if sum(other[: len(path)] == path for other in distinct) == 1]
