"""Sources of real volumes, one per file."""

# name -> ("module:Class", static facts).
BUILTIN = {
    "phantom": (
        "cerebench.datasets.phantom:Phantom",
        {"label": "Tumour-ROI phantoms", "classes": ["LGG", "HGG"], "needs_root": False},
    ),
    "brats": (
        "cerebench.datasets.brats:BraTS",
        {"label": "BraTS tumour ROIs", "classes": ["LGG", "HGG"], "needs_root": True},
    ),
}
