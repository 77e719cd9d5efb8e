"""Feature spaces, one per file."""

# name -> ("module:Class", static facts). The class is built without arguments.
BUILTIN = {
    "radlite-v1": (
        "cerebench.metrics.extractors.radlite:Radlite",
        {"label": "IBSI radiomics subset", "dim": 83, "ndim": 3, "weights": None},
    ),
    "rand3d-v1": (
        "cerebench.metrics.extractors.random_conv:Rand3d",
        {"label": "fixed-seed random 3D conv net", "dim": 240, "ndim": 3, "weights": None},
    ),
    "rand2d-v1": (
        "cerebench.metrics.extractors.random_conv:Rand2d",
        {"label": "fixed-seed random 2D conv net", "dim": 240, "ndim": 2, "weights": None},
    ),
    "inception": (
        "cerebench.metrics.extractors.inception:Inception",
        {
            "label": "TF Inception 2015-12-05, pool3",
            "dim": 2048,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
}
