"""Everything stays on the device that was asked for, on a GPU too; shown without one."""

import contextlib
import copy
import dataclasses
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cerebench.benchmark import device
from cerebench.benchmark.conformance import methods as conformance
from cerebench.benchmark.conformance.fake_device import DEVICE, fake_device
from cerebench.benchmark.device import Driver, driven_by, pick_device
from cerebench.benchmark.engine.registry import Registries
from cerebench.benchmark.errors import Interrupted
from cerebench.benchmark.stages.downstream import HarnessTrainer
from cerebench.benchmark.stages.features import FeatureCache
from cerebench.benchmark.stages.sampling import TrainingMasks, requests
from cerebench.benchmark.stages.training import TrainingData, train
from cerebench.core import weights
from cerebench.core.errors import UsageError
from cerebench.core.settings import setting
from cerebench.datasets.scans.volumes import write_nifti
from cerebench.methods.base import Method, MethodInfo, randn
from cerebench.methods.layers import perceptual
from cerebench.metrics.base import MissingWeights, VolumeSet
from cerebench.metrics.downstream.base import Cases, Material
from cerebench.metrics.downstream.networks import classifier
from cerebench.metrics.estimators.exact import is_exact
from cerebench.metrics.extractors import inception, medicalnet, squeezenet

METHODS = Registries().methods.names()
IN_NUMPY = {"radlite-v1", "radlite-v2", "mirp-v1"}
EXTRACTORS = [name for name in Registries().extractors.names() if name not in IN_NUMPY]

# Where the suite needs values that lie on the GPU: each waits until the GPU has computed them.
READS = {
    "benchmark.stages.training:_Phase.once",  # kept on the host
    "benchmark.stages.training:_Phase.log",  # 200 times a phase
    "benchmark.stages.training:save_networks",
    "benchmark.stages.sampling:sample_shard",
    "benchmark.stages.diagnosis:importance_maps",
    "benchmark.stages.diagnosis:check_maps",
    "methods.layers.collapse:Watch.look",  # every so many steps
    "methods.layers.ema:WeightAverage.follow",  # torch asks how many averages there were
    "methods.layers.vq.transformer:_check_uniforms",
    "methods.layers.vq.transformer:Transformer.generate",
    "methods.layers.vq.tokens:diagnose_tokens",
    "methods.layers.vq.tokens:_nearest",
    "methods.medical_diffusion.reconstruction:_errors",
}


class Cards(Driver):
    """A machine with these GPUs; ``old`` ones have no bf16."""

    def __init__(self, *names, old=()):
        self.names, self.old = names, old

    def count(self):
        return len(self.names)

    def name(self, device):
        return self.names[device.index]

    def has_bf16(self, device):
        return device.index not in self.old


# Choice


@pytest.mark.parametrize(
    ("cards", "name", "expected"),
    [
        ((), "auto", "cpu"),
        ((), "cpu", "cpu"),
        (("A", "B"), "auto", "cuda:0"),
        (("A", "B"), "cuda", "cuda:0"),
        (("A", "B"), "cuda:0", "cuda:0"),
        (("A", "B"), "cuda:1", "cuda:1"),
        (("A", "B"), "cpu", "cpu"),
    ],
)
def test_a_device_that_is_there_is_taken(cards, name, expected):
    with driven_by(Cards(*cards)):
        assert pick_device(name) == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:99", "cuda:-1", "cuda:", "cuda:x", "cuda:01"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(name):
    with (
        driven_by(Cards("A", "B")),
        pytest.raises(UsageError, match=r"not there\. Use auto, cpu, cuda:0, cuda:1; see"),
    ):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_machine_without_a_gpu_refuses_every_gpu(name):
    with driven_by(Cards()), pytest.raises(UsageError, match=r"not there\. Use auto, cpu; see"):
        pick_device(name)


@pytest.mark.parametrize("name", ["mps", "mps:0", "meta", "xpu", "gpu", "CUDA:0", ""])
def test_other_kinds_of_device_are_refused(name):
    with (
        driven_by(Cards("A")),
        pytest.raises(UsageError, match=r"is not supported\. Use auto, cpu, cuda:0\."),
    ):
        pick_device(name)


# Facts


