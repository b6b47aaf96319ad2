"""Documents that are made from the code, or name its choices, are up to date."""

import importlib.util
import re
from pathlib import Path

from omegaconf import OmegaConf

from ovpnet.spec.schemas import conf_dir

ROOT = Path(__file__).parents[1]


def test_configuration_page_is_current():
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text() == module.page(), "run: python docs/configuration.py"
    assert (ROOT / "README.md").read_text() == module.readme(), "run: python docs/configuration.py"


def test_help_lists_every_choice():
    template = OmegaConf.load(conf_dir() / "config.yaml").hydra.help.template
    choices = re.findall(r"\w+", template[template.index("Choices"):template.index("$CONFIG")])
    for file in conf_dir().glob("*/*.yaml"):
        assert file.stem in choices, f"{file} is not in the help of conf/config.yaml"
