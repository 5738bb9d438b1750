"""A search model from queries with graded documents, and judgements by id, so that no document is a false negative.

    python examples/graded_retrieval.py [--data DATA] [--model minilm]

Without ``--data``: the first sentence of a docstring is the query, name, signature and the rest of it the document;
the object itself has grade 3, others of its class 2, of its module 1. ``--data`` is whatever `st_rankloss.data.read`
reads as queries and documents: a folder of BEIR or TREC, a table of graded rows, triplets, clicks. Scores, on queries
never trained on: graded nDCG@10, MRR@10 and recall@100. The usual loss is MultipleNegativesRankingLoss on pairs of
query and best document.

Test, seed 0 (12,000 objects, 3 epochs; learning rates and temperatures tuned on dev, sixteen trials for MNRL, ten for
A-NDCG): nDCG@10 .669 with MNRL, .678 with A-NDCG; MRR@10 .866, .877; recall@100 .826, .826. A row of A-NDCG has up to
four documents, one of MNRL one, so that training takes three times as long.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import documentation
import shared
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from st_rankloss import ANDCGLoss, GradedInformationRetrievalEvaluator, samplers
from st_rankloss.encoders import make_encoder
from st_rankloss.judgements import Judgements, read_qrels
from st_rankloss.relevance import Qrels

MOST = 4
"""Documents of a query in one row: the best ones first."""


@dataclass
class Collection:
    """Queries of one split, and what they find in the corpus: texts by id, grades by ids."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: Judgements

    def rows(self, most: int) -> Dataset:
        """Make a row of each query: its best ``most`` documents, with all ids."""
        ids = {query: sorted(grades, key=lambda d: (-grades[d], d))[:most] for query, grades in self.qrels.items()}
        return Dataset.from_dict(
            {
                "query": [self.queries[query] for query in ids],
                "documents": [[self.corpus[document] for document in row] for row in ids.values()],
                "query_id": list(ids),
                "document_ids": list(ids.values()),
            }
        )


def from_documentation(options: argparse.Namespace) -> dict[str, Collection]:
    """Search the installed packages' documentation, divided by module."""
    parts = documentation.split(documentation.load(options.limit))
    return {
        split: Collection(
            {entry.id: entry.query for entry in part},
            {entry.id: entry.document for entry in part},
            read_qrels(documentation.qrels(part, part)),
        )
        for split, part in parts.items()
    }


def from_data(options: argparse.Namespace) -> dict[str, Collection]:
    """Read a collection of any form; queries without a relevant document are left out."""
    found = {}
    for split, part in shared.read_parts(options, "retrieval").items():
        ids = part.dataset["query_id"][:]
        relevant = [query for query in ids if any(part.qrels.get(query, {}).values())]
        queries = {query: part.queries[query] for query in relevant}
        qrels = {query: part.qrels[query] for query in relevant}
        found[split] = Collection(queries, dict(part.corpus), qrels)
    return found


def evaluate(model: SentenceTransformer, collection: Collection) -> shared.Scores:
    """Search the corpus; every grade above 0 counts as relevant."""
    lowest = min(grade for grades in collection.qrels.values() for grade in grades.values() if grade > 0)
    evaluator = GradedInformationRetrievalEvaluator(
        collection.queries,
        collection.corpus,
        collection.qrels,
        relevance_level=lowest,
        batch_size=256,
        write_csv=False,
    )
    scores = evaluator(model)
    return {metric: scores[f"{model.similarity_fn_name}_{metric}"] for metric in ("ndcg@10", "mrr@10", "recall@100")}


def main(arguments: Sequence[str] | None = None) -> dict[str, shared.Scores]:
    """Compare the losses."""
    columns = {"query": "query", "document": "document", "grade": "grade"}
    columns |= {"query-id": "query_id", "document-id": "document_id"}
    options = shared.parse_options(
        __doc__, arguments, columns=columns, losses=["MNRL", "A-NDCG"], batch_size=128, limit=12_000
    )
    found = (from_data if options.data else from_documentation)(options)
    train, test = found["train"], found[options.split]
    lists = train.rows(MOST)
    pairs = lists.map(lambda row: {"document": row["documents"][0]}, remove_columns=lists.column_names[1:])
    model = make_encoder(
        options.model,
        [*train.queries.values(), *train.corpus.values()],
        seed=options.seed,
        vocabulary=shared.VOCABULARY,
    )
    return shared.compare(
        f"{len(test.queries)} queries, {len(test.corpus)} documents",
        model,
        {
            "MNRL": (lambda model: MultipleNegativesRankingLoss(model, scale=7), {"learning_rate": 0.2}),
            "A-NDCG": (
                lambda model: ANDCGLoss(model, relevance=Qrels(train.qrels), temperature=0.08),
                {"learning_rate": 0.1, "batch_sampler": samplers.qrels()},
            ),
        },
        {"MNRL": pairs, "A-NDCG": lists},
        lambda trained: evaluate(trained, test),
        options,
    )


if __name__ == "__main__":
    main()
