"""What happens before each step and each epoch, beside what the host does."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback


class FreshGradients(TrainerCallback):
    """Forgets old gradients before each step: transformers 5.0 forgets those of the model, not those of the loss."""

    def __init__(self, losses: list[nn.Module]) -> None:
        self.losses = losses

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget the gradients of the losses' own parameters."""
        for loss in self.losses:
            loss.zero_grad()


class Epochs(TrainerCallback):
    """Sets the epoch of the batch sampler, of `data.lists` and of views before any batches are read or skipped.

    When training resumes mid-epoch on several processes, the host looks for ``set_epoch`` on the wrappers that skip and
    shard batches, and the wrapped sampler stays in epoch 0. The state's epoch does not count the passes over a stream,
    whose length is unknown, so they are counted here.
    """

    def __init__(self, epochs: list[Tensor]) -> None:
        self.epochs, self.begun = epochs, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start counting epochs."""
        self.begun = 0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Pass the epoch to the innermost batch sampler."""
        epoch = max(int(state.epoch or 0), self.begun)
        self.begun = epoch + 1
        for each in self.epochs:
            each.fill_(epoch)
        sampler: Any = train_dataloader
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
