"""Real sets: halves by patient, roles of a separate training set, volumes read from a file."""

import json
import math

import numpy as np
import pytest

from cerebench.benchmark.planning.planned import PlannedMetric
from cerebench.benchmark.stages.scoring import (
    FreshCases,
    Judged,
    RealSets,
    build_control,
    materialise,
    part_of,
    score,
)
from cerebench.core.records.files import as_json
from cerebench.datasets.phantom import Phantom
from cerebench.metrics.base import Better, Metric, MetricError, Result, VolumeSet
from cerebench.metrics.controls import CONTROLS
from cerebench.metrics.features.frechet import FD_RADLITE2
from cerebench.metrics.memorisation.nn_ratio import NN_RATIO
from cerebench.metrics.voxel.mmd import MMD2_LINEAR


def volume_set(n, prefix, value=0.0):
    volumes = [np.full((1, 4, 4, 4), value + i / 100, np.float32) for i in range(n)]
    rows = np.arange(n, dtype=np.float32)[:, None]
    return VolumeSet(volumes, [f"{prefix}{i}" for i in range(n)], lambda _s, _e, _v: rows)


def real_sets(n=9, tests=4, **options):
    train, test = volume_set(n, "a"), volume_set(tests, "t", 0.5)
    return RealSets({"x": train}, {"x": test}, train, (1.0, 1.0, 1.0), None, **options)


def test_halves_share_no_patient_and_miss_no_case():
    patients = {f"a{i}": f"p{i // 2}" for i in range(9)}
    first, second = real_sets(patients=patients).halved()
    sides = [{patients[i] for i in s["x"].ids} for s in (first.train, second)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(patients.values())
    assert sorted([*first.train["x"].ids, *second["x"].ids]) == [f"a{i}" for i in range(9)]


def test_halves_take_their_features_from_the_whole():
    first, second = real_sets().halved()
    for half in (first.train["x"], second["x"]):
        rows = [int(i[1:]) for i in half.ids]
        np.testing.assert_array_equal(half.features("any")[:, 0], rows)
        np.testing.assert_allclose(half[1], rows[1] / 100)


def test_parts_keep_the_volumes_of_their_structures():
    whole = VolumeSet([None] * 3, ["a", "b", "c"], structures={"x": np.array([1.0, 2.0, 3.0])})
    assert part_of(whole, [2, 0]).structures["x"].tolist() == [3, 1]


def test_parts_of_stored_rows_are_read_one_at_a_time():
    whole = volume_set(5, "a")
    whole._features = lambda _s, _e, _v: [np.full((3, 2), i) for i in range(5)]  # no array
    found = part_of(whole, [4, 1]).features("any", "axial")
    assert len(found) == 2
    assert (found[0] == 4).all()


def test_metrics_for_copies_compare_with_what_the_generator_has_seen():
    seen = {"x": volume_set(3, "s")}
    real, made = real_sets(seen=seen), volume_set(2, "g")
    plain, copies = (real.sets("x", made, metric) for metric in (MMD2_LINEAR, NN_RATIO))
    assert (plain.train.ids[0], plain.test.ids[0]) == ("a0", "t0")
    assert (copies.train.ids[0], copies.test.ids[0]) == ("s0", "a0")
    assert real_sets().sets("x", made, NN_RATIO).train.ids[0] == "a0"


def test_metrics_that_look_for_copies_say_so():
    from cerebench.benchmark.engine.registry import Registries

    registry = Registries().metrics
    loaded: list[Metric] = [registry.load(name) for name in registry.names()]
    older = {"nn-ratio", "ct-z", "authpct", "max-corr"}
    newer = {"copies", "nndr", "dcr", "membership-inference"}
    assert {m.name for m in loaded if m.held_out} == older | newer


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: c.name)
def test_every_row_can_be_built_with_and_without_held_out_cases(control):
    for tests in (4, 0):
        judged = build_control(control, real_sets(tests=tests), {"x": 4})
        assert 2 <= len(judged.generated["x"]) <= 4
        assert len(judged.real.train["x"]) == (5 if control.halved else 9)


def test_volumes_in_a_file_are_those_that_were_given():
    given = np.random.RandomState(0).uniform(-1, 1, (5, 1, 3, 4, 5)).astype(np.float32)
    kept = materialise(list(given))
    assert len(kept) == 5
    for i in (3, 0, 4, -1):
        np.testing.assert_array_equal(kept[i], given[i])
    kept[0][:] = 7  # a copy: nobody else's volume changes
    np.testing.assert_array_equal(kept[0], given[0])


