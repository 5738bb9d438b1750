"""Views of a text. Words are separated by white space; a text never becomes empty."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from st_rankloss.augmentations.base import Augmentation


@dataclass(frozen=True)
class DropWords(Augmentation):
    """Drops each word with probability ``strength``, but keeps at least one.

    Args:
        strength: Probability of dropping a word, in [0, 1].

    Example:
        >>> generator = torch.manual_seed(0)
        >>> DropWords(0.4)("one two three four five")
        'one two'
    """

    def change(self, value: str) -> str:
        """Return the words that remain."""
        words = value.split()
        chances = torch.rand(len(words))
        kept = [word for word, chance in zip(words, chances.tolist(), strict=True) if chance >= self.strength]
        return " ".join(kept or ([words[int(chances.argmax())]] if words else [value]))


@dataclass(frozen=True)
class CropWords(Augmentation):
    """Keeps a span of ``1 - strength`` of the words, at least one.

    Args:
        strength: Share of the words to cut off, in [0, 1].

    Example:
        >>> generator = torch.manual_seed(0)
        >>> CropWords(0.4)("one two three four five")
        'three four five'
    """

    def change(self, value: str) -> str:
        """Return the span."""
        words = value.split()
        length = max(1, round((1 - self.strength) * len(words)))
        start = int(torch.randint(max(1, len(words) - length + 1), ()))
        return " ".join(words[start : start + length]) or value


@dataclass(frozen=True)
class ShuffleWords(Augmentation):
    """Shuffles a share of the words among their positions.

    Args:
        strength: Share of the words that may move, in [0, 1].

    Example:
        >>> generator = torch.manual_seed(0)
        >>> ShuffleWords(0.6)("one two three four five")
        'five one three four two'
    """

    def change(self, value: str) -> str:
        """Return the words, some of them in new positions."""
        words = value.split()
        moving = torch.randperm(len(words))[: round(self.strength * len(words))].tolist()
        shuffled = list(words)
        for here, there in zip(sorted(moving), moving, strict=True):
            shuffled[here] = words[there]
        return " ".join(shuffled) or value
