"""Settings of weightings."""

from __future__ import annotations

from typing import Annotated, Any

from st_rankloss.functional.settings import Setting


def _fraction(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value!r}.")


def _momentum(value: Any, name: str) -> None:
    _fraction(value, name)
    if value == 1:
        raise ValueError(f"{name} must be below 1, got {value!r}: the past would never change.")


Fraction = Annotated[float, Setting(_fraction)]
Momentum = Annotated[float, Setting(_momentum)]
"""The weight of the past in a moving average, in [0, 1)."""
