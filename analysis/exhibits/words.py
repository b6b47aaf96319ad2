"""Values, headings and labels as people read them, in every medium."""

import re
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import width_text

WHOLE = ("samples", "n")  # columns whose numbers have all digits, as a command takes them
NOISE = 1e-12  # a smaller number is 0, but for rounding
# A subscript or superscript of a label. Its content is plain, so that text of a store is never read as more.
MARKUP = re.compile(r"([_^])\{([\w.,+−-]*)\}")
HEADINGS = {"width": "m", "samples": "N", "weight_decay": "weight decay", "epsilon": "ε", "alpha": "α",
            "alpha_low": "α from", "alpha_high": "α to", "opt": "OPT", "aicc": "AICc", "aicc_weight": "AICc weight",
            "bic": "BIC", "bic_weight": "BIC weight", "threshold": "OPT + ε"}


def heading(name: str) -> str:
    """Return the name by which people know a column."""
    return HEADINGS.get(name, name.replace("_", " "))


def value(of: Any, name: str = "", form: str = "") -> str:
    """Return a value of the column `name` as text.

    A number has 4 significant digits, a missing one is a dash, truth is yes or no. A format for numbers, `form`, comes
    first, and makes nothing of a missing number.
    """
    if isinstance(of, str):
        return of
    if of is None or pd.isna(of):
        return "" if form else "–"
    if isinstance(of, bool | np.bool_):
        return "yes" if of else "no"
    if form:
        return format(of, form)
    if name in ("width", "m"):
        return width_text(int(of))
    if name in WHOLE:
        return str(int(of))
    if abs(of) < NOISE:
        return "0"
    return f"{of:.4g}" if abs(of) < 1e4 or np.isinf(of) else f"{of:,.0f}"


def plain(label: str) -> str:
    """Return a label without its markup: N_ε(m)."""
    return MARKUP.sub(r"\1\2", label)


def shortened(label: str, most: int) -> str:
    """Return a label of at most `most` characters."""
    return label if len(label) <= most else f"{label[:most - 1]}…"
