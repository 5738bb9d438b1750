"""Relevance of altered copies: the less a view keeps of its sample, the less relevant it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from st_rankloss.labels import LABEL_KINDS
from st_rankloss.relevance.base import Batch, Labels, Relevance, as_relevance, check_rows


class Views(Relevance):
    """The share of its sample that a view keeps, times the relevance of that sample.

    A document's relevance for a query is ``keep · R``: keep in (0, 1] is the share of its sample that the document's
    view keeps (1 if unaltered), and R is 1 between views of one sample and 0 between others, or the relevance of their
    labels, which treats views of one sample like two samples with the same labels. The share that the query's view
    keeps is left out: it would only scale the whole list, which does not change NDCG.

    Labels: through `ViewsCollator`.

    Args:
        relevance: Relevance of the samples' labels; None means that only views of the same sample are relevant.

    Raises:
        TypeError: If ``relevance`` is not callable.

    Example:
        >>> import torch
        >>> sample, keep = torch.tensor([0, 1, 0, 1]), torch.tensor([1.0, 1.0, 0.5, 0.5])
        >>> views = {"sample": sample, "keep": keep}
        >>> Views()(views, views)
        tensor([[1.0000, 0.0000, 0.5000, 0.0000],
                [0.0000, 1.0000, 0.0000, 0.5000],
                [1.0000, 0.0000, 0.5000, 0.0000],
                [0.0000, 1.0000, 0.0000, 0.5000]])

    Source: ranking views by strength is ours; ranking views of a sample above other samples in self-supervised
    training, with augmentation, is from Gu (2021), arXiv 2103.15093.
    """

    def __init__(self, relevance: Relevance | Callable[[Any, Any], Tensor] | None = None) -> None:
        self.relevance = None if relevance is None else as_relevance(relevance)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """The kinds of labels that the relevance of the samples reads."""
        return LABEL_KINDS if self.relevance is None else self.relevance.reads

    def __call__(self, query_labels: dict[str, Any], document_labels: dict[str, Any]) -> Tensor:
        """Combine ``sample`` (Q,) and (D,), ``keep`` (D,) and the labels of the base relevance into (Q, D)."""
        if self.relevance is None:
            related = (query_labels["sample"][:, None] == document_labels["sample"]).float()
        else:
            related = self.relevance(query_labels["labels"], document_labels["labels"])
        relevance: Tensor = related * document_labels["keep"]
        return relevance

    def pair(self, batch: Batch, sizes: Sequence[int]) -> tuple[Labels, Labels]:
        """Return the samples, kept shares and labels of the views."""
        if "sample" not in batch or len(sizes) != 1:
            raise ValueError(
                f"{self!r} needs a batch of views: use RankingTrainer with data_collator=ViewsCollator(...) and a "
                f"dataset with one input column, got {len(sizes)} input columns"
                f"{'' if 'sample' in batch else ' without views'}."
            )
        check_rows(batch["sample"], sizes[0], "views")
        views: dict[str, Tensor] = {name: batch[name] for name in ("sample", "keep")}
        if self.relevance is None:
            return views, views
        own = {name: tensor for name, tensor in batch.items() if name not in views}
        query, document = ({**views, "labels": labels} for labels in self.relevance.pair(own, sizes))
        return query, document

    def __repr__(self) -> str:
        return f"Views({'' if self.relevance is None else repr(self.relevance)})"
