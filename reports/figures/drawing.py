"""What all figures share: width, colours, headings, axes, panels without content, the files."""

from __future__ import annotations

import hashlib
import io
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cerebench.core.files import replacing
from cerebench.core.hashing import sha256_bytes
from cerebench.core.records.base import Misfit
from cerebench.core.records.files import read
from cerebench.core.records.rows import CONTROL_KIND, RowEntry
from cerebench.core.records.scored import DiagnosisRecord, FiguresRecord
from cerebench.reports.base import RecordedExperiment, ReportError
from cerebench.reports.formatting import plain, tick
from cerebench.reports.tables.notes import provenance
from cerebench.reports.values.marks import marked_labels, marks
from cerebench.reports.values.tidy import broken, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Scalar = TypeVar("Scalar", bound=np.generic)
WAY_UP = "front up, patient's right on the left"
COLUMN = 3.5  # inches: a column of a two-column page, in which figures are read unscaled
LABELS = 0.82  # inches that the names of rows take
TITLE, TEXT, SMALL = 7.5, 6.5, 5.5  # points
LINE = 1.25  # distance of two lines, in font sizes
HEADING, FOOT, WARNING = "heading", "foot", "banner"  # marks of text above and below the panels
CONTINUED = "continued"  # after a mark: the line goes on from the one above
EDGE = 0.05  # inches between text and the edge of the figure
REAL, CONTROL, BANNER = "#000000", "#767676", "#A40000"


@dataclass(frozen=True)
class Style:
    """How a method looks in every figure."""

    colour: str
    marker: str


# Okabe and Ito 2008 without black, which is for real volumes, then four more chosen to stay apart
# from them and from each other under simulated colour blindness (Machado et al. 2009, severity 1).
METHODS: dict[str, Style] = {
    "wgan-gp": Style("#E69F00", "o"),
    "alpha-wgan": Style("#56B4E9", "s"),
    "vqgan": Style("#009E73", "^"),
    "vqgan-cond": Style("#D55E00", "*"),
    "med-ddpm": Style("#CC79A7", "D"),
    "medical-diffusion": Style("#0072B2", "v"),
    "medical-diffusion-c": Style("#F0E442", "P"),
    "wgan-gp-c": Style("#661100", "X"),
    "alpha-wgan-c": Style("#332288", "p"),
    "med-ddpm-mask": Style("#A6E3C8", "h"),
    "med-ddpm-c": Style("#882255", "<"),
}


def styles(rows: Sequence[RowEntry]) -> list[Style]:
    """Return one style a row of the table of contents, the same in every figure.

    Methods of ``METHODS`` have theirs. Any other row, or a second row of one method, starts at a
    place that the hash of its name and preset gives, and takes the next colour and marker from
    there that no other row has; after as many rows as colours, combinations repeat a colour.
    """
    colours, markers = ([getattr(s, f) for s in METHODS.values()] for f in ("colour", "marker"))
    chosen: list[Style | None] = [None] * len(rows)
    for i, row in enumerate(rows):
        style = METHODS.get(row.name) if row.kind == "method" else None
        chosen[i] = None if style in chosen else style
        if row.kind == CONTROL_KIND:
            chosen[i] = Style(REAL if row.role == "floor" else CONTROL, "")
    everything = [Style(c, m) for shift in range(len(colours)) for c, m in zip(
        colours, markers[shift:] + markers[:shift], strict=True)]  # fmt: skip
    for i, row in enumerate(rows):
        if chosen[i] is None:
            name = f"{row.name} {row.preset}"
            start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % len(everything)
            ahead = everything[start:] + everything[:start]
            used = {s.colour for s in chosen if s}, {s.marker for s in chosen if s}
            free = [s for s in ahead if s not in chosen]
            apart = [s for s in free if s.colour not in used[0] and s.marker not in used[1]]
            chosen[i] = (apart or free or ahead)[0]
    return [style for style in chosen if style is not None]


def radiological(image: NDArray[Scalar]) -> NDArray[Scalar]:
    """Turn an axial slice (H, W) of a RAS+ volume so that row 0 is the front and column 0 right."""
    return image[::-1, ::-1]


def text_width(text: str, points: float) -> float:
    """Estimate the width of a line in inches; DejaVu Sans is 0.49 of its size wide on average."""
    return len(text) * 0.53 * points / 72


def wrap(text: str, width: float, points: float) -> list[str]:
    """Break a text into lines of at most ``width`` inches in a font of ``points``."""
    letters = max(8, int(width / text_width("x", points)))
    return textwrap.wrap(text, letters, break_on_hyphens=False)


