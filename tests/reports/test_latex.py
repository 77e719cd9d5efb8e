import shutil
import subprocess

import pytest

from cerebench.reports import latex

needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None,
    reason="pdflatex is not installed",
)
NAMES = ["made-up.tex", "made-up-diagnostics.tex", "made-up-protocol.tex", "main.tex"]
HOSTILE = r"_ % & # $ ~ ^ \ { } < > | \" ' ` -- α Σ × ± — – … é ñ Å ³ ₂ 中 [x] \input{y}"


def compiled(folder):
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    return done.returncode, (folder / "main.log").read_text(encoding="latin-1")


def test_the_files_look_as_agreed(runs, tmp_path, golden):
    paths = latex.write(runs.read(), tmp_path, anchors=True)
    assert [path.name for path in paths] == NAMES
    for path in paths:
        golden(path.name, path.read_text(encoding="utf-8"))


def test_siunitx_sets_every_number_of_a_cell(runs, tmp_path):
    paths = latex.write(runs.read(), tmp_path, siunitx=True, anchors=True)
    text = paths[0].read_text()
    assert r"\num{1.720} $\pm$ \num{0.012}" in text
    assert r"\textbf{\num{5.0e-5} $\pm$ \num{1.2}}" in text
    assert r"\num{-0.21} $\pm$ \num{0.40}" in text
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
    assert latex.escape(text) == escaped


@needs_pdflatex
def test_the_document_compiles_without_overfull_boxes(three_seeds, tmp_path):
    latex.write(three_seeds.read(), tmp_path, anchors=True)
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
    latex.write(runs.read(), tmp_path, anchors=True)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log
    assert "Float too large" not in log


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
    latex.write(runs.read(), tmp_path, anchors=True)
    status, log = compiled(tmp_path)
    assert status == 0
    assert "Overfull" not in log


def test_controls_are_left_out_unless_asked_for(runs, tmp_path):
    texts = [
        latex.write(runs.read(), tmp_path / str(anchors), anchors=anchors)[0].read_text()
        for anchors in (False, True)
    ]
    assert ["training copies" in text for text in texts] == [False, True]
    assert all("real, held out" in text for text in texts)
