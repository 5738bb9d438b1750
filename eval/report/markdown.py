"""Blocks as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.report.blocks import Block, Bold, Contents, Heading, Link, Listing, Paragraph, Picture, Table, anchor, flatten


def to_markdown(blocks: Sequence[Block], names: Mapping[str, str]) -> str:
    """Write blocks as Markdown, with the file of each figure by its caption."""
    return "\n\n".join(_block_to_markdown(block, names) for block in flatten(blocks)) + "\n"


def _block_to_markdown(block: Block, names: Mapping[str, str]) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Listing(points):
            return "\n".join(f"- {_inline(point)}" for point in points)
        case Contents(links):
            return " · ".join(map(_inline, links))
        case Picture(caption):
            return f"![{_escape(caption)}]({names[caption]})"
        case Table(columns):
            rows = [[_escape(heading) for heading in columns], ["---"] * len(columns)]
            rows += [[_inline(cell) for cell in row] for row in block.rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    raise TypeError(f"no Markdown for {type(block).__name__}")


def _inline(text: str) -> str:
    if isinstance(text, Link):
        return f"[{_escape(text)}](#{anchor(text.heading)})"
    return f"**{_escape(text)}**" if isinstance(text, Bold) else _escape(text)


def _escape(text: str) -> str:
    """Keep a text on one line, and its marks from being read as Markdown or HTML."""
    for mark, replacement in {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;"}.items():
        text = text.replace(mark, replacement)
    return " ".join(text.split())
