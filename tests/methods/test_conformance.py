"""Every registered method passes ``bench check``, and the suite catches what it is there for."""

import dataclasses

import pytest
import torch

from cerebench.benchmark.conformance import methods as conformance
from cerebench.benchmark.engine.registry import Registries
from cerebench.methods.base import Diagnostic, Preset
from cerebench.methods.wgan_gp import WGANGP

NAMES = Registries().methods.names()


@pytest.fixture(scope="module")
def subjects():
    """Return one subject per method; each is trained once."""
    return {name: conformance.Subject(name, Registries()) for name in NAMES}


# What happens on a GPU has a test of its own, tests/benchmark/test_device.py.
CHECKS = [c for c in conformance.CHECKS if c is not conformance.trains_and_samples_on_a_gpu]


@pytest.mark.parametrize("requirement", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_method_conforms(subjects, name, requirement):
    assert conformance.judge(requirement, subjects[name]).reason == ""


class _Deaf(WGANGP):
    """Ignores its generators."""

    def sample(self, conditions, rngs):
        return torch.zeros(len(rngs), 1, self.size, self.size, self.size)


class _Loud(WGANGP):
    """Leaves [-1, 1] and prints."""

    def train(self, data, run):
        print("hello")  # noqa: T201
        super().train(data, run)

    def sample(self, conditions, rngs):
        return 3 * super().sample(conditions, rngs)


class _Careless(WGANGP):
    """Uses torch's global generator in sampling, and writes into its batches."""

    def train(self, data, run):
        data.take(torch.arange(2)).images.mul_(0.5)
        super().train(data, run)

    def sample(self, conditions, rngs):
        return torch.rand(len(rngs), 1, self.size, self.size, self.size)


class _Forgetful(WGANGP):
    """Tracks no optimiser, so that a resume starts with fresh moments."""

    def train(self, data, run):
        class Untracked:
            def phase(self, name, **tracked):
                return run.phase(name)

        super().train(data, Untracked())


class _Lazy(WGANGP):
    """Never trains its critic."""

    def train(self, data, run):
        net = self.nets["generator"]
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        phase = run.phase("only", opt=opt)
        for step in phase.steps(2):
            step.descend(opt, net(step.randn(2, self.config.latent)).square().mean())


class _Talkative(WGANGP):
    """Opens a connection."""

    def train(self, data, run):
        import socket

        with socket.socket() as s:
            s.connect(("127.0.0.1", 9))


class _Boastful(WGANGP):
    """Explains with values above 1."""

    def explain(self, volumes):
        return 2 * torch.ones_like(volumes)


class _Confused(WGANGP):
    """Tells about a set that nobody has."""

    def diagnose(self, train, test, conditions, rngs):
        return [Diagnostic("loss", "a loss", {"validation": [1.0]})]


class _Mislabelled(WGANGP):
    info = dataclasses.replace(WGANGP.info, conditioning="class")


class _Unsourced(WGANGP):
    presets = {"smoke": Preset(WGANGP.presets["smoke"].config, 16)}


@pytest.mark.parametrize(
    ("cls", "requirement", "message"),
    [
        (_Deaf, "samples_follow_their_generators", "different generators gave the same samples"),
        (_Loud, "samples_are_volumes", "add a tanh or rescale"),
        (_Loud, "nothing_is_printed", "training printed: 'hello"),
        (_Careless, "samples_follow_their_generators", "the same generators gave different"),
        (_Careless, "sampling_leaves_no_trace", "used torch's global generator"),
        (_Careless, "batches_stay_as_they_are", "changed a batch in place"),
        (_Forgetful, "training_resumes_exactly", "name everything with a state_dict"),
        (_Lazy, "training_changes_every_network", "network 'critic' did not change"),
        (_Talkative, "training_changes_every_network", "opened a network connection"),
        (_Mislabelled, "labels_matter_where_declared", "the label does not change the sample"),
        (_Boastful, "optional_hooks_work", "returned importance in [2, 2], not [0, 1]"),
        (_Confused, "optional_hooks_work", "diagnose() names unknown sets: validation"),
        (_Unsourced, "presets_are_complete", "presets are missing: paper, quick"),
    ],
)
def test_the_suite_catches_a_broken_method(cls, requirement, message):
    registries = Registries()
    registries.methods._files["faulty"] = (None, cls)
    subject = conformance.Subject("faulty", registries)
    found = conformance.judge(getattr(conformance, requirement), subject)
    assert (found.outcome, message in found.reason) == ("failed", True), found.reason


def test_the_suite_catches_a_wrong_name():
    registries = Registries()
    registries.methods._files["other"] = (None, WGANGP)
    found = conformance.judge(conformance.name_and_source, conformance.Subject("other", registries))
    assert "registered as 'other' but info.name is 'wgan-gp'" in found.reason
