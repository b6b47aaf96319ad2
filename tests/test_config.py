import copy
import dataclasses
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING

from ovpnet.spec import keys
from ovpnet.spec.config import Config, OptConfig, RiskConfig
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import _all_keys, digest, identity, not_identity, run_id, signature
from ovpnet.spec.keys import LARGEST_SEED, check_value
from ovpnet.spec.rules import canonical
from ovpnet.spec.schemas import as_chosen, conf_dir, resolve, schemas

# override(s), then what the message must name: key=value, and a part of what is allowed
BAD = [
    (["width=0"], "width=0", "at least 1"),
    (["samples=-1"], "samples=-1", "at least 1"),
    (["seed=-1"], "seed=-1", "at least 0"),
    (["epsilon=0"], "epsilon=0.0", "greater than 0"),
    (["lr=nan"], "lr=nan", "finite"),
    (["epsilon_unit=percent"], "epsilon_unit=percent", "relative, absolute"),
    (["dtype=float16"], "dtype=float16", "float32, float64"),
    (["steps=10", "epochs=2"], "steps=10", "exactly one"),
    (["steps=null"], "steps=null", "exactly one"),
    (["algorithm.sampling=one_pass"], "steps=30", "uses every sample once"),
    (["algorithm.sampling=one_pass", "steps=null", "batch_size=50"], "batch_size=50", "at most samples (40)"),
    (["regularizer=none", "weight_decay=0.1"], "weight_decay=0.1", "must be 0"),
    (["regularizer=table1"], "regularizer.name=table1", "algorithm2, algorithm3"),
    (["concept.activations=[relu]"], "concept.activations=relu", "sin, cos"),
    (["concept.activations=[]"], "concept.activations=[]", "at least one"),
    (["concept.scales=[-1]"], "concept.scales=-1.0", "greater than 0"),
    (["concept=figure1", "inputs.d=5"], "inputs.d=5", "4 inputs"),
    (["concept=parity", "concept.sparsity=9"], "concept.sparsity=9", "at most inputs.d (4)"),
    (["concept=parity", "concept.k=2"], "concept.k=2", "1 output"),
    (["loss=logistic", "concept.k=2"], "concept.k=2", "cross_entropy"),
    (["loss=cross_entropy"], "concept.k=1", "at least 2"),
    (["loss=logistic", "noise=gaussian"], "noise.kind=gaussian", "flip"),
    (["noise=flip"], "noise.kind=flip", "gaussian"),
    (["loss=logistic", "noise=flip", "noise.level=1.5"], "noise.level=1.5", "at most 1"),
    (["noise.level=0.5"], "noise.level=0.5", "must be 0"),
    (["concept=random_labels", "loss=logistic", "loss.labels=hard"], "loss.labels=hard", "sample"),
    (["regularizer.name=row_24"], "regularizer.W=frobenius", "row_24, none"),
    (["concept=figure2", "inputs.d=4", "learner=three_layer", "algorithm=algorithm2", "algorithm.C0=null",
      "steps=null"],
     "algorithm.C0=null", "series"),
    (["inputs.d=1"], "inputs.d=1", "at least 2"),
    (["width2=8"], "width2=8", "learner=two_layer has no second hidden layer of finite width; allowed: null"),
    (["width2=16"], "width2=16", "allowed: null"),
    (["learner=three_layer_limit", "algorithm=kernel_ridge", "learner.trained=ntk", "width2=8"], "width2=8", "null"),
    (["learner=three_layer", "width2=0"], "width2=0", "at least 1"),
    (["learner=two_layer_limit", "algorithm=kernel_ridge", "learner.trained=ntk", "learner.a_std_exponent=0.5"],
     "learner.a_std_exponent=0.5", "must be 0"),
    (["learner.a_std_exponent=-1"], "learner.a_std_exponent=-1.0", "at least 0"),
    (['store="runs\nof me"'], r"store='runs\nof me'", "no control characters"),
    (['store="\x1b[31m"'], r"store='\x1b[31m'", "no control characters"),
    (["+foo=1"], "foo=1", "no such key"),
    (["+concept.foo=1"], "concept.foo=1", "activations"),
]


PERTURBED = ["learner=three_layer", "steps=null"]


@pytest.mark.parametrize(("overrides", "names", "allowed"), BAD, ids=[bad[1] for bad in BAD])
def test_bad_values_are_named_with_what_is_allowed(make, overrides, names, allowed):
    with pytest.raises(ConfigError, match=re.escape(names)) as error:
        make(*overrides)
    assert allowed in str(error.value)


