"""The training data's rows by number, and the callback that tells a weighting how training proceeds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from st_rankloss.collators import ROW_NUMBER
from st_rankloss.weighting import Weighting

_ENDED = "epochs_ended"
"""How many epochs had ended when a checkpoint was saved."""


class NumberedRows(Dataset):
    """A dataset that adds to each row its number, when a data loader asks for rows."""

    first_number: int

    def __getitem__(self, key: Any) -> Any:
        """Return a row with its number; slices and columns as they are."""
        row = super().__getitem__(key)
        return {**row, ROW_NUMBER: self.first_number + int(key)} if isinstance(key, int) else row

    def __getitems__(self, keys: list[int]) -> list[dict[str, Any]]:
        """Return rows with their numbers."""
        rows = super().__getitems__(keys)
        return [{**row, ROW_NUMBER: self.first_number + int(key)} for row, key in zip(rows, keys, strict=True)]


def number_rows(dataset: Any, first: int) -> NumberedRows:
    """Return a dataset whose rows have numbers.

    Args:
        dataset: The dataset.
        first: The number of its first row.

    Returns:
        The same rows and columns, in the same format.

    Raises:
        ValueError: If the dataset is streaming, so that its rows cannot be recognised in another epoch.

    Example:
        >>> number_rows(Dataset.from_dict({"text": ["a", "b"]}), first=5)[1]
        {'text': 'b', '_row_number': 6}
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"a loss with a weighting needs a Dataset, whose rows have numbers, got a {type(dataset).__name__} "
            "(streaming): load it without streaming=True, or leave weighting out."
        )
    numbered: Any = copy.copy(dataset)
    numbered.__class__ = NumberedRows  # as it is otherwise: format, transform, indices and features
    numbered.first_number = first
    made: NumberedRows = numbered
    return made


class TellWeighting(TrainerCallback):
    """Tells a weighting how far training is, and keeps what it learned in checkpoints.

    Args:
        weighting: The weighting.
        rows: Number of rows of its training data.
        name: Name of its file in a checkpoint.
        folder: Returns the folder of the checkpoints, which a search over hyper-parameters changes.
    """

    def __init__(self, weighting: Weighting, rows: int, name: str, folder: Callable[[], str]) -> None:
        self.weighting, self.rows, self.name, self.folder = weighting, rows, name, folder
        self.resumed: str | None = None
        self.ended = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start, or resume from a checkpoint."""
        self.weighting.prepare(self.rows)
        self.ended = 0
        if state.global_step:
            learned = load_file(self._found(state))
            epochs = int(state.epoch + 1e-6)
            self.ended = int(learned.pop(_ENDED, torch.tensor(epochs)))
            self.weighting.restore(learned)
            if self.ended < epochs:  # saved after the last step of an epoch, before its end
                self.weighting.at((state.global_step - 1) / max(state.max_steps, 1))
                self.on_epoch_end(args, state, control)

    def _found(self, state: Any) -> Path:
        folder = Path(self.resumed or self._checkpoint(state))
        if not (folder / self.name).exists():
            raise ValueError(
                f"a checkpoint to resume from must hold what the weighting has learned, {self.name}, got {folder} "
                "without it: it was saved by a training without a weighting."
            )
        return folder / self.name

    def _checkpoint(self, state: Any) -> Path:
        return Path(self.folder()) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass on how far training is."""
        self.weighting.at(state.global_step / max(state.max_steps, 1))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass on that an epoch has ended."""
        self.weighting.end_epoch()
        self.ended += 1

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save what the weighting has learned."""
        learned = {**self.weighting.state(), _ENDED: torch.tensor(self.ended)}
        if state.is_world_process_zero:
            contiguous = {name: tensor.contiguous() for name, tensor in learned.items()}
            save_file(contiguous, self._checkpoint(state) / self.name)


def weighted(datasets: list[tuple[str | None, Any]], losses: Mapping[str | None, Any]) -> dict[str | None, Weighting]:
    """Return the weighting of each dataset's loss, by the name of the dataset, where there is one."""
    found = {name: getattr(losses.get(name, losses.get(None)), "weighting", None) for name, _ in datasets}
    return {name: weighting for name, weighting in found.items() if weighting is not None}
