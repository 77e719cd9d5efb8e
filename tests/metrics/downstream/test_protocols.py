"""What every protocol trains on, what it reports, and planted answers."""

import dataclasses
import importlib
import math
import re
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from cerebench.benchmark.errors import Interrupted
from cerebench.core.bounds import BadConfig
from cerebench.core.settings import accepted
from cerebench.core.statistics import auc
from cerebench.metrics import downstream
from cerebench.metrics.base import MissingWeights
from cerebench.metrics.downstream import base
from cerebench.metrics.downstream.base import ProtocolError
from cerebench.metrics.downstream.config import OneStage
from cerebench.metrics.downstream.controls import Oversample, RealOnly, ShuffledLabel, shuffled
from cerebench.metrics.downstream.data import splits
from cerebench.metrics.downstream.data.augmentation import TRANSFORMS
from cerebench.metrics.downstream.exp1 import Exp1
from cerebench.metrics.downstream.exp2 import Exp2
from cerebench.metrics.downstream.medicalnet import MedicalNetHead
from cerebench.metrics.downstream.networks.resnet import NETWORKS, STEMS
from cerebench.metrics.downstream.trad_aug import TradAug
from cerebench.metrics.extractors import medicalnet


def load(name):
    module, attribute = downstream.BUILTIN[name][0].split(":")
    return getattr(importlib.import_module(module), attribute)


PROTOCOLS = {name: load(name) for name in downstream.BUILTIN}
FINETUNED = [name for name in PROTOCOLS if name != "shuffled-label"]


@pytest.fixture(scope="module")
def random_weights():
    torch.manual_seed(0)
    return medicalnet.ResNet(10).eval().requires_grad_(False)


@pytest.fixture
def encoder(monkeypatch, random_weights):
    """Let MedicalNet use its topology of depth 10 with random weights; return that extractor."""

    class Encoder(medicalnet.MedicalNet):
        depth, dim, network = 10, 512, random_weights

        def __init__(self):
            self.extracted = 0

        def extract(self, batch):
            self.extracted += len(batch)
            return super().extract(batch)

    made = Encoder()
    monkeypatch.setattr(MedicalNetHead, "encoder", lambda _protocol: made)
    return made


# Declarations


@pytest.mark.parametrize("name", PROTOCOLS)
def test_static_facts_equal_those_of_the_class(name):
    facts, protocol = downstream.BUILTIN[name][1], PROTOCOLS[name]
    own = dataclasses.asdict(protocol.info)
    assert own.pop("name") == name
    assert facts == {**own, "presets": list(protocol.presets)}
    assert protocol.info.role in ("experiment", "baseline", "control")
    assert ("shuffled" in name or name.startswith("exp")) == protocol.info.needs_samples


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_value_of_every_preset_has_a_source(name):
    protocol = PROTOCOLS[name]
    fields = {field.name: field for field in dataclasses.fields(protocol.Config)}
    tags = [field.metadata["source"] for field in fields.values()]
    assert all(field.metadata["meaning"] for field in fields.values())
    assert list(protocol.presets) == ["paper", "stable", "lite", "quick", "smoke"]
    for preset in protocol.presets.values():
        protocol(preset.config)
        assert preset.sources.keys() == fields.keys()
        tags += preset.sources.values()
    assert all(re.fullmatch(r"\[(paper|code|ours): .+\]", tag) for tag in tags)


