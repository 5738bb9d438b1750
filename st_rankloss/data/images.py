"""Images by path, with captions, with labels, or alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from datasets import Features, Image, Value

from st_rankloss._extras import require
from st_rankloss.data.building import Notes, build
from st_rankloss.data.columns import as_names, check_column, choose, describe, given_names
from st_rankloss.data.contents import encoded, is_decoded
from st_rankloss.data.forms import as_list, looks_labelled
from st_rankloss.data.label_forms import LabelForm
from st_rankloss.data.labelled import form_of, label_of
from st_rankloss.data.part import Part
from st_rankloss.data.table import Row, Table
from st_rankloss.data.tables import read_table
from st_rankloss.data.texts import read_text
from st_rankloss.judgements import few
from st_rankloss.labels import refusal

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class _Plan:
    """Which columns to read, and how."""

    image: str
    folder: Path
    caption: str | None
    labels: tuple[str, ...]
    form: LabelForm | None


def is_image(value: Any) -> bool:
    """Return whether a value of a table is an image, or the path of one."""
    if isinstance(value, Mapping):
        return "bytes" in value or "path" in value
    if is_decoded(value):
        return True
    return isinstance(value, bytes) or (isinstance(value, str) and value.lower().endswith(SUFFIXES))


def read_images(
    source: Any,
    *,
    image: str | None = None,
    caption: str | None = None,
    label: str | Sequence[str] | None = None,
    task: str | None = None,
    separator: str | None = None,
    folder: str | Path | None = None,
    streaming: bool = False,
) -> Part:
    """Read images, which are decoded when a row is used.

    Args:
        source: A table, see `read_table`.
        image: Column of paths, or of bytes. Like all columns, it is found by its name if None.
        caption: Column of captions.
        label: Column of labels, or several columns, coarse to fine, as in `read_labelled`.
        task: "image_text", "classification", "hierarchy", "multi_label", "regression" or "self_supervised"; None
            decides by the columns: "image_text" with captions, else by the labels, else "self_supervised".
        separator: As in `read_labelled`.
        folder: The folder to which paths are relative; None means that of the file, or the working directory.
        streaming: Whether to read the file each time.

    Returns:
        A part with the columns "image" and "caption" or "label".

    Raises:
        ValueError: If a column is missing, there is no such file, or a label is invalid; the error names the source,
            the column and the row.
        ImportError: If pillow is missing.
    """
    require("PIL.Image", "image", purpose="images")
    levels = as_names(label)
    table = read_table(source, text=given_names(image, caption), streaming=streaming)
    with table.named():
        for name in levels:
            check_column(name, table.names, "label")
        given = {"image": image, "caption": caption, "label": levels[0] if levels else None}
        if task not in (None, "image_text") and caption is None:
            given.pop("caption")
        optional = [role for role in ("label", "caption") if role in given]
        names = choose(table.names, required=["image"], optional=optional, given=given)
        plan = _plan(table, names, levels, task, separator, Path(folder or table.folder or "."))
        return _part(table, plan, task, Notes((*table.notes, describe(names, table.names))))


def _plan(
    table: Table, names: dict[str, str], levels: list[str], task: str | None, separator: str | None, folder: Path
) -> _Plan:
    caption = names.get("caption")
    labels = tuple(levels or given_names(names.get("label")))
    if task == "self_supervised":
        return _Plan(names["image"], folder, None, (), None)
    if not labels:
        if task is None and caption is None and looks_labelled(table, names["image"]):
            others = [name for name in table.names if name != names["image"]]
            raise ValueError(
                f"a column beside images must have a role, got {few(others)}: name the labels, label={others[0]!r}, or "
                "pass task='self_supervised' to train on the images alone."
            )
        return _Plan(names["image"], folder, caption, (), None)
    wanted = None if task == "image_text" else task
    form = form_of(table, labels, wanted, separator)
    return _Plan(names["image"], folder, caption, labels, form)


def _part(table: Table, plan: _Plan, task: str | None, notes: Notes) -> Part:
    features: dict[str, Any] = {"image": Image()}
    if plan.caption is not None:
        features["caption"] = Value("string")
    if plan.form is not None:
        features["label"] = plan.form.feature
        notes.add(f"labels are read as {plan.form.task}")
    found = "image_text" if plan.caption else plan.form.task if plan.form else "self_supervised"
    if task is not None and task != found:
        raise ValueError(
            f"the table must have a column for {task} of images, got {table.names}: pass caption= or label=."
        )
    dataset = build(partial(_rows, table, plan, notes), Features(features), streaming=table.streaming)
    return Part(found, dataset, notes=notes.all(), source=table.source, labels=plan.form.task if plan.form else None)


def _rows(table: Table, plan: _Plan, notes: Notes) -> Iterator[Row]:
    with table.named():
        for place, row in enumerate(table.rows()):
            found: Row = {"image": _image(row[plan.image], place, plan)}
            captions = [{}] if plan.caption is None else _captions(row[plan.caption], place, plan.caption, notes)
            if captions and plan.form is not None:
                found["label"] = label_of(row, place, plan.labels, plan.form, notes)
            yield from (found | caption for caption in captions)


def _captions(value: Any, place: int, column: str, notes: Notes) -> list[Row]:
    """Return the captions of an image, each in a row; none if they are missing, which is noted."""
    texts = [read_text(text, place, column) for text in as_list(value)]
    if not any(texts):
        notes.count("images without a caption are left out", f"row {place}")
    if len(texts) > 1:
        notes.count("images with several captions have a row for each", f"row {place}")
    return [{"caption": text} for text in texts if text is not None]


def _image(value: Any, place: int, plan: _Plan) -> dict[str, Any]:
    if is_decoded(value):
        return encoded(value)
    if isinstance(value, bytes):
        _check_image(BytesIO(value), "bytes", place, plan)
        return {"bytes": value, "path": None}
    if isinstance(value, Mapping):
        if value.get("bytes"):
            _check_image(BytesIO(value["bytes"]), value.get("path") or "bytes", place, plan)
            return {"bytes": value["bytes"], "path": value.get("path")}
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise refusal(plan.image, place, value, "paths of images", "fill the row, or remove it")
    path = plan.folder / value.strip()
    if not path.is_file():
        remedy = "download it first" if "://" in value else f"paths are relative to {plan.folder}, or pass folder="
        raise refusal(plan.image, place, value, "paths of images that exist", remedy)
    _check_image(path, value, place, plan)
    return {"bytes": None, "path": str(path)}


def _check_image(file: Path | BytesIO, value: str, place: int, plan: _Plan) -> None:
    """Raise a ValueError unless the start of a file is that of an image."""
    pillow = require("PIL.Image", "image", purpose="images")
    try:
        pillow.open(file).close()
    except (OSError, pillow.DecompressionBombError) as error:
        remedy = "save it again, or remove the row"
        raise refusal(plan.image, place, value, "paths of images that can be read", remedy) from error