def canvas(
    experiment: RecordedExperiment,
    title: str,
    facts: Sequence[str],
    *,
    body: float,
    left: float = LABELS,
    right: float = 0.1,
    above: float = 0.2,
    below: float = 0.1,
    foot: Sequence[str] = (),
    width: float = COLUMN,
    source: str = "",
) -> tuple[Figure, dict[str, float]]:
    """Open a figure with its heading and, at the bottom, what is missing from it.

    The heading holds what the figure shows, the title of the experiment, facts that a reader
    needs, data, preset, seeds and versions and, in red, the banner of the experiment. ``save``
    leaves all but the banner out: a paper has a caption for them, as ``caption`` returns it.

    Args:
        experiment: Its title and banner are shown.
        title: What the figure shows.
        facts: Sentences under the title.
        body: Height of all panels, inches.
        left: Margin beside the panels for ticks and labels, inches.
        right: As ``left``.
        above: Margin between heading and panels, inches.
        below: Margin under the panels for ticks, labels and a legend, inches.
        foot: Sentences at the bottom.
        width: Of the figure, inches.
        source: Which data were used, in place of those of the experiment.

    Returns:
        The figure and the place of its panels, as ``add_gridspec`` takes it.
    """
    from matplotlib.figure import Figure

    banner = plain(experiment.contents.banner or "")
    name = plain(experiment.contents.title or experiment.contents.name)
    parts = [(title, TITLE, "black", HEADING), (name, TEXT, "0.3", HEADING)]
    sentences = (*facts, source or provenance(experiment.contents))
    parts += [(fact, SMALL, "0.3", HEADING) for fact in sentences]
    parts += [(banner, SMALL, BANNER, WARNING)] * bool(banner)
    head = [(wrap(text, width - 2 * EDGE, p), p, *look) for text, p, *look in parts]
    tail = [(wrap(text, width - 2 * EDGE, SMALL), SMALL, "0.3", FOOT) for text in foot]
    top, bottom = (
        sum(len(lines) * p * LINE / 72 for lines, p, *_ in part) + EDGE for part in (head, tail)
    )
    height = top + above + body + below + bottom
    figure = Figure(figsize=(width, height))
    for part, start in ((head, height - EDGE), (tail, bottom)):
        y = start
        for lines, points, colour, mark in part:
            for number, line in enumerate(lines):
                figure.text(
                    EDGE / width,
                    y / height,
                    line,
                    gid=f"{mark} {CONTINUED}" if number else mark,
                    ha="left",
                    va="top",
                    fontsize=points,
                    color=colour,
                    parse_math=False,
                )
                y -= points * LINE / 72
    sides = {"left": left / width, "right": 1 - right / width}
    ends = {"top": 1 - (top + above) / height, "bottom": (bottom + below) / height}
    return figure, sides | ends


def parts(figure: Figure) -> list[str]:
    """Return the parts of heading and foot of a figure, each with a full stop; its title first."""
    whole: list[str] = []
    for text in figure.texts:
        if (text.get_gid() or "").endswith(CONTINUED):
            whole[-1] += f" {text.get_text()}"
        else:
            whole.append(text.get_text())
    return [part.rstrip(".") + "." for part in whole]


def caption(figure: Figure) -> str:
    """Return heading and foot of a figure as one line."""
    return " ".join(parts(figure))


def frame(axes: Axes, label: str = "") -> None:
    """Remove the ticks of a panel; a label stands to its left."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_linewidth(0.4)
    if label:
        name(axes, label)


def name(axes: Axes, label: str) -> None:
    """Write the name of a row to the left of its first panel."""
    text = "\n".join(
        part for line in label.split("\n") for part in wrap(line, LABELS - 0.15, SMALL)
    )
    place = {"rotation": 0, "ha": "right", "va": "center"}
    axes.set_ylabel(text, fontsize=SMALL, labelpad=3, parse_math=False, **place)


def head(axes: Axes, text: str) -> None:
    """Write the name of a column over its first panel."""
    text = "\n".join(plain(line) for line in text.split("\n"))
    axes.set_title(text, fontsize=TEXT, pad=3, parse_math=False)


def size_in_inches(axes: Axes) -> tuple[float, float]:
    """Return width and height of a panel, inches."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # a panel is always added to a figure first
    box = axes.get_position()
    return box.width * figure.get_figwidth(), box.height * figure.get_figheight()


