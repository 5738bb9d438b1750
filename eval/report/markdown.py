"""Blocks as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eval.report.blocks import Block, Bold, Heading, Listing, Paragraph, Picture, Table


def to_markdown(blocks: Iterable[Block], names: Mapping[str, str]) -> str:
    """Write blocks as Markdown, with the file of each figure by its caption."""
    return "\n\n".join(_block_to_markdown(block, names) for block in blocks) + "\n"


def _block_to_markdown(block: Block, names: Mapping[str, str]) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Listing(points):
            return "\n".join(f"- {_escape(point)}" for point in points)
        case Picture(caption):
            return f"![{_escape(caption)}]({names[caption]})"
        case Table(columns):
            rows = [[_escape(heading) for heading in columns], ["---"] * len(columns)]
            rows += [[f"**{_escape(c)}**" if isinstance(c, Bold) else _escape(c) for c in row] for row in block.rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _escape(text: str) -> str:
    """Keep a text on one line, and its marks from being read as Markdown or HTML."""
    for mark, replacement in {"\\": "\\\\", "|": "\\|", "*": "\\*", "`": "\\`", "<": "&lt;"}.items():
        text = text.replace(mark, replacement)
    return " ".join(text.split())
