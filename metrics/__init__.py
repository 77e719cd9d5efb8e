"""Metrics, one per file; feature spaces live in ``extractors``."""

# name -> ("module:ATTRIBUTE", static facts). The attribute is a Metric.
BUILTIN = {
    "mmd2-kwon": (
        "cerebench.metrics.mmd:MMD2_KWON",
        {"label": "MMD", "better": "lower", "needs": "", "views": [""]},
    ),
    "mmd2-linear": (
        "cerebench.metrics.mmd:MMD2_LINEAR",
        {"label": "MMD linear", "better": "lower", "needs": "", "views": [""]},
    ),
    "ms-ssim": (
        "cerebench.metrics.ms_ssim:MS_SSIM",
        {"label": "MS-SSIM", "better": "near-real", "needs": "", "views": [""]},
    ),
    "ms-ssim-kwon": (
        "cerebench.metrics.ms_ssim:MS_SSIM_KWON",
        {"label": "MS-SSIM (Kwon)", "better": "near-real", "needs": "", "views": [""]},
    ),
    "fd-radlite-v1": (
        "cerebench.metrics.frechet:FD_RADLITE",
        {"label": "FD[radlite-v1]", "better": "lower", "needs": "radlite-v1", "views": [""]},
    ),
    "kid-radlite-v1": (
        "cerebench.metrics.kid:KID_RADLITE",
        {"label": "KID[radlite-v1]", "better": "lower", "needs": "radlite-v1", "views": [""]},
    ),
    "fd-rand2d-v1": (
        "cerebench.metrics.slice_frechet:FD_RAND2D",
        {
            "label": "FD[rand2d-v1]",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid": (
        "cerebench.metrics.slice_frechet:FID",
        {
            "label": "FID",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "nn-ratio": (
        "cerebench.metrics.memorisation:NN_RATIO",
        {"label": "NN ratio", "better": "near-real", "needs": "radlite-v1", "views": [""]},
    ),
}
