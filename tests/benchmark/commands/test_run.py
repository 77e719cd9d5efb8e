import pytest

from cerebench.benchmark.commands.run import chosen_experiment


@pytest.mark.parametrize(
    ("name", "changes", "title"),
    [
        ("quickstart", {"seeds": [1, 2], "methods": "all"}, "Quickstart: every method on"),
        ("quickstart", {"methods": "vqgan,mine"}, "quickstart: methods vqgan, mine"),
        (
            "midl2024",
            {"dataset": "phantom", "preset": "quick", "protocols": ["exp1"]},
            "midl2024: on phantom; preset quick; protocols exp1",
        ),
        ("midl2024", {"protocols": []}, "midl2024: protocols none"),
    ],
)
def test_a_title_fits_what_is_run(name, changes, title):
    assert chosen_experiment(name, settings=[], **changes).title.startswith(title)
