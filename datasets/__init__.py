"""Sources of real volumes, one per file."""

# name -> ("module:Class", static facts).
BUILTIN = {
    "phantom": (
        "cerebench.datasets.phantom:Phantom",
        {
            "label": "Tumour-ROI phantoms",
            "source": "Cerebench, procedure phantom-roi 1",
            "classes": ["LGG", "HGG"],
            "needs_root": False,
        },
    ),
    "scans": (
        "cerebench.datasets.scans.dataset:Scans",
        {
            "label": "Scans in any known layout",
            "source": "the owner of the files",
            "classes": ["LGG", "HGG"],
            "needs_root": True,
        },
    ),
    "brats": (
        "cerebench.datasets.brats:BraTS",
        {
            "label": "BraTS tumour ROIs",
            "source": "Menze et al. 2015; Bakas et al. 2017, 2018",
            "classes": ["LGG", "HGG"],
            "needs_root": True,
        },
    ),
}
