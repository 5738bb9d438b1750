"""Retrieval metrics with graded relevance for the ``evaluator=`` of sentence-transformers.

The InformationRetrievalEvaluator of sentence-transformers is binary; given grades, it reads grade 0 as relevant. Here
pytrec_eval computes the binary metrics, and nDCG follows its definition, extended to fractional grades: the results
match MTEB and BEIR.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from tqdm.auto import trange

from st_rankloss._models import EMBEDDERS, check_encoder
from st_rankloss.evaluation.embedding import Embedder
from st_rankloss.evaluation.metrics import by_query, mean_metrics, order_documents, require_pytrec_eval, score_rankings
from st_rankloss.evaluation.records import CSV_NAMES, append_csv, describe_step, write_predictions
from st_rankloss.evaluation.relevant_queries import NoRelevant, without_relevant
from st_rankloss.evaluation.search import Embeddings, exact_search, faiss_search, require_faiss
from st_rankloss.evaluation.settings import (
    check_count,
    check_cutoffs,
    check_level,
    check_optional_count,
    check_precision,
)
from st_rankloss.evaluation.shards import Shards, as_shards, storage_order
from st_rankloss.judgements import few, read_inputs, read_qrels

logger = logging.getLogger(__name__)


class GradedInformationRetrievalEvaluator(SentenceEvaluator):
    """Evaluate a retriever on queries, a corpus and graded relevance judgements.

    The model is a SentenceTransformer, a SparseEncoder or a MultiVectorEncoder, each with its own similarity.

    nDCG@k uses the grades with linear gain, grade / log2(1 + rank). The other metrics are binary: a document
    is relevant if its grade is at least ``relevance_level``, so grade 0 (judged irrelevant) never is. Grades may be
    fractions; for grades in [0, 1], set ``relevance_level`` accordingly. MAP@k divides by the number of relevant
    documents, as in trec_eval, MTEB and BEIR; sentence-transformers divides by at most k.

    Ties: among documents with the same similarity, the one whose id sorts last comes first, as in trec_eval,
    pytrec_eval and MTEB (sentence-transformers puts the one that sorts first). Embeddings are compared in float64, the
    similarity is rounded to float32, and the corpus is encoded in the order of its ids. So results depend neither on
    the order of the corpus nor, if embeddings do not depend on the batch, on ``corpus_chunk_size``. A faiss index
    computes in float32, so rounding may decide a tie.

    Search is exact up to ``faiss_above`` documents. Above that, faiss compares all pairs in float32. Either way, one
    chunk of document embeddings is in memory at a time. Or pass any ``index``, which holds the corpus, and the results
    are those of its search. Sparse and token vectors are always searched exactly, see `exact_search`.

    Args:
        queries: Query id to query: a text, or any input that the model encodes. Ids are strings or integers; an integer
            equals its decimal string.
        corpus: Document id to document.
        qrels: Query id to document id to grade, a number of at least 0. Unlisted documents are not relevant.
        ndcg_at_k: Cutoffs of nDCG, each at least 1; the largest is the primary metric.
        mrr_at_k: Cutoffs of the mean reciprocal rank: 0 if no document among the first k is relevant.
        map_at_k: Cutoffs of the mean average precision.
        recall_at_k: Cutoffs of recall.
        accuracy_at_k: Cutoffs of accuracy: the share of queries with a relevant document among the first k.
        relevance_level: Lowest grade that the binary metrics count as relevant, above 0.
        no_relevant: How to treat queries without a document of at least ``relevance_level``: "skip" leaves them out of
            every mean (``queries_without_relevant`` lists them), "zero" counts them as 0 in every metric, "error"
            raises.
        exclude_identical_ids: Whether to exclude the document with the id of the query from results and judgements, as
            BEIR does if queries are part of the corpus.
        corpus_chunk_size: Documents encoded and searched at a time, at least 1. None means 50,000, or 5,000 for a
            MultiVectorEncoder, as in sentence-transformers.
        corpus_embeddings: `Shards`, or the path of a folder: embeddings of the corpus on disk, written by the first
            call and read by later ones; if the model changed, as in training, or the corpus, they raise. None encodes
            in each call. For texts and a SentenceTransformer.
        faiss_above: Corpus size above which flat faiss search replaces exact search; None means never. The
            "manhattan" similarity is always searched exactly, and so are models other than a SentenceTransformer.
        index: An empty faiss index or a factory string such as "HNSW32" or "IVF64,Flat", used at any corpus
            size, for a SentenceTransformer. Each call fills a copy, after training it if needed.
        batch_size: Texts encoded at a time.
        show_progress_bar: Whether to show progress over the corpus and the batches.
        name: Name of the dataset: the prefix of the metrics and part of the file names.
        truncate_dim: Dimension to truncate the embeddings to, at least 1; None keeps all. For a SentenceTransformer.
        max_active_dims: Largest number of dimensions of an embedding that are not 0, at least 1; None means the
            model's own. For a SparseEncoder.
        precision: "float32"; or "binary" or "ubinary", which keep the sign of each dimension, as 1 or -1, so that
            every similarity ranks by the Hamming distance; the scores are dot products instead of cosines. For a
            SentenceTransformer.
        query_prompt: Prompt for the queries.
        query_prompt_name: Name of the model's prompt for the queries.
        corpus_prompt: Prompt for the documents.
        corpus_prompt_name: Name of the model's prompt for the documents.
        write_csv: Whether a call with an ``output_path`` appends a line to a CSV file there.
        write_predictions: Whether a call with an ``output_path`` writes each query's ranking to a JSONL file
            there, in the format of sentence-transformers.

    Attributes:
        per_query: After a call, query id to metric ("ndcg@10") to value, for significance tests.
        rankings: After a call, query id to document id to similarity, best first.
        queries_without_relevant: Ids of the queries that ``no_relevant`` applies to.

    Raises:
        ValueError: If an argument breaks a rule above, or no query has a relevant document.

    Example:
        >>> import torch
        >>> from sentence_transformers import SentenceTransformer
        >>> from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> tokenizer = Tokenizer(models.WordLevel({"?": 0, "red": 1, "green": 2, "blue": 3}, unk_token="?"))
        >>> tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=torch.eye(4))])
        >>> evaluator = GradedInformationRetrievalEvaluator(
        ...     queries={"q": "red"},
        ...     corpus={"a": "red", "b": "red green", "c": "blue"},
        ...     qrels={"q": {"a": 1, "b": 3, "c": 0}},
        ...     name="colours",
        ... )
        >>> metrics = evaluator(model)  # ranks a, b, c: (1 + 3 / log2(3)) / (3 + 1 / log2(3))
        >>> round(metrics["colours_cosine_ndcg@10"], 4)
        0.7967
        >>> evaluator.primary_metric
        'colours_cosine_ndcg@10'

    Source: linear gain and ties as in trec_eval, through pytrec_eval (Van Gysel and de Rijke, 2018).
    """

    per_query: dict[str, dict[str, float]]
    rankings: dict[str, dict[str, float]]
    queries_without_relevant: list[str]

    def __init__(
        self,
        queries: Mapping[str, Any],
        corpus: Mapping[str, Any],
        qrels: Mapping[str, Mapping[str, float]],
        *,
        ndcg_at_k: Sequence[int] = (10,),
        mrr_at_k: Sequence[int] = (10,),
        map_at_k: Sequence[int] = (100,),
        recall_at_k: Sequence[int] = (10, 100),
        accuracy_at_k: Sequence[int] = (1, 10),
        relevance_level: float = 1,
        no_relevant: NoRelevant = "skip",
        exclude_identical_ids: bool = False,
        corpus_chunk_size: int | None = None,
        corpus_embeddings: Shards | str | PathLike[str] | None = None,
        faiss_above: int | None = 100_000,
        index: Any = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        name: str = "",
        truncate_dim: int | None = None,
        max_active_dims: int | None = None,
        precision: Literal["float32", "binary", "ubinary"] = "float32",
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        write_csv: bool = True,
        write_predictions: bool = False,
    ) -> None:
        super().__init__()
        require_pytrec_eval()
        cutoffs = {"ndcg": ndcg_at_k, "mrr": mrr_at_k, "map": map_at_k}
        cutoffs |= {"recall": recall_at_k, "accuracy": accuracy_at_k}
        self.columns = [(metric, k) for metric, ks in cutoffs.items() for k in check_cutoffs(f"{metric}_at_k", ks)]
        self.relevance_level = check_level(relevance_level)
        self.corpus_chunk_size = check_optional_count("corpus_chunk_size", corpus_chunk_size)
        self.corpus_embeddings = as_shards(corpus_embeddings)
        self.batch_size = check_count("batch_size", batch_size)
        self.truncate_dim = check_optional_count("truncate_dim", truncate_dim)
        self.max_active_dims = check_optional_count("max_active_dims", max_active_dims)
        self.precision = check_precision(precision)
        self.faiss_above = check_optional_count("faiss_above", faiss_above, at_least=0)
        self.no_relevant = no_relevant
        self.exclude_identical_ids = exclude_identical_ids

        queries, corpus = read_inputs(queries, "queries"), read_inputs(corpus, "corpus")
        self.qrels = read_qrels(qrels, queries=queries, corpus=corpus)
        if exclude_identical_ids:
            for query_id, judged in self.qrels.items():
                judged.pop(query_id, None)
        self.queries_without_relevant = without_relevant(queries, self.qrels, self.relevance_level, no_relevant)
        without = set(self.queries_without_relevant)
        self.queries = {query_id: query for query_id, query in queries.items() if query_id not in without}
        self.corpus = corpus
        self.corpus_ids = storage_order(corpus)  # the rank order of tied documents
        self.index = index
        if (index is not None or self._is_large()) and not isinstance(index, (str, require_faiss().Index, type(None))):
            raise ValueError(f"index must be None, a faiss.Index or a factory string, got {index!r}.")

        self.show_progress_bar = show_progress_bar
        self.name = name
        self.query_prompt = query_prompt
        self.query_prompt_name = query_prompt_name
        self.corpus_prompt = corpus_prompt
        self.corpus_prompt_name = corpus_prompt_name
        self.write_csv = write_csv
        self.write_predictions = write_predictions
        base = "Graded-Information-Retrieval_evaluation" + (f"_{name}" if name else "")
        self.csv_file = f"{base}_results.csv"
        self.predictions_file = f"{base}_predictions.jsonl"
        self.per_query = {}
        self.rankings = {}

    def __call__(
        self,
        model: SentenceTransformer | SparseEncoder | MultiVectorEncoder,
        output_path: str | None = None,
        epoch: int = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        """Encode, search and score; store the metrics in the model card.

        Args:
            model: The model to evaluate; its ``similarity_fn_name`` ranks the documents.
            output_path: Folder for the CSV file and the predictions; None writes nothing.
            epoch: Epoch to log, -1 outside training.
            steps: Step to log, -1 at the end of an epoch.

        Returns:
            Metrics in [0, 1], higher is better, named as in sentence-transformers:
            "{name}_cosine_ndcg@10", "{name}_dot_ndcg@10", "{name}_maxsim_ndcg@10", ...

        Raises:
            TypeError: If the model is another kind of sentence-transformers model, such as a CrossEncoder.
            ValueError: If the model's similarity is not supported, a setting or the index is for another kind of model,
                it cannot encode the queries or documents, or an embedding is not finite.
        """
        check_encoder(model, EMBEDDERS, type(self).__name__, "for a CrossEncoder use GradedRerankingEvaluator")
        embedder = Embedder(model, **{field.name: getattr(self, field.name) for field in fields(Embedder)[1:]})
        similarity = embedder.similarity
        embedder.check_inputs(self.queries, "queries")
        embedder.check_inputs(self.corpus, "corpus")
        logger.info(
            "Graded information retrieval evaluation on the %s dataset%s: %d queries, %d more without a "
            "relevant document (relevance_level=%g, no_relevant=%r), %d documents",
            self.name,
            describe_step(epoch, steps, self.truncate_dim),
            len(self.queries),
            len(self.queries_without_relevant),
            self.relevance_level,
            self.no_relevant,
            len(self.corpus_ids),
        )
        rankings = self._search(embedder)
        self.rankings = rankings
        self.per_query = self._score({query_id: list(ranking) for query_id, ranking in rankings.items()})
        means = mean_metrics(self.per_query)
        for metric, value in means.items():
            logger.info("%s: %.4f", metric, value)
        if output_path is not None:
            self._write(Path(output_path), similarity, means, rankings, epoch, steps)

        metrics: dict[str, float] = self.prefix_name_to_metrics(
            {f"{similarity}_{metric}": value for metric, value in means.items()}, self.name
        )
        prefix = f"{self.name}_" if self.name else ""
        largest = max(k for metric, k in self.columns if metric == "ndcg")
        self.primary_metric = f"{prefix}{similarity}_ndcg@{largest}"
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics

    def compute_metrics(
        self, rankings: Mapping[str, Sequence[str] | Mapping[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Score rankings from any source, such as BM25, with this evaluator's judgements, cutoffs and policies.

        Args:
            rankings: Query id to document ids, best first, or to document id to score, higher is better; among tied
                documents, the one whose id sorts last comes first. A query that is missing or has no results scores 0.
                Rankings of queries that are not evaluated are ignored.

        Returns:
            Query id to metric ("ndcg@10") to value in [0, 1], without the queries that were left out.

        Raises:
            ValueError: If no ranking is for a query of this evaluator, a ranking has no order or lists a document
                twice, or a score is not a number.

        Example:
            >>> queries, corpus, qrels = {"q": "red"}, {"a": "rose", "b": "grass"}, {"q": {"a": 2}}
            >>> evaluator = GradedInformationRetrievalEvaluator(queries, corpus, qrels)
            >>> evaluator.compute_metrics({"q": ["b", "a"]})["q"]["mrr@10"]
            0.5000
        """
        given = by_query(rankings)
        known = {*self.queries, *self.queries_without_relevant}
        if known.isdisjoint(given):
            raise ValueError(f"rankings must name ids of queries, got the unknown {few(given)}.")
        ranked = {query_id: order_documents(query_id, given.get(query_id, ())) for query_id in self.queries}
        if self.exclude_identical_ids:
            ranked = {query_id: [d for d in order if d != query_id] for query_id, order in ranked.items()}
        return self._score(ranked)

    def _score(self, ranked: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
        """Score the ranking of each evaluated query, and treat the queries without a relevant document."""
        per_query = score_rankings(ranked, self.qrels, self.columns, self.relevance_level)
        if self.no_relevant == "zero":
            for query_id in self.queries_without_relevant:
                per_query[query_id] = {f"{metric}@{k}": 0.0 for metric, k in self.columns}
        return per_query

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card.

        Returns:
            Prompts, truncation and precision, if set, and the settings that determine which documents count.
        """
        optional = [field for field in fields(Embedder)[1:] if field.name not in ("batch_size", "show_progress_bar")]
        set_here = {field.name: getattr(self, field.name) for field in optional}
        config = {field.name: set_here[field.name] for field in optional if set_here[field.name] != field.default}
        return config | {
            "relevance_level": self.relevance_level,
            "no_relevant": self.no_relevant,
            "exclude_identical_ids": self.exclude_identical_ids,
        }

    def _is_large(self) -> bool:
        """Return whether the corpus is too large for exact search."""
        return self.faiss_above is not None and len(self.corpus_ids) > self.faiss_above

    def _search(self, embedder: Embedder) -> dict[str, dict[str, float]]:
        """Return each query's ranking, best first: document id to score."""
        use_faiss = self.index is not None or (self._is_large() and embedder.takes_index())
        index = "Flat" if self.index is None else self.index
        if use_faiss:
            embedder.check_index(index, len(self.corpus_ids))
        queries: Any = embedder.embed_queries(self.queries)
        depth = max(k for _, k in self.columns) + self.exclude_identical_ids
        depth = min(depth, len(self.corpus_ids))
        chunks: Iterator[Any] = self._embedded_corpus(embedder)
        if use_faiss:
            scores, numbers = faiss_search(queries, chunks, depth, embedder.compared_by, index)
        else:
            scores, numbers = exact_search(queries, chunks, depth, embedder.compared_by)
        return {
            query_id: {
                self.corpus_ids[number]: score
                for number, score in zip(query_numbers, query_scores, strict=True)
                if number >= 0 and not (self.exclude_identical_ids and self.corpus_ids[number] == query_id)
            }
            for query_id, query_numbers, query_scores in zip(
                self.queries, numbers.tolist(), scores.tolist(), strict=True
            )
        }

    def _embedded_corpus(self, embedder: Embedder) -> Iterator[Embeddings]:
        """Encode the corpus in chunks, in the order of ``corpus_ids``."""
        size = self.corpus_chunk_size or embedder.chunk
        if self.corpus_embeddings is not None:
            yield from self.corpus_embeddings.embed(embedder, self.corpus).chunks(size)
            return
        disable = not self.show_progress_bar
        for start in trange(0, len(self.corpus_ids), size, desc="Corpus chunks", disable=disable):
            ids = self.corpus_ids[start : start + size]
            yield embedder.embed_documents({doc_id: self.corpus[doc_id] for doc_id in ids})

    def _write(
        self,
        folder: Path,
        similarity: str,
        means: Mapping[str, float],
        rankings: Mapping[str, Mapping[str, float]],
        epoch: int,
        steps: int,
    ) -> None:
        """Append the metrics to the CSV file and write the predictions, if requested."""
        if self.write_csv:
            names = [f"{similarity}-{CSV_NAMES[metric]}@{k}" for metric, k in self.columns]
            append_csv(folder / self.csv_file, ["epoch", "steps", *names], [epoch, steps, *means.values()])
        if self.write_predictions:
            path = folder / self.predictions_file.replace(".jsonl", f"_{similarity}.jsonl")
            write_predictions(path, self.queries, rankings)
