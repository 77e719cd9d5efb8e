import json
import re
import shutil
import subprocess

import pytest

from cerebench.reports import latex, tex
from cerebench.reports.figures import every

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None,
    reason="pdflatex is not installed",
)
NAMES = [
    "made-up.tex",
    "made-up-diagnostics.tex",
    "made-up-table1.tex",
    "made-up-recipes.tex",
    "main.tex",
]
DOWNSTREAM = ["made-up-downstream.tex", "made-up-comparison.tex"]
PAPER = [f"made-up-table{number}.tex" for number in (1, 2, 5, 6, 7)]
QUOTED = {
    "table": "Table 2 (a)",
    "title": "classification & more",
    "columns": ["Method", "AUC", "F1_%"],
    "rows": [["3D-αWGAN", "0.70 ± 0.09", "0.59 ± 0.09"], ["3D-VQGAN", "0.72 ± 0.03", "—"]],
    "note": "p = .02 as printed.",
}
HOSTILE = r"_ % & # $ ~ ^ \ { } < > | \" ' ` -- α Σ × ± — – … é ñ Å ³ ₂ 中 [x] \input{y}"


def compiled(folder):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    return done.returncode, (folder / "main.log").read_text(encoding="latin-1")


def test_the_files_look_as_agreed(runs, tmp_path, golden):
    paths = latex.write(runs.read(), tmp_path, controls=True)
    assert [path.name for path in paths] == NAMES
    for path in paths:
        golden(path.name, path.read_text(encoding="utf-8"))


def test_siunitx_sets_every_number_of_a_cell(runs, tmp_path):
    paths = latex.write(runs.read(), tmp_path, siunitx=True, controls=True)
    text = paths[0].read_text()
    assert r"\num{1.720} $\pm$ \num{0.012}" in text
    assert r"\num{0.0} $\pm$ \num{1.2}" in text
    assert r"\num{-0.2} $\pm$ \num{0.4}" in text
    assert r"\usepackage{siunitx}" in paths[-1].read_text()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 5% #1 $x {y}", r"a\_b \& 5\% \#1 \$x \{y\}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("α Ω λ µ", r"$\alpha$ $\Omega$ $\lambda$ $\mu$"),
        ("128³ ×10⁻⁴", r"128\textsuperscript{3} $\times$10$^-$\textsuperscript{4}"),
        ("é ñ Č ø", r"\'{e} \~{n} \v{C} \o{}"),
        ("--help — –", "-{}-help --- --"),
        ("[x] *", "{[}x] *"),
        ("中", "{[}U+4E2D]"),
    ],
)
def test_a_string_is_escaped(text, escaped):
    assert tex.escape(text) == escaped


@needs_pdflatex
def test_the_document_compiles_without_overfull_boxes(three_seeds, tmp_path):
    latex.write(three_seeds.read(), tmp_path, controls=True)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log
    assert "Float too large" not in log


@needs_pdflatex
def test_a_table_of_many_methods_with_long_labels_fits_its_pages(runs, tmp_path):
    for number in range(8):
        label = f"3D-LDM, re-implemented from partial sources {number}"
        runs.method("wgan-gp", label)
        path = "ddpm-quick-89abcdef/seed-0/diagnosis/record.json"
        runs.contents["rows"][-1]["cells"][0]["diagnosis"] = path
    latex.write(runs.read(), tmp_path, controls=True)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log
    assert "Float too large" not in log


@needs_pdflatex
def test_notes_that_outgrow_the_page_of_their_table_follow_it_as_text(runs, tmp_path):
    path = runs.folder / "ddpm-quick-89abcdef/seed-0/score/ms-ssim@4567cdef.json"
    told = [f"remark {number} on how this was made, {'at length ' * 15}." for number in range(45)]
    rows = json.loads(path.read_text())["rows"]
    runs.edit(path.relative_to(runs.folder), rows=[row | {"notes": told} for row in rows])
    latex.write(runs.read(), tmp_path)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Float too large" not in log
    text = (tmp_path / "made-up.tex").read_text(encoding="utf-8")
    tables, _, notes = text.partition(r"\textbf{Note to Table~\ref{tab:made-up}.}")
    assert tables.count(r"\begin{table}") == tables.count(r"\end{table}") > 0
    assert "In the text." in tables
    assert [f"remark {number} on" in notes for number in range(45)] == [True] * 45
    assert "remark" not in tables
    assert r"\begin{table}" not in notes


