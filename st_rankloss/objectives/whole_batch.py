"""Objectives that read the whole batch of all processes at once."""

from __future__ import annotations

from st_rankloss.functional.whole_batch import (
    contextual_similarity,
    mv_dhel,
    mv_info_nce,
    set_information,
    shared_negatives,
    wasserstein,
)
from st_rankloss.objectives.base import Configured


class Wasserstein(Configured):
    """`wasserstein`, from SyCL: the batch's lists as Gaussians."""

    one_loss = True
    weighs_queries = False

    @wasserstein.settings
    def __init__(self) -> None: ...


class SharedNegatives(Configured):
    """`shared_negatives`: relevant pairs against the irrelevant pairs of all queries, without outliers; from UNPG."""

    @shared_negatives.settings
    def __init__(self) -> None: ...


class ContextualSimilarity(Configured):
    """`contextual_similarity`, for one column of samples: samples of one class share neighbours."""

    one_loss = True
    weighs_queries = False

    @contextual_similarity.settings
    def __init__(self) -> None: ...


class SetInformation(Configured):
    """`set_information`, from SCoRe, for one column of samples: submodular functions of the classes."""

    @set_information.settings
    def __init__(self) -> None: ...

    @property
    def one_loss(self) -> bool:  # type: ignore[override]
        """Whether all samples have the same loss."""
        return bool(self.set_function == "log_det")

    @property
    def weighs_queries(self) -> bool:  # type: ignore[override]
        """Whether the weights of samples change the loss."""
        return not self.one_loss


class MVInfoNCE(Configured):
    """`mv_info_nce`, for one column through `ViewsCollator`: one term for all views of a sample."""

    @mv_info_nce.settings
    def __init__(self) -> None: ...


class MVDHEL(Configured):
    """`mv_dhel`, for one column through `ViewsCollator`: `mv_info_nce`, decoupled."""

    @mv_dhel.settings
    def __init__(self) -> None: ...
