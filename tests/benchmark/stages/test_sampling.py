"""Shards: fixed, extensible, independent of what surrounds them; bad samples are named."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cerebench.benchmark.errors import BadSample, ForeignFolder, Interrupted
from cerebench.benchmark.stages import sampling
from cerebench.benchmark.stages.training import seeded
from cerebench.datasets.scans.volumes import read_nifti
from cerebench.methods.wgan_gp import WGANGP

CPU = torch.device("cpu")


def method(cls=WGANGP):
    with seeded(0, "init"):
        built = cls(cls.presets["smoke"].config, size=16, classes=("LGG", "HGG"))
    for net in built.nets.values():
        net.eval()
    return built


def spec(n, **changes):
    fields = {
        "classes": ("LGG", "HGG"),
        "channels": ("flair",),
        "spacing": (8.0, 8.0, 8.0),
        "n": n,
        "seed": 0,
        "key": "k",
        "generator": "test",
    }
    return sampling.SampleSpec(**{**fields, **changes})


def write(folder: Path, n: int, stop=lambda: False, **changes):
    return sampling.sample(
        {"all": method()},
        spec(n, **changes),
        folder,
        device=CPU,
        progress=lambda *_: None,
        stop=stop,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("sub-*.nii.gz")}


def test_a_larger_set_extends_a_smaller_one_bit_for_bit(tmp_path):
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 11)
    assert len(files(tmp_path / "a")) == 6
    assert files(tmp_path / "a").items() <= files(tmp_path / "b").items()
    write(tmp_path / "a", 11)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_samples_of_another_key_are_removed(tmp_path):
    write(tmp_path, 3)
    before = files(tmp_path)
    write(tmp_path, 3, key="other", seed=1)
    assert files(tmp_path).keys() == before.keys()
    assert files(tmp_path) != before


def test_a_stopped_sampling_continues_to_the_same_bits(tmp_path):
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        write(tmp_path / "a", 20, stop=lambda: next(asked))
    assert 0 < len(files(tmp_path / "a")) < 40
    write(tmp_path / "a", 20)
    write(tmp_path / "b", 20)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_classes_seeds_and_indices_give_different_noise():
    shards = [
        sampling.sample_shard(method(), seed, 0, name, first, CPU)
        for seed, name, first in ((0, "LGG", 0), (0, "HGG", 0), (1, "LGG", 0), (0, "LGG", 8))
    ]
    for i, a in enumerate(shards):
        assert len({v.tobytes() for v in a}) == 8
        assert all(not np.array_equal(a, b) for b in shards[:i])


def test_values_outside_the_range_are_clipped_and_counted(tmp_path):
    class Loud(WGANGP):
        def sample(self, conditions, rngs):
            volumes = torch.zeros(len(rngs), 1, 16, 16, 16)
            volumes[:, :, :4] = 2.0
            return volumes

    record = sampling.sample(
        {"all": method(Loud)}, spec(2), tmp_path, device=CPU, progress=lambda *_: None,
        stop=lambda: False,
    )  # fmt: skip
    assert record.clip_fraction == {"LGG": 0.25, "HGG": 0.25}
    assert record.foreground == {"LGG": 4096.0, "HGG": 4096.0}
    volume = read_nifti(next(tmp_path.rglob("*.nii.gz")))[0][None]
    assert volume.max() == 1.0


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(8, 1, 16, 16), r"returned \(8, 1, 16, 16\)"),
        (torch.zeros(8, 1, 16, 16, 16, dtype=torch.float64), r"float64; samples must be float32"),
        (torch.full((8, 1, 16, 16, 16), torch.nan), "NaN or infinite voxels for class LGG"),
        ("volumes", "returned str"),
    ],
)
def test_what_is_not_a_set_of_volumes_is_refused(returned, message):
    class Bad(WGANGP):
        def sample(self, conditions, rngs):
            return returned

    with pytest.raises(BadSample, match=message):
        sampling.sample_shard(method(Bad), 0, 0, "LGG", 0, CPU)


def test_too_few_or_foreign_samples_are_not_scored(tmp_path):
    write(tmp_path, 3)
    with pytest.raises(BadSample, match="3 of 5 samples of LGG"):
        sampling.stored_volumes(tmp_path, "k", ("LGG", "HGG"), "LGG", 5)
    with pytest.raises(BadSample, match="another configuration"):
        sampling.stored_volumes(tmp_path, "other", ("LGG", "HGG"), "LGG", 3)


class Masked(WGANGP):
    """Returns the mask it is given."""

    def sample(self, conditions, rngs):
        return 2 * conditions.masks - 1


def masks_of(n, seed=0):
    """Return training masks that can be told apart: case i has i + 1 voxels."""
    made = np.zeros((n, 1, 16, 16, 16), np.uint8)
    for i in range(n):
        made[i].flat[: i + 1] = 1
    ids = [f"case-{i}" for i in range(n)]
    return sampling.TrainingMasks({"LGG": made, "HGG": made}, {"LGG": ids, "HGG": ids}, seed)


def test_a_mask_conditioned_method_gets_training_masks_and_their_ids_are_recorded(tmp_path):
    record = sampling.sample(
        {"all": method(Masked)}, spec(5, masks=masks_of(9)), tmp_path, device=CPU,
        progress=lambda *_: None, stop=lambda: False,
    )  # fmt: skip
    for path in tmp_path.rglob("sub-*.json"):
        facts = json.loads(path.read_text())
        assert facts["MaskOf"] == f"case-{facts['ForegroundVoxels'] - 1}"
    assert record.n == {"LGG": 5, "HGG": 5}


def test_every_training_mask_is_used_once_before_any_is_used_again():
    drawn = [masks_of(4).draw("LGG", i)[1] for i in range(12)]
    assert [sorted(drawn[i : i + 4]) for i in (0, 4, 8)] == [[f"case-{i}" for i in range(4)]] * 3
    assert drawn[:4] != drawn[4:8] or drawn[:4] != drawn[8:]
    assert drawn != [masks_of(4, seed=1).draw("LGG", i)[1] for i in range(12)]
    assert drawn[:4] != [masks_of(4).draw("HGG", i)[1] for i in range(4)]


def test_samples_of_a_class_are_not_taken_for_those_of_one_whose_name_is_longer(tmp_path):
    classes = ("A", "A1", "A10")
    write(tmp_path, 3, classes=classes)
    for name in classes:
        found = sampling.stored_volumes(tmp_path, "k", classes, name, 3)
        assert list(found.ids) == [f"sub-{name}{i:05d}" for i in range(3)]
    with pytest.raises(BadSample, match="3 of 4 samples of A"):
        sampling.stored_volumes(tmp_path, "k", classes, "A", 4)


def test_labels_that_are_no_folder_names_are_told_by_the_files_themselves(tmp_path):
    classes = ("../evil", "a*")
    write(tmp_path / "x" / "sample", 3, classes=classes)
    assert os.listdir(tmp_path) == ["x"]
    for label, name in enumerate(classes):
        found = sampling.stored_volumes(tmp_path / "x" / "sample", "k", classes, name, 3)
        told = [
            json.loads(next((tmp_path / "x/sample" / s / "anat").glob("*.json")).read_text())
            for s in found.ids
        ]
        assert [facts["Class"] for facts in told] == [name] * 3
        assert all(re.fullmatch("sub-[A-Za-z0-9]+", s) for s in found.ids), label


def test_samples_in_a_foreign_folder_are_not_written(tmp_path):
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/photo.jpg").write_text("mine")
    with pytest.raises(ForeignFolder, match=r"photo\.jpg"):
        write(tmp_path / "sample", 3)
    assert os.listdir(tmp_path / "sample") == ["photo.jpg"]
