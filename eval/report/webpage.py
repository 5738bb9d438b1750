"""Blocks as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

from eval.report.blocks import Block, Bold, Heading, Listing, Paragraph, Picture, Table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2em; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 9px; text-align: left; white-space: nowrap; }
tr:hover td { background: #f3f3f3; }
figure { margin: 1.5em 0; }
img { max-width: 100%; }
figcaption { font-size: 13px; color: #555; }
"""


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """Write blocks as one HTML page, with its style and figures inside."""
    body = "\n".join(map(_block_to_html, blocks))
    head = f'<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n<style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _block_to_html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Listing(points):
            return f"<ul>{''.join(f'<li>{html.escape(point)}</li>' for point in points)}</ul>"
        case Picture(caption, png):
            source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
            text = html.escape(caption)
            return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'
        case Table(columns):
            rows = [f"<tr>{''.join(f'<th>{html.escape(heading)}</th>' for heading in columns)}</tr>"]
            rows += [f"<tr>{''.join(map(_cell_to_html, row))}</tr>" for row in block.rows]
            return f"<div><table>{''.join(rows)}</table></div>"


def _cell_to_html(text: str) -> str:
    return f"<td><b>{html.escape(text)}</b></td>" if isinstance(text, Bold) else f"<td>{html.escape(text)}</td>"
