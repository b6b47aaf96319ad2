"""Choices: what lacks a fact, a test, a file or a row of the documents is refused or named; so is an unknown name."""

import re
import subprocess
import sys
from abc import abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.types import RunMode

from launch.compose import compose
from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.problem.data import Problem
from ovpnet.problem.streams import Stream
from ovpnet.spec.activation import ACTIVATIONS
from ovpnet.spec.choices import CONCEPTS, KINDS, PENALTIES, concept
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import key
from ovpnet.spec.registry import Registry, facts
from ovpnet.spec.schemas import conf_dir, register_schemas
from tests import test_learners, test_losses, test_penalties
from tests.concepts import references, test_activations, test_inputs, test_noise

REGISTRIES = {**KINDS, "penalty": PENALTIES, "activation": ACTIVATIONS}

# Where a kind has the independent references of its choices: a row each.
REFERENCES = {
    "concept": references.REFERENCES,
    "activation": test_activations.REFERENCES,
    "inputs": test_inputs.REFERENCES,
    "noise": test_noise.REFERENCES,
    "loss": test_losses.REFERENCES,
    "learner": test_learners.REFERENCES,
    "penalty": test_penalties.REFERENCES,
}
WHERE = {
    "concept": references, "activation": test_activations, "inputs": test_inputs, "noise": test_noise,
    "loss": test_losses, "learner": test_learners,
    "penalty": test_penalties,
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_every_choice_has_an_independent_reference(kind):
    lacking = set(REGISTRIES[kind].names()) - set(REFERENCES[kind])
    assert not lacking, f"{kind} {', '.join(lacking)} has no row of REFERENCES in {WHERE[kind].__file__}"
    assert set(REFERENCES[kind]) <= set(REGISTRIES[kind].names())


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_has_a_file_of_its_name_and_every_file_a_choice(kind):
    files = {path.stem for path in (conf_dir() / kind).glob("*.yaml")}
    for name in KINDS[kind].names():
        assert name in files, f"{kind} {name} has no conf/{kind}/{name}.yaml"
    for name in files:
        assert name in KINDS[kind].names(), f"conf/{kind}/{name}.yaml is of no registered {kind}"


def test_the_order_of_names_does_not_depend_on_what_was_imported_first():
    code = "import sys; from ovpnet.spec.choices import CONCEPTS; print(*CONCEPTS.names())"
    one, other = (subprocess.run([sys.executable, "-c", first + code], check=True, capture_output=True).stdout
                  for first in ("", "import ovpnet.problem.concepts.two_layer; "))
    assert one == other


# --- classes that are refused when they are defined


def base(kind):
    """A new registry with the base of a kind, so that no test defines a choice of the others."""
    registry = REGISTRIES[kind]
    return Registry(kind, registry.base, selector=registry.selector)


FACTS = [(kind, fact) for kind, registry in REGISTRIES.items() for fact in facts(registry.base)
         if (kind, fact) != ("activation", "name")]


def complete(registry, without=()):
    stated = {fact: None for fact in facts(registry.base) if fact not in without}
    return type("Complete", (registry.base,), {"__annotations__": {}, **stated})


@pytest.mark.parametrize(("kind", "fact"), FACTS, ids=["-".join(each) for each in FACTS])
def test_a_class_that_lacks_a_fact_cannot_be_defined(kind, fact):
    registry = base(kind)
    with pytest.raises(TypeError, match=rf"{kind} new \(Complete\) must state: {fact}$"):
        registry.register("new")(complete(registry, {fact}))
    assert registry.names() == ()


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_name_that_is_taken_is_refused(kind):
    registry = base(kind)
    first = registry.register("new")(complete(registry))
    with pytest.raises(TypeError, match=rf"{kind} new is already Complete"):
        registry.register("new")(complete(registry))
    assert registry["new"] is first


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_no_key_is_refused(kind):
    registry = base(kind)
    cls = complete(registry)
    cls.__annotations__["strength"], cls.strength = float, 1.0
    with pytest.raises(TypeError, match=r"Complete.strength must be a key: give its meaning and bounds by key\(...\)"):
        registry.register("new")(cls)
    assert registry.names() == ()


def test_a_default_that_a_class_changes_keeps_its_bounds():
    registry = base("concept")
    cls = complete(registry)
    cls.__annotations__["k"], cls.k = int, 3
    registry.register("new")(cls)
    assert registry["new"]().k == 3
    assert registry["new"].__dataclass_fields__["k"].metadata["low"] == 1


def test_facts_are_the_annotated_class_variables_and_abstract_methods_that_have_no_value():
    @dataclass
    class Kind:
        given: int
        size: int = key(1, "a key")
        stated: ClassVar[int] = 3
        lacking: ClassVar[int]

        @abstractmethod
        def method(self):
            """Do what each class does in its own way."""

        def inherited(self):
            return self.size

    class Partly(Kind):
        lacking = 4

    assert facts(Kind) == ("lacking", "method")
    assert facts(Partly) == ("method",)


# --- values that are refused before anything is trained


@pytest.fixture(scope="module")
def swept():
    """swept(*overrides) -> the config of a sweep's job."""
    register_schemas()
    Plugins.instance()
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir().resolve())))
    master = loader.load_configuration("config", ["width=32"], run_mode=RunMode.MULTIRUN)
    return lambda *overrides: compose(loader, master, [["seed=1"], list(overrides)])[1]


