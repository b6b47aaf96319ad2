"""docs/paper.md: every function it names can be imported, every config composes."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from ovpnet.spec.schemas import resolve

PAGE = (Path(__file__).parents[1] / "docs" / "paper.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]
CONFIGS = sorted({config for row in ROWS for config in re.findall(r"`([^`]*)`", row[1])})
NAMES = sorted({name for name in re.findall(r"`([\w.]+)`", PAGE) if re.match(r"(ovpnet|launch|analysis)\.", name)})


def test_every_row_has_a_config_and_code():
    assert len(ROWS) > 40
    for row in ROWS:
        assert len(row) == 3, row
        assert "=" in row[1], row
        assert re.search(r"`(ovpnet|analysis)\.", row[2]), row


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_composes(composed, config):
    overrides = config.split()
    steps = [] if any(re.match(r"(steps|experiment|algorithm)=", each) for each in overrides) else ["steps=1"]
    resolve(composed(*steps, *overrides))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name):
    assert callable(resolve_name(name))
