"""Argument checks; each error names the argument, the rule and the value.

Checks of tensor values run only on a CPU: on other devices they would make the host wait.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn


class NotFiniteError(ValueError):
    """Embeddings or similarities are NaN or infinite, as after a training that diverged."""


def check_temperature(temperature: float, name: str = "temperature") -> None:
    """Raise ValueError unless ``temperature`` is a finite number above 0."""
    if isinstance(temperature, str) and temperature == "auto":
        raise ValueError(f"{name} must be a number here, because other settings share its unit, got 'auto'.")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise TypeError(f"{name} must be a number, got {temperature!r}.")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {temperature!r}.")
    if not 1e-30 <= temperature <= 1e30:
        raise ValueError(f"{name} must be between 1e-30 and 1e30, which float32 can hold, got {temperature!r}.")


def check_at_least(value: int | None, least: int, name: str) -> None:
    """Raise ValueError unless ``value`` is None or an integer that is at least ``least``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ValueError(f"{name} must be an integer of at least {least} or None, got {value!r}.")


def check_choice(value: Any, choices: Collection[str], name: str) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_floating(tensor: Tensor, name: str) -> None:
    """Raise TypeError unless ``tensor`` holds floating numbers."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name} must be a floating tensor, got {kind}.")


def check_same_shape(tensor: Tensor, name: str, similarity: Tensor) -> None:
    """Raise ValueError unless ``tensor`` has the shape of ``similarity``."""
    if tensor.shape != similarity.shape:
        raise ValueError(
            f"{name} must have the shape of similarity, {tuple(similarity.shape)}, got {tuple(tensor.shape)}."
        )


def check_relevance(relevance: Tensor, most: float = math.inf) -> None:
    """Raise ValueError if a relevance is negative, infinite or above ``most`` (CPU only); NaN means unjudged."""
    if relevance.device.type != "cpu" or not relevance.numel():
        return
    if math.isnan(relevance.sum().item()):
        relevance = relevance.nan_to_num(0.0, posinf=math.inf, neginf=-math.inf)
    check_not_negative(relevance, "relevance must be", ", or NaN for unjudged")
    if most < math.inf and (highest := relevance.max().item()) > most:
        raise ValueError(f"relevance must be at most {most:g} for this loss, got {highest!r}: scale it.")


def check_not_negative(tensor: Tensor, what: str, otherwise: str = "") -> None:
    """Raise ValueError, starting with ``what``, unless all entries are at least 0 and finite (CPU only)."""
    if tensor.device.type != "cpu" or not tensor.numel():
        return
    for worst in (extreme.item() for extreme in tensor.aminmax()):
        if not 0 <= worst < math.inf:
            raise ValueError(f"{what} at least 0 and finite{otherwise}, got {worst!r}.")


def check_not_trained(function: Any, name: str) -> None:
    """Raise ValueError if a function is a module with parameters to train: the losses compute no gradient for them."""
    if isinstance(function, nn.Module) and any(parameter.requires_grad for parameter in function.parameters()):
        raise ValueError(
            f"{name} must not have trainable parameters, which a ranking loss computes no gradient for, got "
            f"{type(function).__name__}: freeze them with requires_grad_(False)."
        )


def check_weights(weights: Tensor, name: str = "weights") -> None:
    """Raise ValueError if weights require a gradient, or if one is negative or not finite (CPU only)."""
    if weights.requires_grad:
        raise ValueError(f"{name} are not differentiated: they must not require a gradient, got requires_grad=True.")
    if weights.device.type == "cpu" and weights.numel():
        wrong = ~((weights >= 0) & weights.isfinite())
        if wrong.any():
            raise ValueError(f"{name} must be at least 0 and finite, got {weights[wrong][0].item()!r}.")


def check_finite(tensor: Tensor, name: str, hint: str = "", where: Callable[[], Tensor] | None = None) -> None:
    """Raise NotFiniteError if an entry selected by ``where`` is NaN or infinite (CPU only)."""
    if tensor.device.type != "cpu" or is_finite(tensor):
        return
    chosen = tensor if where is None else tensor[where()]
    wrong = chosen[~chosen.isfinite()]
    if len(wrong):
        raise NotFiniteError(f"{name} must be finite, got {wrong[0].item()!r}.{' ' + hint if hint else ''}")


def is_finite(tensor: Tensor) -> bool:
    """Return whether the sum of all entries is finite, so that all are: one pass; False where reading takes a wait."""
    return tensor.device.type == "cpu" and bool(tensor.sum().isfinite())


def accepts(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return whether a function can be called with these arguments, as far as it declares them.

    Args:
        function: The function.
        *args: Its positional arguments.
        **kwargs: Its arguments by name.

    Returns:
        False if an argument would be missing or unexpected.

    Example:
        >>> accepts(lambda query, document: 1.0, ["pair"]), accepts(lambda pairs: [1.0], ["pair"])
        (False, True)
    """
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # a function of a compiled module may have no signature
        return True
    return True
