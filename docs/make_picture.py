"""Draw the picture of the README: the middle slice of real and generated volumes, side by side.

    python docs/make_picture.py runs docs/picture.png

``runs`` is the folder of ``bench run --methods all`` (phantoms, so nobody's data are shown). It
takes the first volume of each row that the run chose by seed, as the figure ``slices`` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from cerebench.reports.base import RecordedExperiment
from cerebench.reports.figures.drawing import files, generators, radiological, real_row
from cerebench.reports.figures.slices import load
from cerebench.reports.values.labels import row_labels

EXPERIMENT = "quickstart"
EDGE, HEAD, SIDE, GAP = 1.0, 0.25, 0.45, 0.03  # of a slice, text above and beside, between; inches


def draw(experiment: RecordedExperiment) -> Figure:
    """Return a column a row of the table, real volumes first, and a line a class.

    Rows without samples are left out.
    """
    labels = row_labels(experiment.contents.rows)
    rows = [("real", real_row(experiment))]
    rows += [(labels[position], row) for position, row in generators(experiment)]
    columns = []
    for label, row in rows:
        paths = files(experiment, row, "preview")
        if slices := load(paths[0]) if paths else {}:
            columns.append((label, slices))
    classes = experiment.contents.dataset.classes
    width, height = SIDE + EDGE * len(columns), HEAD + EDGE * len(classes)
    figure = Figure((width, height))
    panels = figure.subplots(len(classes), len(columns), squeeze=False)
    figure.subplots_adjust(
        left=SIDE / width, right=1, bottom=0, top=1 - HEAD / height, wspace=GAP, hspace=GAP
    )
    for line, class_ in zip(panels, classes, strict=True):
        line[0].set_ylabel(class_, fontsize=9)
        for axes, (label, slices) in zip(line, columns, strict=True):
            middle = slices[class_][len(slices[class_]) // 2]
            axes.imshow(radiological(middle), cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if class_ == classes[0]:
                axes.set_title(label, fontsize=7, pad=4)
    return figure


def main(store: Path, picture: Path) -> None:
    """Draw the newest quickstart of a results folder."""
    contents = max(store.glob(f"*/experiment-{EXPERIMENT}-*.json"), key=lambda p: p.stat().st_mtime)
    draw(RecordedExperiment.read(contents)).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
