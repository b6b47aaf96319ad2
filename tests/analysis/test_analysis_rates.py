"""Exponents of known laws are found, with the right theorem beside them."""

import numpy as np
import pandas as pd
import pytest

from analysis.load import judge, with_problem
from analysis.rates import EXCESS, N_EPS, rates

FEW = {"widths": (64,), "seeds": range(4), "lrs": (0.5,), "samples": tuple(round(50 * 1.5**k) for k in range(14))}


def row(table, quantity, of=N_EPS):
    found = table[table["quantity"].eq(quantity) & table["of"].eq(of)]
    assert len(found) == 1
    return found.iloc[0]


def with_exponent(make_runs, key, values, exponent, overrides=(), **columns):
    """Problems of which N_eps grows as a power of a key; columns: further columns, a value a problem."""
    parts = [make_runs(0.0, n_first=300 * (value / values[0]) ** exponent, rng_seed=number, overrides=overrides, **FEW)
             .assign(**{key: value}, **{name: given[number] for name, given in columns.items()})
             for number, value in enumerate(values)]
    return with_problem(pd.concat(parts, ignore_index=True))


def test_rates_of_one_problem(make_runs):
    """Its excess risk falls as 1/N, so that N_eps grows as 1/epsilon."""
    table = rates(with_problem(make_runs(0.3, **FEW | {"widths": (64, 1024)})))
    excess, epsilon = row(table, "N", EXCESS), row(table, "1/epsilon")
    assert excess["exponent"] == pytest.approx(-1, abs=0.02)
    assert epsilon["exponent"] == pytest.approx(1, abs=0.1)
    assert epsilon["low"] <= 1 <= epsilon["high"]
    for found, bound in ((excess, -0.5), (epsilon, 2)):
        assert (found["predicted"], found["theorem"], found["compatible"]) == (bound, 1, True)
        assert found["finding"] == "below the bound"
        assert not found["stated"]  # of momentum SGD, which Theorem 1 is not about
        assert (found["widths"], found["seeds"]) == (2, 4)
    assert len(table) == 2


def test_slow_decay_is_above_the_bound(make_runs):
    runs = with_problem(make_runs(0.0, **FEW))
    excess = runs["excess_risk"] ** 0.2
    slow = runs.assign(excess_risk=excess, excess_risk_se=0.01 * excess, test_risk=runs["opt"] + excess)
    table = rates(slow)
    assert row(table, "N", EXCESS)["exponent"] == pytest.approx(-0.2, abs=0.02)
    assert row(table, "1/epsilon")["exponent"] == pytest.approx(5, abs=0.6)
    assert table["finding"].tolist() == ["above the bound"] * 2
    assert not table["compatible"].any()


@pytest.mark.parametrize(("quantity", "key", "exponent", "finding"), [
    ("p", "concept.p", 1.0, "below the bound"), ("p", "concept.p", 3.0, "above the bound"),
    ("k", "concept.k", 1.0, "below the bound"), ("d", "inputs.d", 0.0, "at the bound")])
def test_exponents_between_problems(make_runs, quantity, key, exponent, finding):
    runs = with_exponent(make_runs, key, [2, 4, 8], exponent)
    found = row(rates(runs), quantity)
    assert found["low"] - 0.05 <= exponent <= found["high"] + 0.05
    assert found["high"] - found["low"] < 1.2
    assert found["finding"] == finding
    assert found["values"] == "2, 4, 8"
    assert found["problems"].count("\n") == 2


def test_problems_that_differ_in_two_keys_are_not_compared(make_runs):
    parts = [make_runs(0.0, **FEW).assign(**{"concept.p": p, "inputs.d": d}) for p, d in ((2, 4), (4, 8))]
    assert set(rates(with_problem(pd.concat(parts, ignore_index=True)))["quantity"]) == {"N", "1/epsilon"}


def test_complexity_of_concepts(make_runs):
    runs = with_exponent(make_runs, "concept.seed", [1, 2, 4], 1.5, log_C_s=np.log([10.0, 20.0, 40.0]))
    found = row(rates(runs), "C_s")
    assert found["low"] <= 1.5 <= found["high"]
    assert (found["predicted"], found["finding"], found["values"]) == (2, "below the bound", "10, 20, 40")


def test_two_concepts_of_one_complexity_are_two_problems(make_runs):
    """The second of the complexity 10 needs 16 times the samples of the first: no interval holds both."""
    parts = [make_runs(0.0, n_first=n, rng_seed=number, **FEW).assign(**{"concept.seed": number, "log_C_s": np.log(c)})
             for number, (n, c) in enumerate([(150, 10.0), (2400, 10.0), (600, 20.0), (2400, 40.0)])]
    found = row(rates(with_problem(pd.concat(parts, ignore_index=True))), "C_s")
    slope, _ = np.polyfit(np.log([10, 10, 20, 40]), np.log([150, 2400, 600, 2400]), 1)
    assert found["exponent"] == pytest.approx(slope, abs=0.2)


