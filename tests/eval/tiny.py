"""Tiny data sets of every kind with their records, made in every test run, and what runs on them would leave."""

from __future__ import annotations

import io
import json
import random
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from datasets import Dataset
from PIL import Image
from rich.console import Console

from eval.plans.losses import contenders
from eval.results import Run, Spec
from eval.tasks.data import Data
from eval.tasks.records import load_records

TOPICS = {
    "food": {"fruit": ("apple", "pear", "plum"), "bread": ("rye", "loaf", "bun")},
    "stuff": {"metal": ("iron", "zinc", "lead"), "wood": ("oak", "pine", "beech")},
    "sky": {"star": ("sun", "vega", "rigel"), "cloud": ("cirrus", "haze", "fog")},
}
"""Words by class, by class of classes."""

LEAVES = [(topic, kind) for topic, kinds in TOPICS.items() for kind in kinds]
WORDS = [word for kinds in TOPICS.values() for words in kinds.values() for word in words]
SIZES = {"train": 24, "dev": 12, "test": 13}

RECORDS = yaml.safe_load("""
alike:
  {kind: pairs, files: "alike/{split}.parquet", columns: {first: one, second: two, score: score}, relevant_from: 3,
   metrics: [spearman]}
search:
  {kind: retrieval, level: 2, documents: 3, metrics: [ndcg_at_10, mrr_at_10],
   files: {corpus: search/corpus.jsonl, queries: "search/queries_{split}.jsonl", qrels: "search/qrels_{split}.jsonl"},
   columns: {query_id: qid, query: query, document_id: did, document: [title, text], grade: grade}}
judged:
  {kind: retrieval, rerank: true, trained_on: search, metrics: [ndcg_at_10],
   files: {corpus: search/corpus.jsonl, queries: "search/papers_{split}.jsonl", qrels: "search/qrels_{split}.jsonl"},
   columns: {query_id: qid, paper_id: paper, document_id: did, document: [title, text], grade: grade}}
topics:
  {kind: samples, labels: classes, files: "topics/{split}.csv", columns: {input: text, labels: [kind]},
   drop: {topic: none}, metrics: [map, accuracy]}
tree:
  {kind: samples, labels: classes, files: "topics/{split}.csv", columns: {input: text, labels: [topic, kind]},
   drop: {topic: none}, metrics: [map, ndcg_at_100]}
sets:
  {kind: samples, labels: sets, files: "sets/{split}.jsonl", columns: {input: [title, text], labels: [kinds, topic]},
   metrics: [ndcg_at_10, lrap]}
number:
  {kind: samples, labels: numbers, files: "numbers/{split}.parquet", columns: {input: text, labels: [x]},
   metrics: [ndcg_at_10, probe_spearman]}
pictures:
  {kind: samples, labels: classes, modality: image, files: "pictures/{split}.parquet",
   columns: {input: image, caption: caption, labels: [colour, shade]}, metrics: [ndcg_at_10]}
marks:
  {kind: samples, labels: classes, modality: image, files: "pictures/{split}.parquet",
   columns: {input: image, labels: [colour, shade]}, metrics: [map, accuracy]}
lines:
  {kind: texts, files: {train: topics/train.csv}, columns: {input: text}, scored_on: alike, metrics: [spearman]}
""")
"""In the form of ``datasets.yaml``; the budget is added when they are written."""

TRAINED = [name for name in RECORDS if name != "judged"]
STATIC = [name for name in TRAINED if name not in ("pictures", "marks")]
VERSIONS = {"torch": "2.0", "mteb": "2.26"}
QUIET = Console(quiet=True)
PAIRS = {"kind": "pairs", "files": "{split}.jsonl", "columns": {"first": "a", "second": "b", "score": "s"}}
"""A record of pairs, but for its metrics."""


def save_record(path, name="mine", **content):
    """Write one record to a YAML file."""
    path.write_text(yaml.safe_dump({name: content}), encoding="utf-8")
    return path


def phrase(draw, leaf, length=3):
    """Words of one class, and one of any."""
    topic, kind = leaf
    return " ".join([*draw.choices(TOPICS[topic][kind], k=length), draw.choice(WORDS)])


def picture(colour, shade, draw):
    """The bytes of a PNG file."""
    level = {"dark": 90, "bright": 220}[shade] + draw.randrange(30)
    pixels = tuple(level if name == colour else draw.randrange(60) for name in ("red", "green", "blue"))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), pixels).save(stream, format="PNG")
    return stream.getvalue()


