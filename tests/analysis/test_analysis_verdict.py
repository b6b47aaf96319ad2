"""From runs to verdicts: known laws get the right verdict, and nothing irrelevant changes it."""

import shlex

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import tune
from analysis.complexity import by_width, sample_complexity
from analysis.load import judge as judge_runs
from analysis.load import with_problem
from analysis.rerun import command
from analysis.verdict import FLAT, OPEN, SCALES, SHRINKS, analyze, holm
from ovpnet.spec.errors import ConfigError
from ovpnet.terminal.commands import as_typed


def only(runs, **options):
    verdicts = analyze(with_problem(runs), **options).verdicts
    assert len(verdicts) == 1
    return verdicts.iloc[0]


@pytest.mark.parametrize(("alpha", "verdict"), [(0.0, FLAT), (0.5, SCALES), (1.5, SCALES), (-0.5, SHRINKS)])
def test_known_laws(make_runs, alpha, verdict):
    row = only(make_runs(alpha, n_first=3000 if alpha < 0 else 900, lrs=[0.5]))
    assert row["verdict"] == verdict
    assert row["alpha_low"] <= alpha <= row["alpha_high"]  # 1.5 is right-censored at the two largest widths
    assert row["next"] == ""
    assert (row["widths"], row["seeds"], row["concept"], row["learner"]) == (4, 5, "two_layer", "two_layer")


def test_too_few_data_never_pass_for_no_scaling(make_runs):
    assert only(make_runs(0.0, seeds=range(2), sigma=0.3, lrs=[0.5]))["verdict"] == OPEN


@pytest.mark.parametrize(("options", "why", "wanted"), [
    ({"samples": [100, 200]}, "no N up to 200 passes", "samples=100,200,400,800"),
    ({"samples": [8000, 16000]}, "smallest N (8000) already passes", "samples=2000,4000,8000,16000"),
    ({"widths": [64]}, "at least 2 widths", "width=64,256,1024"),
    ({"seeds": [3]}, "at least 2 seeds", "seed=0,1,2,3,4"),
    ({"sigma": 0.5, "seeds": range(3)}, "too few seeds (3)", "seed=range("),
    ({"samples": [100, 300, 900, 2700, 8100]}, "grid of samples is too coarse",
     "samples=100,300,520,900,1559,2700,8100 ")])  # the steps that hold some N_eps are cut evenly in log N
def test_inconclusive_says_why_and_what_to_run(make_runs, options, why, wanted):
    row = only(make_runs(0.0, lrs=[0.2, 0.5], **options))
    assert row["verdict"] == OPEN
    assert why in row["why"]
    assert row["next"].startswith(as_typed("train -m "))
    assert wanted in row["next"]
    assert "lr=0.2,0.5" in row["next"]


def test_a_grid_that_says_nothing_is_called_so(make_runs):
    """At each width the smaller N passes and the larger fails: N_eps may be below, above, or in between."""
    runs = make_runs(0.0, samples=[400, 800], seeds=range(4), lrs=[0.5])
    row = only(runs.assign(test_risk=np.where(runs["samples"].eq(400), 0.2, 9.0)))
    assert row["verdict"] == OPEN
    assert "which N from 400 to 800 pass at width 64, 256, 1024, 4096 says nothing of where N_eps lies" in row["why"]
    assert "already passes" not in row["why"]
    assert "samples=100,200,400,800,1600,3200" in row["next"]


def test_next_reproduces_the_problem(make_runs):
    overrides = ["concept=parity", "concept.sparsity=3", "learner=three_layer", "learner.trained=last",
                 "opt.activations=[sin]", "epochs=100", "steps=null"]
    command = only(make_runs(0.0, overrides=overrides, samples=[100, 200], lrs=[0.5]))["next"]
    words = command.split()
    for word in ("concept=parity", "concept.sparsity=3", "learner=three_layer", "learner.trained=last", "epochs=100",
                 "steps=null", "'opt.activations=[sin]'"):
        assert word in words
    assert not any(word.startswith(("inputs", "loss", "algorithm", "epsilon", "batch_size")) for word in words)


@pytest.mark.parametrize(("alpha", "sigma"), [(0.0, 0.05), (0.0, 0.3), (0.05, 0.05), (0.1, 0.05), (0.3, 0.1),
                                              (0.2, 0.3), (-0.4, 0.1)])