@pytest.mark.parametrize(("name", "expected"), [("cuda:0", "A"), ("cuda:1", "B"), ("cpu", "cpu")])
def test_the_recorded_device_is_the_one_that_was_used(name, expected):
    with driven_by(Cards("A", "B")):
        assert device.device_name(torch.device(name)) == expected
        assert device.hardware(torch.device(name))["device"] == expected


def test_the_doctor_names_every_gpu():
    from cerebench.benchmark.doctor import _devices

    with driven_by(Cards("A", "B")):
        assert _devices()[1:] == ["cuda:0 A", "cuda:1 B"]


def row(name, precision):
    resolved = SimpleNamespace(config=SimpleNamespace(precision=precision))
    return SimpleNamespace(name=name, resolved=resolved)


def test_bf16_on_a_gpu_without_it_is_refused_by_setting():
    cells = [row("wgan-gp", "bf16"), row("wgan-gp", "bf16"), row("med-ddpm", "fp32")]
    protocols = [row("exp1", "bf16"), row("exp2", "fp32")]
    with driven_by(Cards("A", "B", old=(1,))):
        for there in ("cpu", "cuda:0"):
            device.refuse_imitated_bf16(torch.device(there), [*cells, *protocols])
        device.refuse_imitated_bf16(torch.device("cuda:1"), [cells[2], protocols[1]])
        with pytest.raises(UsageError) as refusal:
            device.refuse_imitated_bf16(torch.device("cuda:1"), [*cells, *protocols])
    assert str(refusal.value) == (
        "B (cuda:1) cannot compute in bf16, which wgan-gp, exp1 would be trained in. Add --set "
        "wgan-gp.precision=fp32 --set exp1.precision=fp32, or choose another --device."
    )


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_bf16_on_a_gpu_without_it_ends_a_run_before_any_work(bench, more):
    asked = ["run", "tiny.toml", "--set", "wgan-gp.precision=bf16", "--device", "cuda:0", *more]
    with driven_by(Cards("A", old=(0,))):
        code, _, err = bench(*asked)
    assert (code, "--set wgan-gp.precision=fp32" in err) == (2, True)
    assert not list(bench.folder.rglob("cell.json"))
    assert not list(bench.folder.rglob("experiment-*.json"))


# Generators


def test_orders_masks_and_noise_come_from_the_host_whatever_the_default_device():
    masks = np.zeros((5, 1, 2, 2, 2), np.uint8)
    masks[:] = np.arange(5)[:, None, None, None, None]
    drawer = TrainingMasks({"LGG": masks}, {"LGG": list("abcde")}, seed=3)

    def draw():
        conditions, rngs = requests(3, 0, "LGG", range(4), drawer)
        return conditions, [drawer.draw("LGG", i)[1] for i in range(7)], randn(rngs, 3)

    _, expected, _ = draw()
    with fake_device(), DEVICE:
        conditions, found, noise = draw()
        places = {conditions.labels.device, conditions.masks.device, noise.device}
    assert found == expected
    assert places == {DEVICE}


# Resume


class _Kept(Method):
    """Keeps tokens and an average of its weight, and looks at where they are."""

    info = MethodInfo("kept", 1, "test", "none", "kept")
    Config = SimpleNamespace

    def build(self):
        self.places = []
        return {"net": nn.Linear(2, 2)}

    def train(self, data, run):
        adam = torch.optim.Adam(self.nets["net"].parameters(), fused=True)
        slow = torch.optim.Adam(self.nets["net"].parameters(), lr=0.0)
        average = _Average(self.nets["net"])
        phase = run.phase("first", adam=adam, slow=slow, average=average)
        kept = phase.once("tokens", lambda: {"tokens": torch.ones(3), "nested": [torch.ones(1)]})
        for step in phase.steps(3):
            step.descend([adam, slow], self.nets["net"](step.randn(2, 2)).square().mean())
            average.follow(self.nets["net"])
            (state, *_), (steps, *_) = adam.state.values(), slow.state.values()
            self.places.append(
                {
                    "kept": str(kept["tokens"].device),
                    "nested": str(kept["nested"][0].device),
                    "moments": str(state["exp_avg"].device),
                    "fused steps": str(state["step"].device),
                    "steps": str(steps["step"].device),
                    "average": str(average.mean.device),
                }
            )

    def sample(self, conditions, rngs):
        raise NotImplementedError


