"""mteb's own tasks: on our records of samples, and by name from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mteb
from datasets import Dataset, DatasetDict, Image
from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskMultilabelClassification, AbsTaskRegression
from mteb.abstasks.abstask import AbsTask

from eval.names import check_name
from eval.tasks.data import Data, Samples
from st_rankloss.mteb_tasks import describe


def standard_tasks(data: Data, split: str) -> list[AbsTask]:
    """Make mteb's classification, regression and clustering on a record of samples."""
    record = data.record
    if record.kind != "samples" or record.has_captions:
        return []
    if record.labels == "numbers":
        return [_standard(AbsTaskRegression, data, split, "Regression", "kendalltau", label_column_name="value")]
    if record.labels == "sets":
        return [_standard(AbsTaskMultilabelClassification, data, split, "MultilabelClassification", "lrap")]
    kind = "Image" if record.modality == "image" else ""
    embedded = {"max_fraction_of_documents_to_embed": None, "label_column_name": "label"}
    return [
        _standard(AbsTaskClassification, data, split, f"{kind}Classification", "accuracy"),
        _standard(AbsTaskClustering, data, split, f"{kind}Clustering", "v_measure", **embedded),
    ]


def _standard(base: type[AbsTask], data: Data, split: str, kind: str, main: str, **attributes: Any) -> AbsTask:
    column = data.record.modality
    fields = {"category": "i2c", "modalities": ["image"]} if column == "image" else {}
    described = describe(f"{data.record.name}.{kind}", kind, main, eval_splits=[split], **fields)
    attributes["input_column_name"] = column

    def load(self: Any, *args: Any, **kwargs: Any) -> None:
        self.dataset = DatasetDict({name: _columns(data, name) for name in ("train", split)})
        self.data_loaded = True

    return type(f"{data.record.name}{kind}", (base,), {"metadata": described, "load_data": load, **attributes})()


def _columns(data: Data, split: str) -> Dataset:
    part = data.parts[split]
    assert isinstance(part, Samples)
    if data.record.labels == "numbers":
        labels = {"value": part.labels.reshape(len(part), -1)[:, 0].tolist()}
    elif data.record.labels == "sets":
        labels = {"label": [row.nonzero()[:, 0].tolist() for row in part.labels]}
    else:
        labels = {"label": (part.labels if part.labels.dim() == 1 else part.labels[:, -1]).tolist()}
    rows = Dataset.from_dict({data.record.modality: part.inputs} | labels)
    return rows.cast_column("image", Image()) if data.record.modality == "image" else rows


def named_tasks(names: Sequence[str]) -> list[AbsTask]:
    """Return tasks, or those of whole benchmarks, by name; their data come from the hub.

    Raises:
        ValueError: If mteb has neither a task nor a benchmark with a name, with the closest names.
    """
    if not names:
        return []
    tasks = {task.metadata.name for task in mteb.get_tasks(exclude_superseded=False)}
    benchmarks = [benchmark.name for benchmark in mteb.get_benchmarks()]
    found: list[AbsTask] = []
    for name in names:
        check_name(name, [*sorted(tasks), *benchmarks], "task or benchmark of mteb")
        found += [mteb.get_task(name)] if name in tasks else list(mteb.get_benchmark(name).tasks)
    return found
