"""Metrics, one per file; feature spaces live in ``extractors``."""

# name -> ("module:ATTRIBUTE", static facts). The attribute is a Metric.
BUILTIN = {
    "mmd2-kwon": (
        "cerebench.metrics.mmd:MMD2_KWON",
        {
            "label": "MMD",
            "source": "Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/Test.ipynb",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "mmd2-linear": (
        "cerebench.metrics.mmd:MMD2_LINEAR",
        {
            "label": "MMD linear",
            "source": "Gretton et al. 2012, JMLR 13, equation 3",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "ms-ssim": (
        "cerebench.metrics.ms_ssim:MS_SSIM",
        {
            "label": "MS-SSIM",
            "source": "Wang, Simoncelli, Bovik 2003, Asilomar, equation 7",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "ms-ssim-kwon": (
        "cerebench.metrics.ms_ssim:MS_SSIM_KWON",
        {
            "label": "MS-SSIM (Kwon)",
            "source": "Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/pytorch_ssim",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-radlite-v1": (
        "cerebench.metrics.frechet:FD_RADLITE",
        {
            "label": "FD[radlite-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "kid-radlite-v1": (
        "cerebench.metrics.kid:KID_RADLITE",
        {
            "label": "KID[radlite-v1]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "foreground-volume": (
        "cerebench.metrics.foreground:FOREGROUND_VOLUME",
        {
            "label": "foreground ml",
            "source": "threshold of radlite-v1",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-rand2d-v1": (
        "cerebench.metrics.slice_frechet:FD_RAND2D",
        {
            "label": "FD[rand2d-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid": (
        "cerebench.metrics.slice_frechet:FID",
        {
            "label": "FID",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "nn-ratio": (
        "cerebench.metrics.memorisation:NN_RATIO",
        {
            "label": "NN ratio",
            "source": "after Meehan et al. 2020, arXiv:2004.05675",
            "better": "near-real",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
}
