"""A loss that ranks samples against learned class centres."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from st_rankloss._host import cos_sim, count_rows, embed
from st_rankloss._models import SentenceTransformer, trained_dimension, unwrapped
from st_rankloss.functional.checks import check_at_least, check_choice
from st_rankloss.functional.ranks import upcast
from st_rankloss.functional.settings import check_count
from st_rankloss.labels import NO_CODE
from st_rankloss.losses.base import Batch, GradedLoss, Pairing, uncompiled
from st_rankloss.losses.blocks import sum_over_blocks
from st_rankloss.losses.citations import PROXIES
from st_rankloss.losses.comparisons import compare_by
from st_rankloss.losses.gathering import Shares, several_processes
from st_rankloss.losses.parts import LossParts
from st_rankloss.objectives import Objective, SoftmaxCrossEntropy
from st_rankloss.relevance import Relevance, encode_ids
from st_rankloss.relevance.matrix import RelevanceMatrix

_FIRST_CODE = 2**32  # ids are smaller, and the codes of names, of 63 bits, nearly always larger

LISTS = ("centres", "samples", "both")


class ProxyLoss(GradedLoss):
    """Rank samples against a learned centre, or proxy, of each class, by the cosine.

    Centres are parameters of the loss, ``centres``, which trainers optimise with the model. They usually need a larger
    learning rate: ``learning_rate_mapping={"centres": 1e-2}`` among the training arguments. The trainers of this
    package save them with checkpoints, in ``loss.safetensors``, and resume from them; those of sentence-transformers
    start again from random centres. They are not part of the model.

    Any objective can rank centres, and any relevance of single labels can grade them: a centre is a document whose
    label is its class. With ``lists="centres"`` the samples of a batch do not compete, so accumulating gradients equals
    a larger batch.

    ====================================================  ==========================================================
    loss                                                  arguments
    ====================================================  ==========================================================
    normalized softmax; ProxyNCA++, at half its T         the defaults; ``objective=SoftmaxCrossEntropy(0.05)``
    CosFace                                               ``objective=Margin(SoftmaxCrossEntropy(1 / 64), 0.35)``
    ArcFace                                               ``objective=Margin(SoftmaxCrossEntropy(1 / 64), 0, 0.5)``
    Proxy-Anchor ¹                                        ``lists="samples"``, ``objective=
                                                          Margin(MultiSimilarity(32, 32, -0.1), 0.2)``
    ====================================================  ==========================================================

    ¹ divided by its scale; classes without samples in the batch are left out.

    Args:
        model: The SentenceTransformer to train.
        classes: What the centres stand for: their number n, for class ids from 0 to n - 1; the names of the classes; or
            a tensor with one label per centre, for any other relevance.
        objective: As in `RankingLoss`; None means `SoftmaxCrossEntropy`.
        relevance: As in `RankingLoss`, from the labels of samples and of centres.
        lists: What is ranked: ``"centres"`` by each sample, ``"samples"`` by each centre, or ``"both"``, centres and
            the other samples, by each sample.
        dimensions: Size of the embeddings, at least 1; None means that of the model. Smaller embeddings, as in
            MatryoshkaLoss, are compared with the first dimensions of the centres.
        block_size: As in `RankingLoss`.
        no_relevant: As in `RankingLoss`.

    Raises:
        TypeError: If ``model``, ``classes``, ``objective`` or ``relevance`` has the wrong type.
        ValueError: If a setting is out of its range, names repeat, the model does not declare its dimensions, or the
            objective needs every sample to be a query and a document. In `forward`, if labels are missing or not among
            the classes (on a GPU, which is not read, an assertion of the device fails instead), if they are views,
            paths or sets from a collator, if there are several columns, or on several processes, each of which would
            train centres of its own.

    Inputs:
        One column of texts or images, with a label: class ids or names, numbers, or, without a collator of this
        package, a tensor that ``relevance`` reads.

    Example:
        ::

            loss = ProxyLoss(model, classes=["sports", "politics"], objective=Margin(SoftmaxCrossEntropy(1 / 64)))
            arguments = SentenceTransformerTrainingArguments(..., learning_rate_mapping={"centres": 1e-2})
            RankingTrainer(model=model, args=arguments, train_dataset=dataset, loss=loss).train()

    Source: Movshovitz-Attias et al. (2017), "No Fuss Distance Metric Learning using Proxies", arXiv 1703.07464; Zhai,
    Wu (2019), arXiv 1811.12649, normalized softmax; Kim et al. (2020), arXiv 2003.13911, Proxy-Anchor; Jung et al.
    (2022), arXiv 2203.11593, UNPG; see `Margin` for ArcFace and CosFace.
    """

    classes: Tensor

    def __init__(
        self,
        model: Any,
        *,
        classes: int | Sequence[str] | Tensor,
        objective: Objective | Callable[[Tensor, Tensor], Tensor] | None = None,
        relevance: Relevance | Callable[[Any, Any], Tensor] | None = None,
        lists: str = "centres",
        dimensions: int | None = None,
        block_size: int | None = None,
        no_relevant: str = "skip",
    ) -> None:
        super().__init__(
            model,
            objective=SoftmaxCrossEntropy() if objective is None else objective,
            relevance=relevance,
            kinds=(SentenceTransformer,),
            no_relevant=no_relevant,
        )
        check_choice(lists, LISTS, "lists")
        check_at_least(block_size, 1, "block_size")
        self.objective.check_columns([2, 3])  # a column of samples, and one of centres
        dimensions = trained_dimension(unwrapped(model)) if dimensions is None else dimensions
        if dimensions is None:
            raise ValueError(
                "dimensions must be passed, because the model does not declare the size of its embeddings."
            )
        check_count(dimensions, "dimensions")
        self.lists, self.block_size = lists, block_size
        self.register_buffer("classes", _labels_of(classes))
        self.class_names = None if isinstance(classes, int | Tensor) else tuple(classes)
        self.centres = nn.Parameter(F.normalize(torch.randn(len(self.classes), dimensions), dim=1))

    def forward(
        self,
        sentence_features: Iterable[Mapping[str, Any]],
        labels: Tensor | Mapping[str, Any] | None = None,
    ) -> Tensor | LossParts:
        """Compute the loss of a batch.

        Args:
            sentence_features: The model's inputs, one column.
            labels: The label tensor, or the mapping from `RankingCollator`.

        Returns:
            The loss, as that of `RankingLoss`.
        """
        features = list(sentence_features)
        pairing = self._paired([count_rows(column) for column in features], labels)
        ((samples, _),) = embed(self.model, features)
        if samples.shape[1] > self.centres.shape[1]:
            raise ValueError(
                f"centres must have at least the dimensions of the embeddings, {samples.shape[1]}, got "
                f"{self.centres.shape[1]}: pass a larger dimensions=."
            )
        return self._compute(samples, pairing.to(samples.device))

    @property
    def citation(self) -> str:
        """BibTeX for the model card."""
        return PROXIES

    @uncompiled
    def _paired(self, sizes: list[int], labels: Tensor | Mapping[str, Any] | None) -> Pairing:
        if len(sizes) != 1:
            raise ValueError(f"ProxyLoss needs one input column, whose samples have labels, got {len(sizes)}.")
        if several_processes():
            raise ValueError("ProxyLoss trains in one process, got several: each would have centres of its own.")
        pairing = self._pair(sizes, labels)
        # As given: a relevance may prepare the labels of a batch for each other, but not for those of centres.
        pairing = pairing._replace(query_labels=_single_labels(labels))
        self._check_labels(pairing)
        return pairing

    def _check_labels(self, pairing: Pairing) -> None:
        labels = cast(Tensor, pairing.query_labels)
        if self.lists == "samples" and pairing.weights.queries is not None:
            raise ValueError("weights are those of queries, and with lists='samples' the centres are: leave them out.")
        if pairing.weights.documents is not None:
            raise ValueError("document_weights must be left out: the documents of ProxyLoss are class centres.")
        if labels.shape[1:] != self.classes.shape[1:]:
            raise ValueError(
                "labels of samples must have as many numbers as those of classes, got shapes "
                f"{tuple(labels.shape)} and {tuple(self.classes.shape)}."
            )
        if labels.dim() != 1 or labels.is_floating_point() or self.classes.is_floating_point():
            return
        known = (labels[:, None] == self.classes.to(labels.device)).any(1) | (labels == NO_CODE)
        if labels.device.type != "cpu":  # reading the labels would wait for the device
            torch._assert_async(known.all(), "a label is not among the classes of ProxyLoss")
        elif not known.all():
            code = int(labels[~known][0])
            names = "" if self.class_names is None else f" {list(self.class_names)!r:.200}"
            raise ValueError(
                f"labels must be among the {len(self.classes)} classes{names}, got "
                f"{code if code < _FIRST_CODE else 'another name'}: ids from 0 for a number of classes, names for "
                "names."
            )

    @uncompiled
    def _compute(self, samples: Tensor, pairing: Pairing) -> Tensor | LossParts:
        relevance, _, _, shares, weights, _ = pairing
        own = cast(Tensor, pairing.query_labels)
        centres = self.centres[:, : samples.shape[1]].to(upcast(samples).dtype)
        queries, documents, of_documents = samples, centres, self.classes
        if self.lists == "samples":
            queries, documents, own, of_documents = centres, samples, self.classes, own
            shares = Shares([[len(centres)]])
        if self.lists == "both":
            documents, of_documents = torch.cat([samples, centres]), torch.cat([own, self.classes])
        matrix = RelevanceMatrix(relevance, own, of_documents, alone=self.lists == "both")
        in_lists = weights.in_lists(0, by_query=not self.objective.separable and self.objective.weighs)
        sums = sum_over_blocks(
            queries, documents, matrix, self.objective, cos_sim, self.block_size, weights.queries, in_lists
        )
        queries, documents = queries.detach(), documents.detach()
        comparison = compare_by(cos_sim)

        def compare(rows: slice) -> Tensor:
            some, every = comparison.prepare(queries[rows]), comparison.prepare(documents)
            return comparison.block(some, every, backwards=False, with_grad=False).similarity

        return self._mean(
            [sums],
            pairing,
            shares,
            lambda total, learnable: Batch(compare, matrix, len(queries), queries, total, learnable, sums.losses),
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the model card."""
        return {**super().get_config_dict(), "classes": len(self.classes), "lists": self.lists}


