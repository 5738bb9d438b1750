"""Margins that lower the similarity of relevant documents in training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from st_rankloss.functional.lists import clean_relevance
from st_rankloss.functional.ranks import upcast


def with_margin(similarity: Tensor, relevance: Tensor, cosine: float = 0.0, angle: float = 0.0) -> Tensor:
    r"""Lower the similarity of relevant documents, so that they must be better than others by a margin.

    .. math:: s'_j = \cos(\theta_j + m_a) - m_c, \qquad s_j = \cos \theta_j

    for relevant j. Where :math:`\theta_j + m_a` would exceed π, :math:`s_j - m_a \sin m_a` continues the cosine
    downwards.

    Args:
        similarity: Shape ``(..., D)``; cosines if ``angle`` is above 0.
        relevance: Above 0 for relevant documents, NaN where unjudged, shape ``(..., D)``.
        cosine: m_c, in units of ``similarity``.
        angle: m_a, in radians, in [0, π).

    Returns:
        Similarities, shape ``(..., D)``.

    Example:
        >>> with_margin(torch.tensor([0.8, 0.5]), torch.tensor([1.0, 0.0]), cosine=0.35)
        tensor([0.4500, 0.5000])
        >>> with_margin(torch.tensor([0.8, 0.5]), torch.tensor([1.0, 0.0]), angle=0.5)
        tensor([0.4144, 0.5000])

    Source: Wang et al. (2018), "CosFace", arXiv 1801.09414; Deng et al. (2019), "ArcFace", arXiv 1801.07698; both
    together as in the latter, with the continuation of its public code.
    """
    similarity = upcast(similarity)
    lowered = similarity
    relevant = clean_relevance(relevance)[0] > 0
    if angle:
        lowered = torch.where(relevant, similarity, 0)  # that of an unjudged document may be infinite or NaN
        # At a cosine of ±1 the slope of the sine is infinite: it is 0 within rounding of these.
        sine = (1 - lowered.square()).clamp_min(torch.finfo(lowered.dtype).eps).sqrt()
        turned = lowered * math.cos(angle) - sine * math.sin(angle)
        lowered = torch.where(lowered > -math.cos(angle), turned, lowered - angle * math.sin(angle))
    return torch.where(relevant, lowered - cosine, similarity)
