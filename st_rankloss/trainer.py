"""sentence-transformers' trainer with our collator."""

from __future__ import annotations

from sentence_transformers import SentenceTransformerTrainer

from st_rankloss.collators import RankingCollator


class RankingTrainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer that makes a `RankingCollator`, with its prompts and router mapping.

    Needed for lists of documents, string labels and ids; for anything else the plain trainer does as well.

    Example:
        ::

            dataset = Dataset.from_dict({"query": [...], "documents": [[...], ...], "labels": [[3, 0], ...]})
            RankingTrainer(model=model, train_dataset=dataset, loss=ANDCGLoss(model)).train()
    """

    data_collator_class = RankingCollator
