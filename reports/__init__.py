"""Records to tidy frame to tables and figures. Nothing here imports torch."""

# name -> ("module:function", static facts). A function (experiment, folder) -> list of paths.
BUILTIN = {
    "markdown": ("cerebench.reports.markdown:write", {"label": "Markdown table"}),
    "csv": ("cerebench.reports.values.frames:write", {"label": "tidy rows, one value a row"}),
    "diagnostics": (
        "cerebench.reports.tables.diagnostics:write",
        {"label": "what methods say about themselves, one set a row (CSV)"},
    ),
    "latex": (
        "cerebench.reports.latex:write",
        {"label": "LaTeX tables (booktabs), also in the layout of the MIDL 2024 paper"},
    ),
    "figure": (
        "cerebench.reports.figures.every:write",
        {"label": "figures (PDF and PNG) and a list of them"},
    ),
}
