"""The settings of a run: what a configuration file holds."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from st_rankloss.encoders import BUILT_IN
from st_rankloss.experiment.files import write
from st_rankloss.inspection.proposal import DOCUMENTS

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}

WHOLE = {"batch_size": 2, "documents": 2, "limit": 3, "seed": 0}
"""Settings that are whole numbers, and the least of each."""

MOST = 2**31 - 1
"""The largest whole number, that of a seed."""


@dataclass(frozen=True)
class Settings:
    """Everything that determines a run: the same settings, data and versions give the same model.

    Numbers may be given as text, such as ``"2e-5"``, which YAML does not read as a number. None means the default.

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
        limit: Most rows or queries per part, drawn at random, at least 3; None reads all.
        seed: Seed of the split, the weights, the order and the tuning.
        report_to: Loggers of the trainer, such as ``"tensorboard"``.

    Raises:
        ValueError: If a setting breaks a rule above, or has a value that a configuration file cannot hold.

    Example:
        >>> Settings("my.csv", "minilm", epochs=0)
        Traceback (most recent call last):
        ValueError: epochs must be a finite number above 0, got 0.
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
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.default is not MISSING:
                value = each.default
            elif each.name == "read":
                value = _read_arguments(value)
            elif each.name in ("epochs", "learning_rate", *WHOLE):
                value = _number(each.name, value)
            elif each.name == "tune":
                read_budget(value)
                value = str(value).strip()
            else:
                value = _text(each.name, value)
            object.__setattr__(self, each.name, value)

    def save(self, path: Path) -> None:
        """Write a configuration file, whole or not at all, that repeats the run from any working directory.

        Args:
            path: The file.
        """
        write(path, self.to_yaml())

    def to_yaml(self) -> str:
        """Return the content of a configuration file; existing files and folders get absolute paths."""
        content: str = yaml.safe_dump(asdict(self) | self._located(os.path.abspath), sort_keys=False)
        return content

    def _located(self, locate: Callable[[str], str]) -> dict[str, str]:
        """Locate the data and the model if they are files or folders."""
        names = {"data": self.data} | ({} if self.model in BUILT_IN else {"model": self.model})
        return {key: locate(name) for key, name in names.items() if os.path.exists(name)}

    @classmethod
    def load(cls, path: Path, **changes: Any) -> Settings:
        """Read a configuration file, and change some settings.

        Args:
            path: The file.
            **changes: Settings that win over the file's, each argument in ``read`` by itself.

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
        given = cls(**{**content, **changes})
        return replace(given, read={**_read_arguments(content.get("read")), **given.read})

    def differences(self, other: Settings) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, with both values; a file has one place, however it is named."""
        own, theirs = (vars(each) | each._located(os.path.realpath) for each in (self, other))
        return {name: (getattr(self, name), getattr(other, name)) for name in own if own[name] != theirs[name]}


def _read_arguments(value: Any) -> dict[str, Any]:
    """Return arguments of `read` as a configuration file holds them: a list in the place of a tuple."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"read must map names to values, such as {{query: question}}, got {value!r}.")
    for name, remedy in {"source": "set data", "task": "set task", "streaming": "training needs all rows"}.items():
        if name in value:
            raise ValueError(f"read must not hold {name}: {remedy}.")
    try:
        return dict(yaml.safe_load(yaml.safe_dump(dict(value), sort_keys=False)))
    except yaml.YAMLError as error:
        raise ValueError(
            f"read must hold texts, numbers, lists and mappings, which a configuration file can hold: {error.args[0]}, "
            f"got {value!r}."
        ) from error


def _number(name: str, value: Any) -> float:
    """Return a number, which may be given as text, or raise ValueError."""
    least = WHOLE.get(name)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if least is None:
        fits, rule = 0 < number < math.inf, "a finite number above 0"
    else:
        fits = least <= number <= MOST and number.is_integer()
        rule = f"a whole number of at least {least}" + f" and at most {MOST}" * (number > MOST)
    if not fits:
        raise ValueError(f"{name} must be {rule}, got {value!r}.")
    return number if least is None else int(number)


def _text(name: str, value: Any) -> str:
    """Return a text or a path as text, or raise ValueError."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {value!r}.")
    return value


def read_budget(text: Any) -> tuple[float | None, int | None]:
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
