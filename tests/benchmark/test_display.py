"""What people see while a run goes on."""

import io
import re

import pytest
from rich.console import Console

from cerebench.benchmark import display
from cerebench.benchmark.display import Left, Position


def console(width=100, **options):
    return Console(file=io.StringIO(), width=width, **options)


@pytest.fixture
def now(monkeypatch):
    """Return the time, as a list of one number that a test sets."""
    time = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: time[0])
    return time


class Run:
    """A run whose stage 20 of 41 is at work; keeps what it was told of the stage."""

    def __init__(self, least=False):
        self.least, self.told = least, []

    def position(self, left, *, whole):
        self.told.append((left, whole))
        return Position(20, 41, 312.0, Left(left, self.least), Left(660.0, self.least))


def test_plain_lines_appear_per_stage_and_per_interval(now):
    out = console()
    shown = display.choose(out)
    assert type(shown) is display.Plain
    with shown.task("train LGG") as task:
        for step in range(10):
            now[0] += 2.0
            task.update(step, 10, "loss 0.5")
    shown.ended("train LGG", "done", 20.0)
    lines = out.file.getvalue().splitlines()
    assert lines == [
        "train LGG · 7/10, 0:16, about 6 s left · loss 0.5",
        "train LGG · done · 20.0 s",
    ]


def test_an_interval_goes_on_over_short_stages_and_tells_the_run_s_position(now):
    out = console()
    shown = display.choose(out)
    for number in range(1, 5):
        with shown.task(f"train {number}", Run()) as task:
            for step in range(5):
                now[0] += 1.0
                task.update(step, 5, "loss 0.5 · penalty 2", "adversarial")
    assert out.file.getvalue().splitlines() == [
        "train 3 · adversarial · 4/5, 0:05, about 1 s left · stage 20 of 41, 5:12, "
        "about 11 min left · loss 0.5 · penalty 2"
    ]


def test_the_speed_is_that_of_this_session_and_of_the_part_at_work(now):
    run = Run()
    counted = display._Counted("train", run)
    for done, total, part, expected in (
        (901, 1000, "first", None),  # 900 steps were done before: no speed yet
        (911, 1000, "first", 89.0),
        (1, 50, "second", None),
        (3, 50, "second", 235.0),
    ):
        now[0] += 10.0
        counted.update(done, total, "", part)
        counted.position()
        assert run.told[-1] == (expected, False)
    now[0] += 35.0  # a step that takes its time
    counted.position()
    assert run.told[-1] == (200.0, False)


TITLE = "medical-diffusion-c · seed 0 · train HGG"
LOSSES = "total 0.123 · pixel 0.045 · gradient 1.23 · matching 0.567 · commitment 0.0123"


def screen(width, now, least=True, title=TITLE, **options):
    """Return the lines that a terminal of this width shows of a stage at work."""
    out = console(width, force_terminal=True, color_system=None, **options)
    counted = display._Counted(title, Run(least))
    for seconds, done in ((4000, 6000), (2, 6001)):
        now[0] += seconds
        counted.update(done, 12000, LOSSES, "autoencoder")
    out.print(display._Bars(counted, out)())
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
@pytest.mark.parametrize("least", [True, False])
def test_bars_count_and_times_of_stage_and_run_fit_every_terminal(width, least, now):
    title, stage, run = screen(width, now, least)
    about = "at least about" if least else "about"
    assert title.startswith(f"{TITLE} · autoencoder")
    assert re.fullmatch(rf"━━━+╸? +6001/12000 +1:06:42  {about} 3.5 h left", stage)
    assert re.fullmatch(rf"━━━+╸? +stage 20 of 41 +5:12  {about} 11 min left", run)
    # A "^C" that the terminal writes behind the last line must not wrap.
    assert max(map(len, (title, stage, run))) <= width - 2


def test_losses_stand_only_where_they_have_room(now):
    told = {width: screen(width, now)[0] for width in (80, 100, 160)}
    assert told[80] == f"{TITLE} · autoencoder · total 0.123"
    assert told[100] == f"{TITLE} · autoencoder · total 0.123 · pixel 0.045"
    assert told[160] == f"{TITLE} · autoencoder · {LOSSES}"


def test_a_title_that_is_too_long_is_cut(now):
    title, stage, _ = screen(60, now, title="x" * 100)
    assert title.endswith("…")
    assert len(title) <= 60
    assert "6001/12000" in stage


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt, ValueError])
def test_nothing_of_a_bar_stays_whatever_ends_the_stage(raised, now):
    out = console(force_terminal=True)
    try:
        with display.Live(out).task("train", Run()) as task:
            task.update(1, 10)
            if raised:
                raise raised
    except (KeyboardInterrupt, ValueError):
        pass
    out.print("next")
    written = out.file.getvalue()
    assert "train" in written
    # Three lines were drawn; as many are wiped, and the cursor is visible again.
    *_, last = written.rpartition("1/10")
    assert last.count("\x1b[2K") == 3
    assert "\x1b[?25h" in last
    assert last.endswith("next\n")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "1 s"), (9.4, "9 s"), (9.6, "10 s"), (97, "95 s"), (98, "2 min"), (5940, "99 min"),
     (5980, "1.5 h"), (35_000, "9.5 h"), (35_200, "10 h"), (170_000, "47 h"), (172_000, "2 days")],
)  # fmt: skip
def test_a_time_that_is_not_known_well_has_few_digits(seconds, told):
    assert display.roughly(seconds) == told


def test_a_failure_shows_its_reason_and_markup_prints_as_itself():
    out = console()
    display.Plain(out).ended("train [bold]", "failed", 1.0, "ValueError: [red] is no colour")
    assert out.file.getvalue() == (
        "train [bold] · failed · 1.0 s\n  ValueError: [red] is no colour\n"
    )


def test_a_status_without_a_style_is_printed_like_others():
    out = console()
    display.Plain(out).ended("train", "to be repeated", 1.0)
    assert out.file.getvalue() == "train · to be repeated · 1.0 s\n"


def test_a_terminal_gets_the_live_display_and_a_dumb_one_does_not(monkeypatch):
    assert type(display.choose(console(force_terminal=True))) is display.Live
    monkeypatch.setenv("TERM", "dumb")
    assert type(display.choose(console(force_terminal=True))) is display.Plain


def test_silent_says_nothing(capsys):
    shown = display.choose(Console(), silent=True)
    with shown.task("x", Run()) as task:
        task.update(1, 2)
    shown.say("x")
    shown.ended("x", "done", 1.0)
    assert capsys.readouterr().out == ""
