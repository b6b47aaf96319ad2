"""Formats of tables, what is compared and how, and watching a store."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import compare, output
from analysis.__main__ import main
from analysis.exhibits.base import Table
from analysis.load import with_problem
from analysis.verdict import analyze
from analysis.watch import fingerprint, watch
from ovpnet.spec.errors import OvpnetError, StoreError

GOLDEN = Path(__file__).parents[1] / "golden"
TABLE = pd.DataFrame({"width": [64, 0], "who": ["a_b & 50% | #1", "x^2 ~ \\ {y}"], "risk": [0.123456789, np.nan],
                      "good": [True, False]})

# --- formats ---


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_formats_for_programs_keep_every_digit(name, tmp_path):
    path = tmp_path / "new" / f"t{output.SUFFIXES[name]}"
    output.write([Table(TABLE)], out=path)
    pd.testing.assert_frame_equal(getattr(pd, f"read_{name}")(path), TABLE, check_exact=True)


def test_markdown_is_one_table_whatever_its_cells_hold(capsys):
    output.write([Table(TABLE)], "markdown")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["| width | who | risk | good |", "| ---: | --- | ---: | --- |",
                     r"| 64 | a_b & 50% \| #1 | 0.1235 | yes |", r"| infinity | x^2 \~ \\ {y} | – | no |"]


def test_markdown_escapes_what_markdown_would_read(capsys):
    output.write([Table(pd.DataFrame({"who": ["<b>x</b> `y`", "_z_ *a* a_b", "\\|", "two\r\nlines"]}))], "markdown")
    assert capsys.readouterr().out.splitlines()[2:] == [
        r"| \<b\>x\</b\> \`y\` |", r"| \_z\_ \*a\* a_b |", r"| \\\| |", "| two lines |"]


def test_latex_escapes_what_latex_would_read(capsys):
    output.write([Table(TABLE)], "latex")
    out = capsys.readouterr().out
    assert r"64 & a\_b \& 50\% \textbar{} \#1 & 0.1235 & yes \\" in out
    assert r"infinity & x\textasciicircum{}2 \textasciitilde{} \textbackslash{} \{y\} & -- & no \\" in out
    assert out.startswith("\\begin{tabular}{rlrl}\n\\toprule\n")
    output.write([Table(pd.DataFrame({"who": ["[4pt]", "*<"]}))], "latex")  # after \\, a length and a star
    assert "{[}4pt] \\\\\n{*}\\textless{} \\\\\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", [None, "verdict", "table", "table --seeds", "tuning", "rates"])
def test_latex_compiles(command, tmp_path):
    if shutil.which("pdflatex") is None:
        lack = "no pdflatex on the PATH. On Debian: sudo apt-get install texlive-latex-recommended"
        if os.environ.get("OVPNET_REQUIRE_LATEX") == "1":
            pytest.fail(lack)
        pytest.skip(lack)
    out = tmp_path / "t.tex"
    if command is None:
        output.write([Table(TABLE.assign(more=["[4pt] *", "< > – \" ' `"]))], out=out)
    else:
        assert main([*command.split(), "--store", str(GOLDEN / "scales"), "--out", str(out)]) == 0
    (tmp_path / "d.tex").write_text("\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{t}"
                                    "\\end{document}")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d"], cwd=tmp_path,
                          stdout=subprocess.PIPE, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "d.log").read_text(errors="replace")


def test_text_shows_brackets_as_they_are(capsys):
    output.write([Table(TABLE.assign(who=["[bold]x", "[/red] :smile:"]))])
    out = capsys.readouterr().out
    assert "[bold]x" in out
    assert "[/red] :smile:" in out


# --- compare ---


def test_the_interval_of_a_difference_is_the_textbook_one_where_that_is_exact():
    """Of two Gaussian estimates: sqrt of the sum of squares of the half widths."""
    assert compare.mover((1.0, 0.7, 1.3), (0.2, -0.2, 0.6)) == pytest.approx((0.8 - 0.5, 0.8 + 0.5))
    # By hand, with unequal arms: 1 - 0 - sqrt(0.5^2 + 1.2^2), 1 - 0 + sqrt(2^2 + 1.5^2).
    assert compare.mover((1.0, 0.5, 3.0), (0.0, -1.5, 1.2)) == pytest.approx((1 - 1.3, 1 + 2.5))
    assert compare.mover((1.0, -np.inf, 3.0), (0.0, -1.5, 1.2)) == (-np.inf, pytest.approx(3.5))


def test_the_interval_of_a_difference_covers_it():
    rng = np.random.default_rng(0)
    first, second = 0.5 + 0.3 * rng.normal(size=4000), 0.2 + 0.1 * rng.normal(size=4000)
    ends = np.array([compare.mover((x, x - 1.96 * 0.3, x + 1.96 * 0.3), (y, y - 1.96 * 0.1, y + 1.96 * 0.1))
                     for x, y in zip(first, second, strict=True)])
    assert ((ends[:, 0] < 0.3) & (ends[:, 1] > 0.3)).mean() == pytest.approx(0.95, abs=0.012)


@pytest.fixture(scope="module")
def sides(make_runs):
    few = {"samples": [400, 600, 900, 1300, 2000, 3000, 4500], "seeds": range(3), "lrs": [0.5]}
    flat = make_runs(0.0, **few)
    steep = make_runs(0.5, overrides=["learner.trained=ntk"], **few)
    return tuple(analyze(with_problem(runs)) for runs in (flat, steep))


def test_problems_are_matched_by_all_but_what_they_were_chosen_by(sides):
    flat, steep = sides
    assert len(compare.matched(flat, flat)) == 1
    with pytest.raises(OvpnetError, match="no problem of A is one of B"):
        compare.matched(flat, steep)
    pairs = compare.matched(flat, steep, ["learner.trained"])
    assert "(hidden)" in pairs["problem_a"][0]
    assert "(ntk)" in pairs["problem_b"][0]


def test_verdicts_and_risks_side_by_side(sides):
    flat, steep = sides
    pairs = compare.matched(flat, steep, ["learner.trained"])
    row = compare.verdicts(flat, steep, pairs).iloc[0]
    assert row["changed"]
    assert row["difference"] == pytest.approx(row["alpha_b"] - row["alpha_a"])
    assert row["low"] < 0.5 < row["high"]
    table = compare.risks(flat, steep, pairs).set_index(["width", "samples"])
    assert len(table) == 4 * 7
    seeds = [side.best[side.best["width"].eq(4096) & side.best["samples"].eq(900)].sort_values("seed")["test_risk"]
             for side in sides]
    differences = seeds[1].to_numpy() - seeds[0].to_numpy()
    cell = table.loc[(4096, 900)]
    assert cell["difference"] == pytest.approx(differences.mean())
    assert cell["se"] == pytest.approx(differences.std(ddof=1) / np.sqrt(3))
    assert cell["difference"] > 2 * cell["se"]


# --- watch ---


class Clock:
    """A sleep that does the next thing each time, and then Ctrl-C."""

    def __init__(self, *events):
        self.events = list(events)

    def __call__(self, seconds):
        if not self.events:
            raise KeyboardInterrupt
        self.events.pop(0)()


def test_watching_waits_for_the_first_runs_and_writes_what_is_new_only(tmp_path, capsys):
    written = []

    def write(reload_seconds):
        if not list(tmp_path.glob("runs-*.parquet")):
            raise StoreError("the store holds no runs")
        written.append((reload_seconds, len(list(tmp_path.glob("runs-*.parquet")))))

    def nothing():
        pass

    clock = Clock(nothing, nothing, lambda: (tmp_path / "runs-1.parquet").touch(), nothing,
                  lambda: (tmp_path / "opt-x.parquet").touch(), lambda: (tmp_path / "runs-2.parquet").touch(), nothing)
    watch(tmp_path, write, 5.0, clock)
    assert written == [(5.0, 1), (5.0, 2), (None, 2)]  # the last one does not reload itself any more
    assert capsys.readouterr().err == "waiting: the store holds no runs\n"


def test_watching_a_store_that_never_had_runs_writes_nothing(tmp_path, capsys):
    """It is looked at once, since nothing changes, and Ctrl-C has nothing to finish."""
    looked = []

    def write(reload_seconds):
        looked.append(reload_seconds)
        raise StoreError("no store")

    watch(tmp_path / "nowhere", write, 1.0, Clock(*[lambda: None] * 3))
    assert looked == [1.0]
    assert capsys.readouterr().err == "waiting: no store\n"


def test_a_fingerprint_tells_a_file_that_grew(tmp_path):
    file = tmp_path / "runs-1.parquet"
    file.write_bytes(b"x")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    file.write_bytes(b"xy")
    assert fingerprint(tmp_path) != before
