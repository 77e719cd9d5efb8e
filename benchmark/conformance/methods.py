"""``bench check METHOD``: what every method must do, on its smoke preset at 16³ in seconds."""

from __future__ import annotations

import dataclasses
import io
import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cerebench.benchmark.conformance.checks import Broken, Check, NotShown, judge, require
from cerebench.benchmark.conformance.fake_device import DEVICE, ReadsValues, fake_device, place_of
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.planning.config import json_values
from cerebench.benchmark.stages.diagnosis import check_maps, diagnostics, importance_maps
from cerebench.benchmark.stages.sampling import TrainingMasks, sample_shard
from cerebench.benchmark.stages.training import TrainingData, load_networks, seeded, train
from cerebench.core import settings
from cerebench.core.bounds import BadConfig, says_bounds
from cerebench.core.settings import accepted
from cerebench.datasets.base import Case
from cerebench.datasets.phantom import Phantom
from cerebench.methods.base import Batch, Conditions, Method, has_hook

SIZE, CLASSES, CASES = 16, ("LGG", "HGG"), 6
MANDATORY = ("paper", "quick", "smoke")


class Subject:
    """A method under test, trained once and shared by the checks."""

    def __init__(self, name: str, registries: Registries) -> None:
        self.name = name
        self.cls: type[Method] = registries.methods.load(name)
        self.facts = registries.methods.facts(name)
        self.output = io.StringIO()
        self.scope = CLASSES[0] if self.cls.info.conditioning == "none" else "all"
        self.reads: frozenset[str] = frozenset()  # places of the suite that need values of a GPU

    @cached_property
    def data(self) -> TrainingData:
        """A few phantoms: of one class where the engine trains per class."""
        return self.data_on(torch.device("cpu"))

    @cached_property
    def _phantoms(self) -> tuple[list[Case], NDArray[np.float32], NDArray[np.uint8]]:
        phantom = Phantom(SIZE, rule={"train": CASES, "test": 1})
        train_ids = set(phantom.split(0).train)
        cases = [
            c
            for c in phantom.cases()
            if c.id in train_ids and self.scope in ("all", CLASSES[c.label])
        ]
        loaded = [phantom.load(c) for c in cases]
        return cases, np.stack([x.volume for x in loaded]), np.stack([x.mask for x in loaded])

    def data_on(self, device: torch.device) -> TrainingData:
        """Return the phantoms for a training on a device."""
        cases, volumes, masks = self._phantoms
        labels, ids = [c.label for c in cases], [c.id for c in cases]
        return TrainingData(volumes, masks, labels, ids, device)

    def training_masks(self) -> TrainingMasks | None:
        """Return what samples of the first class are drawn from, where a method wants masks."""
        if self.cls.info.conditioning != "mask":
            return None
        cases, _, masks = self._phantoms
        return TrainingMasks({CLASSES[0]: masks}, {CLASSES[0]: [c.id for c in cases]}, seed=0)

    def build(self) -> Method:
        """Return the method with fresh networks, always the same ones."""
        with seeded(0, self.scope, "init"):
            return self.cls(self.cls.presets["smoke"].config, size=SIZE, classes=CLASSES)

    def train(self, folder: Path, **options: Any) -> Method:
        """Train a fresh instance in a folder, with nothing printed unnoticed."""
        method = self.build()
        with redirect_stdout(self.output), redirect_stderr(self.output), no_network():
            train(method, self.data, folder, seed=0, scope=self.scope, **options)
        return method

    @cached_property
    def trained(self) -> Method:
        """The method after its smoke training."""
        with tempfile.TemporaryDirectory() as folder:
            return self.train(Path(folder))

    def sample(self, method: Method, seeds: tuple[int, ...] = (1, 2, 3), label: int = 0) -> Tensor:
        """Sample one volume per seed."""
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        masks = None
        if self.cls.info.conditioning == "mask":
            masks = self.data.take(torch.arange(len(seeds))).masks
        conditions = Conditions(torch.full((len(seeds),), label, dtype=torch.int64), masks)
        with torch.inference_mode():
            return method.sample(conditions, rngs)


@contextmanager
def no_network() -> Iterator[None]:
    """Make every connection attempt raise."""

    def refuse(*_: object) -> None:
        raise Broken("it opened a network connection; methods must work offline")

    original = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect = original  # type: ignore[method-assign]


