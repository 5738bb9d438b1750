"""NanoBEIR with graded relevance, for the ``evaluator=`` of sentence-transformers."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from sentence_transformers.sentence_transformer.evaluation.nano_beir import DATASET_NAME_TO_HUMAN_READABLE

from st_rankloss.evaluation.graded_information_retrieval import GradedInformationRetrievalEvaluator
from st_rankloss.evaluation.records import CSV_NAMES, append_csv, describe_step
from st_rankloss.evaluation.shards import as_shards
from st_rankloss.judgements import collect_qrels, read_id
from st_rankloss.labels import plain

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


_OF_ONE_SET = {"name": "aggregate_key", "query_prompt": "query_prompts", "corpus_prompt": "corpus_prompts"}


class GradedNanoBEIREvaluator(SentenceEvaluator):
    """Evaluate a retriever on the small BEIR sets of NanoBEIR, or of a dataset in the same format, and average.

    Each set is evaluated by `GradedInformationRetrievalEvaluator`, with the grades in a column ``score`` of the
    judgements if there is one, and grade 1 otherwise: those of NanoBEIR-en are binary, and the metrics are then those
    of sentence-transformers' NanoBEIREvaluator, except for ties and for MAP, which divides by the number of relevant
    documents. As there, documents and queries without text are left out, unless they are judged.

    The sets are loaded from the Hugging Face hub, or its cache, when the evaluator is made.

    Args:
        dataset_names: Names of sets, such as "msmarco" or "NFCorpus", in any case; None means all 13.
        dataset_id: Id of a dataset on the hub, or its local folder, with the subsets "corpus", "queries" and "qrels",
            each with a split per set, such as "NanoMSMARCO".
        aggregate_fn: Averages the values of a metric, one per set.
        aggregate_key: Name of the average: the metrics of all sets start with "NanoBEIR_mean".
        query_prompts: Prompt for the queries of all sets, or a prompt by name of the set.
        corpus_prompts: Prompt for the documents of all sets, or a prompt by name of the set.
        **options: Other arguments of `GradedInformationRetrievalEvaluator`, such as ``ndcg_at_k``,
            ``relevance_level``, ``batch_size``, ``truncate_dim``, ``show_progress_bar``, ``write_csv`` and
            ``write_predictions``; they apply to every set. ``corpus_embeddings`` get a subfolder for each set.

    Attributes:
        evaluators: The evaluator of each set, with its ``per_query`` and ``rankings`` after a call.

    Raises:
        TypeError: If an option does not exist, or is of a single set, such as ``query_prompt``.
        ValueError: If a name is unknown, a set cannot be loaded, or its data are invalid; the error names the subset.

    Example:
        >>> GradedNanoBEIREvaluator(["msmarko"])
        Traceback (most recent call last):
        ValueError: dataset_names must be names of NanoBEIR sets, got 'msmarko': did you mean 'msmarco'?
    """

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = "sentence-transformers/NanoBEIR-en",
        *,
        aggregate_fn: Callable[[list[float]], float] = fmean,
        aggregate_key: str = "mean",
        query_prompts: str | Mapping[str, str] | None = None,
        corpus_prompts: str | Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        sets = _read_names(dataset_names)
        self.dataset_names = list(sets)
        self.dataset_id = dataset_id
        self.aggregate_fn = aggregate_fn
        self.aggregate_key = aggregate_key
        self.query_prompts = _read_prompts(query_prompts, sets, "query_prompts")
        self.corpus_prompts = _read_prompts(corpus_prompts, sets, "corpus_prompts")
        self.truncate_dim = options.get("truncate_dim")
        self.write_csv = options.get("write_csv", True)
        ending = "" if self.truncate_dim is None else f"_{self.truncate_dim}"
        self.name = f"NanoBEIR_{aggregate_key}{ending}"
        self.csv_file = f"Graded-NanoBEIR_evaluation_{aggregate_key}_results.csv"
        for wrong in (option for option in _OF_ONE_SET if option in options):
            raise TypeError(f"{wrong} is of a single set, got {options[wrong]!r:.80}: pass {_OF_ONE_SET[wrong]}=.")
        ours = {"name": self.name, "query_prompt": None, "corpus_prompt": None}
        inspect.signature(GradedInformationRetrievalEvaluator).bind({}, {}, {}, **ours, **options)  # before loading
        shards = as_shards(options.pop("corpus_embeddings", None))
        self.evaluators = [
            GradedInformationRetrievalEvaluator(
                *_load_set(dataset_id, split),
                name=split + ending,
                query_prompt=self.query_prompts.get(name),
                corpus_prompt=self.corpus_prompts.get(name),
                corpus_embeddings=shards and replace(shards, folder=shards.path / split),
                **options,
            )
            for name, split in sets.items()
        ]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate on each set, and average; store the averages in the model card if there are several sets.

        Args:
            model: The model to evaluate.
            output_path: Folder for the CSV files; None writes nothing.
            epoch: Epoch to log, -1 outside training.
            steps: Step to log, -1 at the end of an epoch.

        Returns:
            Metrics of each set, "NanoMSMARCO_cosine_ndcg@10", ..., and their averages, "NanoBEIR_mean_cosine_ndcg@10".

        Raises:
            TypeError: If the model is of a kind that does not retrieve.
            ValueError: See `GradedInformationRetrievalEvaluator`.
        """
        when = describe_step(epoch, steps, self.truncate_dim)
        logger.info("Graded NanoBEIR evaluation on %s%s", self.dataset_names, when)
        by_set = {evaluator.name: evaluator(model, output_path, epoch, steps) for evaluator in self.evaluators}
        values: dict[str, list[float]] = {}
        for name, metrics in by_set.items():
            for key, value in metrics.items():
                values.setdefault(key.removeprefix(f"{name}_"), []).append(value)
        means = {metric: float(self.aggregate_fn(found)) for metric, found in values.items()}
        for metric, value in means.items():
            logger.info("%s %s: %.4f", self.aggregate_key, metric, value)
        first = self.evaluators[0]
        self.primary_metric = f"{self.name}_{first.primary_metric.removeprefix(f'{first.name}_')}"
        if output_path is not None and self.write_csv:
            names = ["epoch", "steps", *map(_csv_name, means)]
            append_csv(Path(output_path) / self.csv_file, names, [epoch, steps, *means.values()])
        named: dict[str, float] = self.prefix_name_to_metrics(means, self.name)
        if len(self.evaluators) > 1:
            self.store_metrics_in_model_card_data(model, named, epoch, steps)
        return {key: value for metrics in by_set.values() for key, value in metrics.items()} | named

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card.

        Returns:
            The sets, and prompts and truncation if set.
        """
        config: dict[str, Any] = {"dataset_names": self.dataset_names, "dataset_id": self.dataset_id}
        optional = {"truncate_dim": self.truncate_dim}
        optional |= {"query_prompts": self.query_prompts or None, "corpus_prompts": self.corpus_prompts or None}
        return config | {key: value for key, value in optional.items() if value is not None}


def _read_names(names: Sequence[str] | None) -> dict[str, str]:
    """Return the split of each set by the name that the user gave."""
    if isinstance(names, str) or (names is not None and not names):
        raise ValueError(f"dataset_names must be a non-empty list, or None for all sets, got {names!r}.")
    sets: dict[str, str] = {}
    for name in DATASET_NAME_TO_HUMAN_READABLE if names is None else names:
        known = str(name).lower()
        if known not in DATASET_NAME_TO_HUMAN_READABLE:
            (near,) = difflib.get_close_matches(known, DATASET_NAME_TO_HUMAN_READABLE, 1, 0)
            raise ValueError(f"dataset_names must be names of NanoBEIR sets, got {name!r}: did you mean {near!r}?")
        split = f"Nano{DATASET_NAME_TO_HUMAN_READABLE[known]}"
        if split in sets.values():
            raise ValueError(f"dataset_names must name each set once, got {name!r} twice.")
        sets[name] = split
    return sets


def _read_prompts(prompts: Any, sets: Mapping[str, str], argument: str) -> dict[str, str]:
    """Return the prompt of each set."""
    if prompts is None or isinstance(prompts, str):
        return {} if prompts is None else dict.fromkeys(sets, prompts)
    if not isinstance(prompts, Mapping) or (missing := [name for name in sets if name not in prompts]):
        got = f"none for {missing}" if isinstance(prompts, Mapping) else type(prompts).__name__
        raise ValueError(f"{argument} must be a prompt, or a dict with one for each of dataset_names, got {got}.")
    return {name: prompts[name] for name in sets}


def _load_set(dataset_id: str, split: str) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, float]]]:
    """Return queries, corpus and judgements of a set."""
    qrels_rows = _load(dataset_id, "qrels", split, ("query-id", "corpus-id"))
    try:
        qrels = collect_qrels(_judgements(qrels_rows))
    except ValueError as error:
        raise ValueError(f"{_where(dataset_id, 'qrels', split)}: {error}") from error
    judged = {document for grades in qrels.values() for document in grades}
    queries = _texts(dataset_id, "queries", split, keep=qrels.keys())
    return queries, _texts(dataset_id, "corpus", split, keep=judged), qrels


def _texts(dataset_id: str, subset: str, split: str, keep: Any) -> dict[str, str]:
    """Return the texts of a subset by id, without empty ones, unless they are to be kept."""
    found: dict[str, str] = {}
    empty = 0
    for row in _load(dataset_id, subset, split, ("_id", "text")):
        name = read_id(row["_id"], f"an id in {_where(dataset_id, subset, split)}")
        if found.setdefault(name, row["text"]) != row["text"]:
            raise ValueError(f"{_where(dataset_id, subset, split)} must have one text per id, got two for {name!r}.")
        if not row["text"] and name not in keep:
            empty += 1
            del found[name]
    if empty:
        logger.warning("%d empty texts are left out of %s.", empty, _where(dataset_id, subset, split))
    return found


def _judgements(rows: Dataset) -> Iterator[tuple[int, Any, Any, Any]]:
    """Yield judgements, of which a row holds one, or a list for its query."""
    for place, row in enumerate(rows):
        documents, grades = plain(row["corpus-id"]), plain(row.get("score", 1))
        documents = documents if isinstance(documents, list) else [documents]
        grades = grades if isinstance(grades, list) else [grades] * len(documents)
        if len(grades) != len(documents):
            raise ValueError(f"row {place}: got {len(grades)} grades for {len(documents)} documents.")
        for document, grade in zip(documents, grades, strict=True):
            yield place, row["query-id"], document, grade


def _load(dataset_id: str, subset: str, split: str, columns: Sequence[str]) -> Dataset:
    """Load a split of a subset, and check its columns."""
    from datasets import load_dataset  # not needed to import the evaluators beside this one

    where = _where(dataset_id, subset, split)
    try:
        dataset = load_dataset(dataset_id, subset, split=split)
    except Exception as error:  # the hub client raises whatever its transport raises
        raise ValueError(
            f"could not load {where} ({type(error).__name__}: {error}): check the id, connect to the network once to "
            "cache it, or pass the path of a copy as dataset_id."
        ) from error
    if missing := [column for column in columns if column not in dataset.column_names]:
        raise ValueError(f"{where} must have the columns {list(columns)}, got none of {missing}.")
    return dataset


def _where(dataset_id: str, subset: str, split: str) -> str:
    return f"subset {subset!r}, split {split!r} of {dataset_id!r}"


def _csv_name(metric: str) -> str:
    """Name a column as sentence-transformers does: "cosine-NDCG@10"."""
    similarity, rest = metric.rsplit("_", 1)
    name, k = rest.split("@")
    return f"{similarity}-{CSV_NAMES[name]}@{k}"
