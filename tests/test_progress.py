"""The progress bar, as a terminal and as a log file get it."""

import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovpnet.terminal import progress as module
from ovpnet.terminal.progress import Progress


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Every change is a line of the log."""
    monkeypatch.setattr(module, "_PERIOD", 0.0)


@pytest.fixture
def shown(capsys):
    """shown() -> the percentage and the text of the last line."""
    def shown() -> tuple[int, str]:
        line = capsys.readouterr().err.splitlines()[-1]
        found = re.match(r"\s*(\d+)% (.*)", line)
        assert found, line
        return int(found[1]), found[2]

    return shown


def test_it_is_full_at_the_end_and_not_before(shown):
    with Progress(runs=2, work=1000) as progress:
        progress.advance(996)
        assert shown()[0] == 99
        progress.finish(1)
        progress.advance(100)  # more than was predicted
        assert shown()[0] == 99
        progress.finish(1)
        assert shown()[0] == 100
    assert shown()[0] == 100


def test_it_is_full_at_the_end_whatever_was_predicted(shown):
    with Progress(runs=1, work=1000) as progress:
        progress.advance(300)
        assert shown()[0] == 30
        progress.finish(1)
        assert shown()[0] == 100


def test_the_work_of_others_is_shown_likewise(shown):
    with Progress(runs=4, work=10.0) as progress:
        progress.show(3, 10.4)
        percent, text = shown()
        assert percent == 99
        assert "3/4 runs" in text
        progress.show(4, 9.9)
        assert shown()[0] == 100


def test_a_pack_that_is_trained_again_takes_back_its_steps(shown):
    with Progress(runs=2, work=1000) as progress:
        progress.cost = 2.0
        progress.advance(300)
        assert shown()[0] == 60
        progress.advance(300)
        assert shown()[0] == 99
        progress.advance(-600)
        percent, text = shown()
        assert percent == 0
        assert "0/2 runs, 0 steps/s" in text
        progress.advance(250)
        assert shown()[0] == 50


@given(work=st.floats(0, 1e9), steps=st.lists(st.integers(-10**6, 10**6), max_size=20))
def test_no_advance_shows_less_than_nothing_nor_the_end(work, steps):
    progress = Progress(runs=1, work=work)
    for each in steps:
        progress.advance(each)
        assert 0 <= progress._task.fields["percent"] <= 99
    progress.finish(1)
    assert progress._task.fields["percent"] == 100


def test_one_run_is_no_runs_and_other_things_are_counted_too(shown):
    with Progress(runs=1, work=10):
        pass
    assert shown()[1].startswith("0/1 run, ")
    with Progress(3, 3, "W&B run") as progress:
        progress.show(2, 2)
    percent, text = shown()
    assert percent == 66
    assert text.startswith("2/3 W&B runs, ")


def test_a_log_file_gets_a_line_every_ten_seconds_and_one_at_the_end(capsys, monkeypatch):
    monkeypatch.setattr(module, "_PERIOD", 10.0)
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Progress(runs=100, work=100) as progress:
        for _ in range(99):
            now += 1.0
            progress.advance(1)
            progress.finish(1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("%")[0].strip() for line in lines] == [*map(str, range(10, 100, 10)), "99"]
    assert all("\x1b" not in line and "\r" not in line for line in lines)


SCRIPT = """
import time
from ovpnet.terminal.progress import Progress
with Progress(runs=2, work=100) as progress:
    progress.advance(50)
    progress.finish(1)
    time.sleep(0.3)
    print("a line of output")
    progress.advance(50)
    progress.finish(1)
"""


def test_a_terminal_gets_a_live_bar_and_a_pipe_the_output():
    reader, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=terminal,
                               env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
    os.close(terminal)
    told = b""
    try:
        while part := os.read(reader, 4096):
            told += part
    except OSError:  # how Linux tells that a terminal has been closed
        pass
    os.close(reader)
    assert process.communicate()[0] == b"a line of output\n"
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told.decode())
    assert " 50% " in text
    assert "1/2 runs" in text
    assert "━" in text
    last = text.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("100% ")
    assert "2/2 runs" in last


@pytest.mark.parametrize("left", ["closed", "nobody reads it"])
def test_without_a_reader_of_stderr_the_work_goes_on(left):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", SCRIPT + "print('trained')"], stdout=subprocess.PIPE, text=True,
                          stderr=writer, preexec_fn=(lambda: os.close(2)) if left == "closed" else None)
    os.close(writer)
    assert done.returncode == 0
    assert done.stdout == "a line of output\ntrained\n"