def states(method: Method) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers."""
    return {
        f"{name}.{key}": value.clone()
        for name, net in method.nets.items()
        for key, value in net.state_dict().items()
    }


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Say whether two sets of tensors agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def name_and_source(s: Subject) -> None:
    """Name and source are those of the registry."""
    info = s.cls.info
    require(info.name == s.name, f"it is registered as '{s.name}' but info.name is '{info.name}'")
    require(bool(info.source), "info.source is empty; name the paper")
    facts = {**dataclasses.asdict(info), "presets": list(s.cls.presets)}
    wrong = [k for k, v in s.facts.items() if k in facts and facts[k] != v]
    require(not wrong, f"the registry's facts differ from the class in {', '.join(wrong)}")


def presets_are_complete(s: Subject) -> None:
    """Presets paper, quick and smoke exist; every value has a source and survives JSON."""
    presets = s.cls.presets
    missing = [p for p in MANDATORY if p not in presets]
    require(not missing, f"presets are missing: {', '.join(missing)}")
    for name, preset in presets.items():
        fields = {f.name for f in dataclasses.fields(preset.config)}
        require(set(preset.sources) == fields, f"preset {name} lacks sources for some values")
        require("precision" in fields, "Config lacks the field precision (fp32 or bf16)")
        frozen = getattr(type(preset.config), "__dataclass_params__").frozen  # noqa: B009
        require(frozen, "Config is not frozen; write @dataclass(frozen=True)")
        values = json_values(preset.config)
        require(json.loads(json.dumps(values)) == values, f"preset {name} does not survive JSON")
    require(presets["paper"].config != presets["smoke"].config, "paper and smoke are the same")


def numeric_settings_say_what_they_accept(s: Subject) -> None:
    """Every number has bounds in its annotation, and every preset keeps to them."""
    silent = [f for f, accepts in accepted(s.cls.Config).items() if not says_bounds(accepts)]
    require(
        not silent,
        f"{', '.join(silent)} would accept -1; write bounds as the type, for example steps: "
        "Annotated[int, Field(ge=1)] with Annotated of typing and Field of pydantic",
    )
    for name, preset in s.cls.presets.items():
        try:
            settings.check(s.name, preset.config, where=f" in preset '{name}'")
        except BadConfig as error:
            raise Broken(str(error)) from error


def training_changes_every_network(s: Subject) -> None:
    """Training changes at least one parameter of every network and leaves all finite."""
    before, after = states(s.build()), states(s.trained)
    for net in s.trained.nets:
        keys = [k for k in after if k.startswith(f"{net}.")]
        changed = any(not torch.equal(before[k], after[k]) for k in keys)
        require(changed, f"network '{net}' did not change in training")
    floats = {k: v for k, v in after.items() if v.is_floating_point()}
    bad = [k for k, v in floats.items() if not torch.isfinite(v).all()]
    require(not bad, f"not finite after training: {', '.join(bad[:3])}")


def samples_are_volumes(s: Subject) -> None:
    """Samples have shape (N, C, D, H, W), are float32, finite and in [-1, 1]."""
    volumes = s.sample(s.trained)
    expected = (3, 1, SIZE, SIZE, SIZE)
    require(tuple(volumes.shape) == expected, f"shape {tuple(volumes.shape)}, not {expected}")
    require(volumes.dtype == torch.float32, f"samples are {volumes.dtype}, not float32")
    require(bool(torch.isfinite(volumes).all()), "samples hold NaN or infinite voxels")
    low, high = volumes.min().item(), volumes.max().item()
    require(
        low >= -1 and high <= 1,
        f"samples lie in [{low:.3g}, {high:.3g}], not [-1, 1]; add a tanh or rescale",
    )


def samples_follow_their_generators(s: Subject) -> None:
    """Equal generator states give equal samples, different ones different samples."""
    first, again, other = (s.sample(s.trained, seeds) for seeds in ((1, 2), (1, 2), (8, 9)))
    require(torch.equal(first, again), "the same generators gave different samples")
    require(not torch.equal(first, other), "different generators gave the same samples")
    alone = s.sample(s.trained, (1,))
    near = torch.allclose(alone[0], first[0], atol=1e-4)
    require(near, "a sample depends on its neighbours in the batch")


def sampling_leaves_no_trace(s: Subject) -> None:
    """Sampling changes no parameter, buffer or global random state."""
    before, rng = states(s.trained), torch.get_rng_state()
    s.sample(s.trained)
    require(equal(before, states(s.trained)), "sampling changed a parameter or buffer")
    require(torch.equal(rng, torch.get_rng_state()), "sampling used torch's global generator")


def saved_networks_sample_the_same(s: Subject) -> None:
    """Saved, loaded into a fresh instance and sampled: bit-equal."""
    with tempfile.TemporaryDirectory() as folder:
        method = s.train(Path(folder))
        fresh = s.build()
        load_networks(fresh.nets, Path(folder) / "model.safetensors", "cpu")
    require(torch.equal(s.sample(method), s.sample(fresh)), "reloaded networks sample differently")


def training_is_reproducible(s: Subject) -> None:
    """The same seed trains the same networks, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        again = s.train(Path(folder))
    require(equal(states(s.trained), states(again)), "two trainings with one seed differ")


