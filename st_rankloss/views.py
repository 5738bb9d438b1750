"""Several altered copies of each sample in a batch."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from st_rankloss.augmentations import Identity
from st_rankloss.collators import ROW_NUMBER, RankingCollator, Row, weight_columns
from st_rankloss.judgements import is_list_of_inputs


@dataclass
class ViewsCollator(RankingCollator):
    """Makes views of each row of one input column, which `Views` ranks by how much of their sample they keep.

    A batch of B rows becomes one column of ``len(views) · B`` inputs: all rows under the first view, then all
    under the second, and so on. Labels, if any, are repeated with them. Every batch draws new alterations: with
    `RankingTrainer` from the training arguments' seed, the epoch and the batch's first row, so that resumed trainings
    agree; elsewhere from torch's global generator. Time and memory: those of ``len(views)`` times the rows. Evaluation
    batches are altered too.

    `RankingTrainer` passes it prompts, router mapping, seed and epoch.

    Args:
        views: One function of a value per view, such as those of `augmentations`; at least two. Include an unaltered
            one, ``Identity()``, to compare the others with.
        keep: Share of its sample that each view keeps, in (0, 1]; None means 1 - strength, but at least 0.05, for
            augmentations, and 1 for other functions.
        seed: Seed of the alterations; set by `RankingTrainer`.
        epoch: The epoch, a scalar tensor in shared memory; set by `RankingTrainer`. None draws from torch's generator.

    Raises:
        ValueError: If there are fewer than two views, or ``keep`` has a number out of its range or another length. On a
            batch: if a row has several input columns, or lists.
        TypeError: If a view is not callable.

    Example:
        ::

            collator = ViewsCollator(model.preprocess, views=[Identity(), DropWords(0.2), CropWords(0.6)])
            loss = ANDCGLoss(model, relevance=relevance.Views())  # or relevance.Views(relevance.Classes())
            RankingTrainer(model=model, train_dataset=dataset, loss=loss, data_collator=collator).train()
    """

    views: Sequence[Callable[[Any], Any]] = field(default=(Identity(), Identity()))
    keep: Sequence[float] | None = None
    seed: int = field(default=0, repr=False)
    epoch: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.views) < 2:
            raise ValueError(f"views must be at least two, got {len(self.views)}.")
        for view in self.views:
            if not callable(view):
                raise TypeError(f"every view must be a function of one value, got {view!r}.")
        if self.keep is None:
            self.keep = [max(0.05, 1 - getattr(view, "strength", 0.0)) for view in self.views]
        if len(self.keep) != len(self.views):
            raise ValueError(f"keep must have a number for each of the {len(self.views)} views, got {len(self.keep)}.")
        for share in self.keep:
            if not 0 < share <= 1:
                raise ValueError(f"keep must be in (0, 1], got {share!r}.")

    def __call__(self, features: list[Row]) -> dict[str, Any]:
        """Turn dataset rows into a batch.

        Args:
            features: The rows.

        Returns:
            Features of the input column, and ``label``: ``sample`` and ``keep`` of each view, and the rows' labels.
        """
        if not features:
            return {}
        others = {
            *self.valid_label_columns,
            *weight_columns(features[0], self.valid_label_columns),
            "dataset_name",
            ROW_NUMBER,
        }
        columns = [name for name in features[0] if name not in others]
        if len(columns) != 1 or is_list_of_inputs(features[0][columns[0]]):
            raise ValueError(f"ViewsCollator needs one input column of single values, got the columns {columns}.")
        (column,) = columns
        with self._drawing(features[0][column]):
            rows = [row | {column: view(row[column])} for view in self.views for row in features]
        return super().__call__(rows)

    @contextlib.contextmanager
    def _drawing(self, value: Any) -> Iterator[None]:
        """Seed torch's generator by the epoch and a value of the batch, and restore it afterwards."""
        if self.epoch is None:
            yield
            return
        key = hashlib.blake2b(f"{self.seed}/{int(self.epoch)}/".encode() + _content(value), digest_size=8)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(key.digest()) >> 1)
            yield

    def _describe_rows(self, count: int) -> dict[str, Tensor]:
        """Return the sample of each view, and the share of it that the view keeps."""
        samples = count // len(self.views)
        keep = torch.tensor(self.keep, dtype=torch.float32)
        return {"sample": torch.arange(samples).repeat(len(self.views)), "keep": keep.repeat_interleave(samples)}


def _content(value: Any) -> bytes:
    """Return the content of an input as bytes: of text, an image, a tensor, or a dict or list of these."""
    if isinstance(value, Mapping):
        return b"".join(str(name).encode() + _content(each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return b"".join(map(_content, value))
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if hasattr(value, "tobytes"):
        return bytes(value.tobytes())
    return str(value).encode() if isinstance(value, str | int | float) else b""