class _Average:
    """A tracked object that stores tensors as it gets them."""

    def __init__(self, net):
        self.mean = net.weight.detach().clone()

    def follow(self, net):
        self.mean = (self.mean + net.weight.detach()) / 2

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


@dataclasses.dataclass(frozen=True)
class _Fp32:
    precision: str = setting("fp32", "arithmetic", "[ours: test]")

    def for_size(self, size):
        return self


def kept_method():
    return _Kept(_Fp32(), size=8, classes=("LGG",))


@pytest.fixture
def data():
    volumes = np.zeros((4, 1, 8, 8, 8), np.float32)
    return lambda where: TrainingData(volumes, None, [0] * 4, list("abcd"), where)


def test_after_a_resume_every_tensor_is_where_it_was(tmp_path, data):
    """What is kept on the host, weights and moments on the device, counters as torch has them."""
    expected = {
        "kept": "cpu", "nested": "cpu", "moments": "cuda:1", "fused steps": "cuda:1",
        "steps": "cpu", "average": "cuda:1",
    }  # fmt: skip
    with fake_device():
        places, trainings = [], 0
        while True:
            method, trainings = kept_method(), trainings + 1
            options = {"seed": 0, "scope": "LGG", "device": DEVICE, "stop": lambda: True}
            try:
                train(method, data(DEVICE), tmp_path, **options)
            except Interrupted:
                places += method.places
                continue
            break
    assert trainings == 5  # stopped after what is kept, and after each step
    assert places == [expected] * 3


def test_a_checkpoint_of_a_gpu_goes_on_where_it_is_asked_to(tmp_path, data):
    """On another GPU everything of the device lies there; on the host nothing is left behind."""
    with fake_device():
        for where in ("cuda:0", "cuda:1", "cpu"):
            method = kept_method()
            options = {"seed": 0, "scope": "LGG", "device": where}
            stop = partial(bool, method.places)
            with contextlib.suppress(Interrupted):
                train(method, data(where), tmp_path, stop=stop, **options)
            (found,) = method.places
            assert found["kept"] == found["steps"] == "cpu"
            assert {found["moments"], found["average"]} == {where}


# Methods


@pytest.fixture(scope="module")
def subjects():
    return {}


@pytest.mark.parametrize("name", ["wgan-gp", "med-ddpm-c"])
def test_a_gan_and_a_diffusion_train_resume_and_sample_on_a_gpu(name):
    subject = conformance.Subject(name, Registries())
    assert conformance.judge(conformance.trains_and_samples_on_a_gpu, subject).reason == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_resumes_samples_and_explains_on_a_gpu(subjects, name):
    subjects[name] = conformance.Subject(name, Registries())
    found = conformance.judge(conformance.trains_and_samples_on_a_gpu, subjects[name])
    assert found.reason == ""


@pytest.mark.slow
def test_the_places_that_read_values_are_these(subjects):
    if set(subjects) != set(METHODS):
        pytest.skip("needs the test of every method before it")
    assert set().union(*(subject.reads for subject in subjects.values())) == READS


def changed(name, **settings):
    """Return a method whose smoke preset has other settings."""
    cls = Registries().methods.load(name)
    smoke = cls.presets["smoke"].override(**{k: (v, "[ours: test]") for k, v in settings.items()})
    return type(cls)(cls.__name__, (cls,), {"presets": {**cls.presets, "smoke": smoke}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("alpha-wgan", {"norm": "spectral"}),
        ("med-ddpm", {"sampler": "ddim", "sampler_steps": 2}),
        ("med-ddpm-c", {"sampler": "dpmpp", "sampler_steps": 2}),
        (
            "vqgan-cond",
            {"perceptual": "lpips-vgg", "restart_after": 1, "sample_top_k": 3, "sample_top_p": 0.9},
        ),
    ],
)
def test_settings_that_smoke_does_not_have_work_on_a_gpu(monkeypatch, tmp_path, name, settings):
    with torch.device("meta"):
        network = perceptual.VGG16Features()
    torch.save(network.to_empty(device="cpu").state_dict(), tmp_path / "vgg.pth")
    monkeypatch.setattr(weights, "find", lambda _: tmp_path / "vgg.pth")
    registries = Registries()
    registries.methods._files["changed"] = (None, changed(name, **settings))
    subject = conformance.Subject("changed", registries)
    assert conformance.judge(conformance.trains_and_samples_on_a_gpu, subject).reason == ""


