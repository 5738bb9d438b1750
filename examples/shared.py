"""What all examples share: their options, reading data, making a model, training, and the table at the end."""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import documentation
import torch
from datasets import Dataset, DatasetDict, load_dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers import __version__ as st_version
from torch import Tensor, nn
from transformers import set_seed

from st_rankloss import RankingDiagnostics, RankingLoss, RankingTrainer
from st_rankloss.encoders import RATES, kind_of
from st_rankloss.functional import ndcg
from st_rankloss.labels import read_classes

VOCABULARY = 4_000
"""Size of the vocabulary of the static models from scratch."""

Scores = dict[str, float]
MakeLoss = Callable[[SentenceTransformer], nn.Module]

FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv"}
SPLITS = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}


def parse_options(
    doc: str | None,
    arguments: Sequence[str] | None,
    *,
    columns: Mapping[str, str],
    losses: Sequence[str],
    **defaults: Any,
) -> argparse.Namespace:
    """Read the command line of an example.

    Args:
        doc: The example's docstring.
        arguments: The command line; None means this program's.
        columns: What each column is for, and its name by default; each is an option ``--NAME-column``.
        losses: Names of the losses that the example compares.
        **defaults: Other defaults of the options.

    Returns:
        The options; the columns' names as ``columns``, a mapping.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="static (from scratch), static-minilm, minilm, a hub id, or a folder")
    parser.add_argument("--data", help="hub id, or a parquet, jsonl, csv or tsv file, or a folder of train, dev, test")
    parser.add_argument("--output", type=Path, help="folder for the last model and results.json")
    parser.add_argument("--loss", nargs="+", choices=losses, default=list(losses), help="which losses to train with")
    parser.add_argument("--limit", type=int, help="rows or documented objects at most")
    parser.add_argument("--epochs", type=float, help="of training")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="default: that of each loss; for a pretrained model, that of its kind",
    )
    parser.add_argument("--split", choices=["dev", "test"], default="test", help="what to evaluate on")
    parser.add_argument("--seed", type=int, default=0)
    for name, default in columns.items():
        parser.add_argument(f"--{name}-column", default=default, help=f"its name in --data; default: {default}")
    parser.set_defaults(**{"model": "static", "limit": 20_000, "epochs": 3.0, "batch_size": 256} | defaults)
    options = parser.parse_args(arguments)
    options.own_model = options.model == parser.get_default("model")
    options.columns = {name: getattr(options, f"{name}_column".replace("-", "_")) for name in columns}
    set_seed(options.seed)
    return options


def read(options: argparse.Namespace, row: Callable[[documentation.Entry], dict[str, Any]]) -> DatasetDict:
    """Read ``--data``, or make rows of the documentation's entries, in train, dev and test parts."""
    if options.data:
        return read_splits(options.data, options.columns, options.limit)
    return read_documentation(options.limit, row)


def read_splits(data: str, columns: Mapping[str, str] | None = None, limit: int | None = None) -> DatasetDict:
    """Read a dataset's train, dev and test parts; what has no such parts is divided 8 : 1 : 1.

    Args:
        data: Hub id, file, or folder with a file for each part, such as ``train.parquet``.
        columns: New names of columns, and their names in the data; all others are left out. None keeps all.
        limit: Rows of each part at most.

    Returns:
        The parts.

    Raises:
        ValueError: If a column is missing.
    """
    path = Path(data)
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.iterdir()) if file.suffix in FORMATS}
        found = {split: read_file(files[name]) for split, names in SPLITS.items() for name in names if name in files}
    elif path.suffix in FORMATS:
        found = {"train": read_file(path)}
    else:
        loaded = load_dataset(data)
        found = {split: loaded[name] for split, names in SPLITS.items() for name in names if name in loaded}
    if "test" not in found:
        rest = found["train"].train_test_split(test_size=0.2, seed=0)
        halves = rest["test"].train_test_split(test_size=0.5, seed=0)
        found = {"train": rest["train"], "dev": halves["train"], "test": halves["test"]}
    found.setdefault("dev", found["test"])
    return DatasetDict({name: _cut(_rename(part, data, columns), limit) for name, part in found.items()})


