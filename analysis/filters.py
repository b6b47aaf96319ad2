"""Filters choose the runs of a store; they are written as Hydra overrides are."""

import json
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError, OvpnetError

# Short keys, which stand for an option's name.
ALIASES = {"concept": "concept.name", "inputs": "inputs.family", "noise": "noise.kind", "loss": "loss.name",
           "learner": "learner.name", "algorithm": "algorithm.name", "regularizer": "regularizer.name",
           "diagnostics": "diagnostics.name"}

# Undotted columns that are config keys; every dotted column is one.
TOP_LEVEL_KEYS = {item.name for item in fields(Config) if not is_dataclass(item.type)}

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, ">": operator.gt, "<": operator.lt}
FORMS = ("key=value, key=value,value, key=[a,b], key=range(start,stop[,step]), key=interval(low,high), "
         "key=glob(text*), or in quotes 'key>=value' (also <=, >, <, !=)")

Test = Callable[[Any], bool]  # of a stored value, which is None if it is null


def config_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns of `runs` that are config keys."""
    return [name for name in runs.columns if "." in name or name in TOP_LEVEL_KEYS]


def as_text(value: Any) -> str:
    """Return a stored config value as it is written in an override."""
    if _is_null(value):
        return "null"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def decode(value: Any) -> Any:
    """Return a stored config value as Python's: JSON lists become lists, nulls None, whole numbers int."""
    if isinstance(value, str):
        try:
            return json.loads(value) if value.startswith("[") else value
        except ValueError:  # a name that begins like a list
            return value
    if _is_null(value):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def key_of(expression: str) -> str:
    """Return the key of a filter; "" if the expression is no filter."""
    key, *rest = re.split(r"[=<>!]", expression, maxsplit=1)
    return key.strip() if rest else ""


def select(runs: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """Return the runs that pass every filter.

    Keys, values, lists, quotes, choice(...), range(...), interval(...) and glob(...) are those of a Hydra override; an
    interval holds both its ends. 'key>=value' and its like compare numbers. 'key!=value' passes all runs with another
    value. `ALIASES` has the short keys, which stand for an option's name (concept=two_layer).

    Raises ConfigError for an unknown key, a value that no run has, or a comparison with a text. Raises OvpnetError for
    an expression that is no filter, or filters that together match nothing.
    """
    kept = pd.Series(True, index=runs.index)
    for expression in filters:
        key, tests = _parse(expression, runs)
        # Few values are distinct, so each is looked at once however many runs there are.
        codes, distinct = pd.factorize(runs[ALIASES.get(key, key)], use_na_sentinel=False)
        stored = [None if _is_null(value) else value for value in distinct]
        passes = np.zeros(len(stored), dtype=bool)
        for text, test in tests.items():
            found = np.array([test(value) for value in stored], dtype=bool)
            if not found.any():
                raise _wrong(key, text, f"no run has it; the store has {_listing(stored)}")
            passes |= found
        kept &= passes[codes]
    if not kept.any():
        raise OvpnetError(f"{' '.join(filters)}: each value occurs, but no run has all of them; drop a filter")
    return runs[kept]


def _parse(expression: str, runs: pd.DataFrame) -> tuple[str, dict[str, Test]]:
    """Return the key of a filter, and its tests by the text of the value: a run has to pass one of them."""
    compared = re.fullmatch(r"([\w.]+)\s*(>=|<=|!=|>|<)\s*(.+)", expression)
    if compared:
        key, sign, text = compared.groups()
        _check_key(key, f"{sign}{text}", runs)
        return key, {f"{sign}{text}": _comparison(key, sign, text)}
    key, equals, text = expression.partition("=")
    if not equals or not text:
        raise OvpnetError(f"{expression}: a filter is written {FORMS}; keys: {', '.join(_keys(runs))}")
    _check_key(key, text, runs)
    return key, _tests(expression, key, text)


def _tests(expression: str, key: str, text: str) -> dict[str, Test]:
    from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, RangeSweep

    value = _value(expression)
    match value:
        case ChoiceSweep():
            return {_shown(each): _equal_to(each) for each in value.list}
        case RangeSweep():
            members = value.range()  # a membership test of Python's range takes no time however long it is
            numbers = members if isinstance(members, range) else {float(each) for each in members}
            return {text: lambda stored: _is_number(stored) and stored in numbers}
        case IntervalSweep():
            return {text: lambda stored: _is_number(stored) and value.start <= stored <= value.end}
        case Glob():
            return {text: lambda stored: stored is not None and bool(value.filter([as_text(stored)]))}
        case dict():
            raise ConfigError(key, text, "no key holds a dictionary")
    return {text: _equal_to(value)}


def _value(expression: str) -> Any:
    """Return the value that Hydra's grammar reads in key=value. Raises OvpnetError."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(expression).value()
    except HydraException as error:
        raise OvpnetError(f"{expression}: {str(error).splitlines()[0]}. A filter is written {FORMS}; put a value with "
                          "special characters in quotes within quotes: key='\"value\"'") from error


def _comparison(key: str, sign: str, text: str) -> Test:
    if sign == "!=":
        equal = _equal_to(_value(f"{key}={text}"))
        return lambda stored: not equal(stored)
    try:
        bound = float(text)
    except ValueError:
        raise _wrong(key, f"{sign}{text}", f"{sign} compares with a number") from None
    return lambda stored: _is_number(stored) and bool(COMPARISONS[sign](stored, bound))


def _equal_to(wanted: Any) -> Test:
    """Return a test for the value written in a filter: it compares numbers by value, lists by their items."""
    if wanted is None:
        return lambda stored: stored is None
    if isinstance(wanted, list):
        items = [_plain(each) for each in wanted]
        return lambda stored: decode(stored) == items
    value = _plain(wanted)
    if _is_number(value):
        return lambda stored: stored == value if _is_number(stored) else as_text(stored) == as_text(value)
    return lambda stored: stored is not None and as_text(stored) == as_text(value)


def _plain(value: Any) -> Any:
    """Return a value of Hydra's grammar without the quotes that it was written in."""
    return value.text if hasattr(value, "text") else value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(_shown(each) for each in value) + "]"
    return as_text(_plain(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)


def _is_null(value: Any) -> bool:
    return value is None or (not isinstance(value, str) and bool(pd.isna(value)))


def _keys(runs: pd.DataFrame) -> list[str]:
    known = [*ALIASES, "status", *config_columns(runs)]
    return [key for key in known if ALIASES.get(key, key) in runs]


def _check_key(key: str, text: str, runs: pd.DataFrame) -> None:
    if key not in _keys(runs):
        near = get_close_matches(key, _keys(runs), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise _wrong(key, text, f"unknown key{meant}; allowed: {', '.join(_keys(runs))}")


def _wrong(key: str, text: str, allowed: str) -> ConfigError:
    """Return the error of a filter, which names it as it was written: key=text, or key>=number.

    For a comparison, the sign is in `text`.
    """
    error = ConfigError(key, text, allowed)
    if text.startswith(tuple(COMPARISONS)):
        error.args = (f"{key}{text}: {allowed}",)
    return error


def _listing(stored: Sequence[Any], most: int = 20) -> str:
    known = sorted((value for value in stored if value is not None),
                   key=lambda value: (isinstance(value, str), value))
    texts = [as_text(value) for value in known[:most]] + ["null"] * (len(known) < len(stored))
    return ", ".join(texts) + (", ..." if len(known) > most else "")
