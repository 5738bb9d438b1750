"""Train a model that finds what belongs together in the documentation of your Python packages, and compare losses.

    python examples/quickstart.py [--model static|minilm|HUB-ID-OR-PATH] [--output FOLDER]

The texts are the first sentences of docstrings, without names. Relevance is graded by where two objects live, as in
any shop, library or folder: 3 in the same module, 2 in the same sub-package, 1 in the same package. The test ranks
texts for each other in modules never trained on. The same model learns from:

    MNRL            MultipleNegativesRankingLoss of sentence-transformers as it comes; a pair is a text and a relevant
                    one of any grade
    MNRL, nearest   a pair is a text and one of the highest grade that it has
    MNRL, tuned     pairs of any grade, with the best scale
    softmax         SoftmaxCrossEntropy: a cross-entropy with the grades of the whole batch
    A-NDCG          ANDCGLoss as it comes: a differentiable nDCG of the grades of the whole batch

Settings were chosen on the dev modules: ten trials for MNRL, nine for A-NDCG (none raised its nDCG@100 by more than
.002 above that of its defaults), three for softmax. The searches were chosen before their results were seen.
`examples/search.py` asks the A-NDCG model your own question.

Test, mean of three seeds: graded nDCG@100 .493 with MNRL as it comes, .507 nearest, .529 tuned, .529 softmax, .543
A-NDCG; graded nDCG@10 .563, .586, .572, .556, .584. On the same module alone, MNRL with nearest pairs is best.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import documentation
import numpy as np
import shared
import torch
from datasets import Dataset
from documentation import Entry
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from search import DOCUMENTS
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers import __version__ as st_version
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn
from transformers import ProgressCallback

from st_rankloss import ANDCGLoss, RankingLoss, RankingTrainer, SoftmaxCrossEntropy, samplers
from st_rankloss.encoders import make_encoder
from st_rankloss.functional import ndcg
from st_rankloss.relevance import Hierarchy

LEVELS = {3: "module", 2: "sub-package", 1: "package"}
SHOWN = ("MNRL, tuned", "A-NDCG")
"""Whose searches are printed side by side."""
TITLES = (
    "networkx.algorithms.connectivity.connectivity.average_node_connectivity",
    "sklearn.svm._classes.LinearSVC",
    "matplotlib.path.Path.arc",
)
"""Objects of test modules whose sentences are searched for."""


@dataclass(frozen=True)
class Method:
    """A loss and its settings, chosen on the dev modules."""

    make_loss: Callable[[SentenceTransformer], nn.Module]
    rows: str
    """``"labels"``: a text and its path; ``"nearest"`` or ``"any"``: pairs of texts."""
    learning_rate: float


METHODS = {
    "MNRL": Method(MultipleNegativesRankingLoss, "any", 0.1),
    "MNRL, nearest": Method(lambda model: MultipleNegativesRankingLoss(model, scale=10), "nearest", 0.1),
    "MNRL, tuned": Method(lambda model: MultipleNegativesRankingLoss(model, scale=7), "any", 0.2),
    "softmax": Method(
        lambda model: RankingLoss(
            model, objective=SoftmaxCrossEntropy(temperature=0.2, gain="exponential"), relevance=Hierarchy()
        ),
        "labels",
        0.1,
    ),
    "A-NDCG": Method(lambda model: ANDCGLoss(model, relevance=Hierarchy()), "labels", 0.1),
}


def path_of(entry: Entry) -> list[str]:
    """Name an object's package, sub-package and module.

    Example:
        >>> path_of(Entry("json.decoder.loads", "", "", "json.decoder", "", "stdlib"))
        ['json', 'json.decoder', 'json.decoder']
    """
    parts = entry.module.split(".")
    return [parts[0], ".".join(parts[:2]), entry.module]


def labelled_rows(entries: Sequence[Entry]) -> Dataset:
    """Make a row of each text and its path."""
    return Dataset.from_dict(
        {"text": [entry.query for entry in entries], "label": [path_of(entry) for entry in entries]}
    )


def pair_rows(entries: Sequence[Entry], *, nearest: bool, draws: int, seed: int) -> Dataset:
    """Pair each text with a relevant one, ``draws`` times: of its highest grade, or of a grade drawn at random."""
    generator = random.Random(seed)
    members = defaultdict(list)
    for entry in entries:
        for depth, name in enumerate(path_of(entry)):
            members[depth, name].append(entry)
    pairs = []
    for entry in entries:
        levels = [members[level] for level in reversed(list(enumerate(path_of(entry)))) if len(members[level]) > 1]
        for _ in range(draws if levels else 0):
            level = levels[0] if nearest else generator.choice(levels)
            while (other := generator.choice(level)) is entry:
                pass
            pairs.append({"anchor": entry.query, "positive": other.query})
    return Dataset.from_list(pairs)


class Part:
    """Modules whose texts are ranked for each other."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.names = [entry.id for entry in entries]
        self.texts = [entry.query for entry in entries]
        levels = np.array([path_of(entry) for entry in entries]).T
        paths = np.stack([np.unique(level, return_inverse=True)[1] for level in levels], axis=1)
        self.relevance = Hierarchy()(*2 * [torch.from_numpy(paths)])
        self.relevance.fill_diagonal_(torch.nan)  # a text is not searched for itself

    def similarity(self, model: SentenceTransformer) -> Tensor:
        """Compare all texts by a model."""
        embeddings = torch.nn.functional.normalize(shared.embed(model, self.texts), dim=1)
        return embeddings @ embeddings.T

    def bm25(self) -> Tensor:
        """Compare all texts by BM25, with names such as ``readCsv_file`` split into their words."""
        split = [re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text) for text in self.texts]
        tokens = bm25s.tokenize(split, show_progress=False)
        index = bm25s.BM25()
        index.index(tokens, show_progress=False)
        places, scores = index.retrieve(tokens, k=len(split), show_progress=False)
        return torch.empty(len(split), len(split)).scatter_(
            1, torch.from_numpy(places).long(), torch.from_numpy(scores).float()
        )

    def score(self, similarity: Tensor) -> dict[str, float]:
        """Score all rankings: nDCG of all grades, and of one level at a time."""

        def mean(relevance: Tensor, k: int) -> float:
            return ndcg(similarity, relevance, k=k).nanmean().item()

        unjudged = self.relevance.isnan()
        scores = {f"nDCG@{k}": mean(self.relevance, k) for k in (100, 10)}
        for grade, level in LEVELS.items():
            scores[level] = mean((self.relevance >= grade).float().masked_fill(unjudged, torch.nan), 10)
        return scores

    def hits(self, similarity: Tensor, name: str, top: int) -> list[str]:
        """Name the best texts for that of an object, each marked by its grade."""
        row = self.names.index(name)
        best = similarity[row].index_fill(0, torch.tensor(row), -torch.inf).topk(top).indices.tolist()
        grades = [int(self.relevance[row, place]) for place in best]
        return [
            f"{'●' * grade}{'○' * (3 - grade)} {shorten(self.names[place])}"
            for place, grade in zip(best, grades, strict=True)
        ]


