"""What the site adds to mkdocs: formulas as MathML, notebooks as pages, the help of the command line."""

from __future__ import annotations

import argparse
import html
import json
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

from st_rankloss.cli import make_parser

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
HELP = re.compile(r"^::: st-rankloss *(\w*)$", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each notebook."""
    for file in [x for x in files if x.src_uri.endswith(".ipynb")]:
        cells = json.loads(Path(file.abs_src_path).read_text(encoding="utf-8"))["cells"]
        page = "\n\n".join(map(cell_to_markdown, cells))
        files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=page))
    return files


def cell_to_markdown(cell: dict[str, Any]) -> str:
    """Return a cell of a notebook as Markdown: its text, or its code and what that printed and drew."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(output_to_markdown, cell.get("outputs", []))])


def output_to_markdown(output: dict[str, Any]) -> str:
    """Return what a cell printed or drew."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "image/svg+xml" in data:
        return f"<div>{''.join(data['image/svg+xml'])}</div>"
    return "```text\n" + "".join(data.get("text/plain", "")).rstrip() + "\n```"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace a line ``::: st-rankloss COMMAND`` with the help of the command."""
    return HELP.sub(lambda found: f"```text\n{command_help(found[1])}```", markdown)


def command_help(command: str = "") -> str:
    """Return the help of ``st-rankloss``, or of one of its commands."""
    os.environ["COLUMNS"] = "84"
    parser = make_parser()
    if command:
        choices = next(x.choices for x in parser._actions if isinstance(x, argparse._SubParsersAction))
        parser = choices[command]
    return parser.format_help()


def on_page_content(content: str, **_: Any) -> str:
    """Replace formulas with MathML, which browsers show without scripts."""
    return FORMULA.sub(lambda x: formula(html.unescape(x[2]), "block" if x[1] == "div" else "inline"), content)


def formula(latex: str, display: str) -> str:
    """Return a formula as MathML, wide ones with a scroll bar."""
    mathml = convert(latex.strip(), display=display)
    return f'<div class="formula">{mathml}</div>' if display == "block" else mathml
