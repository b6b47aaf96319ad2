"""Write docs/configuration.md, and the table of choices in README.md: python docs/configuration.py"""

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.launchers import LAUNCHERS
from launch.plugins import BisectConf
from ovpnet.spec.activation import ACTIVATIONS
from ovpnet.spec.choices import KINDS
from ovpnet.spec.config import Config, OptConfig, RiskConfig
from ovpnet.spec.diagnostic import DIAGNOSTICS
from ovpnet.spec.identity import not_identity
from ovpnet.spec.keys import allowed_values
from ovpnet.spec.registry import Registry
from ovpnet.spec.schemas import schemas

HEADER = """# Configuration

Made by `python docs/configuration.py` from the code; do not edit by hand. The keys of a run are in
`ovpnet/spec/config.py`. Each choice has its keys in its own class: the last column of the table names its folder.
`launch/launchers/` has those of launchers.

Any key can be given as `KEY=VALUE` on the command line, and with `-m` as `KEY=VALUE,VALUE,...`, `'KEY=range(3)'` or any
other form of [Hydra's override grammar](https://hydra.cc/docs/advanced/override_grammar/basic/). Files in `conf/`
choose among the nodes below: `concept=figure1` takes `conf/concept/figure1.yaml`.

## Choices

"""

BAR = "\\|"  # in a cell of a table
# The lines of README.md between which its table of choices is.
README = Path(__file__).parents[1] / "README.md"
MARKS = ("<!-- choices: made by docs/configuration.py -->\n", "<!-- /choices -->\n")


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [HEADER + choices(), _section("One run", "", Config)]
    for group, named in schemas().items():
        parts += [_section(f"{group}: {name}" if len(named) > 1 else group, f"{group}.", schema)
                  for name, schema in named.items()]
    parts += [_activations(), _columns()]
    parts += [_section("test", "test.", RiskConfig), _section("opt", "opt.", OptConfig)]
    parts += [_section(f"hydra/launcher={name}", "hydra.launcher.", node) for name, node in LAUNCHERS.items()]
    parts.append(_section("hydra/sweeper=bisect_samples", "hydra.sweeper.", BisectConf))
    parts.append("## Not part of a run's identity\n\nRuns that differ only in these are the same run, trained once: "
                 + ", ".join(f"`{name}`" for name in not_identity())
                 + " (epochs count as the steps they amount to).\n")
    return "\n".join(parts)


def choices() -> str:
    """Return the table of choices."""
    rows = [f"| {kind} | {', '.join(f'`{name}`' for name in registry.names())} | {_folder(registry)} |"
            for kind, registry in {**KINDS, "activation of a concept": ACTIVATIONS}.items()]
    return "\n".join(["| what | choices | code |", "|---|---|---|", *rows, ""])


def readme() -> str:
    """Return README.md with the table of choices as it is now."""
    before, rest = README.read_text().split(MARKS[0])
    return before + MARKS[0] + choices() + MARKS[1] + rest.split(MARKS[1])[1]


def _folder(registry: Registry[Any]) -> str:
    """The folder of the modules that define a kind's choices, or its one module."""
    paths = [package.replace(".", "/") for package in registry.packages]
    return ", ".join(f"`{path}/`" if (README.parent / path).is_dir() else f"`{path}.py`" for path in paths)


def _activations() -> str:
    rows = [f"| `{cls.name}` | {inspect.cleandoc(cls.__doc__ or '')} |".replace("\n", " ") for cls in ACTIVATIONS]
    return "\n".join(["## Activations", "", "| name | function |", "|---|---|", *rows, ""])


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
    README.write_text(readme())
