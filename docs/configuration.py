"""Writes docs/configuration.md from the typed config nodes: python docs/configuration.py"""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch import options
from ovpnet.spec.config import Config, OptConfig, RiskConfig
from ovpnet.spec.diagnostic import DIAGNOSTICS
from ovpnet.spec.identity import not_identity
from ovpnet.spec.keys import allowed_values
from ovpnet.spec.schemas import schemas

HEADER = """# Configuration

Made from `ovpnet/spec/config.py` and `launch/options.py` by `python docs/configuration.py`; do not edit by hand.

Any key can be given as `KEY=VALUE` on the command line, and with `-m` as `KEY=VALUE,VALUE,...`, `'KEY=range(3)'` or any
other form of [Hydra's override grammar](https://hydra.cc/docs/advanced/override_grammar/basic/). Files in `conf/`
choose among the nodes below: `concept=figure1` takes `conf/concept/figure1.yaml`.
"""

BAR = "\\|"  # in a cell of a table
LAUNCHERS = {"local": options.LocalConf, "subprocess": options.SubprocessConf, "slurm": options.SlurmConf}


def page() -> str:
    """The whole page, in Markdown."""
    parts = [HEADER, _section("One run", "", Config)]
    for group, named in schemas().items():
        parts += [_section(f"{group}: {name}" if len(named) > 1 else group, f"{group}.", schema)
                  for name, schema in named.items()]
    parts += [_columns(), _section("test", "test.", RiskConfig), _section("opt", "opt.", OptConfig)]
    parts += [_section(f"hydra/launcher={name}", "hydra.launcher.", node) for name, node in LAUNCHERS.items()]
    parts.append(_section("hydra/sweeper=bisect_samples", "hydra.sweeper.", options.BisectConf))
    parts.append("## Not part of a run's identity\n\nRuns that differ only in these are the same run, trained once: "
                 + ", ".join(f"`{name}`" for name in not_identity())
                 + " (epochs count as the steps they amount to).\n")
    return "\n".join(parts)


def _section(title: str, prefix: str, node: type) -> str:
    rows = [_row(prefix, item) for item in dataclasses.fields(node) if "help" in item.metadata]
    table = ["| key | default | allowed | meaning |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join([f"## {title}", "", inspect.cleandoc(node.__doc__ or ""), "", *table, ""])


def _columns() -> str:
    """The columns that diagnostics add to learning curves and runs."""
    rows = [f"| `{column}` | `diagnostics.{each.name}` | {meaning.replace('|', BAR)} |"
            for each in DIAGNOSTICS for column, meaning in {**each.columns, **each.run_columns}.items()]
    return "\n".join(["## Columns of the diagnostics", "",
                      "Learning curves have them at every point, and runs their last values. The runs alone have "
                      + ", ".join(f"`{column}`" for each in DIAGNOSTICS for column in each.run_columns) + ".", "",
                      "| column | switch | meaning |", "|---|---|---|", *rows, ""])


def _row(prefix: str, item: "dataclasses.Field[object]") -> str:
    value = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
    default = "" if value == "???" else f"`{'null' if value is None else value}`"
    meaning = item.metadata["help"].replace("|", BAR)
    return f"| `{prefix}{item.name}` | {default} | {_allowed(item.metadata)} | {meaning} |"


def _allowed(metadata: Mapping[str, Any]) -> str:
    if choices := allowed_values(metadata):
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds = [f"{sign} {metadata[bound]}" for bound, sign in (("low", "at least"), ("above", "greater than"),
                                                              ("high", "at most")) if metadata.get(bound) is not None]
    return ", ".join(bounds + ["no control characters"] * bool(metadata.get("printed")))


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page())
