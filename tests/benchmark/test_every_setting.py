"""Every setting of every method and protocol: what it accepts, and that this is honest.

The annotations say what is accepted. The tables here say so a second time, by hand, for the values
that go wrong most often: a setting that accepts 0 without a reason below is a mistake.
"""

import math

import pytest

from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.planning.config import preset_of, resolve
from cerebench.core.bounds import BadConfig, in_words
from cerebench.core.settings import accepted, check

REGISTRIES = Registries()
METHODS, PROTOCOLS = REGISTRIES.methods.names(), REGISTRIES.protocols.names()
PLUGINS = [*METHODS, *PROTOCOLS]
SIZE = 16

# What 0 does, by setting. Nothing accepts -1, NaN or infinity.
ZERO = {
    "adversarial_weight": "leaves the term out",
    "attention": "no level has attention, only the middle",
    "beta1": "no memory",
    "beta2": "no memory",
    "class_share": "leaves the term out",
    "classifier_dropout": "nothing is dropped",
    "code_decay": "codes are the means of the last update",
    "codebook_weight": "leaves the term out",
    "commitment": "leaves the term out",
    "discriminator_start": "from the first step on",
    "dropout": "nothing is dropped",
    "ema_decay": "the average is the network",
    "ema_start": "averages from the first step on",
    "finetune_per_class": "as many as the smaller class has",
    "flip": "no volume is mirrored",
    "gamma": "cross-entropy",
    "generation_share": "leaves the terms out",
    "gradient_weight": "leaves the term out",
    "guidance": "samples of no class",
    "keep": "no token stays",
    "label_dropout": "no label is hidden",
    "label_smoothing": "labels as they are",
    "lr_drop": "the second half trains nothing",
    "lr_end": "the step size falls to 0",
    "mask_ratio": "no token is corrupted",
    "matching_weight": "leaves the term out",
    "penalty": "leaves the term out",
    "perceptual_weight": "leaves the term out",
    "pixel_weight": "leaves the term out",
    "reconstruction": "leaves the term out",
    "restart_after": "codes never restart",
    "sample_top_k": "all codes",
    "sampler_steps": "the sampler's default",
    "statistics": "as training left them",
    "synthetic_per_class": "all there are",
    "temperature": "greedy",
    "top_k": "no token counts as important",
    "transformer_lr_end": "the step size falls to 0",
    "validation_share": "one case of each class",
    "weight_decay": "no decay",
}
BAD_NUMBERS = (-1, -1.0, math.nan, math.inf, -math.inf, True, "3", None, [3])


def load(name):
    kind = REGISTRIES.methods if name in METHODS else REGISTRIES.protocols
    return kind.load(name)


def configuration(name, preset="smoke"):
    return preset_of(load(name), preset).config


def fields(name, kind):
    """Return the settings of a plugin whose value, or items, are of a kind; True is no number."""
    found = {}
    for field in accepted(type(configuration(name))):
        value = getattr(configuration(name), field)
        (item, *_) = value if isinstance(value, tuple) else (value,)
        if isinstance(item, kind) and not (isinstance(item, bool) and kind is not bool):
            found[field] = value
    return found


def refused(name, field, value):
    """Say whether the setting, and nothing that comes after it, refuses the value."""
    size = SIZE if name in METHODS else None
    try:
        resolve(load(name), "smoke", size, {field: value})
    except BadConfig as error:
        return str(error).startswith(f"{name}.{field} must be ")
    return False


def with_one(value, changed):
    """Return a value, or a list of several, of which one is changed."""
    return [*value[1:], changed] if isinstance(value, tuple) else changed


@pytest.mark.parametrize("name", PLUGINS)
def test_no_number_accepts_minus_one_nan_infinity_or_what_is_no_number(name):
    numbers = fields(name, (int, float))
    assert len(numbers) > 5
    accepts = [
        (field, bad)
        for field, value in numbers.items()
        for bad in BAD_NUMBERS
        if not refused(name, field, with_one(value, bad))
    ]
    assert accepts == []


@pytest.mark.parametrize("name", PLUGINS)
def test_only_the_settings_with_a_reason_accept_zero(name):
    zero = {
        field
        for field, value in fields(name, (int, float)).items()
        if not refused(name, field, with_one(value, 0))
    }
    assert zero == set(ZERO) & set(accepted(type(configuration(name))))


def test_every_reason_belongs_to_a_setting():
    everything = {field for name in PLUGINS for field in accepted(type(configuration(name)))}
    assert set(ZERO) <= everything


@pytest.mark.parametrize("name", PLUGINS)
def test_no_whole_number_accepts_a_fraction(name):
    numbers = fields(name, int)
    assert numbers
    assert [f for f, value in numbers.items() if not refused(name, f, with_one(value, 1.5))] == []


@pytest.mark.parametrize("name", PLUGINS)
def test_every_text_is_one_of_a_few_and_every_switch_true_or_false(name):
    texts, switches = fields(name, str), fields(name, bool)
    assert "precision" in texts
    for field in texts:
        assert refused(name, field, "no such word"), field
        assert repr("no such word") not in in_words(accepted(type(configuration(name)))[field])
    assert all(refused(name, field, bad) for field in switches for bad in (0, 1, "yes", None))


@pytest.mark.parametrize("name", PLUGINS)
def test_no_list_may_be_empty_or_anything_else(name):
    config = configuration(name)
    lists = [f for f in accepted(type(config)) if isinstance(getattr(config, f), tuple)]
    assert all(refused(name, field, bad) for field in lists for bad in ([], 8, "8", {"a": 8}))


@pytest.mark.parametrize("name", PLUGINS)
def test_every_preset_keeps_to_what_its_settings_accept_at_its_own_size(name):
    plugin = load(name)
    for preset in plugin.presets:
        resolved = resolve(plugin, preset, preset_of(plugin, preset).size or None)
        check(name, resolved.config)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_number_beyond_the_largest_float_is_refused(name):
    assert all(refused(name, f, with_one(v, 10**400)) for f, v in fields(name, float).items())


def test_a_schedule_of_any_length_is_resolved_at_once():
    assert resolve(load("med-ddpm"), "smoke", SIZE, {"timesteps": 10**12, "sampler": "ddim"})


def test_there_are_as_many_settings_as_were_counted():
    assert sum(len(fields(name, (int, float))) for name in METHODS) >= 243