@needs_pdflatex
def test_columns_of_large_powers_of_ten_stay_inside_the_page(runs, tmp_path):
    for path in runs.folder.glob("**/score/**/*@*.json"):
        rows = json.loads(path.read_text())["rows"]
        large = [row | {"value": 3.21e25, "se": 1.2e24} for row in rows]
        runs.edit(path.relative_to(runs.folder), rows=large)
    latex.write(runs.read(), tmp_path)
    status, log = compiled(tmp_path)
    assert status == 0
    assert r"$\times10^{25}$" in (tmp_path / "made-up.tex").read_text(encoding="utf-8")
    assert "Overfull" not in log


@needs_pdflatex
def test_hostile_strings_compile(runs, tmp_path):
    runs.contents["title"] = runs.contents["banner"] = HOSTILE
    runs.contents["rows"][0]["note"] = HOSTILE
    runs.contents["rows"][1]["source"] = f"https://example.org/{'a' * 200} {'f' * 64}"
    runs.contents["rows"][1]["label"] = "[x] & co"
    runs.contents["rows"][2]["label"] = "*_\\%"
    runs.fail("ddpm-quick-89abcdef/seed-0/train/LGG/record.json", HOSTILE)
    told = {"class": "LGG", "name": "a_b%", "meaning": HOSTILE, "values": {"test": [-1.0, 1e-9]}}
    runs.diagnose("wgan-gp")
    runs.edit("wgan-gp-quick-89abcdef/seed-0/diagnosis/record.json", diagnostics=[told])
    latex.write(runs.read(), tmp_path, controls=True)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log


def test_downstream_tables_have_a_file_each(classified, tmp_path, golden):
    paths = latex.write(classified.read(), tmp_path)
    names = [path.name for path in paths]
    assert names == [NAMES[0], *DOWNSTREAM, NAMES[1], *PAPER, *NAMES[3:]]
    for name in ("made-up-table2.tex", "made-up-table7.tex", "made-up-comparison.tex"):
        golden(name, (tmp_path / name).read_text(encoding="utf-8"))
    text = (tmp_path / "main.tex").read_text()
    assert all(rf"\input{{{name.removesuffix('.tex')}}}" in text for name in names[:-1])
    assert "Experiment 1 = exp1 (A. Author 2020, Table 2)" in (tmp_path / names[-2]).read_text()


@needs_pdflatex
def test_the_document_includes_the_figures_that_were_drawn(runs, tmp_path):
    experiment = runs.read()
    runs.contents["title"] = HOSTILE
    latex.write(experiment, tmp_path)
    status, log = compiled(tmp_path)
    assert (status, "made-up-slices.pdf" in log) == (0, False)
    every.write(runs.read(), tmp_path)
    for _ in range(2):
        status, log = compiled(tmp_path)
    assert status == 0
    assert "made-up-slices.pdf" in log
    assert not re.search(r"Overfull|Warning|Float too large", log)


def test_a_figure_that_is_too_large_for_a_page_is_set_smaller():
    texts = [
        latex.figure_float("a_b-c", "T.", "", size)
        for size in ((3.5, 2.0), (13.0, 4.0), (3.5, 16.0))
    ]
    assert [re.findall(r"scale=([\d.]+)", text) for text in texts] == [["1"], ["0.5"], ["0.5"]]
    assert r"\label{fig:a-b-c}" in texts[0]


def test_an_underline_lies_under_the_value_alone(seeded, tmp_path):
    latex.write(seeded.read(), tmp_path)
    text = (tmp_path / "made-up-table6.tex").read_text()
    assert len(re.findall(r"\\underline\{[\d.]+\} \$\\pm\$ [\d.]+", text)) == 5


def test_second_best_is_underlined_and_said(seeded, classified, tmp_path):
    latex.write(seeded.read(), tmp_path, siunitx=True)
    text = (tmp_path / "made-up-table6.tex").read_text()
    assert text.count(r"\underline{\num{") == 5
    assert text.count("Underlined: second best") == text.count(r"\begin{table}")
    latex.write(classified.read(), tmp_path)  # under a banner
    assert "Underlined" not in (tmp_path / "made-up-table6.tex").read_text()


