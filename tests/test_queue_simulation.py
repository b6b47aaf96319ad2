"""The simulated cluster of benchmarks/queue_model.py: what must hold of any sweep, and what can be said without it."""

import math
from dataclasses import replace
from typing import get_args

import pytest

from benchmarks.queue import jobs_of
from benchmarks.queue_model import HOUR, Cluster, Shares, Sharing, Simulation, Work, simulate
from launch.launchers.slurm import Slurm
from launch.packs import packed
from launch.plan import plan

# One job at a time, nobody else, and nothing that can go wrong or vary.
ALONE = Cluster(slots=1, load=0.0, node_failures=0.0, crashes=0.0, prediction_spread=0.0, node_spread=0.0)
HOSTILE = Cluster(slots=3, load=0.9, preemptions=2.0, node_failures=0.5, crashes=1.0)


def packs(*seconds):
    return [Work(each, saving=2.0) for each in seconds]


@pytest.mark.parametrize("sharing", get_args(Sharing))
@pytest.mark.parametrize("seed", range(3))
def test_every_pack_is_finished_once_whatever_fails(seed, sharing):
    cluster = replace(HOSTILE, node_spread=0.0)
    jobs = [packs(*range(500, 8000, 1500)), packs(10_000, 3000), packs(60, 50, 40)]
    outcome = Simulation(jobs, cluster, seed, Slurm(timeout_min=60), sharing=sharing).run()
    everything = [pack for job in jobs for pack in job]
    assert [pack.finished for pack in everything] == [1] * len(everything)
    assert outcome.starts > len(jobs)
    # What was trained is the work, once; and the slots were taken for it and for what was wasted, and nothing else.
    assert outcome.trained == pytest.approx(sum(pack.seconds for pack in everything))
    assert outcome.occupied == pytest.approx(outcome.trained + outcome.wasted)


def test_one_slot_without_failures_takes_the_work_and_the_starts():
    outcome = simulate([packs(100, 50), packs(70)], ALONE, seed=0, sharing="assigned")
    assert outcome.makespan == pytest.approx(100 + 50 + 70 + 2 * ALONE.start)
    assert (outcome.starts, outcome.lost, outcome.saving) == (2, 0, 0)
    # The first job leaves the second one nothing, which that job is soon to find.
    outcome = simulate([packs(100, 50), packs(70)], ALONE, seed=0)
    assert outcome.makespan == pytest.approx(100 + 50 + 70 + ALONE.start)
    assert outcome.starting == pytest.approx((1 + ALONE.looking) * ALONE.start)


def test_as_many_slots_as_jobs_take_as_long_as_the_longest_job():
    jobs = [packs(100, 50), packs(170), packs(20)]
    assert simulate(jobs, replace(ALONE, slots=3), seed=0, sharing="assigned").makespan == pytest.approx(170 + 30)
    # Who is free takes the next: 170, and 100 + 50, and 20; the jobs' packs first, or the longest.
    for sharing in ("claims", "queue"):
        assert simulate(jobs, replace(ALONE, slots=2), seed=0, sharing=sharing).makespan == pytest.approx(170 + 30)


def test_a_job_claims_its_own_packs_then_those_of_the_job_that_has_most_left():
    jobs = [packs(10), packs(50, 40), packs(60)]
    shares = Shares(jobs, "claims")
    assert [shares.take(0) for _ in range(3)] == [jobs[0][0], jobs[1][0], jobs[2][0]]
    # Without notice, what is in training stays with the job that is interrupted, and is what it goes on with.
    shares.interrupt(0, jobs[2][0], noticed=False)
    assert [shares.take(1), shares.take(1), shares.take(0), shares.take(0)] == [jobs[1][1], None, jobs[2][0], None]