def _single_labels(labels: Tensor | Mapping[str, Any] | None) -> Tensor:
    """Return the labels of a batch, which its relevance found there."""
    batch = labels if isinstance(labels, Mapping) else {"label": labels}
    kind = "views" if "sample" in batch else batch.get("kind")
    if kind not in (None, "undeclared", "class", "numbers"):
        raise ValueError(
            f"ProxyLoss reads classes and numbers, got {kind}, whose codes differ between batches and centres: pass a "
            "relevance, and labels that are tensors of fixed size."
        )
    return cast(Tensor, batch["label"])


def _labels_of(classes: int | Sequence[str] | Tensor) -> Tensor:
    """Return the label of each centre."""
    if isinstance(classes, int):
        check_count(classes, "classes", 2)
        return torch.arange(classes)
    if isinstance(classes, Tensor):
        if not classes.dim() or len(classes) < 2:
            raise ValueError(f"classes must have a label for each of two or more centres, got {tuple(classes.shape)}.")
        return classes.detach().clone()
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(x, str) for x in classes):
        raise TypeError(f"classes must be a number, a list of names, or a tensor of labels, got {classes!r}.")
    if len(set(classes)) < max(len(classes), 2):
        raise ValueError(f"classes must be two or more different names, got {list(classes)!r}.")
    return encode_ids(classes)
