"""Gives the tests of datasets the scripts that write fake copies of public collections."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parent / "fakes"
sys.path.append(str(FOLDER))  # the scripts import each other


@pytest.fixture(scope="session")
def fakes():
    """Return the scripts by layout, and what they share as ``common``."""
    names = sorted(path.stem for path in FOLDER.glob("fake_*.py"))
    modules = {n.removeprefix("fake_"): importlib.import_module(n) for n in names}
    return SimpleNamespace(**modules)
