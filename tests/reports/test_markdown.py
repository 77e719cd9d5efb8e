from cerebench.reports import markdown


def test_the_file_looks_as_agreed(runs, tmp_path, golden):
    (path,) = markdown.write(runs.read(), tmp_path / "out")
    golden("made-up.md", path.read_text(encoding="utf-8"))


def test_a_hostile_label_stays_in_its_cell(runs, tmp_path):
    runs.contents["rows"][1]["label"] = "a|b *c* <b>d</b> [e](http://f) `g`"
    (path,) = markdown.write(runs.read(), tmp_path)
    line = next(x for x in path.read_text().splitlines() if x.startswith("| a"))
    assert line.startswith(r"| a\|b \*c\* &lt;b&gt;d&lt;/b&gt; [e\](http://f) \`g\` |")


def test_every_line_of_a_table_has_as_many_cells(runs, tmp_path):
    (path,) = markdown.write(runs.read(), tmp_path)
    tables = path.read_text().split("\n\n")
    tables = [table.splitlines() for table in tables if table.startswith("|")]
    assert tables
    for table in tables:
        assert len({line.count("|") for line in table}) == 1


def test_downstream_and_published_tables_follow_the_main_one(classified, tmp_path):
    quoted = {"table": "Table 2 (a)", "title": "classification", "columns": ["Method", "AUC"]}
    quoted |= {"rows": [["a|b", "0.72 ± 0.03"]], "note": ""}
    classified.contents["published"] = [quoted]
    (path,) = markdown.write(classified.read(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "0.72 ± 0.03" not in text
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles[2:4] == [
        "## Downstream classification",
        "## Downstream classification: difference from 3D-WGAN-GP",
    ]
    assert text.count("better; quick classifier: resnet10, few epochs (4 + 8)**") == 2
    assert "- Experiment 1 = exp1 (A. Author 2020, Table 2), preset quick." in text
    (path,) = markdown.write(classified.read(), tmp_path, published=True)
    assert "> **reported in the paper, not made here**" in path.read_text(encoding="utf-8")
    assert r"| a\|b | 0.72 ± 0.03 |" in path.read_text(encoding="utf-8")
