"""Documents that are made from the code, or name its choices, are up to date."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from ovpnet.spec.schemas import conf_dir

ROOT = Path(__file__).parents[1]


def test_configuration_page_is_current():
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text() == module.page(), "run: python docs/configuration.py"
    assert (ROOT / "README.md").read_text() == module.readme(), "run: python docs/configuration.py"


def test_help_lists_every_choice_and_those_of_a_folder_of_ones_own(tmp_path):
    (tmp_path / "concept").mkdir()
    (tmp_path / "concept" / "mine.yaml").write_text("k: 1\n")
    told = subprocess.run([sys.executable, "-m", "ovpnet", "train", "--config-dir", str(tmp_path), "--help"],
                          capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    listed = told[told.index("Choices"):told.index("Config, with")].replace("\n" + " " * 18, " ").splitlines()
    choices = {words[0]: words[1:] for words in map(str.split, listed) if words}
    for file in conf_dir().glob("*/*.yaml"):
        assert file.stem in choices[file.parent.name], f"{file} is not in the help"
    assert "mine" in choices["concept"]
    assert {"local", "subprocess", "slurm"} <= set(choices["hydra/launcher"])
    assert "schema" not in told
