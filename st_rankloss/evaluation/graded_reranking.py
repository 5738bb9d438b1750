"""Reranking metrics with graded relevance, for models of every kind, for the ``evaluator=`` of sentence-transformers.

The reranking evaluators of sentence-transformers are binary, and there is one per kind of model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from st_rankloss.evaluation.metrics import mean_metrics, require_pytrec_eval, score_rankings
from st_rankloss.evaluation.records import append_csv, describe_step
from st_rankloss.evaluation.relevant_queries import NoRelevant, without_relevant
from st_rankloss.evaluation.reranking_samples import read_rankings, read_samples
from st_rankloss.evaluation.reranking_scores import rank_documents
from st_rankloss.evaluation.settings import check_count, check_level, check_optional_count

logger = logging.getLogger(__name__)


class GradedRerankingEvaluator(SentenceEvaluator):
    """Rank the given documents of each query with a model of any kind, and score the rankings by their grades.

    The model is a CrossEncoder with one output, whose ``predict`` scores pairs, or a SentenceTransformer, SparseEncoder
    or MultiVectorEncoder, whose ``similarity`` compares a query with its own documents only. A CrossEncoder with a
    sigmoid ranks by its logits: in float32, the sigmoid of 17 and more is 1. Each distinct input (or pair) is
    encoded once; the embeddings of all documents are in memory at the same time.

    nDCG@k uses the grades with linear gain, grade / log2(1 + rank). MAP, over the whole list, and MRR@k are binary: a
    document is relevant if its grade is at least ``relevance_level``. Documents without a grade are ranked, but never
    relevant. On binary samples without ties, the values are those of sentence-transformers.

    The ideal ranking, and the number of relevant documents, count all judged documents of a query, ranked or not: also
    those that the first stage missed (``always_rerank_positives=False``, `from_rankings`), which keep a reranker below
    1. sentence-transformers does not count them.

    Ties: among documents with the same score (float32), the one whose id sorts last comes first, as in trec_eval and
    pytrec_eval; without ids, the one named last, so that naming the best first is no advantage. sentence-transformers
    averages nDCG and MAP over ties.

    Args:
        samples: One row per query, of a ``datasets.Dataset`` or a list of dicts, with either

            - a query, a list of ``documents`` and a list of their grades (``labels``, ``label``, ``scores`` or
              ``score``), at least 0; None or NaN means unjudged. Ids are optional: ``query_id``, ``document_ids``; or
            - as in sentence-transformers, ``query``, ``positive`` (grade 1) and ``negative`` (grade 0), or instead
              ``documents``: the ranking of a first stage, best first, in which documents that are not positive have
              grade 0. Metrics of that ranking are reported as "base_...".
        at_k: Cutoff of nDCG and MRR, at least 1.
        always_rerank_positives: Whether to rank positives that are missing from ``documents`` too, as in
            sentence-transformers; other samples are ranked as they are.
        relevance_level: Lowest grade that MAP and MRR count as relevant, above 0.
        no_relevant: How to treat queries without a document of at least ``relevance_level``: "skip" leaves them out of
            every mean (``queries_without_relevant`` lists them), "zero" counts them as 0 in every metric, "error"
            raises.
        name: Name of the dataset: the prefix of the metrics and part of the file name.
        batch_size: Inputs, or pairs, encoded at a time.
        show_progress_bar: Whether to show progress over the batches.
        write_csv: Whether a call with an ``output_path`` appends a line to a CSV file there.
        prompt_name: Name of the CrossEncoder's prompt.
        query_prompt: Prompt for the queries; like the next three, not for a CrossEncoder.
        query_prompt_name: Name of the model's prompt for the queries.
        corpus_prompt: Prompt for the documents.
        corpus_prompt_name: Name of the model's prompt for the documents.
        truncate_dim: Dimension to truncate the embeddings of a SentenceTransformer to; None keeps all.
        max_active_dims: Dimensions that the embeddings of a SparseEncoder keep; None keeps all.

    Attributes:
        per_query: After a call, query id (row number without ids) to metric ("ndcg@10") to value.
        rankings: After a call, query id to document id (position in the list without ids) to score, best first; the
            logit, if a CrossEncoder has a sigmoid.
        queries_without_relevant: Ids of the queries that ``no_relevant`` applies to.

    Raises:
        ValueError: If an argument breaks a rule above, or no query has a relevant document; the error names the row.

    Example:
        >>> import torch
        >>> from sentence_transformers import SentenceTransformer
        >>> from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2, "blue": 3}, unk_token="?"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=torch.eye(4))])
        >>> samples = [{"query": "red", "documents": ["red", "red green", "blue"], "labels": [1, 3, 0]}]
        >>> evaluator = GradedRerankingEvaluator(samples, name="colours")
        >>> metrics = evaluator(model)  # ranks 0, 1, 2: (1 + 3 / log2(3)) / (3 + 1 / log2(3))
        >>> round(metrics["colours_ndcg@10"], 4)
        0.7967
        >>> evaluator.primary_metric
        'colours_ndcg@10'
    """

    per_query: dict[str, dict[str, float]]
    rankings: dict[str, dict[str, float]]
    queries_without_relevant: list[str]

    def __init__(
        self,
        samples: Any,
        *,
        at_k: int = 10,
        always_rerank_positives: bool = True,
        relevance_level: float = 1,
        no_relevant: NoRelevant = "skip",
        name: str = "",
        batch_size: int = 64,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        prompt_name: str | None = None,
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        max_active_dims: int | None = None,
    ) -> None:
        super().__init__()
        require_pytrec_eval()
        self.at_k = check_count("at_k", at_k)
        self.relevance_level = check_level(relevance_level)
        self.batch_size = check_count("batch_size", batch_size)
        self.encoding: dict[str, Any] = {
            "prompt_name": prompt_name,
            "query_prompt": query_prompt,
            "query_prompt_name": query_prompt_name,
            "corpus_prompt": corpus_prompt,
            "corpus_prompt_name": corpus_prompt_name,
            "truncate_dim": check_optional_count("truncate_dim", truncate_dim),
            "max_active_dims": check_optional_count("max_active_dims", max_active_dims),
        }
        self.samples = read_samples(samples, always_rerank_positives=always_rerank_positives)
        self.always_rerank_positives = always_rerank_positives
        grades = {query_id: sample.grades for query_id, sample in self.samples.items()}
        self.no_relevant = no_relevant
        self.queries_without_relevant = without_relevant(grades, grades, self.relevance_level, no_relevant)

        self.show_progress_bar = show_progress_bar
        self.name = name
        self.write_csv = write_csv
        self.csv_file = "GradedRerankingEvaluator" + (f"_{name}" if name else "") + f"_results_@{self.at_k}.csv"
        self.primary_metric = f"{name}_ndcg@{self.at_k}" if name else f"ndcg@{self.at_k}"
        self.per_query = {}
        self.rankings = {}

    @classmethod
    def from_rankings(
        cls,
        queries: Mapping[str, Any],
        corpus: Mapping[str, Any],
        qrels: Mapping[str, Mapping[str, float]],
        rankings: Mapping[str, Sequence[str] | Mapping[str, float]],
        *,
        depth: int = 100,
        **options: Any,
    ) -> GradedRerankingEvaluator:
        """Rerank the results of a first stage, such as BM25 or the ``rankings`` of a retrieval evaluator.

        Relevant documents that are not among the first ``depth`` count in the ideal ranking. Metrics of the first
        stage, cut at ``depth``, are reported as "base_...".

        Args:
            queries: Query id to query: a text, or any input that the model encodes.
            corpus: Document id to document.
            qrels: Query id to document id to grade, a number of at least 0.
            rankings: Query id to document ids, best first, or to document id to score, higher is better. A query that
                is missing or has no results scores 0; rankings of queries that are not in ``queries`` are ignored.
            depth: Documents per query that are reranked, at least 1.
            **options: Other arguments of the class.

        Returns:
            The evaluator.

        Raises:
            ValueError: If an argument breaks a rule above or names an unknown id.

        Example:
            >>> queries, corpus, qrels = {"q": "red"}, {"a": "rose", "b": "sky", "c": "ruby"}, {"q": {"a": 2, "c": 1}}
            >>> evaluator = GradedRerankingEvaluator.from_rankings(queries, corpus, qrels, {"q": ["b", "a"]}, depth=2)
            >>> evaluator.samples["q"].documents, evaluator.samples["q"].grades
            ({'b': 'sky', 'a': 'rose'}, {'a': 2.0, 'c': 1.0})
        """
        return cls(read_rankings(queries, corpus, qrels, rankings, check_count("depth", depth)), **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Rank and score; store the metrics in the model card.

        Args:
            model: The model to evaluate.
            output_path: Folder for the CSV file; None writes nothing.
            epoch: Epoch to log, -1 outside training.
            steps: Step to log, -1 at the end of an epoch.

        Returns:
            Metrics in [0, 1], higher is better, named as in sentence-transformers: "{name}_map", "{name}_mrr@10",
            "{name}_ndcg@10", and "{name}_base_map", ... of the first stage, if it is known.

        Raises:
            TypeError: If the model is of an unknown kind.
            ValueError: If the model does not take a prompt or a dimension that is set, cannot encode an input, or a
                score is not a number.
        """
        without = set(self.queries_without_relevant)
        samples = {query_id: sample for query_id, sample in self.samples.items() if query_id not in without}
        when = describe_step(epoch, steps, self.encoding["truncate_dim"])
        text = "Graded reranking evaluation on the %s dataset%s: %d queries, %d more without a relevant document"
        logger.info(text, self.name, when, len(samples), len(without))
        self.rankings = rank_documents(
            model, samples, batch_size=self.batch_size, show_progress_bar=self.show_progress_bar, **self.encoding
        )
        self.per_query = self._score({query_id: list(ranking) for query_id, ranking in self.rankings.items()})
        means = mean_metrics(self.per_query)
        orders = {query_id: sample.order for query_id, sample in samples.items() if sample.order is not None}
        base = mean_metrics(self._score(orders)) if orders else {}
        for metric, value in means.items():
            logger.info("%s: %s%.4f", metric, f"{base[metric]:.4f} -> " if base else "", value)
        if output_path is not None and self.write_csv:
            names = ["epoch", "steps", "MAP", f"MRR@{self.at_k}", f"NDCG@{self.at_k}"]
            append_csv(Path(output_path) / self.csv_file, names, [epoch, steps, *means.values()])
        shown = {key: f"{value:.4f} ({value - base[key]:+.4f})" for key, value in means.items()} if base else means
        self.store_metrics_in_model_card_data(model, self.prefix_name_to_metrics(shown, self.name), epoch, steps)
        metrics = means | {f"base_{metric}": value for metric, value in base.items()}
        named: dict[str, float] = self.prefix_name_to_metrics(metrics, self.name)
        return named

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card.

        Returns:
            The cutoff, the settings that determine which documents count, and prompts and dimensions that are set.
        """
        config = {"at_k": self.at_k, "relevance_level": self.relevance_level, "no_relevant": self.no_relevant}
        if any(sample.order is not None for sample in self.samples.values()):
            config["always_rerank_positives"] = self.always_rerank_positives
        return config | {name: value for name, value in self.encoding.items() if value is not None}

    def _score(self, rankings: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """Score rankings of the queries with a relevant document, and apply ``no_relevant`` to the others."""
        whole = max([1, *map(len, rankings.values())])
        columns = {"map": ("map", whole), f"mrr@{self.at_k}": ("mrr", self.at_k)}
        columns[f"ndcg@{self.at_k}"] = ("ndcg", self.at_k)
        grades = {query_id: self.samples[query_id].grades for query_id in rankings}
        scored = score_rankings(rankings, grades, list(columns.values()), self.relevance_level)
        per_query = {
            query_id: {name: values[f"{metric}@{k}"] for name, (metric, k) in columns.items()}
            for query_id, values in scored.items()
        }
        if self.no_relevant == "zero":
            per_query |= {query_id: dict.fromkeys(columns, 0.0) for query_id in self.queries_without_relevant}
        return per_query