def test_paper_presets_hold_the_published_values():
    one = Exp1.Config()
    assert (one.depth, one.stem, one.repeats, one.hgg_source) == (50, "paper", 3, "real")
    assert (one.pretrain_epochs, one.pretrain_batch, one.pretrain_lr) == (50, 8, 1e-3)
    assert (one.finetune_batch, one.finetune_lr, one.gamma) == (10, 1e-2, 2.0)
    assert (one.finetune_epochs, one.validation_share, one.finetune_per_class) == (50, 0.15, 0)
    assert Exp2.Config().synthetic_per_class == 250
    assert (TradAug.Config().finetune_batch, TradAug.Config().finetune_lr) == (8, 1e-2)
    assert all(p.presets["paper"].config == p.Config() for p in PROTOCOLS.values())
    assert Exp1.presets["stable"].config.finetune_lr == 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 12}, "exp1.depth must be 10, 18, 34 or 50, got 12"),
        ({"stem": "odd"}, "exp1.stem must be paper or iso, got 'odd'"),
        ({"precision": "fp16"}, "exp1.precision must be fp32 or bf16"),
        ({"hgg_source": "both"}, "exp1.hgg_source must be real or synthetic"),
        ({"repeats": 0}, "exp1.repeats must be a whole number of at least 1, got 0"),
        ({"pretrain_batch": 1}, "exp1.pretrain_batch must be a whole number of at least 2, got 1"),
        ({"pretrain_lr": 0.0}, "exp1.pretrain_lr must be a number above 0, got 0.0"),
        ({"validation_share": 1.0}, "a number of at least 0 and below 1, got 1.0"),
        ({"gamma": 0.5}, "exp1.gamma must be 0 or a number of at least 1, got 0.5"),
        ({"gamma": math.nan}, "exp1.gamma must be 0 or a number of at least 1, got nan"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes, message):
    with pytest.raises(BadConfig, match=message):
        Exp1(Exp1.Config(**changes))


def test_the_networks_are_those_that_the_settings_name():
    accepts = accepted(OneStage)
    assert get_args(accepts["depth"]) == tuple(NETWORKS)
    assert get_args(accepts["stem"]) == tuple(STEMS)


# Demand


def test_demands_of_the_papers_data():
    development = {"LGG": 51, "HGG": 234}
    assert Exp1(Exp1.Config()).demand(development) == {"LGG": 183}
    both = Exp1(Exp1.Config(hgg_source="synthetic"))
    assert both.demand(development) == {"LGG": 183, "HGG": 183}
    assert Exp2(Exp2.Config()).demand(development) == {"LGG": 250, "HGG": 250}
    for name in ("trad-aug", "medicalnet", "real-only", "oversample"):
        assert PROTOCOLS[name](PROTOCOLS[name].Config()).demand(development) == {}


