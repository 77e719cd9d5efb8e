import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cerebench.reports.base import NotDrawn, Plot, ReportError
from cerebench.reports.figures import every as figures
from cerebench.reports.figures import slices


@pytest.fixture
def two(monkeypatch):
    """Two figures instead of all: one that can be drawn and one that cannot."""

    def never(experiment):
        raise NotDrawn("it takes two\nstores.")

    drawn = {"slices": figures.FIGURES["slices"], "never": Plot("never", "nothing", never)}
    monkeypatch.setattr(figures, "FIGURES", drawn)


def test_every_figure_is_written_as_pdf_and_png_beside_a_list(two, runs, tmp_path):
    runs.contents["rows"][1]["label"] = "$\\nosuch$"  # no formula
    pdf, png, floats, listing = figures.write(runs.read(), tmp_path / "out")
    assert [p.name for p in (pdf, png)] == ["made-up-slices.pdf", "made-up-slices.png"]
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    slices, never = listing.read_text(encoding="utf-8").splitlines()
    assert slices.startswith("- `made-up-slices`: Central axial slices. Made-up numbers. Three")
    assert "not which generator is better" in slices
    assert never == "- `made-up-never`: not drawn: it takes two stores."
    text = floats.read_text(encoding="utf-8")
    assert text.count(r"\begin{figure}") == 1
    assert r"{made-up-slices.pdf}" in text
    assert r"\caption{Central axial slices. Made-up numbers. Three consecutive" in text


def test_saved_figures_hold_no_heading_unless_asked_for(two, runs, tmp_path, monkeypatch):
    seen = []

    def save(figure, folder, stem, ends):
        shown = [t.get_text() for t in figure.texts if t.get_visible()]
        seen.append((ends, figure.get_figheight(), shown))
        return []

    monkeypatch.setattr(figures, "save", save)
    for headings in (False, True):
        figures.write(runs.read(), tmp_path, headings=headings)
    (part, height, without), (whole, _, with_) = seen
    assert without == [runs.contents["banner"]]  # a picture is passed on without its caption
    assert with_[:2] == ["Central axial slices", "Made-up numbers"]
    assert whole == (0, height)
    assert part[0] == 0
    assert part[1] < height


def test_a_figure_that_is_not_drawn_is_said_and_its_old_files_go(two, runs, tmp_path):
    old = [tmp_path / f"made-up-never.{ending}" for ending in ("pdf", "png")]
    for path in old:
        path.touch()
    del figures.FIGURES["slices"]
    said = []
    figures.write(runs.read(), tmp_path, said.append)
    assert said == ["not drawn: made-up-never: it takes two\nstores."]
    assert not any(path.exists() for path in old)


def test_a_figure_of_another_package_is_drawn_and_one_that_fails_takes_no_other_along(
    two, runs, tmp_path
):
    def broken(experiment):
        raise ZeroDivisionError("no cells")

    said = []
    further = (Plot("mine", "slices again", slices.draw), Plot("broken", "nothing", broken))
    with pytest.raises(ReportError, match="figure broken: ZeroDivisionError: no cells"):
        figures.write(runs.read(), tmp_path, said.append, further)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"made-up-slices.png", "made-up-mine.png", "made-up-figures.md"} <= names
    assert "made-up-broken.png" not in names
    assert said[-1] == "not drawn: made-up-broken: it fails with ZeroDivisionError: no cells"


def test_a_store_without_any_file_for_figures_gives_reasons(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        figures, "save", lambda figure, folder, stem, ends: [folder / f"{stem}.pdf"]
    )
    for path in runs.folder.rglob("*.npz"):
        path.unlink()
    said = []
    paths = figures.write(runs.read(), tmp_path, said.append)
    drawn = {path.stem for path in paths} - {"made-up-figures"}
    assert drawn == {f"made-up-{n}" for n in ("slices", "importance-maps", "quality-cost")}
    assert len(said) == len(figures.FIGURES) - len(drawn)
    assert all(line.startswith("not drawn: made-up-") for line in said)


@pytest.mark.parametrize("name", ["slices", "importance-maps", "quality-cost"])
def test_no_text_leaves_the_figure(runs, name):
    runs.contents["rows"][2]["label"] = "3D-Med-DDPM, class (variant)"
    figure = figures.FIGURES[name].draw(runs.read())
    figure.set_dpi(300)  # as saved; hinting widens letters at fewer
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [t for a in figure.axes for t in (*a.texts, a.title, a.xaxis.label, a.yaxis.label)]
    for text in filter(lambda text: text.get_text(), (*figure.texts, *texts)):
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.width, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.y1 <= figure.bbox.height, text.get_text()


def test_a_damaged_file_costs_its_figure_alone_and_is_named(runs, tmp_path):
    path = runs.folder / "_real/preview.npz"
    path.write_bytes(path.read_bytes()[:100])
    said = []
    written = figures.write(runs.read(), tmp_path, said.append)
    assert any(str(path) in line for line in said)
    assert str(path) in written[-1].read_text("utf-8").replace("\\", "")
    assert len(written) > 2
