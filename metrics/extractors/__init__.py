"""Feature spaces, one per file."""

# name -> ("module:Class", static facts). The class is built without arguments.
BUILTIN = {
    "radlite-v1": (
        "cerebench.metrics.extractors.radlite:Radlite",
        {
            "label": "IBSI radiomics subset",
            "source": "IBSI, Zwanenburg et al. 2020; LoG and Haar features: ours",
            "dim": 83,
            "ndim": 3,
            "weights": None,
        },
    ),
    "rand3d-v1": (
        "cerebench.metrics.extractors.random_conv:Rand3d",
        {
            "label": "fixed-seed random 3D conv net",
            "source": "after Naeem et al. 2020, arXiv:2002.09797; network: ours",
            "dim": 240,
            "ndim": 3,
            "weights": None,
        },
    ),
    "rand2d-v1": (
        "cerebench.metrics.extractors.random_conv:Rand2d",
        {
            "label": "fixed-seed random 2D conv net",
            "source": "after Naeem et al. 2020, arXiv:2002.09797; network: ours",
            "dim": 240,
            "ndim": 2,
            "weights": None,
        },
    ),
    "inception": (
        "cerebench.metrics.extractors.inception:Inception",
        {
            "label": "TF Inception 2015-12-05, pool3",
            "source": "Heusel et al. 2017, arXiv:1706.08500; weights as in pytorch-fid",
            "dim": 2048,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
}