def refused(make, swept, overrides, message):
    for composed in (make, swept):
        with pytest.raises(ConfigError, match=message) as error:
            composed(*overrides)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_refused_with_those_that_are_known(make, swept, kind):
    selector = KINDS[kind].selector
    allowed = re.escape(", ".join(KINDS[kind].names()))
    refused(make, swept, [f"{kind}.{selector}=zzz"], rf"^{kind}\.{selector}=zzz: not known; allowed: {allowed}$")


@pytest.mark.parametrize("activation", ["concept.activations=[zzz]", "opt.activations=[sin,zzz]"])
def test_an_unknown_activation_is_refused_with_those_that_are_known(make, swept, activation):
    allowed = re.escape(", ".join(ACTIVATIONS.names()))
    refused(make, swept, [activation], rf"activations=zzz: not known; allowed: {allowed}")


@pytest.mark.parametrize("layer", ["W", "V", "rest"])
def test_an_unknown_penalty_is_refused_with_those_that_are_known(make, swept, layer):
    allowed = ", ".join(["none", *PENALTIES.names()])
    refused(make, swept, [f"regularizer.{layer}=zzz"], rf"regularizer\.{layer}=zzz: not known; allowed: {allowed}")


@pytest.mark.parametrize("family", [name for name in CONCEPTS.names() if CONCEPTS[name].outputs is not None])
def test_another_number_of_outputs_than_the_target_has_is_refused(make, swept, family):
    outputs = CONCEPTS[family].outputs
    refused(make, swept, [f"concept={family}", f"concept.k={outputs + 2}"],
            rf"^concept\.k={outputs + 2}: concept={family} has {outputs} output")


def test_values_of_another_shape_are_refused_where_they_are_drawn(make):
    """They would broadcast with the labels of a net with k outputs, and be trained on without a word."""
    class OneOutput(TwoLayer):
        """A target that states any k, and has one."""

        def evaluate(self, weights, x):
            return super().evaluate(weights, x)[..., :1]

    try:
        concept("one_output")(OneOutput)
        config = make("concept.k=3")
        problem = Problem(SimpleNamespace(concept=OneOutput(k=3), inputs=config.inputs, noise=config.noise,
                                          loss=config.loss))
        with pytest.raises(ValueError, match=r"labels of concept=one_output.* \[5, 1\], not float64 \[5, 3\]"):
            problem.sample(0, Stream.DATA, 5)
    finally:
        del CONCEPTS._classes["one_output"]
    x, y = Problem(config).sample(0, Stream.DATA, 5)
    assert y.shape == (5, 3)
    assert x.dtype == y.dtype == torch.float64