def blank(axes: Axes, reason: str) -> None:
    """Fill a panel with the reason why it shows nothing, cut to what the panel can hold."""
    axes.set_facecolor("0.95")
    width, height = size_in_inches(axes)
    lines = wrap(reason, width, SMALL)
    room = max(1, int(height * 72 / (SMALL * LINE)))
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1][:-1] + "…"]
    place = {"ha": "center", "va": "center", "transform": axes.transAxes}
    text = "\n".join(lines)
    axes.text(0.5, 0.5, text, fontsize=SMALL, color="0.3", parse_math=False, **place)


def plot_axes(axes: Axes) -> None:
    """Give a panel thin lines, small ticks and no lid."""
    axes.tick_params(labelsize=SMALL, length=2, width=0.4, pad=1.5)
    axes.spines[:].set_linewidth(0.4)
    axes.spines[["top", "right"]].set_visible(False)


def log_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Make an axis logarithmic, at least a decade long, with 1, 2 and 5 as numbers.

    Args:
        axes: The panel.
        which: ``x`` or ``y``.
        values: What the axis must hold, all > 0.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(values) / 1.3, max(values) * 1.3
    stretch = max(1.0, (10 * low / high) ** 0.5)
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low / stretch, high * stretch)
    axis = getattr(axes, f"{which}axis")
    long = high / low > 300
    axis.set_major_locator(LogLocator(subs=(1.0,) if long else (1.0, 2.0, 5.0), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axis.set_minor_locator(NullLocator())


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Move rising heights in [0, 1] up, then down from the top, until they are ``gap`` apart."""
    places = list(heights)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    top = max(1.0, heights[-1]) if heights else 1.0
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], top)
        top = places[i] - gap
    return places


def levels_width(lines: Sequence[tuple[float, str, str]]) -> float:
    """Return the inches that the names of ``levels`` take beside a panel."""
    texts = [text if y > 0 else _off_axis(text, y) for y, text, _ in lines]
    return max((text_width(text, SMALL - 0.5) + 0.2 for text in texts), default=0.1)


def _off_axis(text: str, y: float) -> str:
    return f"↓ {text}: {y:g}"


def levels(axes: Axes, lines: Sequence[tuple[float, str, str]]) -> None:
    """Draw dotted lines across a panel with their names at its right, apart from each other.

    One that a logarithmic axis cannot hold is named, with its value, at the lower end. To be called
    when the limits of the panel are final.

    Args:
        axes: The panel.
        lines: Height, name and colour of each.
    """
    lines = sorted(lines)
    inside = axes.transData + axes.transAxes.inverted()
    names, heights = [], []
    for y, text, colour in lines:
        held = axes.get_yscale() == "linear" or y > 0
        if held:
            axes.axhline(y, zorder=0, color=colour, linestyle=":", linewidth=0.7)
        names.append(text if held else _off_axis(text, y))
        heights.append(float(inside.transform((1, y))[1]) if held else 0.0)
    _, high = size_in_inches(axes)
    apart = spread_out(heights, 6.5 / 72 / high)
    for (_, _, colour), text, at, height in zip(lines, names, heights, apart, strict=True):
        stroke = {"linewidth": 0.3, "color": colour, "shrinkA": 0, "shrinkB": 0}
        axes.annotate(
            text,
            (1, at),
            (1.05, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=SMALL - 0.5,
            color=colour,
            va="center",
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), **stroke},
        )


def legend_height(entries: int) -> float:
    """Return the inches that ``legend`` takes."""
    return -(-entries // 2) * 0.13 + 0.05


def legend(
    figure: Figure, entries: Sequence[tuple[str, Style]], bottom: float, below: float
) -> None:
    """Name markers in two columns under the panels.

    Args:
        figure: Where to write.
        entries: Label and style of each.
        bottom: Lower end of the panels, fraction of the figure.
        below: Inches between it and the legend, for ticks and the name of the axis.
    """
    width, height = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, 1), gid="legend")
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    down = -(-len(entries) // 2)
    for i, (label, style) in enumerate(entries):
        x = 0.3 + (width / 2 - 0.1) * (i // down)
        y = bottom * height - below - 0.13 * (i % down)
        points(axes, x, y, style)
        axes.text(x + 0.08, y, label, fontsize=SMALL, va="center", parse_math=False)


def points(axes: Axes, x: Any, y: Any, style: Style, size: float = 4.5, **changes: Any) -> None:
    """Draw markers of a method with a dark edge, which keeps pale colours visible."""
    plot = partial(
        axes.plot,
        marker=style.marker,
        markersize=size * 1.35 if style.marker == "*" else size,
        color=style.colour,
        linestyle="none",
        markeredgecolor="0.2",
        markeredgewidth=0.35,
    )
    plot(x, y, **changes)


def line(draw: Callable[..., Any], x: Any, y: Any, style: Style, **changes: Any) -> None:
    """Draw a line of a method over a darker one, which keeps pale colours visible.

    Args:
        draw: ``axes.plot``, or ``axes.stairs`` of heights and edges.
        x: First argument of it.
        y: Second argument of it.
        style: Of the method.
        changes: Passed on.
    """
    draw(x, y, color="0.2", linewidth=1.5, **changes)
    draw(x, y, color=style.colour, linewidth=0.9, **changes)


def arrays(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """Read an npz file of numbers and strings; empty if it does not exist.

    Raises:
        ReportError: If it exists and cannot be read as ``what``, or is not what the record beside
            it vouches for.
    """
    if not path.is_file():
        return {}
    data = path.read_bytes()
    if _vouched(path) not in ("", sha256_bytes(data)):
        raise ReportError(
            f"{path} is not what its record vouches for. The same bench run makes it again."
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise ReportError(
            f"{path} cannot be read as {what}: {error}. Delete it and run the experiment again."
        ) from error


def _vouched(path: Path) -> str:
    """Return the SHA-256 that the record beside a file tells of it; empty where none does."""
    for name, kind in (("figures.json", FiguresRecord), ("record.json", DiagnosisRecord)):
        try:
            found = read(kind, path.with_name(name))
        except Misfit:  # named where a table needs it, and made again by a run
            continue
        fact = found[1].files.get(path.name) if found else None
        if fact:
            return fact.sha256
    return ""


def files(experiment: RecordedExperiment, row: RowEntry | None, key: str) -> list[Path]:
    """Return the files ``key`` of a row's seeds, of those that exist."""
    if row is None:
        return []
    places = [getattr(holder, key, "") for holder in (row.cells or [row])]
    paths = [experiment.path(place) for place in places if place]
    return [path for path in paths if path.is_file()]


def lack(experiment: RecordedExperiment, row: RowEntry | None, what: str) -> str:
    """Say why a row has no files: the stage that failed, else that there is no ``what``."""
    reasons = (broken(experiment, cell) for cell in (row.cells if row else ()))
    return next((reason for reason in reasons if reason), f"no {what}")


def labels(experiment: RecordedExperiment) -> list[str]:
    """Return one label a row of the table of contents, with its marks behind it as in tables."""
    contents = experiment.contents
    return marked_labels(contents, marks(contents, values(experiment)))


def generators(experiment: RecordedExperiment) -> list[tuple[int, RowEntry]]:
    """Return position and row of every method and folder of samples."""
    rows = enumerate(experiment.contents.rows)
    return [(position, row) for position, row in rows if row.kind != CONTROL_KIND]


def real_row(experiment: RecordedExperiment) -> RowEntry | None:
    """Return the first control, which names the files about real volumes; None if there is none."""
    rows = experiment.contents.rows
    return next((row for row in rows if row.kind == CONTROL_KIND), None)


def bare(figure: Figure) -> tuple[float, float]:
    """Hide heading and foot of a figure; return the lower and the upper end of what is left.

    Returns:
        Inches from the bottom. A banner stays, since a picture is passed on without its caption.
    """
    height = figure.get_figheight()
    low, high = 0.0, height
    for text in figure.texts:
        mark, y = (text.get_gid() or "").partition(" ")[0], text.get_position()[1] * height
        if mark == HEADING:
            high = min(high, y - float(text.get_fontsize()) * LINE / 72 + EDGE / 2)
        elif mark == FOOT:
            low = max(low, y)
        text.set_visible(mark not in (HEADING, FOOT))
    return low, high


def save(
    figure: Figure, folder: Path, stem: str, ends: tuple[float, float] | None = None
) -> list[Path]:
    """Write ``<stem>.pdf`` and ``<stem>.png`` (300 dpi, images in the PDF too).

    Args:
        figure: What to write.
        folder: Where to write.
        stem: Of the names of the files.
        ends: Lower and upper end of what is written, inches; None for the whole figure.
    """
    import matplotlib
    from matplotlib.transforms import Bbox

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.{ending}" for ending in ("pdf", "png")]
    low, high = ends or (0.0, figure.get_figheight())
    part = Bbox.from_extents(0, low, figure.get_figwidth(), high)
    # Type 42 keeps text as text; without a date the same records give the same file.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for path, facts in zip(paths, ({"CreationDate": None}, None), strict=True):
            kind = path.suffix.removeprefix(".")
            with replacing(path) as place:  # a link in its place is replaced, not followed
                figure.savefig(place, format=kind, dpi=300, bbox_inches=part, metadata=facts)
    return paths
