"""What a task of mteb is made from, and how mteb gets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from st_rankloss.data.part import Part
from st_rankloss.relevance import Relevance


@dataclass(frozen=True)
class Given:
    """The arguments of `mteb_task`."""

    part: Part
    train: Part | None
    kind: str
    split: str
    level: float
    relevance: Relevance | None

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by split, of a kind that learns from one."""
        if self.train is None or self.train.task != self.part.task or self.split == "train":
            given = f"{self.train.task!r}" if self.train is not None and self.split != "train" else "none"
            raise ValueError(
                f"the kind {self.kind!r} learns from a training part of the task {self.part.task!r}, got {given}: pass "
                "train=parts['train'], and another split than 'train'."
            )
        return {"train": self.train, self.split: self.part}


class Prepared:
    """What goes before mteb's class: the data are at hand."""

    given: Any
    dataset: Any
    data_loaded: bool

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        """Hand mteb the data."""
        self.dataset, self.data_loaded = self.given, True
