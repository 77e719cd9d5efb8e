"""What is written into a report folder replaces a link there, and never what the link leads to."""

import pytest
from matplotlib.figure import Figure

from cerebench.reports import latex, markdown
from cerebench.reports.figures.drawing import save
from cerebench.reports.values import frames

WRITERS = {"made-up.md": markdown.write, "made-up.tex": latex.write, "made-up.csv": frames.write}


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_replaces_a_link(runs, tmp_path, name):
    theirs, folder = tmp_path / "theirs", tmp_path / "report"
    theirs.write_text("theirs")
    folder.mkdir()
    (folder / name).symlink_to(theirs)
    WRITERS[name](runs.read(), folder)
    assert theirs.read_text() == "theirs"
    assert not (folder / name).is_symlink()
    assert (folder / name).stat().st_size > 100


def test_a_figure_replaces_a_link(tmp_path):
    theirs, folder = tmp_path / "theirs", tmp_path / "report"
    theirs.write_text("theirs")
    folder.mkdir()
    for ending in ("pdf", "png"):
        (folder / f"a.{ending}").symlink_to(theirs)
    for path in save(Figure(), folder, "a"):
        assert not path.is_symlink()
    assert theirs.read_text() == "theirs"
    assert (folder / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