def test_a_returned_pack_is_what_anybody_takes_first_and_the_longest_of_them():
    jobs = [packs(60, 50), packs(70), packs(40)]
    shares = Shares(jobs, "claims")
    for job, pack in [(job, shares.take(job)) for job in (1, 0)]:
        shares.interrupt(job, pack, noticed=True)
    assert [shares.take(2) for _ in range(4)] == [jobs[1][0], jobs[0][0], jobs[2][0], jobs[0][1]]
    # A job goes on with what it kept before it takes what was returned.
    shares.interrupt(2, jobs[2][0], noticed=False)
    shares.interrupt(0, jobs[0][1], noticed=True)
    assert [shares.take(2), shares.take(2)] == [jobs[2][0], jobs[0][1]]


@pytest.mark.parametrize("sharing", get_args(Sharing))
@pytest.mark.parametrize("noticed", [True, False])
def test_who_goes_on_with_an_interrupted_pack(sharing, noticed):
    jobs = [packs(60, 50), packs(10)]
    shares = Shares(jobs, sharing)
    shares.interrupt(0, shares.take(0), noticed)
    assert (shares.take(1) is jobs[0][0]) == (sharing == "queue" or (sharing == "claims" and noticed))


def test_claims_are_one_queue_where_all_packs_are_alike_and_every_interruption_has_notice():
    cluster = replace(HOSTILE, noticed=1.0, node_failures=0.0, crashes=0.0, prediction_spread=0.0)
    jobs = [packs(*[2000] * 4) for _ in range(4)]
    claims, queue = (simulate(jobs, cluster, 0, sharing=sharing) for sharing in ("claims", "queue"))
    assert claims == queue


def test_a_timeout_costs_a_checkpoint_a_requeue_and_a_start():
    options = Slurm(timeout_min=60, signal_delay_s=100)
    # 3470 of 5000 seconds until the signal, with five checkpoints of 2 s, one every ten minutes; two more afterwards.
    outcome = simulate([packs(5000)], ALONE, 0, options, checkpoint_minutes=10)
    assert outcome.starts == 2
    assert outcome.saving == pytest.approx((5 + 1 + 2) * 2)
    assert outcome.makespan == pytest.approx(5000 + outcome.saving + 2 * ALONE.start + ALONE.requeue)


def test_without_notice_what_came_after_the_last_checkpoint_is_lost():
    cluster = replace(ALONE, preemptions=1.0, noticed=0.0, start=0.0)
    often, seldom = ([simulate([packs(20 * HOUR)], cluster, seed, Slurm(timeout_min=10**6), minutes)
                      for seed in range(10)] for minutes in (5, 20))
    for outcomes, every in ((often, 300), (seldom, 1200)):
        lost = sum(each.lost for each in outcomes) / sum(each.starts - 1 for each in outcomes)
        # Interruptions of a constant rate: the mean of an exponential, counted from the last checkpoint.
        rate = 1 / HOUR
        assert lost == pytest.approx(1 / rate - every / math.expm1(rate * every), rel=0.15)


def test_waiting_is_that_of_pollaczek_and_khinchine():
    """A job that finds an M/G/1 queue waits for load E[s^2] / (2 (1 - load) E[s]) seconds on average."""
    cluster = replace(ALONE, load=0.5, others_median=600.0, others_spread=0.5)
    waits = [simulate([packs(1)], cluster, seed).waited for seed in range(400)]
    mean = 600 * math.exp(0.5**2 / 2)
    assert sum(waits) / len(waits) == pytest.approx(0.5 * mean * math.exp(0.5**2) / (2 * 0.5), rel=0.2)


def test_a_seed_says_all():
    jobs = [packs(*range(500, 8000, 1500)), packs(10_000, 3000)]
    first, again, other = (simulate(jobs, HOSTILE, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(pack.finished == 0 for job in jobs for pack in job)


def test_simulated_jobs_are_those_that_are_submitted(make, tmp_path):
    configs = [make(f"store={tmp_path}", f"width={width}", f"seed={seed}") for width in (8, 64) for seed in range(3)]
    options = Slurm(job_minutes=1e-4, runs_per_pack=1)
    [tier] = plan(configs, options).tiers
    simulated = jobs_of(packed(configs, set(), 1, machine=lambda: tier.machine), options)
    assert [[pack.seconds for pack in job] for job in simulated] == [
        [tier.packs[index].seconds for index in job] for job in tier.jobs]
    assert len(simulated) > 1