# Extractors


@pytest.fixture(scope="module")
def networks():
    """The networks of extractors by depth, Inception by 0, SqueezeNet by 1, with any weights."""
    with torch.device("meta"):
        built = {depth: medicalnet.ResNet(depth) for depth in medicalnet.BLOCKS}
        with contextlib.suppress(MissingWeights):  # a torchvision that does not match torch
            built[0] = inception.build_network()
            built[0].fc = nn.Identity()
            built[1] = squeezenet.pooled(squeezenet.build_network())
    for network in built.values():
        network.to_empty(device="cpu").eval().requires_grad_(False)
        for tensor in network.state_dict().values():
            tensor.zero_()
    return built


@pytest.fixture
def unweighted(networks, monkeypatch, tmp_path):
    """Extractors find those networks in a file that stands for theirs."""
    (tmp_path / "weights.pth").write_bytes(b"")
    for name in ("find", "find_unverified"):
        monkeypatch.setattr(weights, name, lambda _: tmp_path / "weights.pth")

    def load_network(_path, depth=0):
        if depth not in networks:
            pytest.skip("the installed torchvision does not match torch")
        return copy.deepcopy(networks[depth])

    for module in (inception, medicalnet):
        monkeypatch.setattr(module, "load_network", load_network)
    monkeypatch.setattr(squeezenet, "load_network", lambda path: load_network(path, 1))


def extracted(name, folder, where):
    """Extract two volumes the way the engine does; return extractor and features."""
    cache = FeatureCache(folder, Registries().extractors, device=where)
    volumes = np.random.RandomState(0).uniform(-1, 1, (2, 1, 16, 16, 16)).astype(np.float32)
    extractor = Registries().extractors.load(name)
    found = VolumeSet(volumes, ["a", "b"], cache).features(
        name, "axial/middle" if extractor.ndim == 2 else ""
    )
    return cache._extractors[name], np.stack(list(found))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_runs_where_it_is_asked_to(unweighted, tmp_path, name):
    with fake_device() as gpu:
        extractor, features = extracted(name, tmp_path, str(DEVICE))
    assert gpu.operations
    assert torch.device(extractor.device) == DEVICE
    assert features.shape[-1] == extractor.dim
    assert not features.any()  # what comes back from this GPU


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_never_takes_a_gpu_by_itself(unweighted, tmp_path, monkeypatch, name):
    with fake_device() as gpu:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert Registries().extractors.load(name)().device == "cpu"
        if not name.startswith("inception"):  # seconds on a CPU
            extracted(name, tmp_path, "cpu")
    assert not gpu.operations


def test_the_extractors_without_a_network_are_these():
    pytest.importorskip("mirp")
    others = set(Registries().extractors.names()) - set(EXTRACTORS)
    assert others == IN_NUMPY
    assert not any(hasattr(Registries().extractors.load(name)(), "device") for name in others)


# Protocols


def cases(prefix, per_class, size=16):
    n = 2 * per_class
    ids = tuple(f"{prefix}{i}" for i in range(n))
    volumes = np.random.RandomState(0).uniform(-1, 1, (n, 1, size, size, size))
    labels = np.repeat([0, 1], per_class).astype(np.int64)
    return Cases(volumes.astype(np.float32), labels, ids, ids)


@pytest.mark.parametrize("name", ["exp1", "exp2", "trad-aug", "medicalnet", "real-only"])
def test_a_protocol_trains_and_predicts_on_a_gpu(unweighted, monkeypatch, tmp_path, name):
    monkeypatch.setattr(classifier, "auc", lambda scores, labels: 0.5)  # of labels without values
    cls = Registries().protocols.load(name)
    smoke = cls.presets["smoke"].config
    protocol = cls(dataclasses.replace(smoke, finetune_per_class=6))
    with fake_device() as gpu:
        given = Material(cases("d", 8), cases("t", 4), cases("s", 40), ("LGG", "HGG"), seed=0)
        trainer = HarnessTrainer(tmp_path, "key", DEVICE, lambda *_: None, lambda: False)
        outcome = protocol.run(given, trainer)
    assert gpu.operations
    assert {cost.device for cost in trainer.costs} == {"fake GPU 1"}
    assert len(outcome.repeats[0].predictions) == 8


