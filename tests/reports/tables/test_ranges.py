import pytest

from cerebench.reports.tables.ranges import ends, within


def test_a_share_never_leaves_its_range():
    assert within(0.0, 1.1, ends("prdc-radlite-v2", "recall")) == "0.0 [0.0, 1.0]"
    assert within(0.98, 0.05, (0.0, 1.0)) == "0.980 [0.930, 1.000]"
    assert within(0.5, 0.1, (0.0, 1.0)) == "0.50 ± 0.10"
    assert within(98.0, 5.0, ends("authpct", "")).endswith("100.0]")


@pytest.mark.parametrize(("metric", "view"), [("prdc-a", "density"), ("fd-a", ""), ("kid", "")])
def test_what_has_no_range_keeps_its_error(metric, view):
    assert within(0.0, 1.1, ends(metric, view)) == "0.0 ± 1.1"


def test_without_an_error_there_is_no_interval():
    assert within(0.0, None, (0.0, 1.0)) == "0"