def shorten(name: str, width: int = 43) -> str:
    """Cut the middle out of a long name.

    Example:
        >>> shorten("networkx.algorithms.dag", 15)
        'network…hms.dag'
    """
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width - width // 2 - 1) :]}"


class ProgressBar(ProgressCallback):
    """The trainer's progress bar, without the logs printed across it."""

    def on_log(self, *arguments: Any, **kwargs: Any) -> None:
        """Print nothing."""


def train(model: SentenceTransformer, method: Method, entries: Sequence[Entry], options: argparse.Namespace) -> None:
    """Train a model; labels and pairs take the same number of steps."""
    if method.rows == "labels":
        dataset, epochs, sampler = labelled_rows(entries), options.epochs, samplers.hierarchy(per_level=(2, 2, 2))
    else:
        dataset = pair_rows(entries, nearest=method.rows == "nearest", draws=options.epochs, seed=options.seed)
        epochs, sampler = 1, BatchSamplers.NO_DUPLICATES
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(options.output / "checkpoints"),
        num_train_epochs=epochs,
        per_device_train_batch_size=options.batch_size,
        learning_rate=shared.learning_rate(model, options, method.learning_rate),
        batch_sampler=sampler,
        seed=options.seed,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = RankingTrainer(model=model, args=arguments, train_dataset=dataset, loss=method.make_loss(model))
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(ProgressBar)
    trainer.train()


def make_table(rows: Mapping[str, Mapping[str, float]], title: str, caption: str) -> Table:
    """Lay out the comparison, the best of each column in bold."""
    table = Table(title=title, caption=caption)
    columns = list(rows["BM25"])
    for heading in ("", *columns):
        table.add_column(heading, justify="right", no_wrap=True)
    best = {column: max(row[column] for row in rows.values()) for column in columns[:-1]}
    for name, row in rows.items():
        cells = [f"[bold]{row[c]:.3f}[/bold]" if row[c] == best[c] else f"{row[c]:.3f}" for c in best]
        table.add_row(name, *cells, f"{row['seconds']:.0f}")
    return table


