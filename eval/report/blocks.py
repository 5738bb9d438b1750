"""The parts of a page; `markdown` and `webpage` write them out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from eval.report import figures


class Bold(str):
    """A cell in bold."""

    __slots__ = ()


class Link(str):
    """A text that leads to a heading of the page, by default the one of the same text."""

    heading: str

    def __new__(cls, text: str, heading: str = "") -> Link:
        """Make a link."""
        link = super().__new__(cls, text)
        link.heading = heading or text
        return link


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
class Contents:
    """Links to the sections of the page."""

    links: Sequence[Link]


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
    """A figure as PNG for a file, and as SVG for the page."""

    caption: str
    png: bytes
    svg: str


@dataclass(frozen=True)
class Details:
    """Blocks that the web page shows on demand, below their heading."""

    heading: Heading
    blocks: Sequence[Block]


Block = Heading | Paragraph | Listing | Contents | Table | Picture | Details


def picture(caption: str, figure: Figure) -> Picture:
    """Render a figure."""
    return Picture(caption, figures.to_png(figure), figures.to_svg(figure, caption))


def anchor(text: str) -> str:
    """Return a heading's anchor, which is GitHub's.

    Example:
        >>> anchor("What a loss gains, stsb_extra")
        'what-a-loss-gains-stsb_extra'
    """
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def flatten(blocks: Sequence[Block]) -> Iterator[Block]:
    """Yield all blocks, with those of details after their heading."""
    for block in blocks:
        if isinstance(block, Details):
            yield block.heading
            yield from flatten(block.blocks)
        else:
            yield block