def test_the_verdict_is_what_the_interval_says(make_runs, alpha, sigma):
    row = only(make_runs(alpha, sigma=sigma, n_first=2500 if alpha < 0 else 900, lrs=[0.5]))
    low, high = row["alpha_low"], row["alpha_high"]
    inside = low > -0.1 and high < 0.1
    assert row["verdict"] == (FLAT if inside else SCALES if low > 0.1 else SHRINKS if high < -0.1 else OPEN)
    assert row["p"] == min(row["p_equivalence"], row["p_scales"], row["p_shrinks"])


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).max() == 1.0


def test_delta(make_runs):
    runs = make_runs(0.5, lrs=[0.5])
    assert only(runs, delta=0.7)["verdict"] == FLAT
    with pytest.raises(ConfigError, match="delta=-1"):
        analyze(with_problem(runs), delta=-1)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False))
def test_row_order_and_repeated_rows_change_nothing(make_runs, order):
    runs = make_runs(0.5, samples=[400, 800, 1600, 3200, 6400, 12800], seeds=range(3), lrs=[0.2, 0.5])
    index = [*range(len(runs)), *order.sample(range(len(runs)), 20)]
    order.shuffle(index)
    shuffled = runs.iloc[index].reset_index(drop=True)
    pd.testing.assert_frame_equal(analyze(with_problem(shuffled)).verdicts, analyze(with_problem(runs)).verdicts)


def test_unit_of_the_loss_changes_nothing(make_runs):
    one, thousand = (only(make_runs(0.5, unit=unit, lrs=[0.5])) for unit in (1.0, 1000.0))
    pd.testing.assert_series_equal(one, thousand)


def test_several_problems_are_corrected_for(make_runs):
    """A verdict that holds alone, by a little, does not outlive company."""
    runs = [make_runs(0.0, lrs=[0.5], sigma=sigma, rng_seed=3, overrides=[f"concept.p={p}"])
            for p, sigma in ((3, 0.1), (4, 0.6), (5, 0.6))]
    alone, together = only(runs[0]), analyze(with_problem(pd.concat(runs, ignore_index=True))).verdicts
    assert alone["verdict"] == FLAT
    assert alone["p_holm"] == alone["p"]
    row = together[together["verdict"].eq(FLAT)].iloc[0]
    assert row["p"] == pytest.approx(alone["p"])
    assert row["p_holm"] == pytest.approx(3 * row["p"])
    assert row["p_holm"] > 0.025, "the example should be a close call"
    assert "it holds for this problem alone, not for all 3" in row["why"]
    assert together["verdict"].eq(OPEN).sum() == 2


def test_several_epsilons_are_several_problems_and_one_law(make_runs):
    runs = make_runs(0.5, lrs=[0.5])  # the excess risk falls as 1/N: beta = 1
    judged = pd.concat([judge_runs(runs, epsilon) for epsilon in (0.05, 0.1, 0.2)], ignore_index=True)
    analysis = analyze(with_problem(judged))
    assert len(analysis.verdicts) == 3
    law = analysis.epsilons.set_index("coefficient")
    assert law["problem"].nunique() == 1
    assert "epsilon=any" in law["problem"].iloc[0]
    for name, truth in (("alpha", 0.5), ("beta", 1.0)):
        assert law.loc[name, "low"] <= truth <= law.loc[name, "high"]
    assert analyze(with_problem(runs)).epsilons.empty


def test_unit_of_the_samples_changes_nothing_but_the_level(make_runs):
    runs = with_problem(make_runs(0.5, lrs=[0.5]))
    one, ten = analyze(runs), analyze(runs.assign(samples=runs["samples"] * 10))
    for column in ("alpha", "alpha_low", "alpha_high"):
        assert one.verdicts[column][0] == pytest.approx(ten.verdicts[column][0], abs=2e-3)


def test_tuning_chooses_by_validation_and_judges_by_test(make_runs):
    runs = make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5])
    runs.loc[runs["lr"].eq(0.2), "test_risk"] = 0.0  # lucky on the test set; must not be chosen for that
    best = tune.best_tuned(with_problem(runs))
    assert set(best["lr"]) == {0.5}
    assert best["test_risk"].gt(0).all()


