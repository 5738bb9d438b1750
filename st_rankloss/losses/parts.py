"""A loss in named terms, which the sentence-transformers trainer sums and logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class LossParts(dict[str, Tensor]):
    """Named terms of a loss, each with its own gradient, that scale and add like their sum.

    The trainer logs the terms of a loss that is a dict. Wrappers such as MatryoshkaLoss and AdaptiveLayerLoss expect a
    number: they weight and add losses, and add terms of their own, which are stored as ``added``.

    Example:
        >>> parts = LossParts(a=torch.tensor(1.0), b=torch.tensor(4.0))
        >>> parts = 0.0 + 2 * parts / 4 + LossParts(a=torch.tensor(3.0)) + torch.tensor(0.5)
        >>> {name: part.item() for name, part in parts.items()}
        {'a': 3.5, 'b': 2.0, 'added': 0.5}
        >>> float(-parts), (parts - parts).item()
        (-6.0, 0.0)
    """

    __array_ufunc__ = None  # numpy scalars then leave multiplication to this class

    def __mul__(self, weight: float | Tensor) -> LossParts:
        return LossParts({name: part * weight for name, part in self.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float | Tensor) -> LossParts:
        return LossParts({name: part / divisor for name, part in self.items()})

    def __neg__(self) -> LossParts:
        return self * -1

    def __add__(self, other: Mapping[str, Tensor] | Tensor | float) -> LossParts:
        if not isinstance(other, Mapping):
            # The 0 that starts a sum needs no name; comparing a tensor would wait for its device.
            is_start = not isinstance(other, Tensor) and other == 0
            other = {} if is_start else {"added": torch.as_tensor(other, **_like(next(iter(self.values()))))}
        both = {**self, **other}
        return LossParts({n: self[n] + other[n] if n in self and n in other else both[n] for n in both})

    __radd__ = __add__

    def __sub__(self, other: Mapping[str, Tensor] | Tensor | float) -> LossParts:
        return self + -(LossParts(other) if isinstance(other, Mapping) else other)

    def __rsub__(self, other: Tensor | float) -> LossParts:
        return -self + other

    def __float__(self) -> float:
        return self.item()

    def total(self) -> Tensor:
        """Return the loss: the sum of all terms."""
        first, *rest = self.values()
        return sum(rest, start=first)

    def item(self) -> float:
        """Return the loss as a number."""
        return self.total().item()

    def detach(self) -> LossParts:
        """Return the terms without their gradients."""
        return LossParts({name: part.detach() for name, part in self.items()})

    def backward(self, *args: Any, **kwargs: Any) -> None:
        """Backpropagate the sum; takes the arguments of `torch.Tensor.backward`."""
        self.total().backward(*args, **kwargs)


def _like(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "device": tensor.device}
