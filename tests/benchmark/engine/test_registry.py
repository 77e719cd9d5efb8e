"""Names to plugins: nothing is imported before it is used, nothing is guessed."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cerebench.benchmark.engine import registry as module
from cerebench.benchmark.engine.registry import Registries, Registry, suggest
from cerebench.benchmark.errors import BrokenPlugin, UnknownPlugin

TABLE = {"one": ("json:dumps", {"label": "One"}), "two": ("json:loads", {})}


def make(monkeypatch, *found):
    """Return a registry that finds these (name, target) entry points."""
    points = [EntryPoint(name, target, "g") for name, target in found]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    return Registry("thing", "g", TABLE)


def test_builtin_names_keep_their_order_and_others_follow(monkeypatch):
    assert make(monkeypatch, ("alpha", "json:load")).names() == ["one", "two", "alpha"]


def test_loads_builtin_and_third_party(monkeypatch):
    registry = make(monkeypatch, ("alpha", "json:load"))
    assert registry.load("one") is json.dumps
    assert registry.load("alpha") is json.load


def test_of_very_many_names_only_some_are_listed():
    known = [f"metric-{i:03d}" for i in range(130)]
    told = suggest("metric", "metric-007x", known)
    assert "Did you mean 'metric-007'?" in told
    assert told.endswith("metric-039 and 90 more (bench list).")
    assert suggest("row", "a", ["b"]).endswith("Known: b.")


def test_an_unknown_name_gets_a_suggestion_and_the_list(monkeypatch):
    with pytest.raises(UnknownPlugin, match=r"No thing named 'onne'. Did you mean 'one'\? Known"):
        make(monkeypatch).load("onne")


def test_two_plugins_of_one_name_are_an_error_only_for_who_uses_it(monkeypatch):
    registry = make(monkeypatch, ("one", "json:load"))
    with pytest.raises(BrokenPlugin, match="'one' is claimed by json:dumps and json:load"):
        registry.load("one")
    assert "Uninstall one of them" in registry.unavailable("one")
    assert registry.load("two") is json.loads


def test_a_broken_plugin_is_listed_with_its_reason_and_fails_only_when_loaded(monkeypatch):
    registry = make(monkeypatch, ("bad", "no_such_module:X"))
    assert "no_such_module" in registry.unavailable("bad")
    with pytest.raises(BrokenPlugin, match=r"'bad' .* cannot be loaded"):
        registry.load("bad")


def test_the_metrics_are_declared_without_torch():
    code = (
        "import sys\nfrom cerebench.benchmark.engine.registry import Registries\n"
        "m = Registries().metrics\nassert all(m.load(n).name == n for n in m.names())\n"
        "assert not {'torch', 'monai', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tables_import_no_plugin():
    code = (
        "import sys\nfrom cerebench.benchmark.engine.registry import Registries\nRegistries()\n"
        "assert not {'torch', 'pandas', 'nibabel'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["methods", "extractors", "datasets"])
def test_static_facts_equal_those_of_the_plugins(kind):
    from cerebench.benchmark.listing import _facts_of

    registry = getattr(Registries(), kind)
    for name in registry.names():
        plugin = registry.load(name)
        facts = registry.facts(name)
        if kind == "extractors":
            assert (facts["dim"], facts["ndim"]) == (plugin.dim, plugin.ndim)
            assert facts.get("bounded", False) == getattr(plugin, "bounded", False)
            continue  # their labels and sources stand in the table alone
        for key, value in _facts_of(kind, plugin).items():
            assert facts[key] == value, f"{name}.{key}"


PLUGIN = """
from cerebench.methods.base import Method, MethodInfo, Preset
class Mine(Method):
    info = MethodInfo("mine", 1, "a paper", "none", "Mine")
    presets = {}
    def build(self): return {}
    def train(self, data, run): ...
    def sample(self, conditions, rngs): ...
"""


def test_a_plugin_file_joins_the_methods_and_its_source_enters_the_key(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    registries = Registries()
    assert registries.add_plugin(str(path)) == "mine"
    assert registries.methods.load("mine").__name__ == "Mine"
    before = registries.methods.source_hash("mine")
    path.write_text(PLUGIN + "\n# changed\n")
    assert registries.methods.source_hash("mine") != before
    assert registries.methods.source_hash("wgan-gp") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define one plugin .*found: none"),
        (
            "import no_such_thing",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("def (", "cannot be imported: SyntaxError: invalid syntax"),
        (PLUGIN.replace('"mine"', '"wgan-gp"'), "'wgan-gp' .* is already installed"),
    ],
)
def test_a_bad_plugin_file_is_named(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(BrokenPlugin, match=message):
        Registries().add_plugin(str(path))


def test_a_missing_plugin_file_is_named():
    with pytest.raises(BrokenPlugin, match=r"nowhere\.py does not exist"):
        Registries().add_plugin("nowhere.py")


def test_a_feature_space_whose_class_does_not_say_its_dimensions_has_no_metrics_by_itself():
    class Late:
        name = "late"

        def __init__(self):
            self.ndim = 3

    registries = Registries()
    registries.extractors.add_file(Path("late.py"), "late", Late)
    assert "fd-late" not in registries.metrics.names()
    with pytest.raises(UnknownPlugin):
        registries.metrics.load("fd-late")


RAISED = {
    "sys.exit(0)": r"PluginExit: sys.exit\(0\) was called",
    "class Own(BaseException): pass\nraise Own('two\\nlines')": "Own: two lines",
    "raise GeneratorExit": "GeneratorExit",
    "raise MemoryError": "MemoryError",
    "class Mute(Exception):\n    def __str__(self): raise self\nraise Mute": "Mute: an error",
    "1 / 0": r"ZeroDivisionError: division by zero \(bad.py, line 2\)",
}


@pytest.mark.parametrize("code", RAISED)
def test_whatever_a_plugin_raises_at_import_is_one_line(tmp_path, monkeypatch, code):
    (tmp_path / "bad.py").write_text(f"import sys\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bad", raising=False)
    registry = make(monkeypatch, ("bad", "bad:X"))
    for use in (lambda: registry.load("bad"), lambda: Registries().add_plugin("bad.py")):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BrokenPlugin, match=RAISED[code]) as error:
            use()
        assert "\n" not in str(error.value)
        assert "bad" in registry.names()


def test_ctrl_c_while_a_plugin_is_imported_stays_ctrl_c(tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        Registries().add_plugin(str(tmp_path / "slow.py"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    info =", "    facts =", r"'bad.py:Mine' states no name \(info is NoneType\)"),
        ("info = MethodInfo(", "info = (", r"states no name \(info is tuple\)"),
        ('"none"', '"text"', "is 'text'; it must be none, class or mask"),
    ],
)
def test_a_method_without_its_facts_is_refused(tmp_path, old, new, message):
    assert old in PLUGIN
    (tmp_path / "bad.py").write_text(PLUGIN.replace(old, new))
    with pytest.raises(BrokenPlugin, match=message):
        Registries().add_plugin(str(tmp_path / "bad.py"))
