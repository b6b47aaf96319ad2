"""The cluster that the other tests of this folder rely on: GPUs, accounting, preemption, nodes that die."""

import os
import time
from pathlib import Path

import pytest
import submitit

from tests.slurm.cluster import NODES, Cluster, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster


def sleeper(tmp_path: Path, cluster: Cluster, *options: str) -> str:
    """Submits a job that says on which node it runs, then sleeps till a file `go` exists; returns its id."""
    script = f"echo $SLURMD_NODENAME ${{SLURM_RESTART_COUNT:-0}} >> {tmp_path}/starts; " \
             f"until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    return cluster.run("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap=srun sh -c '{script}'")


def starts(tmp_path: Path) -> list[list[str]]:
    file = tmp_path / "starts"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_an_array_of_submitit_has_a_gpu_a_task_on_both_nodes(tmp_path: Path, cluster: Cluster):
    met = tmp_path / "met"
    met.mkdir()

    def meet() -> tuple[str, str, str]:  # inside, so that it is pickled whole: jobs cannot import this file
        task = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
        (met / task).touch()
        while len(list(met.iterdir())) < 6:
            time.sleep(0.1)
        return os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"], task

    executor = submitit.AutoExecutor(tmp_path / "logs")
    assert executor.cluster == "slurm"
    executor.update_parameters(gpus_per_node=1, slurm_array_parallelism=6, slurm_partition="low", timeout_min=5)
    with executor.batch():
        jobs = [executor.submit(meet) for _ in range(6)]
    for job in jobs:
        job.watcher.delay_s = 1  # seconds between two looks at sacct
    nodes, gpus, ids = zip(*(job.result() for job in jobs), strict=True)
    assert set(nodes) == set(NODES)
    assert len(set(zip(nodes, gpus, strict=True))) == 6
    assert list(ids) == [job.job_id for job in jobs]

    def recorded() -> list[tuple[str, str]]:
        return [(row["JobID"], row["State"]) for row in cluster.jobs(ids[0].split("_")[0])]

    wait_for(lambda: recorded() == [(task, "COMPLETED") for task in ids], "record of all tasks")
    assert all("gres/gpu=1" in row["AllocTRES"].split(",") for row in cluster.jobs(*ids))


def test_a_job_of_higher_priority_requeues_one_of_lower(tmp_path: Path, cluster: Cluster):
    low = sleeper(tmp_path, cluster, "--partition=low", "--nodes=1", "--nodelist=gpu1", "--gpus=4")
    wait_for(lambda: len(starts(tmp_path)) == 1, "first start")
    cluster.run("srun", "--partition=high", "--nodes=1", "--nodelist=gpu1", "--gpus=4", "true")
    wait_for(lambda: len(starts(tmp_path)) == 2, "second start")
    (tmp_path / "go").touch()
    wait_for(lambda: cluster.jobs(low)[0]["State"] == "COMPLETED", "end of the job")
    assert [restarts for _, restarts in starts(tmp_path)] == ["0", "1"]
    assert [row["State"] for row in cluster.jobs(low, duplicates=True)] == ["PREEMPTED", "COMPLETED"]


@pytest.mark.slow
def test_a_job_of_a_node_that_dies_ends_on_the_other(tmp_path: Path, cluster: Cluster):
    job = sleeper(tmp_path, cluster, "--gpus=1")
    wait_for(lambda: len(starts(tmp_path)) == 1, "first start")
    [[dead, _]] = starts(tmp_path)
    cluster.kill_node(dead)
    wait_for(lambda: cluster.state(dead).startswith("down"), "node that is down")
    wait_for(lambda: len(starts(tmp_path)) == 2, "second start")
    (tmp_path / "go").touch()
    wait_for(lambda: cluster.jobs(job)[0]["State"] == "COMPLETED", "end of the job")
    assert starts(tmp_path)[1] == [next(node for node in NODES if node != dead), "1"]
    assert [row["State"] for row in cluster.jobs(job, duplicates=True)] == ["NODE_FAIL", "COMPLETED"]
