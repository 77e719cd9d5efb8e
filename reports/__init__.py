"""Records to tidy frame to tables and figures. Nothing here imports torch."""

# name -> "module:ATTRIBUTE", a Renderer (or, of another package, a Plot; the suite's own are listed
# in figures/every.py). Every run writes them all.
BUILTIN = {
    "markdown": "cerebench.reports.markdown:MARKDOWN",
    "csv": "cerebench.reports.values.frames:CSV",
    "diagnostics": "cerebench.reports.tables.diagnostics:DIAGNOSTICS",
    "latex": "cerebench.reports.latex:LATEX",
    "figure": "cerebench.reports.figures.every:FIGURE",
}