# The bounds of every number: a new key, or another bound, is one line here.
BOUNDS = [
    ("low", 0, "width seed weight_decay concept.seed concept.degrees inputs.seed noise.level learner.a_std_exponent "
     "algorithm.momentum algorithm.sigma_w algorithm.sigma_v algorithm.sigma_w_multiplier "
     "algorithm.sigma_v_multiplier algorithm.iterate_noise regularizer.weight_W regularizer.weight_V "
     "regularizer.weight_rest checkpoint_minutes"),
    ("low", 1e-12, "algorithm.eps0 algorithm.C0"),
    ("low", 1, "width2 samples batch_size steps evaluations concept.k concept.sparsity concept.p concept.p1 concept.p2 "
     "inputs.components algorithm.inner_steps algorithm.rounds algorithm.draws opt.restarts opt.steps opt.p "
     "diagnostics.samples"),
    ("low", 2, "inputs.d test.samples test.curve_samples test.max_samples opt.samples diagnostics.drift_samples "
     "diagnostics.draws"),
    ("low", 4, "diagnostics.lanczos"),
    ("low", 100, "opt.fit_samples"),
    ("above", 0, "epsilon lr epochs C_star concept.c concept.scale concept.outer_scales concept.phi1_scales "
     "concept.phi2_scales concept.scales inputs.spread learner.a_std algorithm.decay_at algorithm.decay_factor "
     "algorithm.rounds_multiplier algorithm.lambda_rate algorithm.draws_multiplier test.se diagnostics.sigma_w "
     "diagnostics.sigma_v diagnostics.saddle_gradient diagnostics.saddle_curvature diagnostics.escape_fraction"),
    ("high", 0.999999, "algorithm.momentum algorithm.eps0 algorithm.lambda_rate"),
    ("high", 1, "algorithm.decay_at algorithm.decay_factor diagnostics.escape_fraction"),
    ("high", 16, "concept.degrees"),
    ("high", 100_000_000, "width width2"),
    ("high", LARGEST_SEED, "seed concept.seed inputs.seed"),
]


def test_every_number_has_the_bounds_that_it_must_have():
    bounds = {(name, which): metadata[which] for name, metadata in _all_keys() for which in ("low", "above", "high")
              if metadata[which] is not None}
    assert bounds == {(name, which): bound for which, bound, names in BOUNDS for name in names.split()}
    assert LARGEST_SEED == 2**63 - 1


@pytest.mark.parametrize(("which", "allowed", "refused", "message"), [
    ("low", 3, 2, "key=2: must be at least 3"), ("high", 3, 4, "key=4: must be at most 3"),
    ("above", 4, 3, "key=3: must be greater than 3")])
def test_a_bound_is_allowed_unless_values_must_be_above_it(which, allowed, refused, message):
    for value in (allowed, None):
        check_value("key", value, {which: 3})
    with pytest.raises(ConfigError, match=f"^{message}$"):
        check_value("key", refused, {which: 3})


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused_whatever_its_bounds(value):
    with pytest.raises(ConfigError, match="must be a finite number"):
        check_value("key", value, {})


@pytest.mark.parametrize("key", ["epsilon_unit", "lr_scaling", "dtype", "learner.trained", "algorithm.sampling",
                                 "algorithm.judged", "regularizer.of", "opt.method", "engine", "tracker.name",
                                 "tracker.mode", "tracker.per"])
def test_a_word_that_is_none_of_the_allowed_ones_is_refused(make, key):
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}=zzz: not known; allowed: \w+, \w+"):
        make("concept=parity", f"{key}=zzz")


@pytest.mark.parametrize("override", ["widht=3", "concept.sparsity=2", "concept=no_such", "width=wide"])
def test_unknown_keys_options_and_types_fail_at_compose_time(composed, override):
    with pytest.raises(Exception, match=re.escape(override.split("=")[0])):
        composed(override)


@pytest.mark.parametrize("group", sorted(path.name for path in conf_dir().iterdir() if path.is_dir()))
def test_every_option_composes_and_is_checked(make, group):
    extra = {"cross_entropy": ["concept.k=3"], "flip": ["loss=logistic"], "sgd": ["batch_size=1"],
             "kernel_ridge": ["learner.trained=last"], "two_layer_limit": ["algorithm=kernel_ridge"],
             "three_layer_limit": ["algorithm=kernel_ridge"],
             "algorithm2": PERTURBED, "algorithm3": PERTURBED, "table1": ["algorithm=algorithm2", *PERTURBED]}
    if group in ("experiment", "hydra", "scale"):
        pytest.skip("not an option of a run")
    for file in (conf_dir() / group).glob("*.yaml"):
        made = make(f"{group}={file.stem}", *extra.get(file.stem, []))
        assert dataclasses.is_dataclass(getattr(made, group))


