"""The memory that a pack may take, if a container or a job has less than the machine."""

import subprocess
from pathlib import Path

import psutil
import pytest
import torch

from ovpnet.run import memory
from ovpnet.run.calibrate import free_memory

GB = 1 << 30


def group(folder: Path, version: int, limit: int | str, used: int, reclaimed: int = 0) -> None:
    """Write a cgroup as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "inactive_file") if version == 2 else (
        "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {reclaimed}\nunevictable 0\n")


def left(tmp_path: Path, membership: str) -> list[int]:
    (tmp_path / "membership").write_text(membership)
    return list(memory._in_cgroups(tmp_path / "membership", tmp_path / "mount"))


def test_the_least_of_the_limits_around_a_process_counts(tmp_path):
    """As SLURM nests them on cgroups of version 2: node, job, step."""
    group(tmp_path / "mount" / "slurm", 2, "max", 50 * GB)
    group(tmp_path / "mount" / "slurm" / "job_7", 2, 8 * GB, 3 * GB, GB)
    group(tmp_path / "mount" / "slurm" / "job_7" / "step_0", 2, 16 * GB, 2 * GB)
    assert sorted(left(tmp_path, "0::/slurm/job_7/step_0\n")) == [6 * GB, 14 * GB]


def test_version_1_has_a_hierarchy_of_its_own_for_memory(tmp_path):
    group(tmp_path / "mount" / "memory" / "job", 1, 4 * GB, GB)
    group(tmp_path / "mount" / "memory", 1, 2**63 - 4096, 9 * GB)
    found = left(tmp_path, "9:name=systemd:/job\n4:cpu,cpuacct:/other\n3:hugetlb,memory:/job\n0::/\n")
    assert min(found) == 3 * GB
    assert len(found) == 2


def test_a_container_that_sees_itself_as_the_root_has_its_limit(tmp_path):
    group(tmp_path / "mount" / "memory", 1, 2 * GB, GB)
    assert left(tmp_path, "4:memory:/docker/0123456789abcdef\n") == [GB]
    group(tmp_path / "mount", 2, 3 * GB, GB)
    assert left(tmp_path, "0::/\n") == [2 * GB]


@pytest.mark.parametrize("membership", ["", "0::/nowhere\n", "4:memory:/a:b\n"])
def test_without_groups_there_is_no_limit(tmp_path, membership):
    assert left(tmp_path, membership) == []
    assert list(memory._in_cgroups(tmp_path / "no Linux", tmp_path)) == []


@pytest.mark.parametrize(("given", "megabytes"), [
    ({"SLURM_MEM_PER_NODE": "4096"}, 4096), ({"SLURM_MEM_PER_CPU": "1000", "SLURM_CPUS_ON_NODE": "3"}, 3000),
    ({"SLURM_MEM_PER_NODE": "0"}, None), ({}, None), ({"SLURM_MEM_PER_CPU": "1000"}, None)])
def test_a_job_of_slurm_takes_no_more_than_it_was_given(monkeypatch, given, megabytes):
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = list(memory._in_slurm())
    if megabytes is None:
        assert found == []
    else:
        assert found[0] == pytest.approx((megabytes << 20) - psutil.Process().memory_info().rss, abs=50 << 20)


def test_a_pack_takes_a_part_of_it(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 10 * GB)
    assert free_memory(torch.device("cpu")) == 7 * GB


def test_here_it_is_what_the_kernel_says_at_most():
    told = subprocess.run(["free", "-b"], capture_output=True, text=True, env={"LC_ALL": "C"}, check=True).stdout
    available = int(told.splitlines()[1].split()[-1])
    assert 0 < memory.free() < 1.5 * available
