"""Which reader of labels the datasets of a loss need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from datasets import ClassLabel
from torch import nn

from st_rankloss._host import LOSSES_OF_LISTS, LOSSES_OF_PAIRS, is_of_host
from st_rankloss.collators import CrossEncoderRankingCollator, GradedCollator, Reader, holds_lists, weight_columns
from st_rankloss.data.in_memory import are_numbers
from st_rankloss.judgements import few
from st_rankloss.labels import holds_class_ids
from st_rankloss.losses.base import GradedLoss
from st_rankloss.trainer.class_ids import form_of_sets
from st_rankloss.views import ViewsCollator

logger = logging.getLogger(__name__)


def column_features(dataset: Any) -> Mapping[str, Any]:
    """Return the features of a dataset by column; none for a stream that does not declare them."""
    return getattr(dataset, "features", None) or {}


def choose_reader(
    loss: nn.Module,
    datasets: list[Any],
    collator: GradedCollator,
    form_of: Callable[[Any, str], str | None] = form_of_sets,
) -> Reader:
    """Return the reader for the datasets of a loss, by their features and the form of their label sets."""
    columns = [column_features(dataset) for dataset in datasets]
    if not isinstance(loss, GradedLoss):
        if isinstance(collator, ViewsCollator):
            raise ValueError(f"ViewsCollator makes views for a RankingLoss, got {type(loss).__name__}.")
        return _host_reader(loss, columns, collator)
    reads = None if loss.relevance is None else loss.relevance.reads
    if reads is not None and collator.label_kind not in ("auto", *reads):
        raise ValueError(
            f"label_kind must be 'auto' or one of {list(reads)}, which {loss.relevance!r} reads, got "
            f"{collator.label_kind!r}."
        )
    labels = [next((name for name in collator.valid_label_columns if name in own), None) for own in columns]
    features = [None if name is None else own[name] for own, name in zip(columns, labels, strict=True)]
    declared = {holds_class_ids(feature) for feature in features}
    if len(declared) > 1:
        raise ValueError(
            "datasets of one loss must declare their labels alike, got lists of ClassLabel in one and of integers "
            "in another: cast the column, or give each dataset its own loss."
        )
    _check_grades(reads, features, labels)
    undeclared = zip(datasets, labels, strict=True) if reads == ("multi_label",) and True not in declared else ()
    forms = {form_of(dataset, name) for dataset, name in undeclared if name is not None} - {None}
    if len(forms) > 1:
        raise ValueError(
            "datasets of one loss must have label sets of one form, got class ids in one and multi-hot lists in "
            "another: cast the ids to lists of ClassLabel, or give each dataset its own loss."
        )
    return Reader(loss.relevance, class_ids="ids" in forms or True in declared)


def _check_grades(reads: tuple[str, ...] | None, features: list[Any], labels: list[str | None]) -> None:
    """Raise ValueError for classes with names in the place of grades: their numbers say nothing of relevance."""
    for feature, name in zip(features, labels, strict=True):
        inner = getattr(feature, "feature", feature)
        if reads == ("grades",) and isinstance(inner, ClassLabel) and not are_numbers(inner):
            raise ValueError(
                f"column {name!r} must hold grades, got classes, {few(inner.names)}: give each its grade, with "
                "st_rankloss.data.read(dataset, scale={...}), or pass a relevance that reads classes."
            )


def _host_reader(loss: nn.Module, columns: list[Mapping[str, Any]], collator: GradedCollator) -> Reader:
    """Return the reader for a loss of sentence-transformers, or of another library; log what it does not read."""
    of_pairs = isinstance(collator, CrossEncoderRankingCollator)
    lists = of_pairs and (isinstance(loss, LOSSES_OF_LISTS) or not is_of_host(loss))
    for features in [] if lists else columns:
        remedy = "CrossEncoderRankingLoss" if of_pairs else "RankingLoss"
        _check_host_loss(loss, features, collator.valid_label_columns, remedy)
    weights = {w for features in columns for w in weight_columns(features, collator.valid_label_columns)}
    if weights:
        logger.warning("%s does not read weights: it ignores %s.", type(loss).__name__, sorted(weights))
    return Reader(None, host=True, lists=lists)


def _check_host_loss(loss: nn.Module, features: Mapping[str, Any], label_columns: Iterable[str], remedy: str) -> None:
    """Raise ValueError, or log the conversion to pairs, if a loss of sentence-transformers gets document lists."""
    lists = [name for name, feature in features.items() if name not in label_columns and holds_lists(feature)]
    if not lists:
        return
    name = type(loss).__name__
    if not isinstance(loss, LOSSES_OF_PAIRS):
        raise ValueError(
            f"{name} does not read lists of documents, got the column {lists[0]!r}: use a {remedy}, or make columns "
            "of single documents."
        )
    logger.warning(
        "%s reads pairs: it gets the best document of each list in %r (the first if tied), without labels or ids.",
        name,
        lists[0],
    )
