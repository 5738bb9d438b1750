"""Cross-entropy objectives over a list."""

from __future__ import annotations

from collections.abc import Sequence

from st_rankloss.functional.cross_entropy import (
    cwcl,
    dcl,
    dclw,
    info_nce,
    list_net,
    psl,
    rank_kl,
    regression_compatible,
    softmax_at_k,
    softmax_cross_entropy,
    sup_con,
)
from st_rankloss.objectives.base import Configured


class SoftmaxCrossEntropy(Configured):
    """`softmax_cross_entropy`, between the softmax of similarities and the normalised gains.

    A list of a single document has no gradient.

    Example:
        >>> import torch
        >>> similarity = torch.tensor([[0.9, 0.2, 0.7]])
        >>> SoftmaxCrossEntropy(temperature=0.1)(similarity, torch.tensor([[1.0, 0.0, 0.5]]))
        tensor([0.7944])
    """

    @softmax_cross_entropy.settings
    def __init__(self) -> None: ...


class SupCon(Configured):
    """`sup_con`: relevant documents compete with one another."""

    @sup_con.settings
    def __init__(self) -> None: ...


class InfoNCE(Configured):
    """`info_nce`: each relevant document competes with the irrelevant ones only."""

    @info_nce.settings
    def __init__(self) -> None: ...


class DCL(Configured):
    """`dcl`: `info_nce`, decoupled."""

    @dcl.settings
    def __init__(self) -> None: ...


class DCLW(Configured):
    """`dclw`: `dcl`, with weights over the batch."""

    @dclw.settings
    def __init__(self) -> None: ...


class CWCL(Configured):
    """`cwcl`, for a frozen encoder of documents, with ``Vectors(threshold=-1)``.

    The rows of all columns belong together: a query, its own document and, if there are any, further documents.
    """

    @cwcl.settings
    def __init__(self) -> None: ...

    def check_columns(self, sizes: Sequence[int], *, lists: bool = False, mixed: bool = False) -> None:
        """Raise ValueError unless every query has a document of its own."""
        if lists or len(sizes) < 2 or len(set(sizes)) > 1:
            raise ValueError(
                "CWCL needs a column of queries, one of their own documents, and at most columns of further documents, "
                f"of one length, got {'lists of documents' if lists else f'columns of {list(sizes)} rows'}."
            )


class ListNet(Configured):
    """`list_net`, from the softmax of the grades."""

    @list_net.settings
    def __init__(self) -> None: ...


class RankKL(Configured):
    """`rank_kl`, from the softmax of the ranks of the grades; from CoDiEmb, for STS."""

    @rank_kl.settings
    def __init__(self) -> None: ...


class RegressionCompatible(Configured):
    """`regression_compatible`, calibrated; relevance in [0, 1]."""

    @regression_compatible.settings
    def __init__(self) -> None: ...


class PSL(Configured):
    """`psl`, softer than a softmax."""

    @psl.settings
    def __init__(self) -> None: ...


class SoftmaxAtK(Configured):
    """`softmax_at_k`, SL@K."""

    @softmax_at_k.settings
    def __init__(self) -> None: ...
