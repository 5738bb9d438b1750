"""The output folder of a run: whose it is, and what of it may be deleted."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import torch
from datasets import Image

from st_rankloss._models import model_fingerprint
from st_rankloss.data import Part
from st_rankloss.data.contents import content_of
from st_rankloss.experiment.files import write_json
from st_rankloss.experiment.prepared import Prepared
from st_rankloss.experiment.settings import Settings

PACKAGES = ("st_rankloss", "sentence-transformers", "transformers", "torch")
"""Packages whose versions determine a run."""


def claim(folder: Path, prepared: Prepared, overwrite: bool) -> None:
    """Make a folder that of this run, if it is not; raise ValueError if it holds another run or other files.

    A process may be killed between the two files that do so: config.yaml alone is a run that has not begun.
    """
    config, settings, own = folder / "config.yaml", prepared.settings, _identity(prepared)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder for the output.")
    if names := {path.name for path in folder.glob("*")} - {"config.yaml.part", "data.json.part"}:
        changed = _changed(folder, settings, own, begun=names != {"config.yaml"})
        if overwrite:
            _delete_run(folder, settings)
        elif changed:
            raise ValueError(
                f"{folder} holds another run ({'; '.join(changed)}): choose another output folder, or delete the old "
                "run with --overwrite."
            )
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite or not config.exists():
        settings.save(config)
    write_json(folder / "data.json", own)


def _identity(prepared: Prepared) -> dict[str, str]:
    """Return what determines a run beside its settings."""
    found = {"data": fingerprint(prepared.parts), "model": model_fingerprint(prepared.model)}
    return found | {name: version(name) for name in PACKAGES}


def _changed(folder: Path, settings: Settings, own: dict[str, str], *, begun: bool) -> list[str]:
    """Say what has changed since the run in a folder; raise ValueError if it holds anything but a run."""
    try:
        given = Settings.load(folder / "config.yaml")
        known = json.loads((folder / "data.json").read_text(encoding="utf-8")) if begun else own
        is_run = known.keys() == own.keys()
    except (OSError, ValueError, TypeError, AttributeError):
        is_run = False
    if not is_run:
        raise ValueError(f"{folder} holds other files: choose an empty output folder.")
    words = {"data": "the data have changed", "model": "the model has changed"}
    return [f"{name}: {old!r}, now {new!r}" for name, (old, new) in given.differences(settings).items()] or [
        words.get(name, f"{name}: {known[name]}, now {value}") for name, value in own.items() if known[name] != value
    ]


def _delete_run(folder: Path, settings: Settings) -> None:
    """Delete what a run has made; raise ValueError if the next one reads any of it."""
    made = [folder / name for name in ("losses", "model", "model.part", "results.json", "report.html")]
    for given in (settings.data, settings.model, *settings.read.values()):
        if isinstance(given, str | Path) and any(Path(given).resolve().is_relative_to(p.resolve()) for p in made):
            raise ValueError(
                f"{given} belongs to the run in {folder}, which --overwrite would delete: choose another output folder."
            )
    for path in made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def fingerprint(parts: Mapping[str, Part]) -> str:
    """Return a digest of all that parts hold: rows, images, queries, corpus and judgements.

    Args:
        parts: The parts by name, not streaming.

    Returns:
        A hexadecimal number.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, part in parts.items():
        digest.update(repr((name, part.task, part.labels, len(part), len(part.queries), len(part.corpus))).encode())
        has_images = "image" in part.input_columns
        rows = part.dataset.cast_column("image", Image(decode=False)) if has_images else part.dataset
        for batch in rows.iter(1_000):
            for image in batch.pop("image", ()):
                digest.update(repr(content_of(image)).encode())
            digest.update(repr(batch).encode())
        for entry in chain(part.queries.items(), part.corpus.items(), part.qrels.items()):
            digest.update(repr(entry).encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions and the hardware that a figure depends on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}, "device": device}
