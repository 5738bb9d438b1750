"""A line of results, in one place: what decides it (`Spec`), its fields (`Run`), and the file it is kept in.

A file of results has one JSON object per line, added when a run ends: a killed process loses at most the runs in
flight.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eval import machine
from eval.protocols import PROTOCOLS
from eval.tasks.records import Record

BEFORE = "before"
"""In place of a loss, the encoder before training; as a role, every baseline that is not trained."""

BM25 = "BM25"
"""In place of a loss, mteb's BM25, a baseline of retrieval."""

UNTRAINED = (BEFORE, BM25)


@dataclass(frozen=True)
class Spec:
    """What one run does; equal specs give equal results.

    Args:
        record: The task.
        encoder: Its name.
        loss: Its name in the comparison, or one of `UNTRAINED`.
        stage: ``dev`` for tuning, ``test``, or ``ablation``, scored on dev.
        setting: Arguments of the loss.
        learning_rate: The encoder's learning rate.
        seed: Seed of random weights and of the order of rows.
        folder: Folder of the data.
        limit: Maximum number of rows or queries per part.
        sampler: How batches are drawn, see `make_rows`.
        augmented: Whether samples of text also rank a view of themselves with some words left out.
        ablation: The ablation that the run belongs to.
        value: The value in that ablation.
        partner: The record that this one is trained or scored on, if it names one.
        protocol: One of `PROTOCOLS`; trials on dev serve all of them, and are ``tuned``, except those of what is
            ``untouched``, which choose nothing but the peer.
    """

    record: Record
    encoder: str
    loss: str
    stage: str
    setting: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 0.0
    seed: int = 0
    folder: Path | None = None
    limit: int | None = None
    sampler: str = "balanced"
    augmented: bool = False
    ablation: str | None = None
    value: float | str | None = None
    partner: Record | None = None
    protocol: str = "tuned"

    @property
    def trained(self) -> Record:
        """The record whose training part is used."""
        return self.partner if self.partner and self.record.trained_on else self.record

    @property
    def scored(self) -> Record:
        """The record whose dev and test parts are used."""
        return self.partner if self.partner and self.record.scored_on else self.record

    @property
    def key(self) -> str:
        """Hash of all that decides the result but the versions: every field, except the folder, not at its default."""
        content = _changed(self, ("folder",)) | {"record": _changed(self.record, ("licence", "rate"))}
        if self.partner:
            content["partner"] = _changed(self.partner, ("licence", "rate"))
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """One line for people."""
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        rate = f"lr {self.learning_rate:g}" if self.loss not in UNTRAINED else ""
        parts = [self.record.name, self.encoder, self.loss, setting, rate, f"seed {self.seed}", self.stage]
        return " · ".join(part for part in parts if part)


def _changed(value: Any, without: tuple[str, ...]) -> dict[str, Any]:
    """Return a dataclass's fields that are not at their default, so that a new field leaves old keys as they are."""
    found = {f.name: getattr(value, f.name) for f in fields(value) if f.name not in without}
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    return {name: given for name, given in found.items() if given != defaults[name]}


ALLOWED = {
    "stage": ("dev", "test", "ablation"),
    "protocol": PROTOCOLS,
    "status": ("ok", "failed"),
    "role": ("recipe", "usual", "family", BEFORE),
}