def read_file(path: Path) -> Dataset:
    """Read one parquet, jsonl, csv or tsv file."""
    options = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
    return load_dataset(FORMATS[path.suffix], data_files=str(path), split="train", **options)


def read_labels(data: DatasetDict, column: str, read: Callable[[Sequence[Any], str], Any]) -> DatasetDict:
    """Check a column of labels, and leave out the rows that have none.

    Args:
        data: The parts.
        column: Name of the column.
        read: One of the readers of `st_rankloss.labels`; its values replace the column's.

    Returns:
        The parts, with the column last.

    Raises:
        ValueError: If a label is not what the reader reads; it names the column and the row.
    """
    found = {}
    for name, part in data.items():
        labels = list(read(part[column][:], column))
        kept = [row for row, label in enumerate(labels) if label is not None and label == label]  # NaN is not itself
        if len(kept) < len(part):
            print(f"{len(part) - len(kept)} of {len(part)} rows of {name} are left out: they have no {column!r}.")
        rest = part.select(kept).remove_columns(column)
        found[name] = rest.add_column(column, [labels[row] for row in kept])
    return DatasetDict(found)


def number_classes(data: DatasetDict, column: str) -> DatasetDict:
    """Check a column of classes, as `read_labels` does, and number them, as losses of sentence-transformers need."""
    data = read_labels(data, column, read_classes)
    names = sorted({name for part in data.values() for name in part[column]}, key=str)
    numbers = {name: number for number, name in enumerate(names)}
    return data.map(lambda row: {column: numbers[row[column]]})


def _rename(part: Dataset, data: str, columns: Mapping[str, str] | None) -> Dataset:
    if columns is None:
        return part
    missing = [f"--{new}-column {name}" for new, name in columns.items() if name not in part.column_names]
    if missing:
        raise ValueError(f"{data} has the columns {part.column_names}, but not {', '.join(missing)}.")
    part = part.select_columns(list(columns.values()))
    return part.rename_columns({name: new for new, name in columns.items() if new != name})


def _cut(part: Dataset, limit: int | None) -> Dataset:
    if limit is None or len(part) <= limit:
        return part
    return part.shuffle(seed=0).select(range(limit))


def read_documentation(limit: int | None, row: Callable[[documentation.Entry], dict[str, Any]]) -> DatasetDict:
    """Make a row of each entry of the installed packages' documentation, in parts divided by module."""
    Console().print("Reading the documentation of the installed packages ...")
    parts = documentation.split(documentation.load(limit))
    return DatasetDict({name: Dataset.from_list([row(entry) for entry in part]) for name, part in parts.items()})


def train(
    model: SentenceTransformer, loss: nn.Module, dataset: Dataset, options: argparse.Namespace, **arguments: Any
) -> None:
    """Train a model, with sentence-transformers' trainer and arguments.

    Args:
        model: The model.
        loss: Its loss.
        dataset: The training rows.
        options: The example's options: epochs, batch size, learning rate, seed, output.
        **arguments: Other training arguments, and ``data_collator``.
    """
    collator = arguments.pop("data_collator", None)
    arguments["learning_rate"] = learning_rate(model, options, arguments["learning_rate"])
    args = SentenceTransformerTrainingArguments(
        **{
            "output_dir": str((options.output or Path("output")) / "checkpoints"),
            "num_train_epochs": options.epochs,
            "per_device_train_batch_size": options.batch_size,
            "warmup_steps": 0.1,
            "seed": options.seed,
            "save_strategy": "no",
            "logging_steps": 0.1,
            "report_to": "none",
            "dataloader_pin_memory": torch.cuda.is_available(),
        }
        | arguments
    )
    callbacks = [RankingDiagnostics(loss)] if isinstance(loss, RankingLoss) else []
    trainer = RankingTrainer(
        model=model, args=args, train_dataset=dataset, loss=loss, callbacks=callbacks, data_collator=collator
    )
    trainer.train()


