"""How long a sweep is said to take still."""

import time
from dataclasses import replace

import numpy as np
import pytest

import ovpnet.run.pack
from launch.launchers import launcher_of
from launch.status import status
from launch.work import Work, train
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.spec.identity import run_id
from tests.launch.test_launch_status import finished, supervised, training


@pytest.fixture
def configs(make):
    return [replace(make(), seed=seed) for seed in range(8)]


def test_what_is_predicted_is_left_at_the_speed_seen_so_far_to_the_jobs_that_run(configs, recorded):
    # 10 s a run: 60 are left, of which one job has done 5 and the other 10, both at twice the speed predicted.
    sweep = recorded(configs, size=2, jobs=[[0, 1], [2], [3]])
    now = time.time()
    for config in configs[:2]:
        finished(sweep, config)
    for task, (pack, done, in_pack) in enumerate([(1, 25.0, 5.0), (2, 10.0, 10.0)]):
        supervised(sweep, task=task)
        training(sweep, [run_id(config) for config in configs[2 * pack:2 * pack + 2]], task=task,
                 started=now - done / 2, seconds_done=done, seconds_in_pack=in_pack)
    assert status(sweep).seconds_left == pytest.approx((60 - 15) / 2 / 2, abs=1.0)


def test_what_a_checkpoint_holds_is_not_left_to_train(configs, recorded, monkeypatch):
    mine = [run_id(config) for config in configs[:2]]
    sweep = recorded(configs[:4], size=2)
    Checkpoints(sweep.store).save({"run_ids": mine}, {"step": np.array(configs[0].total_steps * 3 // 4)})
    supervised(sweep)
    left = {}

    def run_pack(pack, *_):
        left[pack[0].seed] = status(sweep).seconds_left
        for config in pack:
            finished(sweep, config)

    monkeypatch.setattr(ovpnet.run.pack, "run_pack", run_pack)
    train(Work(sweep, sweep.group(0), 0, launcher_of(sweep.group(0))), lambda: False)
    assert left[0] == pytest.approx(20 / 4 + 20, abs=1.0)
    assert left[2] == pytest.approx(20, abs=1.0)
    assert status(sweep).seconds_left is None
