"""An objective with a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from st_rankloss.functional.margins import with_margin
from st_rankloss.functional.settings import AtLeast0
from st_rankloss.objectives.base import Objective, given
from st_rankloss.objectives.wrappers import _Wrapper


@dataclass(frozen=True)
class Margin(_Wrapper):
    """An objective that relevant documents must satisfy with a margin, see `with_margin`.

    Over class centres, see `ProxyLoss`, ``Margin(SoftmaxCrossEntropy(1 / 64), cosine=0.35)`` is CosFace and
    ``Margin(SoftmaxCrossEntropy(1 / 64), cosine=0, angle=0.5)`` ArcFace. Over documents, the former is the additive
    margin softmax of bi-encoders such as LaBSE.

    Args:
        objective: The objective, or a mixture.
        cosine: What relevant documents lose in similarity, at least 0.
        angle: What they gain in angle, in radians, at least 0 and below π; needs cosines.

    Raises:
        TypeError: If ``objective`` is not an `Objective`, or a margin not a number.
        ValueError: If a margin is out of its range. When called, with ``angle``, if a similarity is not a cosine.

    Example:
        >>> import torch
        >>> from st_rankloss.objectives import SoftmaxCrossEntropy
        >>> similarity, relevance = torch.tensor([[0.8, 0.5]]), torch.tensor([[1.0, 0.0]])
        >>> SoftmaxCrossEntropy(0.1)(similarity, relevance), Margin(SoftmaxCrossEntropy(0.1))(similarity, relevance)
        (tensor([0.0486]), tensor([0.9741]))

    Source: see `with_margin`; for bi-encoders, Yang et al. (2019), arXiv 1902.08564.
    """

    objective: Objective
    cosine: AtLeast0 = 0.35
    angle: AtLeast0 = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not self.angle < math.pi:
            raise ValueError(f"angle must be below π, got {self.angle!r}.")

    def parts(self, similarity: Tensor, relevance: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the objective's terms."""
        if self.angle and similarity.device.type == "cpu":
            beyond = similarity.detach()[~relevance.isnan()].abs()
            if (beyond > 1.01).any():
                raise ValueError(f"angle needs cosines, got a similarity of {beyond.max().item():.4g}: use cosine.")
        lowered = with_margin(similarity, relevance, self.cosine, self.angle)
        return self._named(self.objective.parts(lowered, relevance, **given(weights)))
