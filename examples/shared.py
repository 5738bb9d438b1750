"""What all examples share: their options, reading data, making a model, training, and the table at the end."""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import documentation
import torch
from datasets import Dataset, DatasetDict
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers import __version__ as st_version
from torch import Tensor, nn
from transformers import set_seed

import st_rankloss.data
from st_rankloss import RankingDiagnostics, RankingLoss, RankingTrainer
from st_rankloss.data import Part, split
from st_rankloss.encoders import RATES, kind_of
from st_rankloss.functional import ndcg
from st_rankloss.labels import is_missing

VOCABULARY = 4_000
"""Size of the vocabulary of the static models from scratch."""

Scores = dict[str, float]
MakeLoss = Callable[[SentenceTransformer], nn.Module]


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
        columns: Names of options ``--NAME-column``, and the role of each in `st_rankloss.data.read`.
        losses: Names of the losses that the example compares.
        **defaults: Other defaults of the options.

    Returns:
        The options; the names of given columns by role as ``columns``.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="static (from scratch), static-minilm, minilm, a hub id, or a folder")
    parser.add_argument("--data", help="whatever st_rankloss.data.read reads: file, folder or hub id")
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
    for name in columns:
        parser.add_argument(f"--{name}-column", help="its name in --data; default: found by its usual names")
    parser.set_defaults(**{"model": "static", "limit": 20_000, "epochs": 3.0, "batch_size": 256} | defaults)
    options = parser.parse_args(arguments)
    options.own_model = options.model == parser.get_default("model")
    options.columns = _by_role({columns[name]: [] for name in columns}, columns, options)
    set_seed(options.seed)
    return options


def _by_role(
    found: dict[str, list[str]], columns: Mapping[str, str], options: argparse.Namespace
) -> dict[str, str | list[str]]:
    """Return the columns of the command line by role; several of one role as a list."""
    for name, role in columns.items():
        if (given := getattr(options, f"{name}_column".replace("-", "_"))) is not None:
            found[role].append(given)
    return {role: names[0] if len(names) == 1 else names for role, names in found.items() if names}


def read(options: argparse.Namespace, task: str, row: Callable[[documentation.Entry], dict[str, Any]]) -> DatasetDict:
    """Read ``--data`` for a task, or make rows of the documentation's entries, in train, dev and test parts."""
    if options.data:
        return labelled(DatasetDict({name: part.dataset for name, part in read_parts(options, task).items()}))
    return read_documentation(options.limit, row)


def read_parts(options: argparse.Namespace, task: str) -> dict[str, Part]:
    """Read ``--data`` for a task: train, dev and test parts, of at most ``--limit`` rows each; say what was read."""
    parts = split(st_rankloss.data.read(options.data, task=task, download=True, **options.columns))
    for name, part in parts.items():
        print(f"{name}: {len(part)} rows; " + "; ".join(part.notes))
    return {name: _cut(part, options.limit) for name, part in parts.items()}


def labelled(data: DatasetDict) -> DatasetDict:
    """Leave out the rows that have no label, and say how many."""
    found = {}
    for name, part in data.items():
        labels = part["label"][:] if "label" in part.column_names else []
        kept = [row for row, label in enumerate(labels) if not is_missing(label)]
        if len(kept) < len(labels):
            print(f"{len(labels) - len(kept)} of {len(labels)} rows of {name} are left out: they have no label.")
        found[name] = part.select(kept) if len(kept) < len(labels) else part
    return DatasetDict(found)


def number_classes(data: DatasetDict) -> DatasetDict:
    """Number the classes, as losses of sentence-transformers need."""
    names = sorted({name for part in data.values() for name in part["label"]}, key=str)
    numbers = {name: number for number, name in enumerate(names)}
    columns = {split: [numbers[name] for name in part["label"]] for split, part in data.items()}
    return DatasetDict(
        {split: part.remove_columns("label").add_column("label", columns[split]) for split, part in data.items()}
    )


def _cut(part: Part, limit: int | None) -> Part:
    if limit is None or len(part) <= limit:
        return part
    return replace(part, dataset=part.dataset.shuffle(seed=0).select(range(limit)))


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
