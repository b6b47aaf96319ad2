"""Tables in Markdown and LaTeX, for papers, pages and pull requests."""

import re
from collections.abc import Iterable

from analysis.exhibits.base import Table
from analysis.exhibits.words import plain

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " ", "–": "--",
         "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "α": r"$\alpha$", "ε": r"$\varepsilon$",
          "[": "{[}", "*": "{*}",  # a \\ or \midrule before them would take them for its argument
         **{character: "\\" + character for character in "&%$#_{}"}}


def markdown(table: Table) -> str:
    """Return a table in Markdown, in which only the frame is markup."""
    rules = ["---:" if table.numeric(name) else "---" for name in table.headings]
    rows = [_headings(table), *_cells(table)]
    lines = [_row(map(markdown_text, row)) for row in rows]
    return "".join([lines[0], _row(rules), *lines[1:]])


def markdown_text(value: object) -> str:
    """Return text as a cell of a Markdown table (an underscore within a word is no markup)."""
    return re.sub(r"([\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|&(?=[#\w]))", r"\\\1", " ".join(str(value).splitlines()))


def latex(table: Table) -> str:
    """Return a tabular with booktabs' rules."""
    kinds = "".join("r" if table.numeric(name) else "l" for name in table.headings)
    lines = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", _latex_row(_headings(table)), r"\midrule",
             *(_latex_row(row) for row in _cells(table)), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _headings(table: Table) -> list[str]:
    return [plain(heading) for heading in table.headings.values()]


def _cells(table: Table) -> list[list[str]]:
    names = list(table.headings)
    return [[table.text(name, value) for name, value in zip(names, row, strict=True)]
            for row in table.rows[names].itertuples(index=False)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join("".join(LATEX.get(character, character) for character in cell) for cell in cells) + r" \\"