# The command line


@pytest.mark.slow
def test_a_whole_run_and_more_samples_stay_on_one_gpu_and_say_which(bench):
    with fake_device() as gpu:
        code, _, err = bench(
            "run", "tiny.toml", "--device", "cuda:1", "--metrics", "fd-rand3d-v1", "--n", "8",
        )  # fmt: skip
        assert code == 0, err
        (cell,) = bench.folder.rglob("wgan-gp-*/seed-0")
        code, _, err = bench("sample", str(cell), "-n", "9", "--device", "cuda:0")
        assert code == 0, err
    read = {p.relative_to(cell).as_posix(): json.loads(p.read_text()) for p in cell.rglob("*.json")}
    assert read["cell.json"]["hardware"]["device"] == "fake GPU 1"
    assert read["train/HGG/record.json"]["device"] == "fake GPU 1"
    assert read["sample/record.json"]["device"] == "fake GPU 0"
    assert "metrics.extractors.random_conv:RandomConv.extract" in gpu.reads


@pytest.mark.parametrize(("where", "used"), [("cuda:1", True), ("cpu", False), ("auto", True)])
def test_folders_are_scored_on_the_device_that_was_asked_for(bench, where, used):
    for folder in ("real", "mine"):
        for i in range(6):
            volume = np.random.RandomState(i).uniform(-1, 1, (16, 16, 16)).astype(np.float32)
            (bench.folder / folder).mkdir(exist_ok=True)
            write_nifti(bench.folder / folder / f"{i}.nii.gz", volume, (1.0, 1.0, 1.0))
    with fake_device() as gpu:
        code, _, err = bench(
            "evaluate", "--real", "real", "--fake", "mine", "--floor-only", "--device", where,
            "--metrics", "fd-rand3d-v1",
        )  # fmt: skip
    assert code == 0, err
    assert bool(gpu.operations) == used


PLUGIN = '''
from cerebench.methods import wgan_gp


class Curious(wgan_gp.WGANGP):
    """Looks at a value while it samples."""

    info = wgan_gp.MethodInfo("curious", 1, "a paper", "none", "Curious")

    def sample(self, conditions, rngs):
        volumes = super().sample(conditions, rngs)
        return volumes if float(volumes.max()) <= 1 else volumes.tanh()
'''


def test_bench_check_calls_a_method_that_reads_values_not_shown(bench):
    (bench.folder / "curious.py").write_text(PLUGIN)
    code, out, err = bench("check", "curious", "--plugin", "curious.py")
    assert code == 0, err
    lines = out.splitlines()
    (place,) = [i for i, x in enumerate(lines) if x.endswith("trains and samples on a gpu")]
    assert lines[place].startswith("not shown")
    assert "Curious.sample reads values" in lines[place + 1]
    assert lines[-1].endswith("14 of 15 checks passed, 1 not shown")
    code, out, _ = bench("check", "curious", "--plugin", "curious.py", "--json")
    outcomes = {check["name"]: check["outcome"] for check in json.loads(out)}
    assert (code, outcomes.pop("trains and samples on a gpu")) == (0, "not shown")
    assert set(outcomes.values()) == {"ok"}


def test_the_exact_arithmetic_of_a_gpu_ends_with_the_work():
    assert not is_exact()
    with device.exact_arithmetic(torch.device("cpu")):
        assert not is_exact()  # the CPU has no TF32, and nothing is to be paid for it
    with fake_device():
        with device.exact_arithmetic(DEVICE):
            assert is_exact()
            assert torch.ones(1).device == DEVICE
        assert not is_exact()
        assert torch.ones(1).device.type == "cpu"


def test_the_driver_is_asked_in_one_file_alone():
    """So that nothing else needs a GPU to be tried."""
    root, words = Path(device.__file__).parents[1], ("torch.cuda", ".cuda(", "mem_get_info")
    asked = [
        str(path.relative_to(root))
        for folder in ("benchmark", "methods", "metrics")
        for path in (root / folder).rglob("*.py")
        if path.name not in ("device.py", "fake_device.py")
        and any(word in path.read_text("utf-8") for word in words)
    ]
    assert asked == []
