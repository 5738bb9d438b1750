"""Folders of images, whose names are the labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from st_rankloss.data.splits import part_of
from st_rankloss.data.table import Table

_SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def image_tables(folder: Path, *, streaming: bool = False) -> dict[str, Table]:
    """List the images of a folder, and label them by the folders that they are in.

    Args:
        folder: A folder of images, of folders named after labels, ``rose/1.jpg``, of paths of labels,
            ``flower/rose/1.jpg``, or of such folders named after train, dev and test. Hidden files are left out.
        streaming: Whether the tables are streamed.

    Returns:
        By part, a table of images and, if any is in a folder, labels: classes, or paths if there are folders in
        folders. Empty if there are no images.

    Raises:
        ValueError: If only some folders are named after parts, or two after the same.

    Example:
        >>> image_tables(Path("st_rankloss"))
        {}
    """
    images = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    images = [path for path in images if not any(name.startswith(".") for name in path.parts)]
    tops = sorted({path.parts[0] if len(path.parts) > 1 else "." for path in images})
    parts = {top: part_of(top) for top in tops}
    make = partial(_table, folder, streaming)
    if not any(parts.values()):
        return {"train": make(images, [path.parts[:-1] for path in images])} if images else {}
    if None in parts.values() or len({*parts.values()}) < len(parts):
        raise ValueError(
            f"{folder}: if one folder is named after train, dev or test, each must be another of these, got {tops}: "
            "rename, join or move folders."
        )
    own = {str(part): [path for path in images if path.parts[0] == top] for top, part in parts.items()}
    return {part: make(paths, [path.parts[1:-1] for path in paths]) for part, paths in own.items()}


def _table(folder: Path, streaming: bool, images: Sequence[Path], labels: Sequence[Sequence[str]]) -> Table:
    deepest = max(map(len, labels))
    rows: list[dict[str, Any]] = [{"image": str(path)} for path in images]
    if deepest:
        for row, label in zip(rows, labels, strict=True):
            row["label"] = None if not label else list(label) if deepest > 1 else label[0]
    note = "labels are the names of folders" if deepest else "images have no labels: they are not in folders"
    return Table(str(folder), [*rows[0]], partial(iter, rows), streaming, folder, (note,))