def test_a_table_a_little_too_wide_is_set_smaller_in_place_of_a_second_panel(classified, tmp_path):
    name, counts = "made-up-table5.tex", []
    for more in (0, 28, 40):
        classified.contents["rows"][1]["label"] = "3D-WGAN-GP" + "x" * more
        latex.write(classified.read(), tmp_path)
        text = (tmp_path / name).read_text()
        sizes = [size for size in ("footnotesize", "scriptsize") if rf"\centering\{size}" in text]
        assert text.count(r"\begin{table}") == 1
        counts.append((*sizes, text.count(r"\begin{tabular}")))
    assert counts == [("footnotesize", 1), ("scriptsize", 1), ("footnotesize", 2)]


def words(text):
    """Count the words of a caption as they are read."""
    text = text.replace(r"$\pm$", "±").replace(r"\textsuperscript", "")
    return len(re.sub(r"\\\w+\*?|[$~]", " ", re.sub(r"[{}]", "", text)).split())


@needs_pdflatex
def test_captions_are_short_and_every_table_is_one_float(classified, tmp_path):
    classified.contents["title"] = "A sentence about numbers that were made up"
    latex.write(classified.read(), tmp_path, controls=True)
    paths = [path for path in tmp_path.glob("made-up*.tex") if path.stem != "made-up-recipes"]
    assert len(paths) > 5
    for path in paths:
        text = path.read_text(encoding="utf-8")
        captions = re.findall(r"^\\caption\{(.*)\}$", text, re.MULTILINE)
        assert captions
        assert max(map(words, captions)) <= 60, path.name
        assert len(captions) == 1 or path.stem == "made-up"
        assert text.count(r"\textit{Note.}") == 1


@needs_pdflatex
def test_the_main_table_of_seven_methods_has_at_most_four_floats(three_seeds, tmp_path):
    for number in range(3):
        three_seeds.method("wgan-gp", f"Medical Diffusion-C {number}")
    for number in range(5):  # of three views each: as wide as the metrics of midl2024
        copy = dict(three_seeds.contents["metrics"][-2])
        three_seeds.contents["metrics"].append(copy | {"name": f"fd-{number}", "label": "FD[x]"})
    latex.write(three_seeds.read(), tmp_path)
    text = (tmp_path / "made-up.tex").read_text(encoding="utf-8")
    assert 1 < text.count(r"\begin{table}") <= 4
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log
    assert "Float too large" not in log


def test_published_numbers_have_a_file_only_when_asked_for(classified, tmp_path):
    classified.contents["published"] = [QUOTED]
    classified.contents["cite"] = "A. Author, Venue 2024"
    without = latex.write(classified.read(), tmp_path / "without")
    assert not any(r"0.70 $\pm$ 0.09" in path.read_text() for path in without)
    paths = latex.write(classified.read(), tmp_path / "with", published=True)
    text = next(p for p in paths if p.name == "made-up-published.tex").read_text()
    assert "reported in the paper, not made here" in text
    assert r"3D-$\alpha$WGAN & 0.70 $\pm$ 0.09 & 0.59 $\pm$ 0.09" in text
    assert "A. Author, Venue 2024" in text
    assert "textbf{0" not in text
    for path in without:  # nothing of ours is different beside them
        if path.name != "main.tex":
            assert path.read_text() == (tmp_path / "with" / path.name).read_text()


@needs_pdflatex
@pytest.mark.parametrize("siunitx", [False, True])
def test_paper_tables_compile_without_overfull_boxes(classified, tmp_path, siunitx):
    if siunitx and not subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True).stdout:
        pytest.skip("siunitx is not installed")
    classified.contents["published"] = [QUOTED]
    for row in classified.contents["rows"]:
        row["label"] += " (a)"  # as wide as the smaller size can hold
    classified.contents["rows"][1]["label"] = "Medical Diffusion-C-50 (under-trained)"
    latex.write(classified.read(), tmp_path, siunitx=siunitx, published=True)
    assert r"\centering\scriptsize" in (tmp_path / "made-up-table5.tex").read_text()
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log
    assert "Float too large" not in log


def test_controls_are_left_out_unless_asked_for(runs, tmp_path):
    texts = [
        latex.write(runs.read(), tmp_path / str(controls), controls=controls)[0].read_text()
        for controls in (False, True)
    ]
    assert ["training copies" in text for text in texts] == [False, True]
    assert all("real, held out" in text for text in texts)
