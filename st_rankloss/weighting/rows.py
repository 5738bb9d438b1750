"""What is known of each row of a dataset, on the device, and the same in all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def several_processes() -> bool:
    """Return whether there are other processes to share with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class RowMeans:
    """The mean of what each row was told since the last `close`, and the moving average of these means.

    Nothing is read back from the device. Processes that train on different rows share what they know in `close`.

    Args:
        rows: Number of rows, at least 1.
        momentum: Weight of the past in the moving average, in [0, 1).
        shape: Shape of a row's value.
        device: Where the values are.

    Example:
        >>> losses = RowMeans(3, momentum=0.5)
        >>> losses.add(torch.tensor([0, 2, 2]), torch.tensor([1.0, 2.0, torch.nan]))
        >>> losses.close().average
        tensor([1., nan, 2.])
    """

    def __init__(
        self, rows: int, momentum: float = 0.0, shape: tuple[int, ...] = (), device: torch.device | str = "cpu"
    ) -> None:
        self.momentum = momentum
        self.sums = torch.zeros(rows, *shape, device=device)
        self.counts = torch.zeros(rows, device=device)
        self.average = torch.full((rows, *shape), torch.nan, device=device)

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Add the values of some rows, ``(n, ...)``; those that are NaN do not count."""
        values = values.detach().to(self.sums.dtype)
        known = ~values.flatten(1).isnan().any(1) if values.dim() > 1 else ~values.isnan()
        self.sums.index_add_(0, rows, torch.nan_to_num(values, nan=0.0))
        self.counts.index_add_(0, rows, known.to(self.counts.dtype))

    def share(self) -> None:
        """Give all processes the same sums, whose total over the processes stays what it is."""
        if several_processes():
            for tensor in (self.sums, self.counts):
                dist.all_reduce(tensor)
                tensor /= dist.get_world_size()

    def close(self) -> RowMeans:
        """Move the average towards the mean of each row that was seen, and start again."""
        self.share()
        counts = self.counts.view(-1, *[1] * (self.sums.dim() - 1))
        means = self.sums / counts
        first = self.average.isnan()
        moved = torch.where(first, means, self.momentum * self.average + (1 - self.momentum) * means)
        self.average = torch.where(counts > 0, moved, self.average)
        self.sums.zero_()
        self.counts.zero_()
        return self

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.sums, self.counts, self.average = (
            x.to(device, non_blocking=True) for x in (self.sums, self.counts, self.average)
        )

    def state(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return {"sums": self.sums, "counts": self.counts, "average": self.average}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of `state`."""
        self.sums, self.counts, self.average = (state[name].to(self.sums.device) for name in self.state())