@dataclass(frozen=True)
class Run:
    """One line of results. A missing or null field has its default here.

    Args:
        key: See `Spec.key`.
        stage: ``dev`` (a trial), ``test`` or ``ablation`` (scored on dev).
        status: ``ok`` or ``failed``.
        task: Name of the record.
        kind: Its kind, or the kind of its labels.
        metric: The main score; a ``+`` joins metrics whose mean it is.
        encoder: Name of the encoder.
        loss: Name of the loss, or one of `UNTRAINED`.
        role: ``recipe``; ``usual`` for the task; ``family``, the library's other objectives; ``before``, a baseline.
        seed: Seed of weights and order.
        trained_on: The record that was trained on, if it is another.
        error: Why the run failed.
        setting: Arguments of the loss.
        learning_rate: The encoder's learning rate.
        steps: Number of training steps.
        batch_size: Rows per step.
        ablation: Name of the ablation.
        value: The value in the ablation.
        scores: Values by metric, as `eval.tasks` computes them; null where undefined.
        items: The main score per query, or the influence per pair, see `encode_items`.
        seconds: Time to ``train`` and to ``evaluate``.
        peak_memory_mb: Peak memory of the process.
        versions: Package versions.
        commit: Commit of the checkout.
        hardware: GPU or processor.
        started: Time in UTC.
        protocol: One of `PROTOCOLS`.
        source: Name of the file that the line was read from; not written.
    """

    key: str
    stage: str
    status: str
    task: str
    kind: str
    metric: str
    encoder: str
    loss: str
    role: str
    seed: int
    trained_on: str | None = None
    error: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = math.nan
    steps: int | None = None
    batch_size: int | None = None
    ablation: str | None = None
    value: Any = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    items: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    hardware: str = "unknown"
    started: str = ""
    protocol: str = "tuned"
    source: str = field(default="", compare=False)

    @classmethod
    def of(cls, spec: Spec, **found: Any) -> Run:
        """Return a spec's line, with what was found by running it."""
        record, trained = spec.record, spec.trained
        known = {name: getattr(spec, name) for name in ("key", "stage", "encoder", "loss", "learning_rate", "seed")}
        known |= {"task": record.name, "kind": record.kind if record.kind != "samples" else record.labels}
        known |= {"metric": record.main, "trained_on": record.trained_on or None, "setting": dict(spec.setting)}
        known |= {"steps": trained.steps, "batch_size": trained.batch_size}
        known |= {"ablation": spec.ablation, "value": spec.value, "status": "ok", "role": BEFORE}
        known |= {"protocol": spec.protocol}
        known |= {"versions": machine.versions(), "commit": machine.commit()}
        known |= {"hardware": machine.hardware("cuda" if torch.cuda.is_available() else "cpu")}
        return cls(**known | {"started": datetime.now(UTC).isoformat(timespec="seconds")} | found)

    @classmethod
    def failure(cls, spec: Spec, error: BaseException, **found: Any) -> Run:
        """Return the line of a run that failed."""
        return cls.of(spec, status="failed", error=f"{type(error).__name__}: {error}"[:500], **found)

    @classmethod
    def parse(cls, line: bytes, source: Path, number: int) -> Run:
        """Read one line, or raise a ValueError that names what is wrong with it."""
        place = f"{source}, line {number}"
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{place}, is not JSON: {error}") from error
        given = {k: v for k, v in content.items() if v is not None} if isinstance(content, dict) else {}
        required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
        if missing := required - given.keys():
            raise ValueError(f"{place} lacks {', '.join(sorted(missing))}.")
        _check_values(given, place)
        names = {f.name for f in fields(cls)}
        run = cls(**{name: value for name, value in given.items() if name in names} | {"source": source.name})
        if run.ok and run.metric not in run.scores:
            raise ValueError(f"{place}: the scores lack the main metric {run.metric!r}.")
        return run

    @property
    def line(self) -> str:
        """The run as one line of JSON."""
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}
        return json.dumps(content, ensure_ascii=False) + "\n"

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.status == "ok"

    @property
    def score(self) -> float:
        """The main metric, NaN where it is undefined."""
        value = self.scores[self.metric]
        return math.nan if value is None else float(value)

    @property
    def budget(self) -> tuple[int | None, int | None]:
        """Steps, and rows per step."""
        return self.steps, self.batch_size

    @property
    def configuration(self) -> tuple[str, float, int | None, int | None]:
        """What was tuned, and the budget."""
        return json.dumps(self.setting, sort_keys=True), self.learning_rate, *self.budget


_IN_JSON: Mapping[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float), "Mapping": dict}


