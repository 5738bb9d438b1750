"""The recipe for classes on labels of which some are wrong, plain and with weightings that leave wrong ones out.

    python -m eval.denoising --data DIR [--shares 0 0.2 0.4] [--methods plain neighbours ...] [--seeds 3]

The training labels of banking77 are flipped, a share of them, each to any other class alike; dev and test keep theirs.
The model is the word embeddings of MiniLM, of the words that occur. Every method trains with `recipes.classification`
on the same rows and gets the same trials of learning rates on dev, with the defaults of its weighting; its
best trial is then run on test, once per seed. The metric is MAP: each sample ranks all others. Runs that the file has
are skipped.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from transformers import set_seed

import st_rankloss
from eval.machine import hardware
from eval.tasks.data import Samples, load_data
from eval.tasks.mteb_tasks import MOST_QUERIES
from eval.tasks.records import load_records
from eval.tasks.values import average_precisions, evenly
from st_rankloss import RankingTrainer, recipes
from st_rankloss.encoders import make_encoder
from st_rankloss.weighting import LossMixture, NeighbourAgreement, SelfPaced, Weighting

Run = dict[str, Any]

METHODS: dict[str, Callable[[], Weighting | None]] = {
    "plain": lambda: None,
    "neighbours": NeighbourAgreement,
    "mixture": LossMixture,
    "self-paced": SelfPaced,
}

GRID = [{"steps": 300, "rate": rate} for rate in (3e-3, 9e-3, 2.7e-2)]
"""Trials on dev, for each method and share of wrong labels."""

BATCH = 128


def flip(labels: Tensor, share: float, seed: int) -> Tensor:
    """Change a share of labels, each to any other class alike.

    Args:
        labels: Classes from 0 on, ``(N,)``.
        share: The share to change, in [0, 1].
        seed: Seed of the choice.

    Returns:
        The labels, with ``round(share * N)`` changed.
    """
    draw = torch.Generator().manual_seed(seed)
    classes, count = int(labels.max()) + 1, round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=draw)[:count]
    flipped = labels.clone()
    flipped[chosen] = (labels[chosen] + torch.randint(1, classes, (count,), generator=draw)) % classes
    return flipped


@functools.cache
def make_model(texts: tuple[str, ...]) -> SentenceTransformer:
    """Make the word embeddings of MiniLM, without those of words that do not occur, which would never train.

    Args:
        texts: All texts of the data.

    Returns:
        The model, which embeds these texts as ``static-minilm`` does.
    """
    words: Any = make_encoder("static-minilm", device="cpu")[0]
    encoded = words.tokenizer.encode_batch(texts, add_special_tokens=False)
    described = json.loads(words.tokenizer.to_str())
    unknown = described["model"]["vocab"][described["model"]["unk_token"]]
    kept = sorted({unknown, *itertools.chain.from_iterable(text.ids for text in encoded)})
    names = {number: name for name, number in described["model"]["vocab"].items()}
    described["model"]["vocab"] = {names[number]: place for place, number in enumerate(kept)}
    described |= {"added_tokens": [], "post_processor": None}
    weights = words.embedding.weight.detach()[kept].numpy()
    tokenizer = Tokenizer.from_str(json.dumps(described))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def train(
    parts: Mapping[str, Samples], method: str, setting: Mapping[str, float], share: float, seed: int
) -> SentenceTransformer:
    """Train with the recipe for classes on labels of which a share is wrong.

    Args:
        parts: The data by part.
        method: One of `METHODS`.
        setting: One of `GRID`.
        share: The share of wrong labels.
        seed: Seed of the wrong labels and of the training.

    Returns:
        The model.
    """
    set_seed(seed)
    model = copy.deepcopy(make_model(tuple(text for part in parts.values() for text in part.inputs)))
    rows = parts["train"]
    recipe = recipes.classification()
    args = SentenceTransformerTrainingArguments(
        output_dir="output/denoising/trainer",
        max_steps=int(setting["steps"]),
        per_device_train_batch_size=BATCH,
        learning_rate=setting["rate"],
        warmup_steps=0.1,
        batch_sampler=recipe.batch_sampler,
        dataloader_drop_last=True,
        seed=seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    RankingTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"text": rows.inputs, "label": flip(rows.labels, share, seed).tolist()}),
        loss=recipe.loss(model, weighting=METHODS[method]()),
    ).train()
    return model


def score(model: SentenceTransformer, part: Samples) -> float:
    """Return the mean average precision of samples that rank all others, as in the comparison of losses."""
    vectors = normalize(model.encode(part.inputs, batch_size=256, convert_to_tensor=True).float(), dim=1)
    chosen = evenly(len(part), MOST_QUERIES)
    similarity, relevant = vectors[chosen] @ vectors.T, part.labels[chosen, None] == part.labels
    return float(average_precisions(similarity, relevant, chosen).nanmean())


def runs(shares: list[float], methods: list[str], done: list[Run], seeds: int) -> Iterator[Run]:
    """Yield what is left to run: trials on dev first, then the best of each method on test."""

    def finished(run: Run) -> Run | None:
        return next((each for each in done if all(each[key] == value for key, value in run.items())), None)

    for share, method in itertools.product(shares, methods):
        trials = [{"share": share, "method": method, "setting": s, "seed": 0, "split": "dev"} for s in GRID]
        yield from (trial for trial in trials if not finished(trial))
        best = max((finished(trial) or {"map": -1.0} for trial in trials), key=lambda run: run["map"])
        final = [{**trials[0], "setting": best["setting"], "seed": seed, "split": "test"} for seed in range(seeds)]
        yield from (run for run in final if not finished(run))


def table_of(shares: list[float], methods: list[str], done: list[Run]) -> Table:
    """Make a table of the runs on test."""
    table = Table("wrong labels", "method", "setting (best on dev)", "MAP on test", "against plain", title=machine())
    for share, method in itertools.product(shares, methods):
        tests = {
            name: [run for run in done if (run["share"], run["method"], run["split"]) == (share, name, "test")]
            for name in (method, "plain")
        }
        values, plain = ([run["map"] for run in tests[name]] for name in (method, "plain"))
        if values:
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            gain = f"{statistics.mean(values) - statistics.mean(plain):+.4f}" if plain else ""
            mean = f"{statistics.mean(values):.4f}{spread}"
            table.add_row(f"{share:.0%}", method, str(tests[method][0]["setting"]), mean, gain)
    return table


def machine() -> str:
    """Describe hardware and versions."""
    return f"{hardware('cpu')}; torch {torch.__version__}, st_rankloss {st_rankloss.__version__}"


def main() -> None:
    """Run what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.2, 0.4], help="shares of wrong labels")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--seeds", type=int, default=3, help="seeds on test; 0 only tunes")
    parser.add_argument("--output", type=Path, default=Path("output/denoising/runs.jsonl"), help="file of results")
    options = parser.parse_args()
    parts = load_data(load_records()["banking77"], options.data).parts
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    for run in runs(options.shares, options.methods, done, options.seeds):
        start = time.perf_counter()
        model = train(parts, run["method"], run["setting"], run["share"], run["seed"])
        seconds = time.perf_counter() - start
        done.append({**run, "map": score(model, parts[run["split"]]), "seconds": seconds, "machine": machine()})
        print(done[-1], flush=True)
        with options.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
    Console(width=140).print(table_of(options.shares, options.methods, done))


if __name__ == "__main__":
    main()
