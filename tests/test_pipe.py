"""Commands whose output nobody reads any more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden" / "flat"


@pytest.mark.parametrize("command", [
    "ovpnet --help", "ovpnet train --help", "ovpnet.train --help", "ovpnet.train --cfg all",
    "ovpnet.train width=8 samples=20 steps=2 opt.samples=4096",
    "launch --help", "launch plan width=8,16", "analysis --help", f"analysis table --store {GOLDEN}"])
def test_a_reader_that_leaves_ends_a_command_without_a_word(command, tmp_path):
    reader, output = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, stdout=output, timeout=120,
                              stderr=subprocess.PIPE, text=True, env=os.environ | {"OVPNET_STORE": str(tmp_path)})
    finally:
        os.close(output)
    assert done.returncode == 141, done.stderr  # as of what SIGPIPE ends
    assert "Error" not in done.stderr
    assert "Exception" not in done.stderr


def test_an_output_that_was_closed_is_no_error():
    done = subprocess.run([sys.executable, "-m", "analysis", "--help"], stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: os.close(1))
    assert done.returncode == 0
    assert "Error" not in done.stderr