def _check_values(given: Mapping[str, Any], place: str) -> None:
    """Raise a ValueError if the value of a field is of the wrong type, or not one of those allowed."""
    for one in fields(Run):
        kind = str(one.type).split("[")[0].split(" ")[0]
        if one.name in given and not isinstance(given[one.name], _IN_JSON.get(kind, object)):
            raise ValueError(f"{place}: {one.name} must be of the type {one.type}, got {given[one.name]!r}.")
    for name, allowed in ALLOWED.items():
        if given.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{place}: {name} must be one of {', '.join(allowed)}, got {given[name]!r}.")
    for name in ("scores", "seconds"):
        for metric, value in given.get(name, {}).items():
            if not isinstance(value, int | float | None) or (value is not None and math.isinf(value)):
                raise ValueError(f"{place}: {name} must be finite numbers or null, got {value!r} for {metric!r}.")


def encode_items(values: ArrayLike) -> str:
    """Pack values as text: base64 of the compressed bytes of little-endian float16."""
    return base64.b64encode(zlib.compress(np.asarray(values, dtype="<f2").tobytes())).decode("ascii")


def decode_items(text: str) -> NDArray[np.float64]:
    """Unpack what `encode_items` packed; values are off by at most half a step of float16.

    Raises:
        ValueError: If the text is anything else.

    Example:
        >>> decode_items(encode_items([0.5, 1.0])).tolist()
        [0.5000, 1.0000]
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<f2").astype(np.float64)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"items must be what encode_items makes, got {text[:20]!r} ({error}).") from error


def read_results(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read files of results; of lines with the same key, the last that is ok counts, or else the last.

    A last line without a line break is one that a killed process left unfinished: it is left out with a warning and a
    note, which are returned beside the runs.

    Raises:
        ValueError: If a finished line is malformed.
    """
    kept: dict[str, Run] = {}
    notes = []
    for path in paths:
        *whole, rest = path.read_bytes().split(b"\n")
        if rest.strip():
            warnings.warn(f"{path}, line {len(whole) + 1} is cut short and left out.", stacklevel=2)
            notes.append(f"The last line of {path.name}, line {len(whole) + 1}, is cut short and left out.")
        for number, line in enumerate(whole, 1):
            run = Run.parse(line, path, number) if line.strip() else None
            if run and (run.ok or run.key not in kept or not kept[run.key].ok):
                kept.pop(run.key, None)  # a repeated run takes the place of its repetition
                kept[run.key] = run
    return list(kept.values()), notes


class ResultsFile:
    """A file of results that runs are added to.

    Args:
        path: Path of the file; it need not exist.
        versions: Versions of this process's packages.
        mixed: Accept lines of other versions.

    Raises:
        ValueError: If a line is malformed, or was run with other versions, which are named.
    """

    def __init__(self, path: Path, versions: Mapping[str, str], *, mixed: bool = False) -> None:
        self.path = path
        self.runs = {run.key: run for run in read_results([path] if path.exists() else [])[0]}
        for run in self.runs.values() if not mixed else ():
            there = run.versions
            differ = [f"{p} {there.get(p)} there, {v} here" for p, v in versions.items() if there.get(p) != v]
            if differ:
                raise ValueError(
                    f"{path} has runs of other versions ({'; '.join(differ)}): choose another --output, "
                    "or mix versions on purpose with --mixed."
                )

    def has(self, key: str) -> bool:
        """Return whether a run is in the file and succeeded."""
        return key in self.runs and self.runs[key].ok

    def of_another_protocol(self, spec: Spec) -> Run | None:
        """Return the run of a spec, where another protocol has already run the same."""
        for protocol in PROTOCOLS:
            key = replace(spec, protocol=protocol).key
            if self.has(key):
                return replace(self.runs[key], key=spec.key, protocol=spec.protocol)
        return None

    def add(self, run: Run) -> None:
        """Write a run to disk, in place of an unfinished last line if there is one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not (found := self.path.read_bytes()).endswith(b"\n"):
            self.path.write_bytes(found[: found.rfind(b"\n") + 1])
        with self.path.open("a", encoding="utf-8") as file:
            file.write(run.line)
            file.flush()
            os.fsync(file.fileno())
        self.runs[run.key] = run
