"""The rule of each setting, by its name: functions and objectives check by the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from st_rankloss.functional.checks import check_at_least, check_choice, check_temperature
from st_rankloss.functional.gains import check_gain
from st_rankloss.kernels import METHODS


def check_count(value: Any, name: str) -> None:
    """Raise ValueError unless ``value`` is an integer of at least 1."""
    if value is None:
        raise ValueError(f"{name} must be an integer of at least 1, got None.")
    check_at_least(value, 1, name)


def _at_least_0(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")
    if value > 1e30:
        raise ValueError(f"{name} must be at most 1e30, which float32 can hold, got {value!r}.")


def _finite(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}.")


def _flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


_RULES: dict[str, Callable[[Any, str], None]] = {
    **dict.fromkeys(
        (
            "temperature",
            "cutoff_temperature",
            "label_temperature",
            "weight_temperature",
            "noise",
            "scale",
            "alpha",
            "beta",
            "regularisation",
            "share",
        ),
        check_temperature,
    ),
    **dict.fromkeys(
        ("slope", "width", "margin", "poly", "gamma", "skip", "mu", "cut", "whisker", "upper", "lower", "calibration"),
        _at_least_0,
    ),
    **dict.fromkeys(("bias", "base"), _finite),
    **dict.fromkeys(("samples", "iterations", "neighbours", "count", "hardest"), check_count),
    "k": lambda value, name: check_at_least(value, 1, name),
    "gain": lambda value, name: check_gain(value),
    "method": lambda value, name: check_choice(value, ["auto", *METHODS], name),
    "positions": lambda value, name: check_choice(value, ("equal", "ndcg", "confidence"), name),
    "positives": lambda value, name: check_choice(value, ("all", "own", "none"), name),
    "activation": lambda value, name: check_choice(value, ("tanh", "relu", "atan"), name),
    "set_function": lambda value, name: check_choice(value, ("facility_location", "graph_cut", "log_det"), name),
    **dict.fromkeys(("labels", "by_rank", "decoupled"), _flag),
}


def check_settings(**settings: Any) -> None:
    """Raise TypeError or ValueError unless every setting keeps the rule of its name, if that has one."""
    for name, value in settings.items():
        if name in _RULES:
            _RULES[name](value, name)
