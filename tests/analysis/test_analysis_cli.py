"""Errors, and the commands end to end."""

import subprocess
import sys
import types

import pandas as pd
import pytest

from analysis.__main__ import main


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Puts frames in the place of a store; returns its directory."""

    def put(runs, skipped=()):
        class FakeStore:
            def __init__(self, path):
                self.skipped = []

            def runs(self, refuse):
                self.skipped.extend(skipped)
                return runs

            def curves(self, run_ids, columns):
                return pd.DataFrame(columns=["run_id", "step"])

        module = types.ModuleType("ovpnet.store")
        module.Store = FakeStore
        monkeypatch.setitem(sys.modules, "ovpnet.store", module)
        return str(tmp_path)

    return put


@pytest.fixture
def two_problems(make_runs):
    few = {"samples": [400, 600, 900, 1300, 2000, 3000, 4500, 7000, 10000], "seeds": range(3)}
    steep = make_runs(0.5, overrides=["concept=figure1", "learner=three_layer"], **few)
    steep["concept.name"] = "<b>"
    flat = make_runs(0.0, **few)
    flat.loc[flat["lr"].eq(1.0) & flat["width"].eq(64), ["status", "test_risk", "validation_risk"]] = (
        "diverged", float("nan"), float("nan"))
    return pd.concat([flat, steep], ignore_index=True)


# --- commands ---


def test_verdict(stored, two_problems, capsys):
    assert main(["verdict", "--store", stored(two_problems, ["skipped a.parquet: not whole"])]) == 0
    out, err = capsys.readouterr()
    assert "scales with m" in out
    assert "why: " in out
    assert "warning: skipped a.parquet: not whole" in err
    table = out.split("\n1. ")[0]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "\x1b" not in out


def test_verdict_prints_a_command_that_can_be_copied(stored, two_problems, capsys):
    assert main(["verdict", "width=64", "concept=two_layer", "--store", stored(two_problems)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("   next: "))
    assert line.startswith("   next: python -m ovpnet.train -m width=64,256,1024 samples=400,")


def test_verdict_at_another_epsilon(stored, two_problems, capsys):
    assert main(["verdict", "--epsilon", "0.2", "--store", stored(two_problems)]) == 0
    assert "epsilon=0.2" in capsys.readouterr().out


def test_table_and_csv(stored, two_problems, capsys, tmp_path):
    path = tmp_path / "new" / "best.csv"
    assert main(["table", "--store", stored(two_problems)]) == 0
    assert "test risk" in capsys.readouterr().out
    assert main(["table", "--csv", str(path), "--store", stored(two_problems)]) == 0
    table = pd.read_csv(path)
    assert len(table) == 2 * 4 * 9 * 3
    assert {"problem", "width", "samples", "seed", "lr", "test_risk", "threshold", "reached"} <= set(table.columns)


def test_figures(stored, two_problems, tmp_path, capsys):
    assert main(["figures", "concept=two_layer", "--out", str(tmp_path / "r"), "--store", stored(two_problems)]) == 0
    names = sorted(path.suffix for path in (tmp_path / "r" / "figures").iterdir())
    assert names == [".png", ".png", ".svg", ".svg"]


def test_report_is_one_file_that_holds_everything(stored, two_problems, tmp_path, capsys):
    message = "skipped b.parquet: not whole"
    assert main(["report", "--out", str(tmp_path / "r"), "--store", stored(two_problems, [message])]) == 0
    page = (tmp_path / "r" / "index.html").read_text()
    assert capsys.readouterr().out.strip() == str(tmp_path / "r" / "index.html")
    assert page.index("<h2>Verdicts") < page.index("<h2>Figures") < page.index("<h2>Sample complexity")
    for wanted in ("scales with m", "<h2>Tuning", "<td>diverged</td>", message, "training time", "ovpnet_version",
                   "0.1</dd>"):
        assert wanted in page
    assert page.count("<svg") == 4
    assert "http" not in page
    assert "src=" not in page
    assert "<b>" not in page  # a label of the store is text, not markup
    assert "&lt;b&gt;" in page


def test_report_of_a_problem_whose_runs_all_failed(stored, make_runs, tmp_path):
    few = {"samples": [100], "lrs": [0.5]}
    runs = pd.concat([make_runs(**few).assign(status="failed"), make_runs(**few, overrides=["concept.p=6"])],
                     ignore_index=True)
    assert main(["report", "--out", str(tmp_path / "r"), "--store", stored(runs)]) == 0
    page = (tmp_path / "r" / "index.html").read_text()
    assert "none of the 20 runs finished" in page
    assert "python -m ovpnet.train -m" in page


@pytest.mark.parametrize("arguments", [["verdict"], ["table"], ["report"]])
def test_no_store_is_one_clear_line(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OVPNET_STORE", str(tmp_path / "nowhere"))
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere" in err
    assert "python -m ovpnet.train" in err


def test_empty_store_is_one_clear_line(stored, capsys):
    assert main(["verdict", "--store", stored(pd.DataFrame())]) == 1
    assert "holds no runs" in capsys.readouterr().err


def test_unknown_filter_exits_with_1(stored, two_problems, capsys):
    assert main(["verdict", "with=64", "--store", stored(two_problems)]) == 1
    assert capsys.readouterr().err.startswith("error: with=64: unknown key")


def test_a_closed_pipe_is_no_error(stored, two_problems, monkeypatch, tmp_path):
    with open(tmp_path / "out", "w") as sink:
        def closed(*_, **__):
            raise BrokenPipeError
        monkeypatch.setattr("builtins.print", closed)
        monkeypatch.setattr(sys, "stdout", sink)
        assert main(["verdict", "--store", stored(two_problems)]) == 0


def test_starting_up_imports_neither_torch_nor_matplotlib():
    code = "import sys, analysis.__main__; print({'torch', 'matplotlib', 'launch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
