"""What an evaluator logs, and the files that it writes, in the formats of sentence-transformers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

CSV_NAMES = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "accuracy": "Accuracy"}


def append_csv(path: Path, columns: Sequence[str], values: Sequence[Any]) -> None:
    """Append a line to a CSV file; add the header to a new file, and warn if the file has a different one."""
    header, line = ",".join(columns), ",".join(map(str, values))
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    if not is_new:
        with path.open(encoding="utf-8") as file:
            if file.readline().rstrip("\n") != header:
                logger.warning("%s has other columns than this evaluation; the line appended follows: %s", path, header)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{header}\n{line}\n" if is_new else f"{line}\n")


def write_predictions(path: Path, queries: Mapping[str, Any], rankings: Mapping[str, Mapping[str, float]]) -> None:
    """Write one line of JSON per query: its id, its text, and its documents with their scores, best first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for query_id, ranking in rankings.items():
            results = [{"corpus_id": doc_id, "score": score} for doc_id, score in ranking.items()]
            line = {"query_id": query_id, "query": queries[query_id], "results": results}
            file.write(json.dumps(line, default=str) + "\n")


def describe_step(epoch: int, steps: int, truncate_dim: int | None) -> str:
    """Describe the training step and the truncation."""
    moment = "" if epoch == -1 else f" after epoch {epoch}" if steps == -1 else f" in epoch {epoch} after {steps} steps"
    return moment + ("" if truncate_dim is None else f" (truncated to {truncate_dim})")