def test_identity_leaves_out_what_cannot_change_a_number(make):
    base = make()
    for same in ["store=elsewhere", "device=cpu", "engine=reference", "study=other", "tracker=wandb",
                 "tracker.project=x", "concept.name=label"]:
        assert run_id(make(same)) == run_id(base), same


@pytest.mark.parametrize("other", ["width=17", "samples=41", "seed=1", "lr=0.4", "weight_decay=0.1", "epsilon=0.2",
                                   "steps=31", "batch_size=11", "dtype=float64", "concept.seed=1", "concept.p=5",
                                   "concept.scales=[2.0]", "noise=gaussian", "learner.trained=last",
                                   "regularizer=row_24", "opt.restarts=9", "test.se=0.1", "inputs=hypercube"])
def test_identity_holds_everything_else(make, other):
    assert run_id(make(other)) != run_id(make())


# A store outlives releases: a change of these values trains every run of every user again.
PINNED = [
    ("8e3d75c0c4af", ["experiment=quickstart", "seed=7", "lr=2"]),
    ("b0ceeabe42b5", ["experiment=one_pass", "samples=300"]),
    ("aa2d4c009c76", ["experiment=figure1a", "learner=three_layer", "learner.trained=ntk", "width=500",
                      "weight_decay=1e-5", "epochs=80"]),
    ("9e269b983646", ["experiment=algorithm2_vs_3", "algorithm=algorithm3", "width=32"]),
    ("49ec18566c51", ["algorithm=kernel_ridge", "learner=two_layer_limit", "learner.trained=ntk", "width=64",
                      "weight_decay=0.01"]),
    ("93caf3050882", ["concept=random_labels", "loss=logistic", "noise=flip", "noise.level=0.2", "steps=100",
                      "diagnostics=all"]),
    ("f7f9eee8e48d", ["concept=three_layer", "concept.phi2=[cos,exp]", "inputs=mixture", "inputs.spread=0.25",
                      "loss=huber", "steps=50", "store=elsewhere"]),
    ("338071551662", ["loss=cross_entropy", "concept.k=3", "regularizer=row_24", "regularizer.weight_rest=3",
                      "learner.trained=last", "steps=60", "dtype=float64", "opt.activations=[sin,erf]"]),
]


@pytest.mark.parametrize(("run", "overrides"), PINNED, ids=[run for run, _ in PINNED])
def test_run_ids_are_pinned(composed, run, overrides):
    assert run_id(resolve(composed(*overrides))) == run


def test_keys_that_joined_later_change_no_id_at_the_value_of_older_runs(make):
    base = make("learner=three_layer")
    for same in ["width2=null", "learner.a_std_exponent=0"]:
        assert make("learner=three_layer", same) == base, same
    # A second width of 16 is of a study in which it does not follow the first.
    for other in ["width2=16", "width2=17", "width2=15", "learner.a_std_exponent=0.5"]:
        assert run_id(make("learner=three_layer", other)) != run_id(base), other
    assert not {"width2", "learner.a_std_exponent"} & set(identity(base))
    wider = make("learner=three_layer", "width2=17")
    assert signature(wider) != signature(base)
    assert (wider.second_width, base.second_width, wider.step_size) == (17, 16, base.step_size)
    assert signature(make("learner=three_layer", "learner.a_std_exponent=0.5")) == signature(base)


# Keys in which members of an ensemble may differ, and keys that can change no number of a run.
PER_MEMBER = (
    "samples seed epsilon epsilon_unit lr lr_scaling weight_decay C_star concept.seed inputs.seed noise.kind "
    "noise.level learner.a_std learner.a_std_exponent algorithm.momentum algorithm.decay_at algorithm.decay_factor "
    "algorithm.eps0 algorithm.C0 algorithm.inner_steps algorithm.rounds algorithm.rounds_multiplier "
    "algorithm.lambda_decay algorithm.lambda_rate algorithm.sigma_w algorithm.sigma_v algorithm.sigma_w_multiplier "
    "algorithm.sigma_v_multiplier algorithm.iterate_noise algorithm.draws algorithm.draws_multiplier "
    "regularizer.weight_W regularizer.weight_V regularizer.weight_rest opt.method opt.samples opt.fit_samples "
    "opt.restarts opt.steps opt.p opt.activations")