def test_complexities_beyond_floats(make_runs):
    runs = with_exponent(make_runs, "concept.seed", [1, 2, 4], 1.0, log_C_s=np.log([1.0, 2.0, 4.0]) + 5000)
    found = row(rates(runs), "C_s")
    assert found["values"] == "exp(5000), exp(5001), exp(5001)"
    assert found["low"] <= 1 <= found["high"]


def test_problems_are_judged_at_one_epsilon_in_units_of_the_loss(make_runs):
    """Excess risk = 0.2 x 300 / N in all of them, but each has its own E||y||^2, of which epsilon is a fraction."""
    parts = [make_runs(0.0, n_first=300 / unit, unit=unit, rng_seed=p, **FEW).assign(**{"concept.p": p})
             for p, unit in ((2, 0.5), (4, 1.0), (8, 2.0))]
    runs = with_problem(pd.concat(parts, ignore_index=True))
    found = row(rates(runs), "p")
    assert found["exponent"] == pytest.approx(0, abs=0.15)  # each at its own epsilon, it would be -1
    assert found["epsilon"] == pytest.approx(0.2)


def test_the_theorem_is_that_of_the_algorithm(make_runs):
    options = {"overrides": ["learner=three_layer", "concept=three_layer", "algorithm=algorithm3"]}
    table = rates(with_problem(make_runs(0.0, **options, **FEW)))
    assert set(table["theorem"]) == {3}
    assert table["stated"].all()
    assert set(table["finding"]) == {"no bound"}  # M of Theorem 3 is some polynomial; one width has no law in m
    assert table["compatible"].isna().all()
    sgd = rates(with_problem(make_runs(0.0, overrides=["algorithm=sgd"], **FEW)))
    assert set(sgd["theorem"]) == {1}
    assert sgd["stated"].all()


@pytest.mark.parametrize(("alpha", "finding"), [(0.0, "below the bound"), (1.5, "at the bound"),
                                                (2.0, "above the bound")])
def test_theorem_3_bounds_the_exponent_of_m(make_runs, alpha, finding):
    options = {"overrides": ["learner=three_layer", "concept=three_layer", "algorithm=algorithm3"]}
    found = row(rates(with_problem(make_runs(alpha, n_first=100, **options, **FEW | {"widths": (64, 128, 256)}))), "m")
    assert found["low"] - 0.05 <= alpha <= found["high"] + 0.05
    assert (found["predicted"], found["theorem"], found["finding"]) == (1.5, 3, finding)


def test_bound_of_p2_is_that_of_the_outer_activation(make_runs):
    """Where log C_eps grows as 1.5 log p2 (Phi of degree 3), N's bound grows as p2^(1 + 2 x 1.5)."""
    concept = ["learner=three_layer", "concept=three_layer", "algorithm=algorithm2"]
    runs = with_exponent(make_runs, "concept.p2", [2, 4, 8], 1.0, overrides=concept,
                         log_C_eps=40 + 1.5 * np.log([2, 4, 8]))
    found = row(rates(runs), "p2")
    assert found["predicted"] == pytest.approx(4)
    assert (found["theorem"], found["finding"]) == (2, "below the bound")
    assert np.isnan(row(rates(runs.assign(log_C_eps=np.nan)), "p2")["predicted"])


def test_problems_that_differ_in_epsilon_alone_have_one_rate_in_samples(make_runs):
    runs = make_runs(0.0, **FEW)
    both = pd.concat([judge(runs, 0.1), judge(runs, 0.2)], ignore_index=True)
    assert rates(with_problem(both))["quantity"].tolist() == ["N", "1/epsilon"]


def test_a_run_that_may_have_no_excess_risk_bounds_it_from_above_alone(make_runs):
    runs = with_problem(make_runs(0.0, **FEW))
    floor = 0.01  # the error of the estimate: far above the excess risk at the largest N
    rng = np.random.default_rng(1)
    noisy = runs.assign(excess_risk=runs["excess_risk"] + floor * rng.normal(size=len(runs)), excess_risk_se=floor)
    found = row(rates(noisy), "N", EXCESS)
    assert found["low"] <= -1 <= found["high"]
    assert found["exponent"] == pytest.approx(-1, abs=0.1)


def test_nothing_measured_has_no_rates(make_runs):
    runs = with_problem(make_runs(0.0, **FEW).assign(status="diverged", test_risk=np.nan, validation_risk=np.nan,
                                                     excess_risk=np.nan, excess_risk_se=np.nan))
    assert rates(runs).empty


@pytest.mark.parametrize("error", [0.0, np.nan])
def test_excess_risks_without_errors_have_an_interval_nonetheless(make_runs, error):
    """Seeds whose risks fall at rates of their own: the interval is that of their slopes."""
    runs = make_runs(0.0, **FEW)
    excess = runs["excess_risk"] * runs["samples"] ** (0.1 * (runs["seed"] - 1.5))
    found = row(rates(with_problem(runs.assign(excess_risk=excess, excess_risk_se=error))), "N", EXCESS)
    assert found["exponent"] == pytest.approx(-1, abs=0.02)
    slopes = -1 + 0.1 * (np.arange(4) - 1.5)
    reach = 3.182 * slopes.std(ddof=1) / 2  # t of 3 degrees of freedom
    assert found["high"] - found["low"] == pytest.approx(2 * reach, rel=0.1)
