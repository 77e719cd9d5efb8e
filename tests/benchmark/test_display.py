"""What people see while a run goes on."""

import io

from rich.console import Console

from cerebench.benchmark import display


def console(**options):
    return Console(file=io.StringIO(), width=100, **options)


def test_plain_lines_appear_per_stage_and_per_interval(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    out = console()
    shown = display.choose(out)
    assert type(shown) is display.Plain
    with shown.task("train LGG") as task:
        for step in range(10):
            now[0] += 2.0
            task.update(step, 10, "loss 0.5")
    shown.ended("train LGG", "done", 20.0)
    lines = out.file.getvalue().splitlines()
    assert lines == ["train LGG · 7/10 loss 0.5", "train LGG · done · 20.0 s"]


def test_a_failure_shows_its_reason_and_markup_prints_as_itself():
    out = console()
    display.Plain(out).ended("train [bold]", "failed", 1.0, "ValueError: [red] is no colour")
    assert out.file.getvalue() == (
        "train [bold] · failed · 1.0 s\n  ValueError: [red] is no colour\n"
    )


def test_a_terminal_gets_the_live_display_and_a_dumb_one_does_not(monkeypatch):
    assert type(display.choose(console(force_terminal=True))) is display.Live
    monkeypatch.setenv("TERM", "dumb")
    assert type(display.choose(console(force_terminal=True))) is display.Plain


def test_silent_says_nothing(capsys):
    shown = display.choose(Console(), silent=True)
    with shown.task("x") as task:
        task.update(1, 2)
    shown.say("x")
    shown.ended("x", "done", 1.0)
    assert capsys.readouterr().out == ""