def training_resumes_exactly(s: Subject) -> None:
    """Stopped after its first step and started again: the same networks, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        stops = iter([True])
        try:
            s.train(Path(folder), stop=lambda: next(stops, False))
        except Interrupted:
            resumed = s.train(Path(folder))
        else:
            raise Broken("it could not be stopped; open a phase and iterate over phase.steps()")
    require(
        equal(states(s.trained), states(resumed)),
        "a resumed training differs; name everything with a state_dict in run.phase(...)",
    )


def labels_matter_where_declared(s: Subject) -> None:
    """With conditioning class, the label changes the sample for fixed noise."""
    if s.cls.info.conditioning == "class":
        zero, one = (s.sample(s.trained, label=label) for label in (0, 1))
        require(not torch.equal(zero, one), "the label does not change the sample")


def optional_hooks_work(s: Subject) -> None:
    """Where they exist, explain gives maps in [0, 1] and diagnose finite values of known sets."""
    trained = s.trained
    if has_hook(s.cls, "explain"):
        images = s.data.take(torch.arange(2)).images
        with torch.inference_mode():
            check_maps(s.name, trained.explain(images), (2, 1, SIZE, SIZE, SIZE))
    found = diagnostics(trained, CLASSES[0], 0, s.data, s.data, n=2, seed=0)
    unknown = {kind for d in found for kind in d.values} - {"train", "test", "generated"}
    require(not unknown, f"diagnose() names unknown sets: {', '.join(sorted(unknown))}")


def trains_and_samples_on_a_gpu(s: Subject) -> None:
    """Training, every resume, samples, diagnoses and maps stay on the GPU they are asked for.

    Shown on a GPU that is not there (``fake_device.py``).
    """
    with fake_device() as device, redirect_stdout(s.output), redirect_stderr(s.output):
        try:
            use_on(DEVICE, s)
        except ReadsValues as error:
            raise NotShown(str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error} ({place_of(error)})"
            if (
                device.reads and "device" not in str(error).casefold()
            ):  # perhaps for want of values only
                raise NotShown(f"without values it came to {reason}") from error
            raise Broken(reason) from error
        finally:
            s.reads = frozenset(device.reads)


def use_on(device: torch.device, s: Subject) -> None:
    """Do with a method all that a run does with it, on a device."""
    data, masks = s.data_on(device), s.training_masks()
    options = {"seed": 0, "scope": s.scope, "device": device}
    with tempfile.TemporaryDirectory() as folder:
        method = train_in_pieces(s, data, Path(folder), options)
    sample_shard(method, 0, 0, CLASSES[0], 0, device, masks)
    diagnostics(method, CLASSES[0], 0, data, data, n=2, seed=0, masks=masks)
    importance_maps(method, CLASSES[0], data)


def train_in_pieces(
    s: Subject, data: TrainingData, folder: Path, options: Mapping[str, Any]
) -> Method:
    """Train a method, stopping after the first step of every phase and going on from its file."""
    stopped: set[str] = set()
    while True:
        method, known = s.build(), len(stopped)
        try:
            train(
                method,
                data,
                folder,
                **options,
                progress=lambda phase, *_: stopped.add(phase),
                stop=lambda known=known: len(stopped) > known,
            )
        except Interrupted:
            continue
        return method


def batches_stay_as_they_are(s: Subject) -> None:
    """Training does not write into the batches it is given."""
    watched = _Watched(s.data)
    with tempfile.TemporaryDirectory() as folder:
        train(s.build(), watched, Path(folder), seed=0, scope=s.scope)
    require(watched.untouched(), "training changed a batch in place; copy it first")


class _Watched:
    """Training data that remembers what it gave away."""

    def __init__(self, data: TrainingData) -> None:
        self._data, self._given = data, []

    def __len__(self) -> int:
        return len(self._data)

    def take(self, indices: Tensor) -> Batch:
        batch = self._data.take(indices)
        self._given.append((batch.images, batch.images.clone()))
        return batch

    def untouched(self) -> bool:
        return all(torch.equal(now, then) for now, then in self._given)


def nothing_is_printed(s: Subject) -> None:
    """Training prints nothing: progress belongs to the engine."""
    assert s.trained is not None
    text = s.output.getvalue().strip()
    require(not text, f"training printed: {text[:80]!r}")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    name_and_source,
    presets_are_complete,
    numeric_settings_say_what_they_accept,
    training_changes_every_network,
    samples_are_volumes,
    samples_follow_their_generators,
    sampling_leaves_no_trace,
    saved_networks_sample_the_same,
    training_is_reproducible,
    training_resumes_exactly,
    labels_matter_where_declared,
    optional_hooks_work,
    trains_and_samples_on_a_gpu,
    batches_stay_as_they_are,
    nothing_is_printed,
)


def check(name: str, registries: Registries) -> list[Check]:
    """Run the suite on a method.

    Raises:
        UnknownPlugin: If there is no such method.
    """
    subject = Subject(name, registries)
    return [judge(requirement, subject) for requirement in CHECKS]
