"""Blocks as one HTML page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from eval.report.blocks import Block, Bold, Contents, Details, Heading, Link, Listing, Paragraph, Picture, Table, anchor

STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.css", "page.js"))


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Write blocks as one HTML page, with its style, script and figures inside."""
    style, script = (path.read_text(encoding="utf-8") for path in (STYLE, SCRIPT))
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>",
        f"<style>\n{style}</style>",
    ]
    body = [_blocks_to_html(blocks), f"<script>\n{script}</script>"]
    return "\n".join(
        ['<!DOCTYPE html>\n<html lang="en">\n<head>', *head, "</head>\n<body>", *body, "</body>\n</html>\n"]
    )


def _blocks_to_html(blocks: Sequence[Block]) -> str:
    return "\n".join(map(_block_to_html, blocks))


def _block_to_html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f'<h{level} id="{anchor(text)}">{html.escape(text)}</h{level}>'
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Listing(points):
            return f"<ul>{''.join(f'<li>{_inline(point)}</li>' for point in points)}</ul>"
        case Contents(links):
            return f'<nav aria-label="Contents">{" · ".join(map(_inline, links))}</nav>'
        case Picture(caption, _, svg):
            text = html.escape(caption)
            box = f'<div class="box" tabindex="0" role="img" aria-label="{text}">{svg}</div>'
            return f"<figure>{box}<figcaption>{text}</figcaption></figure>"
        case Table():
            return _table_to_html(block)
        case Details(heading, inside):
            return f"<details><summary>{_block_to_html(heading)}</summary>\n{_blocks_to_html(inside)}\n</details>"


def _table_to_html(table: Table) -> str:
    """Write a table in a box of its own; the script makes its headings sort."""
    headings = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in table.columns)
    rows = [f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in table.rows]
    label = html.escape(", ".join(table.columns))
    box = f'<div class="box" tabindex="0" role="region" aria-label="Table: {label}">'
    return "\n".join([f"{box}<table><thead><tr>{headings}</tr></thead><tbody>", *rows, "</tbody></table></div>"])


def _inline(text: str) -> str:
    if isinstance(text, Link):
        return f'<a href="#{anchor(text.heading)}">{html.escape(text)}</a>'
    return f"<b>{html.escape(text)}</b>" if isinstance(text, Bold) else html.escape(text)