def learning_rate(model: SentenceTransformer, options: argparse.Namespace, tuned: float) -> float:
    """Choose a learning rate by the kind of encoder.

    Args:
        model: The model.
        options: The example's options.
        tuned: What was best for the model that the example makes, and for any static one from scratch.

    Returns:
        That of the command line, the tuned one, or that of `RATES` for the kind of encoder.
    """
    if options.learning_rate is not None:
        return float(options.learning_rate)
    kind = kind_of(model)
    return tuned if options.own_model or kind == "static" else RATES[kind]


def compare(
    title: str,
    untrained: SentenceTransformer,
    losses: Mapping[str, tuple[MakeLoss, dict[str, Any]]],
    dataset: Dataset | Mapping[str, Dataset],
    evaluate: Callable[[SentenceTransformer], Scores],
    options: argparse.Namespace,
) -> dict[str, Scores]:
    """Train the same model with each loss, and lay the scores out: before, and after each.

    Args:
        title: Of the table.
        untrained: The model; each loss trains a copy.
        losses: By name, what makes the loss and its training arguments.
        dataset: The training rows, for all losses or by the name of each.
        evaluate: Scores a model; higher is better.
        options: The example's options.

    Returns:
        The scores by loss, with seconds of training; the last model and all scores are saved in ``options.output``.
    """
    results = {"before": {**evaluate(untrained), "seconds": 0.0}}
    model = untrained
    for name in options.loss:
        make_loss, arguments = losses[name]
        set_seed(options.seed)
        model, start = copy.deepcopy(untrained), time.perf_counter()
        train(model, make_loss(model), dataset if isinstance(dataset, Dataset) else dataset[name], options, **arguments)
        seconds = time.perf_counter() - start
        results[name] = {**evaluate(model), "seconds": seconds}
    Console(width=110).print(_lay_out(title, results, options))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(options.output / "model"))
        (options.output / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    return results


def neighbour_ndcg(embeddings: Tensor, relevance: Tensor, k: int) -> float:
    """Score each sample's ranking of all the others: mean nDCG@k, with exact ranks and linear gain.

    Args:
        embeddings: Shape ``(N, dimensions)``, compared by cosine.
        relevance: Of each sample for each other, at least 0, shape ``(N, N)``; its diagonal is not read.
        k: Cutoff.

    Returns:
        The mean over the samples that have anything relevant.
    """
    embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    relevance = relevance.float().fill_diagonal_(torch.nan)
    values = [
        ndcg(embeddings[start : start + 256] @ embeddings.T, relevance[start : start + 256], k=k)
        for start in range(0, len(embeddings), 256)
    ]
    return torch.cat(values).nanmean().item()


def embed(model: SentenceTransformer, inputs: Sequence[Any]) -> Tensor:
    """Embed inputs, ``(N, dimensions)``, on the CPU."""
    embeddings: Tensor = model.encode(list(inputs), batch_size=256, convert_to_tensor=True, show_progress_bar=False)
    return embeddings.float().cpu()


def _lay_out(title: str, results: Mapping[str, Scores], options: argparse.Namespace) -> Table:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, sentence-transformers {st_version}"
    table = Table(title=title, caption=f"{options.split} split, seed {options.seed}; {versions}")
    metrics = [metric for metric in results["before"] if metric != "seconds"]
    for heading in ("", *metrics, "seconds"):
        table.add_column(heading, justify="right")
    best = {metric: max(row[metric] for row in results.values()) for metric in metrics}
    for name, row in results.items():
        cells = [f"[bold]{row[m]:.4f}[/bold]" if row[m] == best[m] else f"{row[m]:.4f}" for m in metrics]
        table.add_row(name, *cells, f"{row['seconds']:.0f}")
    return table
