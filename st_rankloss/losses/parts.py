"""A loss in named terms, which sentence-transformers' trainer sums and logs."""

from __future__ import annotations

from torch import Tensor


class LossParts(dict[str, Tensor]):
    """Named terms of a loss that also scale and add like a number, as wrappers such as MatryoshkaLoss do.

    Example:
        >>> import torch
        >>> 0.0 + 2 * LossParts(a=torch.tensor(1.0)) + LossParts(a=torch.tensor(3.0))
        {'a': tensor(5.0000)}
    """

    def __mul__(self, weight: float) -> LossParts:
        return LossParts({name: weight * part for name, part in self.items()})

    __rmul__ = __mul__

    def __add__(self, other: LossParts | float) -> LossParts:
        if not isinstance(other, dict):
            other = LossParts() if other == 0 else LossParts(constant=next(iter(self.values())).new_tensor(other))
        both = {**self, **other}
        return LossParts({n: self[n] + other[n] if n in self and n in other else both[n] for n in both})

    __radd__ = __add__

    def total(self) -> Tensor:
        """Return the loss: the sum of all terms."""
        first, *rest = self.values()
        return sum(rest, start=first)

    def backward(self) -> None:
        """Send the gradient of the sum back."""
        self.total().backward()