def test_a_setting_with_a_diverged_seed_loses(make_runs):
    runs = make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5])
    runs.loc[runs["lr"].eq(0.5) & runs["seed"].eq(2), ["status", "test_risk", "validation_risk"]] = (
        "diverged", np.nan, np.nan)
    assert set(tune.best_tuned(with_problem(runs))["lr"]) == {0.2}


def test_a_setting_with_a_failed_seed_loses_and_what_no_setting_has_is_reported(make_runs):
    runs = make_runs(0.0, samples=[100], widths=[64], lrs=[0.2, 0.5])
    runs.loc[runs["lr"].eq(0.5) & runs["seed"].eq(2), "status"] = "failed"
    assert set(tune.best_tuned(with_problem(runs))["lr"]) == {0.2}
    runs.loc[runs["lr"].eq(0.2) & runs["seed"].eq(3), "status"] = "failed"
    assert any("no (lr, weight_decay) has every seed" in each
               for each in tune.warnings(tune.best_tuned(with_problem(runs))))


def test_all_diverged_counts_as_not_reached(make_runs):
    runs = make_runs(0.0, samples=[100, 20_000], widths=[64], lrs=[0.5])
    runs.loc[runs["samples"].eq(20_000), ["status", "test_risk", "validation_risk"]] = ("diverged", np.nan, np.nan)
    assert sample_complexity(tune.best_tuned(with_problem(runs)))["censored"].eq("right").all()


@pytest.mark.parametrize(("lrs", "warned"), [([0.5, 1.0], "smaller"), ([0.2, 0.5], "larger"), ([0.2, 0.5, 1.0], ""),
                                             ([0.5], "")])
def test_edge_of_the_lr_grid_is_flagged(make_runs, lrs, warned):
    found = tune.warnings(tune.best_tuned(with_problem(make_runs(0.0, samples=[100], lrs=lrs))))
    assert bool(found) == bool(warned)
    if warned:
        assert "lr grid may be too narrow" in found[0]
        assert found[0].endswith(f"add {warned} ones")


def least_contradicted(samples, passes):
    """The rule of complexity.sample_complexity, by trying every place."""
    places = list(zip([0.0, *samples], [*samples, np.inf], strict=True))
    wrong = [sum(passes[:i]) + sum(not each for each in passes[i:]) for i in range(len(places))]
    best = [place for place, count in zip(places, wrong, strict=True) if count == min(wrong)]
    return best[0][0], best[-1][1], min(wrong)


@settings(max_examples=60, deadline=None)
@given(patterns=st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=6),
       order=st.randoms(use_true_random=False), scale=st.sampled_from([2.0**-20, 1.0, 2.0**20]))
def test_intervals_are_the_least_contradicted_whatever_the_order_the_copies_and_the_unit(patterns, order, scale):
    rows = [(seed, 10.0 * 2**k, scale * (0.5 if passes else 2.0), scale) for seed, pattern in enumerate(patterns)
            for k, passes in enumerate(pattern)]
    order.shuffle(rows)
    runs = pd.DataFrame(rows, columns=["seed", "samples", "test_risk", "threshold"])
    runs = runs.assign(problem="p", width=64, reached=runs["test_risk"].le(runs["threshold"]))
    found = sample_complexity(runs).sort_values("seed")
    for (_, row), pattern in zip(found.iterrows(), patterns, strict=True):
        samples = [10.0 * 2**k for k in range(len(pattern))]
        assert (row["low"], row["high"], row["contradictions"]) == least_contradicted(samples, pattern)
        first = next((k for k, passes in enumerate(pattern) if passes), len(pattern))
        assert row["first_low"] == [0.0, *samples][first]
        assert row["first_high"] == [*samples, np.inf][first]
        assert row["monotone"] == (pattern == sorted(pattern))


def test_intervals_of_n_eps():
    best = pd.DataFrame([("p", 64, seed, n, passes) for seed, row in enumerate(["0011", "0101", "1111", "0000"])
                         for n, passes in zip([10, 20, 40, 80], [c == "1" for c in row], strict=True)],
                        columns=["problem", "width", "seed", "samples", "reached"])
    found = sample_complexity(best.sample(frac=1, random_state=0))
    assert found[["low", "high", "censored", "monotone"]].values.tolist() == [
        [20, 40, "", True], [10, 80, "", False], [0, 10, "left", True], [80, np.inf, "right", True]]
    summary = by_width(found).iloc[0]
    assert (summary["left"], summary["right"], summary["non_monotone"], summary["seeds"]) == (1, 1, 1, 4)
    assert np.isnan(summary["n_eps"])
    assert by_width(found[:2])["n_eps"][0] == pytest.approx((20 * 40 * 10 * 80) ** 0.25)


