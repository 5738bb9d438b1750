"""sentence-transformers' trainer with our collator."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformerTrainer

from st_rankloss.collators import RankingCollator


class RankingTrainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer that makes a `RankingCollator`, with its prompts and router mapping.

    Needed for lists of documents, string labels, ids and views; for anything else the plain trainer does as well.
    A `RankingCollator` or `ViewsCollator` passed as ``data_collator=`` gets the arguments' prompts and router
    mapping, too, if it has none of its own.

    Args:
        *args: As SentenceTransformerTrainer's.
        **kwargs: As SentenceTransformerTrainer's.

    Raises:
        ValueError: If both the collator and the arguments have prompts, or a router mapping, and they differ.

    Example:
        ::

            dataset = Dataset.from_dict({"query": [...], "documents": [[...], ...], "labels": [[3, 0], ...]})
            RankingTrainer(model=model, train_dataset=dataset, loss=ANDCGLoss(model)).train()
    """

    data_collator_class = RankingCollator

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.data_collator, RankingCollator):
            for name in ("prompts", "router_mapping"):
                given, own = getattr(self.args, name), getattr(self.data_collator, name)
                if given and own and given != own:
                    raise ValueError(f"data_collator has other {name} than the training arguments: {own!r}, {given!r}.")
                if given:
                    setattr(self.data_collator, name, given)
