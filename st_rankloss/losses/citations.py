"""What the model card cites for a loss, in BibTeX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from st_rankloss.objectives import ApproxNDCG

_RANKING = """
@article{gu2021representation,
    title={Representation Learning by Ranking across multiple tasks},
    author={Gu, Lifeng},
    journal={arXiv preprint arXiv:2103.15093},
    year={2021}
}
"""

_SOFT_RANKS = """@article{qin2010general,
    title={A general approximation framework for direct optimization of information retrieval measures},
    author={Qin, Tao and Liu, Tie-Yan and Li, Hang},
    journal={Information Retrieval},
    volume={13},
    number={4},
    pages={375--397},
    year={2010}
}
"""

PROXIES = """
@inproceedings{movshovitz2017no,
    title={No Fuss Distance Metric Learning using Proxies},
    author={Movshovitz-Attias, Yair and Toshev, Alexander and Leung, Thomas K. and Ioffe, Sergey and Singh, Saurabh},
    booktitle={IEEE International Conference on Computer Vision},
    year={2017}
}
"""


def citation_of(objective: Any) -> str:
    """Return what a loss that ranks batches by an objective cites.

    Args:
        objective: The objective.

    Returns:
        The BibTeX entries.

    Example:
        >>> from st_rankloss.objectives import ListNet
        >>> [("qin2010" in citation_of(o)) for o in (ListNet(), ListNet() + 0.5 * ApproxNDCG())]
        [False, True]
    """
    return _RANKING + (_SOFT_RANKS if any(isinstance(each, ApproxNDCG) for each in _within(objective)) else "")


def _within(objective: Any) -> Iterator[Any]:
    """Yield an objective, the terms of a mixture and what wrappers wrap."""
    yield objective
    for _, term in getattr(objective, "terms", ()):
        yield from _within(term)
    if (inner := getattr(objective, "objective", None)) is not None:
        yield from _within(inner)
