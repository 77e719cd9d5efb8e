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
