"""The parts of a page; `markdown` and `webpage` write them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from eval.report import figures


class Bold(str):
    """A cell in bold."""

    __slots__ = ()


@dataclass(frozen=True)
class Heading:
    """A title; the page's own has level 1."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """One paragraph."""

    text: str


@dataclass(frozen=True)
class Listing:
    """A list of points."""

    points: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Columns of equal length by heading."""

    columns: Mapping[str, Sequence[str]]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells row by row."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True)
class Picture:
    """A figure as PNG."""

    caption: str
    png: bytes


Block = Heading | Paragraph | Listing | Table | Picture


def picture(caption: str, figure: Figure) -> Picture:
    """Render a figure."""
    return Picture(caption, figures.to_png(figure))