def write_rows(path, rows):
    """Write rows in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset.from_list(rows)
    if path.suffix == ".parquet":
        data.to_parquet(path)
    elif path.suffix == ".csv":
        data.to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_world(folder: Path) -> Path:
    """Write every data set below a folder; return the path of the records."""
    draw = random.Random(0)
    documents = [(f"d{i}", LEAVES[i % 6], phrase(draw, LEAVES[i % 6])) for i in range(30)]
    corpus = [{"did": did, "title": leaf[1], "text": text} for did, leaf, text in documents]
    write_rows(folder / "search/corpus.jsonl", corpus)
    for split, size in SIZES.items():
        leaves = [LEAVES[i % 6] for i in range(size)]
        texts = [phrase(draw, leaf) for leaf in leaves]
        _write_pairs(folder / f"alike/{split}.parquet", size, draw)
        _write_search(folder / "search", split, leaves, texts, documents, draw)
        rows = [{"text": text, "topic": topic, "kind": kind} for text, (topic, kind) in zip(texts, leaves, strict=True)]
        write_rows(folder / f"topics/{split}.csv", [*rows, {"text": "noise", "topic": "none", "kind": "noise"}])
        sets = [
            {"title": kind, "text": text, "topic": topic, "kinds": sorted({kind, draw.choice(LEAVES)[1]})}
            for text, (topic, kind) in zip(texts, leaves, strict=True)
        ]
        write_rows(folder / f"sets/{split}.jsonl", sets)
        numbers = [
            {"text": text, "x": LEAVES.index(leaf) + draw.random(), "y": 10 * draw.random()}
            for text, leaf in zip(texts, leaves, strict=True)
        ]
        write_rows(folder / f"numbers/{split}.parquet", numbers)
        looks = [(colour, shade) for colour in ("red", "green", "blue") for shade in ("dark", "bright")]
        pictures = [
            {
                "image": picture(*looks[i % 6], draw),
                "caption": f"{looks[i % 6][1]} {looks[i % 6][0]}",
                "colour": looks[i % 6][0],
                "shade": " ".join(looks[i % 6]),
            }
            for i in range(size)
        ]
        write_rows(folder / f"pictures/{split}.parquet", pictures)
    budget = {"batch_size": 8, "steps": 2}
    path = folder / "records.yaml"
    path.write_text(yaml.safe_dump({name: record | budget for name, record in RECORDS.items()}), encoding="utf-8")
    return path


def _write_pairs(path, size, draw):
    rows = []
    for i in range(size):
        first = draw.sample(WORDS, 4)
        second = first[: i % 5] + draw.sample(WORDS, 4 - i % 5)
        rows.append({"one": " ".join(first), "two": " ".join(second), "score": 1.25 * (i % 5) + 0.01 * i})
    write_rows(path, rows)


def _write_search(folder, split, leaves, texts, documents, draw):
    queries = [{"qid": f"{split}{i}", "query": text} for i, text in enumerate(texts)]
    qrels = [
        {"qid": f"{split}{i}", "did": did, "grade": 1 + 2 * (leaf == leaves[i]) if leaf[0] == leaves[i][0] else 0}
        for i in range(len(queries))
        for did, leaf, _ in documents
        if draw.random() < 0.6
    ]
    write_rows(folder / f"queries_{split}.jsonl", queries)
    papers = [{"qid": query["qid"], "paper": documents[i % len(documents)][0]} for i, query in enumerate(queries)]
    write_rows(folder / f"papers_{split}.jsonl", papers)
    write_rows(folder / f"qrels_{split}.jsonl", qrels)


class World:
    """The folder, its records, and their data, each read once.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, write_world(folder)
        self.records = load_records([self.path])
        self._data: dict[str, Data] = {}

    def record(self, name, **changes):
        """A record, with changes."""
        return replace(self.records[name], **changes)

    def data(self, name):
        """A record's data."""
        if name not in self._data:
            self._data[name] = Data(self.records[name], self.folder)
        return self._data[name]

    def spec(self, name, loss, stage="dev", encoder="static", learning_rate=0.05, **fields):
        """A run."""
        record = fields.pop("record", self.records[name])
        partner = self.records.get(record.trained_on or record.scored_on)
        given = {"learning_rate": learning_rate, "folder": self.folder, "partner": partner} | fields
        return Spec(record, encoder, loss, stage, **given)


class InThisProcess:
    """Stands in for a pool of workers: runs at once."""

    def __init__(self, jobs, **kwargs):
        self.jobs = jobs

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None

    def submit(self, function, spec):
        """Run, and keep the result or the error."""
        future = Future()
        try:
            future.set_result(function(spec))
        except Exception as error:  # as a pool does
            future.set_exception(error)
        return future


class Fixed(torch.nn.Module):
    """A model of sentence-transformers' kind whose embedding of a text is written down; unknown texts are hashed."""

    def __init__(self, known=None, dim=6):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.known, self.dim = known or {}, dim

    def embed(self, text):
        """The embedding of one text."""
        if text not in self.known:
            generator = torch.Generator().manual_seed(sum((i + 1) * ord(c) for i, c in enumerate(str(text))))
            self.known[text] = torch.randn(self.dim, generator=generator)
        return self.known[text]

    def preprocess(self, inputs, prompt=None, **kwargs):
        """Texts to features."""
        return {"embedding": torch.stack([self.embed(text) for text in inputs])}

    tokenize = preprocess

    def forward(self, features):
        """Features to embeddings."""
        return features | {"sentence_embedding": features["embedding"] + 0 * self.weight}

    def get_embedding_dimension(self):
        """Its dimension."""
        return self.dim

    def get_sentence_embedding_dimension(self):
        """Its dimension, by its old name."""
        return self.dim

    def save(self, *args, **kwargs):
        """Nothing to save."""


def line(spec, score, status="ok", **given):
    """The run that a spec would leave."""
    found = {"scores": {spec.record.main: score}} if status == "ok" else {"scores": {}, "error": "ValueError: no"}
    found |= {"status": status, "versions": VERSIONS, "seconds": {"train": 2.0, "evaluate": 1.0}}
    return Run.of(spec, **(found | given))


def trial(choice, loss, score, place=0, rate=0.05, stage="dev", **given):
    """The run of one trial."""
    setting = contenders(choice.records[0])[loss].settings[place]
    spec = choice.spec(choice.records[0], "static", loss, stage, setting=setting, learning_rate=rate)
    return line(spec, score, **given)


def trained(specs):
    """The runs that train."""
    return [spec for spec in specs if spec.loss in contenders(spec.trained)]


def first_setting(record, loss):
    """The first setting of a loss."""
    return contenders(record)[loss].settings[0]


def weights(model):
    """A copy of a model's weights."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def path_relevance(a, b):
    """How many levels two paths share, from the coarsest on."""
    shared = 0
    for x, y in zip(a, b, strict=True):
        if x != y:
            break
        shared += 1
    return float(shared)


def untouched(choice, **changes):
    """A comparison that needs no trials."""
    return replace(choice, protocol="untouched", **changes)