LABELS = ("concept.name diagnostics.name engine device store checkpoint_minutes study tracker.name tracker.project "
          "tracker.entity tracker.mode tracker.per")


def test_every_key_says_whether_it_can_change_a_number_and_whether_members_may_differ_in_it():
    assert {name for name, metadata in _all_keys() if metadata["per_member"]} == set(PER_MEMBER.split())
    assert set(not_identity()) == set(LABELS.split())


def test_lr_is_in_units_of_one_over_the_width_unless_told_otherwise(make):
    assert [make("lr=2", "width=16", *scaling).step_size for scaling in ([], ["lr_scaling=none"])] == [0.125, 2.0]


def test_a_penalty_of_what_is_trained_is_part_of_a_runs_identity(make):
    for trained, layers in (("hidden", "W"), ("all", "W rest"), ("last", "rest")):
        base = [f"learner.trained={trained}", "regularizer.rest=frobenius"]
        for layer in ("W", "rest"):
            same = run_id(make(*base, f"regularizer.weight_{layer}=2")) == run_id(make(*base))
            assert same == (layer not in layers.split()), (trained, layer)


def test_penalties_are_half_the_sum_of_squares_only_if_frobenius_or_none_and_have_their_own_factors(make):
    for name, half in (("frobenius", True), ("none", True), ("row_24", False)):
        config = make(f"regularizer={name}")
        assert config.regularizer.quadratic("W") == half
        assert config.regularizer.units(config) == {"W": 1.0, "V": 1.0, "rest": 1.0}


def test_configs_can_be_pickled_and_copied(make):
    config = make()
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)


def test_a_canonical_config_stays_the_same_object(make):
    config = make("learner.trained=quadratic", "regularizer.weight_V=2")
    assert canonical(config) is config
    assert as_chosen(config) is config


def test_epochs_are_the_steps_they_amount_to(make):
    assert identity(make("steps=null", "epochs=7.5"))["steps"] == 30
    # Not the same run: at other samples the two are of other numbers of steps, so they belong to other studies.
    assert run_id(make("steps=null", "epochs=7.5")) != run_id(make("steps=30"))
    assert make("steps=null", "epochs=1", "samples=41").total_steps == 5
    assert make("steps=null", "algorithm.sampling=one_pass", "samples=49").total_steps == 4


def test_signature_is_shared_exactly_by_what_may_share_an_ensemble(make):
    base = signature(make())
    for member in ["seed=3", "samples=20", "lr=1", "weight_decay=0.1", "noise=gaussian", "epsilon=0.3",
                   "concept.seed=2", "algorithm.momentum=0.5", "store=elsewhere"]:
        assert signature(make(member)) == base, member
    for static in ["width=17", "inputs.d=5", "steps=31", "batch_size=11", "concept.k=2", "loss=huber",
                   "learner=three_layer", "learner.trained=last", "dtype=float64", "regularizer=none"]:
        assert signature(make(static)) != base, static


@pytest.mark.parametrize(("base", "meaningless"), [
    (["algorithm.decay_at=1"], "algorithm.decay_factor=0.3"), ([], "regularizer.weight_V=2"),
    ([], "regularizer.weight_rest=2"),
    (["learner.trained=last"], "regularizer.weight_W=2"), (["regularizer=none"], "regularizer.weight_W=2"),
    (["learner=two_layer_limit", "learner.trained=last", "algorithm=kernel_ridge"], "learner.a_std=2"),
    (["algorithm=algorithm2", *PERTURBED, "algorithm.rounds=3"], "algorithm.rounds_multiplier=2"),
    (["algorithm=algorithm2", *PERTURBED, "algorithm.sigma_v=0.1"], "algorithm.sigma_v_multiplier=2"),
])
def test_keys_that_mean_nothing_to_a_run_are_none_of_its_identity(make, base, meaningless):
    assert run_id(make(*base, meaningless)) == run_id(make(*base))


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False), st.text())))
def test_digest_ignores_the_order_of_keys(content):
    assert digest(content) == digest(dict(reversed(content.items())))


def test_every_key_is_explained():
    undocumented = [f"{node.__name__}.{item.name}" for node in _nodes() for item in dataclasses.fields(node)
                    if not dataclasses.is_dataclass(item.type) and "help" not in item.metadata
                    and item.name not in ("family", "name", "p", "k") and "Config" not in str(item.type)]
    assert undocumented == []


def _nodes():
    return [Config, RiskConfig, OptConfig, *{schema for group in schemas().values() for schema in group.values()}]


def test_a_value_that_is_missing_is_written_as_omegaconf_writes_it():
    assert keys.MISSING == MISSING