CHANGED = {"network": "two-conv", "schedule": "one-cycle", "turns": True, "kept_epoch": "last"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_only_the_quick_preset_trains_the_small_classifier(name):
    protocol = PROTOCOLS[name]
    own = {field: CHANGED[field] for field in CHANGED if field in accepted(protocol.Config)}
    assert set(own) == ({"kept_epoch"} if name == "medicalnet" else set(CHANGED))
    for preset, found in protocol.presets.items():
        values = {field: getattr(found.config, field) for field in own}
        usual = {field: getattr(protocol.Config(), field) for field in own}
        assert values == (own if preset == "quick" else usual)
    if name != "medicalnet":
        with torch.device("meta"):
            network = protocol(protocol.presets["paper"].config).network(0, 1)
        assert sum(p.numel() for p in network.parameters()) == 46_159_170


@pytest.mark.parametrize("name", PROTOCOLS)
def test_quick_protocols_run_at_any_shape_with_two_contrasts_and_empty_volumes(
    name, configured, trainer, encoder, monkeypatch
):
    rng = np.random.RandomState(0)
    channels = 1 if name == "medicalnet" else 2

    def some(prefix, count):
        volumes = rng.uniform(-1, 1, (count, channels, 20, 16, 24)).astype(np.float32)
        volumes[0] = -1
        ids = tuple(f"{prefix}{i}" for i in range(count))
        return base.Cases(volumes, np.arange(count) % 2, ids, ids)

    data = base.Material(some("d", 16), some("t", 4), some("s", 12), ("LGG", "HGG"), 0)
    stages = {"finetune_epochs": 2, "finetune_per_class": 5, "pretrain_epochs": 2}
    few = {field: n for field, n in stages.items() if field in accepted(PROTOCOLS[name].Config)}
    outcome = configured(PROTOCOLS[name], "quick", **few).run(data, trainer)
    assert all(0 <= p <= 1 for repeat in outcome.repeats for p in repeat.predictions)
    assert {repeat.epoch for repeat in outcome.repeats} == {2}
    assert len(outcome.repeats) == (10 if name == "shuffled-label" else 3)
    validated = [repeat.validation_auc for repeat in outcome.repeats]
    assert all(area is None if name == "shuffled-label" else 0 <= area <= 1 for area in validated)


def test_experiment_1_needs_a_pool():
    limited = Exp1.Config(finetune_per_class=32)
    assert Exp1(limited).demand({"LGG": 100, "HGG": 100}) == {"LGG": 68}
    assert Exp1(limited).demand({"LGG": 100, "HGG": 80}) == {"HGG": 68}
    few = dataclasses.replace(limited, synthetic_per_class=64)
    assert Exp1(few).demand({"LGG": 100, "HGG": 100}) == {"LGG": 64}
    assert Exp1(few).demand({"LGG": 40, "HGG": 80}) == {"LGG": 48}
    with pytest.raises(ProtocolError, match="No case of the larger class, HGG, is left"):
        Exp1(Exp1.Config()).demand({"LGG": 100, "HGG": 100})


# What is trained on


@pytest.fixture
def ran(configured, material, small_network, encoder, trainer, tmp_path):
    """Return ``run(protocol, **changes)``: outcome, material and what the trainer was given."""

    def run(protocol, development=(8, 14), synthetic=(9, 9), **changes):
        data = material(development=development, synthetic=synthetic)
        changes = {"finetune_per_class": 0, **changes}
        fresh = type(trainer)(tmp_path / str(len(list(tmp_path.iterdir()))))
        outcome = configured(protocol, **changes).run(data, fresh)
        return outcome, data, fresh.fitted

    return run


@pytest.mark.parametrize("name", FINETUNED)
def test_every_protocol_runs_and_reports_completely(name, ran):
    outcome, data, fitted = ran(PROTOCOLS[name])
    assert len(outcome.repeats) == 2
    assert [repeat.seed for repeat in outcome.repeats] == [0, 1]
    assert len(set(outcome.finetune_ids)) == 16
    for number, repeat in enumerate(outcome.repeats):
        assert len(repeat.predictions) == len(data.test)
        assert all(0 <= p <= 1 for p in repeat.predictions)
        assert repeat.epoch == 1
        assert 0 <= repeat.validation_auc <= 1
        assert len(repeat.validation_ids) == 2
        assert set(repeat.validation_ids) < set(outcome.finetune_ids)
        has_first = PROTOCOLS[name].info.needs_samples
        assert list(repeat.n) == (["pretrain", "finetune"] if has_first else ["finetune"])
        assert (repeat.before_finetuning is not None) == has_first
        for stage, counts in repeat.n.items():
            labels = fitted[f"repeat-{number}/{stage}"].labels
            assert [counts["LGG"], counts["HGG"]] == np.bincount(labels).tolist()
    first, second = (repeat.validation_ids for repeat in outcome.repeats)
    assert set(first).isdisjoint(second)


LEAST = {
    "repeats": 1,
    "validation_share": 0.0,
    "finetune_epochs": 1,
    "finetune_batch": 2,
    "finetune_lr": 1e-12,
    "gamma": 0.0,
    "pretrain_epochs": 1,
    "pretrain_batch": 2,
    "pretrain_lr": 1e-12,
    "synthetic_per_class": 0,
    "hidden": 1,
    "dropout": 0.0,
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_least_values_that_settings_accept_train(name, ran):
    own = {
        field: value for field, value in LEAST.items() if field in accepted(PROTOCOLS[name].Config)
    }
    if name == "shuffled-label":
        own["repeats"] = 10
    outcome, _, _ = ran(PROTOCOLS[name], synthetic=(14, 14), **own)
    assert len(outcome.repeats) == own["repeats"]
    for repeat in outcome.repeats:
        if "finetune" in repeat.n:
            assert len(repeat.validation_ids) == 2  # one case of each class
        assert all(0 <= p <= 1 for p in repeat.predictions)
    for field, value in own.items():
        below = value - 1 if isinstance(value, int) else -value - 1e-300
        with pytest.raises(BadConfig, match=f"{name}.{field} must be"):
            PROTOCOLS[name](dataclasses.replace(PROTOCOLS[name].Config(), **{field: below}))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_validation_or_test_patient_trains(name, ran):
    outcome, data, fitted = ran(PROTOCOLS[name])
    for stage, given in fitted.items():
        repeat = outcome.repeats[int(stage[7])]
        trained = set(given.patients)
        assert trained.isdisjoint(repeat.validation_ids)
        assert trained.isdisjoint(data.test.patients)


def test_all_protocols_share_fine_tuning_and_validation_cases(ran):
    outcomes = [ran(PROTOCOLS[name])[0] for name in FINETUNED]
    assert len({outcome.finetune_ids for outcome in outcomes}) == 1
    assert len({tuple(r.validation_ids for r in outcome.repeats) for outcome in outcomes}) == 1


def prefixes(cases, label):
    return "".join(sorted({cases.ids[i][0] for i in np.flatnonzero(cases.labels == label)}))


@pytest.mark.parametrize("development", [(8, 14), (14, 8)], ids=["more HGG", "more LGG"])
@pytest.mark.parametrize("source", ["real", "synthetic"])
def test_experiment_1_balances_the_pool_with_generated_volumes(ran, development, source):
    outcome, data, fitted = ran(Exp1, development=development, hgg_source=source)
    cases = fitted["repeat-0/pretrain"]
    larger = int(np.argmax(development))
    assert np.bincount(cases.labels).tolist() == [6, 6]
    assert prefixes(cases, 1 - larger) == "s"
    assert prefixes(cases, larger) == ("d" if source == "real" else "s")
    assert set(cases.ids).isdisjoint(outcome.finetune_ids)
    generated = outcome.repeats[0].n_synthetic["pretrain"]
    names = data.classes
    assert generated[names[1 - larger]] == 6
    assert generated[names[larger]] == (0 if source == "real" else 6)
    finetune = fitted["repeat-0/finetune"]
    assert set(finetune.ids) | set(outcome.repeats[0].validation_ids) == set(outcome.finetune_ids)


def test_experiment_2_pretrains_on_the_first_generated_volumes(ran):
    outcome, data, fitted = ran(Exp2, synthetic=(9, 12), synthetic_per_class=5)
    cases = fitted["repeat-0/pretrain"]
    assert cases.ids == data.synthetic.ids[:5] + data.synthetic.ids[9:14]
    assert outcome.repeats[0].n["pretrain"] == {"LGG": 5, "HGG": 5}
    _, _, fitted = ran(Exp2, synthetic=(9, 12), synthetic_per_class=0)
    assert np.bincount(fitted["repeat-1/pretrain"].labels).tolist() == [9, 9]


def test_too_few_generated_volumes_are_refused(ran):
    with pytest.raises(ProtocolError, match="5 generated volumes of class HGG are needed, 4 are"):
        ran(Exp2, synthetic=(9, 4), synthetic_per_class=5)
    with pytest.raises(ProtocolError, match="Generated volumes are needed"):
        ran(Exp2, synthetic=None)


def test_real_only_trains_on_the_fine_tuning_set_alone(ran):
    outcome, _, fitted = ran(RealOnly)
    repeat = outcome.repeats[1]
    trained = set(fitted["repeat-1/finetune"].ids)
    assert trained == set(outcome.finetune_ids) - set(repeat.validation_ids)


def test_traditional_augmentation_fills_the_smaller_class_with_copies(ran):
    outcome, data, fitted = ran(TradAug, development=(8, 30))
    repeat, cases = outcome.repeats[0], fitted["repeat-0/finetune"]
    real = [i for i in cases.ids if "-" not in i]
    copied = [i for i in cases.ids if "-" in i]
    assert set(real) == set(data.development.ids) - set(repeat.validation_ids)
    assert {i.split("-")[1] for i in copied} == set(TRANSFORMS)
    assert len(copied) == len(set(copied))
    lost = 22 - len(copied)  # copies of the one LGG case that validates
    assert 0 <= lost <= 4
    assert repeat.n["finetune"] == {"LGG": 7 + len(copied), "HGG": 29}
    assert {i.split("-")[0] for i in copied} <= set(data.development.ids[:8])  # all LGG
    assert outcome.notes == ()


def test_missing_copies_are_told(ran):
    outcome, *_ = ran(TradAug, development=(4, 40))
    assert outcome.notes[0].startswith("20 of 36 copies are missing: each of 4 cases of LGG")


def test_the_papers_numbers_of_traditional_augmentation(planted_cases, material, configured):
    data = dataclasses.replace(material(), development=planted_cases(51, 234, "d", size=4))
    parts = splits.divide(data.development, 0, 0)
    cases = configured(TradAug, "paper").training(data, parts).cases
    assert np.bincount(cases.labels).tolist() == [234, 234]
    copied = [i for i in cases.ids if "-" in i]
    assert len(set(copied)) == 183


def test_oversampling_repeats_cases_evenly(ran):
    outcome, _, fitted = ran(Oversample, development=(8, 30))
    cases = fitted["repeat-0/finetune"]
    counts = [cases.ids.count(i) for i in set(cases.ids) if int(i[1:]) < 8]
    assert len(counts) == 7
    assert set(counts) <= {3, 4}  # once itself, and 22 more among 8 cases
    assert outcome.repeats[0].n["finetune"] == {"LGG": sum(counts), "HGG": 29}


def test_every_repeat_shuffles_the_labels_anew_and_leaves_no_relation_to_the_volumes(ran):
    outcome, data, fitted = ran(ShuffledLabel, synthetic=(8, 8))
    assert len(outcome.repeats) == len(fitted) == 10
    for number in range(10):
        cases = fitted[f"repeat-{number}/pretrain"]
        assert cases.ids == data.synthetic.ids
        table = np.zeros((2, 2), int)
        np.add.at(table, (data.synthetic.labels, cases.labels), 1)
        assert table.tolist() == [[4, 4], [4, 4]]
    assert len({tuple(cases.labels.tolist()) for cases in fitted.values()}) == 10
    again = shuffled(data.synthetic.labels, 3)
    assert again.tolist() == fitted["repeat-3/pretrain"].labels.tolist()


def test_shuffled_labels_are_judged_without_fine_tuning(ran):
    outcome, data, _ = ran(ShuffledLabel)
    for repeat in outcome.repeats:
        assert repeat.predictions == repeat.before_finetuning
        assert len(repeat.predictions) == len(data.test)
        assert list(repeat.n) == ["pretrain"]
        assert repeat.validation_ids == ()


@pytest.mark.parametrize("preset", ShuffledLabel.presets)
def test_shuffled_labels_have_ten_repeats_at_least(preset):
    config = ShuffledLabel.presets[preset].config
    assert config.repeats == 10
    with pytest.raises(BadConfig, match=r"shuffled-label.repeats must be .* 10, got 9"):
        ShuffledLabel(dataclasses.replace(config, repeats=9))


def test_a_patient_on_both_sides_is_refused(configured, material, small_network, trainer):
    data = material()
    leaking = dataclasses.replace(data.test, patients=("d003", *data.test.patients[1:]))
    with pytest.raises(ProtocolError, match="Patients d003 are both in development and in test"):
        configured(RealOnly).run(dataclasses.replace(data, test=leaking), trainer)


def test_a_third_class_is_refused(configured, material, trainer):
    data = dataclasses.replace(material(), classes=("A", "B", "C"))
    with pytest.raises(ProtocolError, match="3 classes were given"):
        configured(RealOnly).run(data, trainer)


# MedicalNet


def test_the_frozen_encoder_is_bit_identical_after_training_and_used_once(ran, encoder):
    before = {name: tensor.clone() for name, tensor in encoder.network.state_dict().items()}
    outcome, data, fitted = ran(MedicalNetHead, finetune_epochs=3)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not encoder.network.training
    assert encoder.extracted == len(data.development) + len(data.test)
    features = fitted["repeat-0/finetune"].volumes[0]
    assert features.shape == (512, 1, 1, 1)
    position = data.development.ids.index(fitted["repeat-0/finetune"].ids[0])
    expected = encoder.extract(data.development.volumes[position][None])[0]
    np.testing.assert_array_equal(features[:, 0, 0, 0], expected)
    assert outcome.parameters == 14_355_520 + 131_842


def test_the_head_has_the_specified_layers():
    head = MedicalNetHead(MedicalNetHead.Config()).network(0, 512)
    assert sum(p.numel() for p in head.parameters()) == 131_842
    kinds = [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(module) for module in head] == kinds
    assert head[3].p == 0.2


def test_missing_weights_are_named(configured, material, trainer, monkeypatch, tmp_path):
    for variable in ("CEREBENCH_WEIGHTS_DIR", "XDG_DATA_HOME", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(MissingWeights, match=r"resnet_34_23dataset.pth is needed"):
        configured(MedicalNetHead).run(material(), trainer)
    assert MedicalNetHead.info.weights == "medicalnet-resnet34"


# Planted answers


def areas(outcome, data, before):
    return [
        auc(data.test.labels, r.before_finetuning if before else r.predictions)
        for r in outcome.repeats
    ]


PLANTED = {"repeats": 3, "pretrain_epochs": 15, "finetune_epochs": 2, "finetune_per_class": 6}


def test_a_real_difference_is_learnt_from_generated_volumes(ran):
    outcome, data, _ = ran(Exp2, synthetic=(24, 24), **PLANTED)
    assert min(areas(outcome, data, before=True)) > 0.9
    assert min(areas(outcome, data, before=False)) > 0.9


def test_a_generator_that_swaps_labels_is_caught(configured, material, small_network, trainer):
    data = material(synthetic=(24, 24))
    swapped = dataclasses.replace(data.synthetic, labels=1 - data.synthetic.labels)
    data = dataclasses.replace(data, synthetic=swapped)
    outcome = configured(Exp2, **PLANTED).run(data, trainer)
    assert max(areas(outcome, data, before=True)) < 0.1


def test_shuffled_labels_teach_nothing(ran):
    outcome, data, _ = ran(ShuffledLabel, synthetic=(24, 24), **{**PLANTED, "repeats": 10})
    assert np.mean(areas(outcome, data, before=True)) == pytest.approx(0.5, abs=0.2)


def test_an_interrupted_protocol_gives_the_same_outcome(
    configured, material, small_network, trainer, tmp_path
):
    data, protocol = material(), configured(Exp2, finetune_epochs=2)
    whole = protocol.run(data, trainer)
    steps = iter(range(1000))
    resumable = type(trainer)(tmp_path / "again", stop=lambda: next(steps) in (2, 5, 9))
    interruptions = 0
    while True:
        try:
            again = protocol.run(data, resumable)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == 3
    assert again == whole


def test_the_residual_network_of_depth_10_is_trained(configured, material, trainer):
    data = material(development=(6, 6), test=(2, 2), synthetic=None)
    outcome = configured(RealOnly, repeats=1).run(data, trainer)
    assert outcome.parameters == 14_356_546
    assert len(outcome.repeats) == 1


def test_the_example_of_the_documentation_is_a_complete_protocol(ran, page_code):
    names = {"__name__": "example"}
    exec(page_code("downstream.md", "class Mixed"), names)
    outcome, data, fitted = ran(names["Mixed"])
    assert names["Mixed"](OneStage()).demand({"LGG": 51, "HGG": 234}) == {"LGG": 51, "HGG": 51}
    repeat = outcome.repeats[0]
    assert repeat.n == {"finetune": {"LGG": 15, "HGG": 15}}  # 7 real and 8 generated
    assert repeat.n_synthetic == {"finetune": {"LGG": 8, "HGG": 8}}
    assert len(set(fitted["repeat-0/finetune"].ids) & set(data.synthetic.ids)) == 16