def scored(result):
    """Score one row with a metric that returns this result; return the row of its record."""

    def compute(sets, view):
        if isinstance(result, Exception):
            raise result
        return result

    metric = Metric("m", "m", compute, Better.LOWER, {}, "")
    judged = Judged(real_sets(), {"x": volume_set(3, "g")})
    (row,) = score(PlannedMetric(metric, "0" * 64), judged).rows
    return json.loads(json.dumps(as_json(row), allow_nan=False))


def test_facts_are_recorded_beside_notes():
    told = {"n": np.int64(3), "sd": math.pi, "none": math.nan, "which.CSF": "range"}
    whole = scored(Result(1.0, 9, 3, notes=("n=3",), facts=told))
    assert whole["facts"] == {"n": 3, "sd": math.pi, "none": None, "which.CSF": "range"}
    assert whole["notes"] == ["n=3"]
    assert scored(Result(1.0, 9, 3))["facts"] == scored(MetricError("too few"))["facts"] == {}


@pytest.mark.parametrize("facts", [{"a b": 1.0}, {"x": [1.0]}, {"x": True}])
def test_a_fact_that_cannot_be_recorded_fails_its_metric(facts):
    with pytest.raises(ValueError, match=next(iter(facts))):
        scored(Result(1.0, 9, 3, facts=facts))


def two_classes(generated):
    """Real sets of two classes and generated ones of some."""
    train = {name: volume_set(6, name) for name in ("x", "y")}
    test = {name: volume_set(3, f"t{name}", 0.5) for name in train}
    real = RealSets(train, test, volume_set(12, "p"), (1.0, 1.0, 1.0), None)
    return Judged(real, {name: volume_set(2, f"g{name}") for name in generated})


def seen_by(joint, generated):
    """Return the ids that a metric sees in ``Sets.classes``, by class of its value."""
    found = {}

    def compute(sets, view):
        own = {n: (s.generated.ids, s.train.ids[0], s.test.ids[0]) for n, s in sets.classes.items()}
        found[sets.train.ids[0][0]] = own
        return Result(value=1.0, n_real=1, n_generated=1)

    metric = Metric("m", "m", compute, Better.LOWER, {}, "ours", joint=joint)
    record = score(PlannedMetric(metric, "0" * 64), two_classes(generated))
    return found, [row.class_ for row in record.rows]


def test_a_joint_metric_sees_every_class_and_has_a_value_under_each():
    found, classes = seen_by(True, ("x", "y"))
    every = {"x": (("gx0", "gx1"), "x0", "tx0"), "y": (("gy0", "gy1"), "y0", "ty0")}
    assert found == {"x": every, "y": every}
    assert list(found["x"]) == ["x", "y"]  # the order of labels
    assert classes == ["x", "y"]


def test_another_metric_sees_one_class():
    found, _ = seen_by(False, ("x", "y"))
    assert found == {"x": {}, "y": {}}


def test_a_class_without_generated_volumes_is_an_empty_set_for_a_joint_metric():
    found, classes = seen_by(True, ("y",))
    assert found["y"]["x"][0] == ()
    assert classes == ["y"]


def test_joint_metrics_say_so():
    from cerebench.benchmark.engine.registry import Registries

    registry = Registries().metrics
    loaded: list[Metric] = [registry.load(name) for name in registry.names()]
    assert {m.name for m in loaded if m.joint} == {"class-fidelity", "tstr", "trts"}


def test_fresh_cases_are_drawn_for_metrics_with_a_floor_alone_and_when_they_are_read(tmp_path):
    dataset = Phantom(16, rule={"train": 3, "test": 4})
    fresh = FreshCases(dataset, tmp_path, None)
    test = {"LGG": volume_set(4, "t"), "HGG": volume_set(4, "t")}
    real = RealSets(test, test, volume_set(4, "p"), (8.0,) * 3, None, fresh=fresh)
    plain, floored = (real.sets("HGG", volume_set(2, "g"), m) for m in (MMD2_LINEAR, FD_RADLITE2))
    assert len(plain.fresh) == 0
    assert len(floored.fresh) == 10 * 2 - 4
    assert not list(tmp_path.iterdir())
    case = dataset.beyond(16).cases()[16]
    assert floored.fresh.ids[0] == case.id
    drawn = dataset.beyond(16).load(case).volume
    assert np.abs(floored.fresh[0] - drawn).max() < 1e-3  # kept as float16, as all cases are
    assert list(tmp_path.iterdir())
    assert real.sets("HGG", volume_set(2, "g"), FD_RADLITE2).fresh is floored.fresh


def test_a_data_set_that_draws_no_cases_has_no_fresh_ones(tmp_path):
    class Files:
        def beyond(self, count):
            return None

    assert len(FreshCases(Files(), tmp_path, None).of("HGG", 5)) == 0
