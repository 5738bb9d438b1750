"""The augmentation interface, and sequences of augmentations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Augmentation:
    """A random change of one value; subclasses implement `change`.

    Args:
        strength: Amount of change, in [0, 1]; 0 has no effect.

    Raises:
        ValueError: If ``strength`` is out of its range.
    """

    strength: float

    def __post_init__(self) -> None:
        if isinstance(self.strength, bool) or not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise ValueError(f"strength must be in [0, 1], got {self.strength!r}.")

    def __call__(self, value: Any) -> Any:
        """Return a changed copy of a value, or the value itself at strength 0."""
        return self.change(value) if self.strength > 0 else value

    def change(self, value: Any) -> Any:
        """Return a changed copy; the strength is above 0."""
        raise NotImplementedError(f"{type(self).__name__} must define change(value).")


@dataclass(frozen=True)
class Identity(Augmentation):
    """The unaltered value: a view that differs only by the encoder's dropout.

    Example:
        >>> Identity()("a text")
        'a text'

    Source: Gao, Yao, Chen (2021), "SimCSE", arXiv 2104.08821.
    """

    strength: float = 0.0

    def change(self, value: Any) -> Any:
        """Return the value."""
        return value


class Compose(Augmentation):
    """Applies several augmentations in sequence; the shares that they keep multiply.

    Its strength is 1 - Π (1 - strength); functions without a strength have strength 0.

    Args:
        *steps: Augmentations, or any functions of one value.

    Raises:
        TypeError: If a step is not callable.

    Example:
        >>> Compose(Identity(), str.lower)("Some TEXT")
        'some text'
    """

    steps: tuple[Callable[[Any], Any], ...]

    def __init__(self, *steps: Callable[[Any], Any]) -> None:
        for step in steps:
            if not callable(step):
                raise TypeError(f"every step must be a function of one value, got {step!r}.")
        kept = math.prod(1 - getattr(step, "strength", 0.0) for step in steps)
        object.__setattr__(self, "steps", steps)
        super().__init__(strength=1 - kept)

    def __call__(self, value: Any) -> Any:
        """Apply the steps in order."""
        for step in self.steps:
            value = step(value)
        return value

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.steps))})"
