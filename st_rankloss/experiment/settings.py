"""The settings of a run: what a configuration file holds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from st_rankloss.inspection.proposal import DOCUMENTS

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Settings:
    """Everything that determines a run: the same settings, data and versions give the same model.

    Args:
        data: A file, a folder or an id, see `st_rankloss.data.read`.
        model: An encoder, see `st_rankloss.encoders`.
        task: A recipe's name; None detects the task.
        read: Other arguments of `st_rankloss.data.read`, such as the names of columns.
        recipe: ``"auto"``, the recipe for the data, or the name of an objective in its place.
        epochs: Passes over the training rows, above 0; None means 3, but at least 100 steps.
        batch_size: Rows per step, at least 2; None chooses by encoder and rows.
        learning_rate: Above 0; None chooses by encoder.
        documents: Most documents per query and step, drawn again in each epoch; at least 2.
        tune: None for the default settings; a time such as ``"10m"`` or a number of trials for each loss. How many
            trials fit into a time depends on the machine; a number of trials repeats exactly.
        limit: Most rows or queries per part; None reads all.
        seed: Seed of the split, the weights, the order and the tuning.
        report_to: Loggers of the trainer, such as ``"tensorboard"``.

    Raises:
        ValueError: If a setting breaks a rule above.

    Example:
        >>> Settings("my.csv", "minilm", epochs=0)
        Traceback (most recent call last):
        ValueError: epochs must be above 0, got 0.
    """

    data: str
    model: str = "static"
    task: str | None = None
    read: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = "auto"
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    documents: int = DOCUMENTS
    tune: str | None = None
    limit: int | None = None
    seed: int = 0
    report_to: str = "none"

    def __post_init__(self) -> None:
        lowest = {"epochs": 0, "learning_rate": 0, "batch_size": 1, "documents": 1, "limit": 2, "seed": -1}
        for name, bound in lowest.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool | str) or not value > bound):
                rule = f"above {bound}" if name in ("epochs", "learning_rate") else f"at least {bound + 1}"
                raise ValueError(f"{name} must be {rule}, got {value!r}.")
        if self.tune is not None:
            read_budget(self.tune)

    def save(self, path: Path) -> None:
        """Write a configuration file."""
        path.write_text(yaml.safe_dump(asdict(self), sort_keys=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path, **changes: Any) -> Settings:
        """Read a configuration file, and change some settings.

        Args:
            path: The file.
            **changes: Settings that win over the file's.

        Returns:
            The settings.

        Raises:
            ValueError: If the file is missing or is not a mapping of settings; unknown names get the closest known one.
        """
        known = [f.name for f in fields(cls)]
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as a configuration: {str(error).splitlines()[0]}.") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold settings, one 'name: value' per line, got {type(content).__name__}.")
        for name in content:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                remedy = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}."
                raise ValueError(f"{path}: unknown setting {name!r}{remedy}")
        if "data" not in {**content, **changes}:
            raise ValueError(f"{path} must name the data: add a line 'data: FILE'.")
        return cls(**{**content, **changes})

    def differences(self, other: Settings) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, with both values."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: (own, theirs) for name, (own, theirs) in pairs.items() if own != theirs}


def read_budget(text: str) -> tuple[float | None, int | None]:
    """Read a budget of tuning: seconds, or a number of trials.

    Args:
        text: Such as ``"90s"``, ``"10m"``, ``"1.5h"`` or ``"8"``.

    Returns:
        Seconds and trials, one of them None.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> read_budget("10m"), read_budget("8")
        ((600.0, None), (None, 8))
    """
    text = str(text).strip()
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "")
    try:
        value = float(number) * UNITS.get(unit, 1)
        if not 0 < value < float("inf") or (not unit and value != int(value)):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"tune must be a time such as '90s', '10m' or '1h', or a number of trials, got {text!r}."
        ) from None
    return (value, None) if unit else (None, int(value))