def test_another_epsilon_moves_the_goal_without_training(make_runs):
    runs = make_runs(0.0, lrs=[0.5])  # the excess risk falls as 1/N: half of epsilon needs twice the samples
    halved = analyze(with_problem(judge_runs(runs, 0.05)))
    first = analyze(with_problem(runs))
    ratio = by_width(halved.intervals)["n_eps"] / by_width(first.intervals)["n_eps"]
    assert ratio.to_numpy() == pytest.approx(2, rel=0.15)
    assert halved.verdicts["epsilon"][0] == 0.05
    judged = judge_runs(runs, 0.05)
    np.testing.assert_allclose(judged["threshold"], 0.2 + 0.05 * 2.0)
    absolute = judge_runs(runs.assign(epsilon_unit="absolute"), 0.05)
    np.testing.assert_allclose(absolute["threshold"], 0.2 + 0.05)
    with pytest.raises(ConfigError, match="epsilon=0"):
        judge_runs(runs, 0)


def test_what_to_run_next_has_the_epsilon_that_the_runs_were_trained_with(make_runs):
    """Under another one, the runs that are stored would all be trained again."""
    analysis = analyze(with_problem(judge_runs(make_runs(0.0, lrs=[0.5], overrides=["epsilon=0.2"]), 1e-6)))
    [command] = analysis.verdicts["next"]
    assert " epsilon=0.2 " in command
    runs = pd.concat([make_runs(0.0, lrs=[0.5], overrides=[f"epsilon={epsilon}"], seeds=seeds)
                      for epsilon, seeds in ((0.2, range(4)), (0.3, [4]))], ignore_index=True)
    [command] = analyze(with_problem(judge_runs(runs, 1e-6))).verdicts["next"]
    assert " epsilon=0.2 " in command


def test_runs_at_two_epsilons_become_one_problem_when_judged_at_one(make_runs):
    runs = pd.concat([make_runs(0.0, lrs=[0.5]), make_runs(0.0, lrs=[0.5], overrides=["epsilon=0.2"])],
                     ignore_index=True)
    assert with_problem(runs)["problem"].nunique() == 2
    together = with_problem(judge_runs(runs, 0.1))
    assert together["problem"].nunique() == 1
    assert len(together) == len(runs) / 2


def test_problems_are_told_apart_by_identity_not_by_label(make_runs):
    few = {"samples": [100], "widths": [64], "seeds": [0], "lrs": [0.5]}
    runs = [make_runs(**few), make_runs(**few, overrides=["concept.p=6"]),
            make_runs(**few, overrides=["concept.name=zeta", "study=b", "device=cpu"]).assign(run_id="again")]
    labels = set(with_problem(pd.concat(runs, ignore_index=True))["problem"])
    assert len(labels) == 2
    assert any("concept.p=6" in label for label in labels)


def test_steps_do_not_split_a_problem_with_epochs(make_runs):
    runs = make_runs(samples=[100, 200], overrides=["epochs=10", "steps=null"], lrs=[0.5])
    assert with_problem(runs.assign(steps=runs["samples"] / 5))["problem"].nunique() == 1
    fixed = make_runs(samples=[100, 200], lrs=[0.5])
    assert with_problem(fixed.assign(steps=fixed["samples"] / 5))["problem"].nunique() == 2


@pytest.mark.parametrize(("study", "words"), [
    ("mine", " study=mine "), ("a, b", """ 'study='"'"'a, b'"'"'' """), ("default", None)])
def test_a_study_is_part_of_what_to_run_next(make_runs, study, words):
    runs = make_runs(widths=[16, 32], samples=[100, 200], seeds=range(2), lrs=[0.2]).assign(study=study)
    line = command(with_problem(runs), width=[64])
    assert (words in line) if words else "study" not in line
    asked = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(
        [word for word in shlex.split(line) if word.startswith("study=")])}
    assert asked == ({} if study == "default" else {"study": study})
