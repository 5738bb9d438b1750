"""Folders of images, whose names are the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from st_rankloss.data.images import SUFFIXES
from st_rankloss.data.splits import part_of
from st_rankloss.data.table import Table

Label = tuple[str, ...]
"""The folders that an image is in."""


def image_tables(folder: Path, *, streaming: bool = False) -> dict[str, Table]:
    """List the images of a folder, and label them by the folders that they are in.

    Args:
        folder: A folder of images, of folders named after labels, ``rose/1.jpg``, of paths of labels,
            ``flower/rose/1.jpg``, or of such folders named after train, dev and test. Hidden files, and folders that
            all images are in, do not count.
        streaming: Whether the tables are streamed.

    Returns:
        By part, a table of images and, if any is in a folder, labels: classes, or paths if there are folders in
        folders. Empty if there are no images.

    Raises:
        ValueError: If only some folders are named after parts, two after the same, or some below labels; or if there is
            a file named metadata.

    Example:
        >>> image_tables(Path("st_rankloss"))
        {}
    """
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    files = [path for path in files if not any(name.startswith(".") for name in path.parts)]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        return {}
    if table := next((path for path in files if path.stem == "metadata"), None):
        raise ValueError(f"{folder}: images that a table describes are read from the table: pass {folder / table}.")
    labels = _without_shared([path.parts[:-1] for path in images], stop=part_of)
    parts = {top: part_of(top) for top in sorted({label[0] if label else "." for label in labels})}
    if not any(parts.values()):
        return {"train": _table(folder, streaming, images, _checked(folder, labels))}
    if None in parts.values() or len({*parts.values()}) < len(parts):
        raise ValueError(
            f"{folder}: if one folder is named after train, dev or test, each must be another of these, got "
            f"{[*parts]}: rename, join or move folders."
        )
    chosen = {str(part): [row for row, label in enumerate(labels) if label[0] == top] for top, part in parts.items()}
    below = [label[2:] if label[:1] == label[1:2] else label[1:] for label in labels]  # as in train/train/rose
    below = _checked(folder, _without_shared(below))
    return {
        part: _table(folder, streaming, [images[row] for row in rows], [below[row] for row in rows])
        for part, rows in chosen.items()
    }


def _without_shared(labels: list[Label], stop: Callable[[str], Any] = lambda name: None) -> list[Label]:
    """Leave out leading folders that all images are in, up to one for which ``stop`` returns something."""
    while all(labels) and len({label[0] for label in labels}) == 1 and not stop(labels[0][0]):
        labels = [label[1:] for label in labels]
    return labels


def _checked(folder: Path, labels: list[Label]) -> list[Label]:
    """Return labels, or raise ValueError if one is named after a part."""
    if (name := next((name for label in labels for name in label if part_of(name)), None)) is not None:
        raise ValueError(
            f"{folder}: folders named after train, dev or test must hold those of the labels, got {name!r} in one: "
            "move it to the top, or rename it."
        )
    return labels


def _table(folder: Path, streaming: bool, images: Sequence[Path], labels: Sequence[Label]) -> Table:
    deepest = max(map(len, labels))
    rows: list[dict[str, Any]] = [{"image": str(path)} for path in images]
    if deepest:
        for row, label in zip(rows, labels, strict=True):
            row["label"] = None if not label else list(label) if deepest > 1 else label[0]
    note = "labels are the names of folders" if deepest else "images have no labels: no folders divide them"
    return Table(str(folder), [*rows[0]], partial(iter, rows), streaming, folder, (note,))
