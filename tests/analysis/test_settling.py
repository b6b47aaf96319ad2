"""What is printed to settle an open verdict, followed on simulated problems: a small part of benchmarks/settling.py."""

import numpy as np
import pytest

from benchmarks import settling, tables
from benchmarks.settling import Setting
from ovpnet.run.results import config_row


@pytest.fixture
def base(make):
    return config_row(make("lr=0.5"))


def test_a_printed_command_is_read_as_hydra_reads_it():
    asked = settling.asked("python -m ovpnet.train -m width=64,256 samples=100,126 'seed=range(3)' store='a b' lr=0.5")
    assert asked == {"width": [64, 256], "samples": [100, 126], "seed": [0, 1, 2]}


def test_open_verdicts_are_settled_by_what_they_print_and_never_falsely(base):
    found = [settling.follow(Setting("flat", sigma=0.1), problem, base) for problem in range(8)]
    followed = [each for each in found if each is not None]
    assert followed
    assert all(each["last"] in (settling.FLAT, settling.OPEN) for each in followed)
    assert np.mean([each["last"] == settling.FLAT for each in followed]) > 0.5
    assert all(each["runs"] >= 1 and each["commands"] <= settling.MOST_COMMANDS for each in followed)


def test_the_table_of_the_docs_has_a_row_a_setting(base, monkeypatch, tmp_path):
    monkeypatch.setattr(settling, "SETTINGS", settling.SETTINGS[:1])
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    page = tmp_path / settling.PAGE
    page.write_text("<!-- measured: python -m benchmarks.settling --write-docs -->\n<!-- end of measured -->\n")
    monkeypatch.setattr("sys.argv", ["settling", "--problems", "3", "--write-docs"])
    settling.main()
    assert page.read_text().count("\n| alpha 0, few seeds |") == 1
    assert (tmp_path / "settling.csv").exists()
