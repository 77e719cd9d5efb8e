"""What a plugin does wrong while a plan is made is one line that names it, exit code 2 or 3."""

import pytest

TWICE = """
import dataclasses
from cerebench.datasets.phantom import Phantom
class Twice(Phantom):
    info = dataclasses.replace(Phantom.info, name="twice")
    def cases(self):
        return [dataclasses.replace(c, id="same") for c in super().cases()]
"""

SIZED = """
import dataclasses
from dataclasses import dataclass
from cerebench.methods.wgan_gp import WGANGP
@dataclass(frozen=True)
class Odd(type(WGANGP.presets["smoke"].config)):
    def for_size(self, size):
        RAISE
class Mine(WGANGP):
    info = dataclasses.replace(WGANGP.info, name="mine")
    Config = Odd
    presets = {
        name: dataclasses.replace(p, config=Odd(**dataclasses.asdict(p.config)))
        for name, p in WGANGP.presets.items()
    }
"""


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        ("raise KeyError(size)", "for_size(16) fails with KeyError: 16. Correct its Config."),
        ("return 1 / 0", "for_size(16) fails with ZeroDivisionError: division by zero"),
        ("return self.widhts", "for_size(16) fails with AttributeError: 'Odd' object has no"),
        ("raise ValueError('only 12')", "mine (smoke): only 12"),
    ],
)
def test_for_size_that_raises_is_one_line(bench, raised, message):
    (bench.folder / "mine.py").write_text(SIZED.replace("RAISE", raised))
    plugin = ("--plugin", "mine.py:Mine", "--methods", "mine")
    code, out, err = bench("run", "tiny.toml", "--dry-run", *plugin)
    assert code == 2, (out, err)
    assert message in err
    assert len(err.strip().splitlines()) == 1, err


@pytest.mark.parametrize("command", ["run", "prepare"])
def test_case_ids_that_occur_twice_are_refused(bench, command):
    (bench.folder / "twice.py").write_text(TWICE)
    arguments = {
        "run": ("run", "tiny.toml", "--dry-run", "--dataset", "twice"),
        "prepare": ("data", "prepare", "--dataset", "twice", "--size", "16"),
    }
    code, out, err = bench(*arguments[command], "--plugin", "twice.py:Twice")
    assert code == 3, (out, err)
    assert "dataset 'twice' has 1 id for several cases each: same. Give every case" in err
