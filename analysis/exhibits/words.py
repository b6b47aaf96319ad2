"""Values, headings and labels as people read them, in every medium."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import width_text

Form = Callable[[Any], str]

NOISE = 1e-12  # below it a number is 0, but for rounding
# A subscript or superscript of a label. What is inside is plain, so that text of a store is never read as more.
MARKUP = re.compile(r"([_^])\{([\w.,+−-]*)\}")
HEADINGS = {"width": "m", "samples": "N", "weight_decay": "weight decay", "epsilon": "ε", "alpha": "α",
            "alpha_low": "α from", "alpha_high": "α to", "opt": "OPT", "aicc": "AICc", "aicc_weight": "AICc weight",
            "bic": "BIC", "bic_weight": "BIC weight", "threshold": "OPT + ε"}


def heading(name: str) -> str:
    """Return what people call a column."""
    return HEADINGS.get(name, name.replace("_", " "))


def value(of: Any) -> str:
    """Return a value as text: a number has 4 significant digits, a missing one is a dash, truth is yes or no."""
    if isinstance(of, str):
        return of
    if of is None or pd.isna(of):
        return "–"
    if isinstance(of, bool | np.bool_):
        return "yes" if of else "no"
    if abs(of) < NOISE:
        return "0"
    return f"{of:.4g}" if abs(of) < 1e4 or np.isinf(of) else f"{of:,.0f}"


def short(of: Any) -> str:
    """Return a number of the kind that people choose (a learning rate) as they write it."""
    return "" if pd.isna(of) else f"{of:g}"


def two(of: Any) -> str:
    """Return a number with 2 decimals; nothing for a missing one."""
    return "" if pd.isna(of) else f"{of:z.2f}"


def percent(of: Any) -> str:
    """Return a share in percent."""
    return f"{of:.0%}"


def width(of: Any) -> str:
    """Return a width, of which one may be infinite."""
    return width_text(int(of))


def whole(of: Any) -> str:
    """Return a whole number with all its digits, as a command takes it."""
    return str(int(of))


WIDTHS: dict[str, Form] = {"width": width, "m": width, "samples": whole, "n": whole}


def plain(label: str) -> str:
    """Return a label without its markup: N_ε(m)."""
    return MARKUP.sub(r"\1\2", label)


def shortened(label: str, most: int) -> str:
    """Return a label of at most `most` characters."""
    return label if len(label) <= most else f"{label[:most - 1]}…"