def show_searches(part: Part, similarities: Mapping[str, Tensor], top: int = 4) -> list[Table]:
    """Lay the best hits of the methods side by side, for each of `TITLES` among the texts."""
    tables = []
    for name in TITLES:
        if name in part.names:
            text = part.texts[part.names.index(name)]
            table = Table(title=f"{text[:96]}\n[dim]{name}[/dim]", title_justify="left", title_style="bold", box=None)
            for column in SHOWN:
                table.add_column(column, width=47)
            found = [part.hits(similarities[method], name, top) for method in SHOWN]
            for hits in zip(*found, strict=True):
                table.add_row(*hits)
            tables.append(table)
    return tables


def plot(rows: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the scores of each method."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    metrics = [metric for metric in rows["BM25"] if metric != "seconds"]
    width = 0.8 / len(rows)
    for i, (name, row) in enumerate(rows.items()):
        axes.bar([m + width * i for m in range(len(metrics))], [row[metric] for metric in metrics], width, label=name)
    axes.set_xticks([m + 0.4 - width / 2 for m in range(len(metrics))], metrics)
    axes.set(ylabel="nDCG, test", title="Ranking of related texts in modules never trained on")
    axes.legend()
    figure.savefig(path, dpi=130)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="static", help="static (from scratch), static-minilm, minilm, or a hub id or path"
    )
    parser.add_argument("--output", type=Path, default=Path("output/quickstart"), help="folder for model and plot")
    parser.add_argument("--limit", type=int, default=25_000, help="documented objects at most")
    parser.add_argument("--packages", nargs="+", default=documentation.PACKAGES, help="packages to read, if installed")
    parser.add_argument("--split", choices=["dev", "test"], default="test", help="what to evaluate on")
    parser.add_argument("--seed", type=int, default=0, help="of the model, the pairs and their order")
    parser.add_argument("--epochs", type=int, help="default: 4 for static, else 1")
    parser.add_argument("--batch-size", type=int, help="default: 512 for static, else 64")
    parser.add_argument("--learning-rate", type=float, help="default: that of each loss, or of the kind of model")
    options = parser.parse_args(arguments)
    options.own_model = options.model == "static"
    options.epochs = options.epochs or (4 if options.own_model else 1)
    options.batch_size = options.batch_size or (512 if options.own_model else 64)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare BM25, the untrained model and the losses; save the A-NDCG model."""
    options, console = parse_options(arguments), Console(width=100)
    options.output.mkdir(parents=True, exist_ok=True)
    console.print("Reading the documentation of the installed packages ...")
    entries = documentation.load(options.limit, packages=options.packages)
    parts = documentation.split(entries)
    part = Part(parts[options.split])
    model = untrained = make_encoder(options.model, [entry.query for entry in parts["train"]], seed=options.seed)
    similarities, seconds = {"BM25": part.bm25(), "untrained": part.similarity(untrained)}, defaultdict(float)
    for name, method in METHODS.items():
        console.print(f"Training with {name} on {len(parts['train'])} texts ...")
        model, start = copy.deepcopy(untrained), time.perf_counter()
        train(model, method, parts["train"], options)
        seconds[name] = time.perf_counter() - start
        similarities[name] = part.similarity(model)

    rows = {name: part.score(values) | {"seconds": seconds[name]} for name, values in similarities.items()}
    model.save_pretrained(str(options.output / "model"))
    texts = {entry.id: entry.query for entry in entries}
    (options.output / "model" / DOCUMENTS).write_text(json.dumps(texts), encoding="utf-8")
    (options.output / "results.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    plot(rows, options.output / "quickstart.png")
    title = f"What belongs to this text? {len(part.names)} texts of modules never trained on"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, sentence-transformers {st_version}"
    caption = (
        "nDCG of all grades; module, sub-package, package: nDCG@10 of one level at a time; seconds of training.\n"
        f"{options.split} split, seed {options.seed}; {versions}"
    )
    console.print(make_table(rows, title, caption))
    console.print(
        "\nThe best texts for three of them: ●●● same module, ●●○ sub-package, ●○○ package, ○○○ none of these\n"
    )
    for table in show_searches(part, similarities):
        console.print(table)
    console.print(f"\nSaved in {options.output}: model, results.json, quickstart.png. Ask the model yourself:")
    console.print(f'python examples/search.py {options.output / "model"} "how do I ..."', highlight=False)


if __name__ == "__main__":
    main()
