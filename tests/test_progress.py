"""The progress bar, as a log file gets it."""

import re

import pytest

from ovpnet.terminal.progress import Progress


@pytest.fixture
def shown(capsys):
    """shown(progress) -> its percentage and its text, as they are now."""
    def shown(progress: Progress) -> tuple[int, str]:
        capsys.readouterr()
        progress.bar.refresh()
        line = capsys.readouterr().err.split("\r")[-1]
        found = re.match(r"\s*(\d+)%\|(.*)\|(.*)", line)
        assert found, line
        return int(found[1]), found[3]

    return shown


def test_it_is_full_at_the_end_and_not_before(shown):
    with Progress(runs=2, work=1000) as progress:
        progress.advance(996)
        assert shown(progress)[0] == 99
        progress.finish(1)
        progress.advance(100)  # more than was predicted
        assert shown(progress)[0] == 99
        progress.finish(1)
        assert shown(progress)[0] == 100


def test_it_is_full_at_the_end_whatever_was_predicted(shown):
    with Progress(runs=1, work=1000) as progress:
        progress.advance(300)
        progress.finish(1)
        assert shown(progress)[0] == 100


def test_the_work_of_others_is_shown_likewise(shown):
    with Progress(runs=4, work=10.0) as progress:
        progress.show(3, 10.4)
        assert shown(progress) == (99, shown(progress)[1])
        assert "3/4 runs" in shown(progress)[1]
        progress.show(4, 9.9)
        assert shown(progress)[0] == 100


def test_one_run_is_no_runs(shown):
    with Progress(runs=1, work=10) as progress:
        assert " 0/1 run, " in shown(progress)[1]
