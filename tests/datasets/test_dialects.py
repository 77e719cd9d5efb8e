"""Tables are read whatever stands between their cells and encodes them, or called what they are."""

import pytest

from cerebench.datasets.base import DatasetError
from cerebench.datasets.dialects import REST, read_cells

TEXT = "case_id,note\nA,one\nB,zwei ü\n"
ROWS = ((2, {"case_id": "A", "note": "one"}), (3, {"case_id": "B", "note": "zwei ü"}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["table.csv", "table.TSV"])
def test_every_dialect_gives_the_same_cells(tmp_path, encoding, ending, delimiter, name):
    text = TEXT.replace(",", delimiter).replace("\n", ending)
    (tmp_path / name).write_bytes(text.encode(encoding))
    cells = read_cells(tmp_path / name)
    assert cells.columns == ("case_id", "note")
    assert cells.rows == ROWS


def test_a_comma_within_a_cell_separates_nothing(tmp_path):
    (tmp_path / "t.csv").write_text('case_id;note\n"A";"a; b, c"\n')
    assert read_cells(tmp_path / "t.csv").rows == ((2, {"case_id": "A", "note": "a; b, c"}),)


def test_cells_behind_the_last_column_are_kept_apart(tmp_path):
    (tmp_path / "t.csv").write_text("case_id\nA,1,2\n")
    assert read_cells(tmp_path / "t.csv").rows == ((2, {"case_id": "A", REST: "1,2"}),)


def test_a_cell_made_harmless_says_again_what_it_said(tmp_path):
    (tmp_path / "t.csv").write_text("case_id,note\n'=A,'quoted'\n")
    assert read_cells(tmp_path / "t.csv").rows == ((2, {"case_id": "=A", "note": "'quoted'"}),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04rest", r"t\.csv is a workbook, not a table of text\. Save it as CSV"),
        (TEXT.encode("utf-16-le"), r"t\.csv is no UTF-8 text, or a binary file\. Save it"),
        (b"case_id\n" + b"x" * 200_000, r"t\.csv cannot be read: field larger than field limit"),
    ],
)
def test_what_is_no_table_is_called_what_it_is(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        read_cells(tmp_path / "t.csv")
