import tomllib
from importlib.resources import files

import pytest

from cerebench.methods import BUILTIN
from cerebench.reports.tables.published import build_published_tables

NAMES = ("midl2024", "midl2024-topk", "midl2024-neighbours")


def quoted(name):
    path = files("cerebench.benchmark") / "experiments" / f"{name}.toml"
    return {told["table"]: told for told in tomllib.loads(path.read_text("utf-8"))["published"]}


def rows(told):
    """Return numbers by method and column; of '0.66 ± 0.03' and '93.4 (8.1)' both."""
    numbers = str.maketrans({"±": " ", "(": " ", ")": " "})
    return {
        (label, column): tuple(map(float, text.translate(numbers).split()))
        for label, *texts in told["rows"]
        for column, text in zip(told["columns"][1:], texts, strict=True)
    }


def test_every_table_of_the_paper_is_quoted_once():
    assert [table for name in NAMES for table in quoted(name)] == [
        "Table 1, LGG",
        "Table 1, HGG",
        "Table 2 (a)",
        "Table 2 (b)",
        "Table 5",
        "Table 6",
        "Table 7",
        "Table 3",
        "Table 4",
    ]


@pytest.mark.parametrize(("class_", "real"), [("LGG", 85.3), ("HGG", 88.6)])
def test_distances_to_the_real_ms_ssim_fit_the_printed_values(class_, real):
    told = quoted("midl2024")[f"Table 1, {class_}"]
    pairs = [pair for (_, column), pair in rows(told).items() if column == "MS-SSIM (%)"]
    assert len(pairs) == 7
    for value, distance in pairs:
        assert abs(value - real) == pytest.approx(distance, abs=1e-9)
    assert str(real) in told["note"]


@pytest.mark.parametrize(("name", "least"), [("midl2024-topk", 3), ("midl2024-neighbours", 2)])
def test_the_ablations_have_their_distances_too(name, least):
    (told,) = quoted(name).values()
    for class_, real in (("LGG", 85.3), ("HGG", 88.6)):
        column = f"{class_} MS-SSIM (%)"
        pairs = [pair for (_, where), pair in rows(told).items() if where == column]
        assert len(pairs) == least
        for value, distance in pairs:
            assert abs(value - real) == pytest.approx(distance, abs=1e-9)


def test_methods_are_spelled_as_the_suite_has_them():
    own = {facts["label"] for _, facts in BUILTIN.values()} | {"Trad. Aug."}
    printed = {row for told in quoted("midl2024").values() for row, *_ in told["rows"]}
    assert printed - own == {"MedicalNet (ResNet-34)"}


def test_table_2_agrees_with_tables_5_and_6_but_for_the_two_known_places():
    told = quoted("midl2024")
    differing = {
        place
        for part, whole in (("Table 2 (a)", "Table 5"), ("Table 2 (b)", "Table 6"))
        for place, pair in rows(told[part]).items()
        if rows(told[whole])[place] != pair
    }
    assert differing == {("3D-Med-DDPM", "AUC"), ("Medical Diffusion", "F1")}


def test_printed_precision_and_recall_fit_the_printed_f1_of_the_proposed_method():
    told = rows(quoted("midl2024")["Table 5"])
    precision, recall = (told["3D-VQGAN-cond", column][0] for column in ("Prec", "Rec"))
    f1 = 2 * precision * recall / (precision + recall)
    assert f1 == pytest.approx(told["3D-VQGAN-cond", "F1"][0], abs=0.01)


def test_ablations_repeat_the_row_of_the_proposed_method():
    proposed = [rows(quoted("midl2024")[f"Table 1, {c}"]) for c in ("LGG", "HGG")]
    for name, label in (("midl2024-topk", "top-k 25%"), ("midl2024-neighbours", "single-sided")):
        (told,) = quoted(name).values()
        found = [pair[0] for (row, _), pair in rows(told).items() if row == label]
        assert found == [
            one["3D-VQGAN-cond", column][0]
            for one in proposed
            for column in ("MMD (10⁴)", "MS-SSIM (%)")
        ]


def test_a_table_is_shown_as_printed_in_its_order_without_bold(runs):
    runs.contents["published"] = [{"note": ""} | told for told in quoted("midl2024").values()]
    runs.contents["cite"] = "Zhou and Khalvati, MIDL 2024"
    tables = build_published_tables(runs.read())
    assert len(tables) == 7
    assert {table.banner for table in tables} == {"reported in the paper, not made here"}
    (block,) = tables[0].blocks
    assert [row.label for row in block.rows][-1] == "3D-VQGAN-cond"
    assert block.rows[-1].cells[1].text == "87.9 (2.6)"
    assert not any(cell.bold or cell.second for row in block.rows for cell in row.cells)
    assert all("Zhou and Khalvati, MIDL 2024" in table.caption for table in tables)
