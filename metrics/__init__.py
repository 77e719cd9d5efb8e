"""Metrics, one per file; feature spaces live in ``extractors``."""

# name -> ("module:ATTRIBUTE", static facts). The attribute is a Metric.
BUILTIN = {
    "mmd2-kwon": (
        "cerebench.metrics.voxel.mmd:MMD2_KWON",
        {
            "label": "MMD",
            "source": "Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/Test.ipynb",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "mmd2-linear": (
        "cerebench.metrics.voxel.mmd:MMD2_LINEAR",
        {
            "label": "MMD linear",
            "source": "Gretton et al. 2012, JMLR 13, equation 3",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "ms-ssim": (
        "cerebench.metrics.voxel.ms_ssim:MS_SSIM",
        {
            "label": "MS-SSIM",
            "source": "Wang, Simoncelli, Bovik 2003, Asilomar, equation 7",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "ms-ssim-kwon": (
        "cerebench.metrics.voxel.ms_ssim:MS_SSIM_KWON",
        {
            "label": "MS-SSIM (Kwon)",
            "source": "Kwon et al. 2019, arXiv:1908.02498, code 3dbraingen/pytorch_ssim",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-radlite-v1": (
        "cerebench.metrics.features.frechet:FD_RADLITE",
        {
            "label": "FD[radlite-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "fd-radlite-v2": (
        "cerebench.metrics.features.frechet:FD_RADLITE2",
        {
            "label": "FD[radlite-v2]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "kid-radlite-v2": (
        "cerebench.metrics.features.kid:KID_RADLITE2",
        {
            "label": "KID[radlite-v2]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
            "better": "lower",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "kid-radlite-v1": (
        "cerebench.metrics.features.kid:KID_RADLITE",
        {
            "label": "KID[radlite-v1]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "background": (
        "cerebench.metrics.voxel.background:BACKGROUND",
        {
            "label": "background",
            "source": "ours: what the body of radlite-v2 leaves out",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "mmd2-rbf-radlite-v2": (
        "cerebench.metrics.features.mmd_rbf:MMD2_RBF_RADLITE2",
        {
            "label": "MMD RBF[radlite-v2]",
            "source": "Gretton et al. 2012, JMLR 13, equation 3",
            "better": "lower",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "prdc-radlite-v2": (
        "cerebench.metrics.features.prdc:PRDC_RADLITE2",
        {
            "label": "PRDC[radlite-v2]",
            "source": "Naeem et al. 2020, arXiv:2002.09797, section 3",
            "better": "higher",
            "needs": "radlite-v2",
            "views": ["precision", "recall", "coverage"],
        },
    ),
    "foreground-volume": (
        "cerebench.metrics.voxel.foreground:FOREGROUND_VOLUME",
        {
            "label": "foreground ml",
            "source": "threshold of radlite-v1",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-rand2d-v1": (
        "cerebench.metrics.features.slice_frechet:FD_RAND2D",
        {
            "label": "FD[rand2d-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid": (
        "cerebench.metrics.features.slice_frechet:FID",
        {
            "label": "FID",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "nn-ratio": (
        "cerebench.metrics.memorisation.nn_ratio:NN_RATIO",
        {
            "label": "NN ratio",
            "source": "after Meehan et al. 2020, arXiv:2004.05675",
            "better": "near-real",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "mmd2-genmodels": (
        "cerebench.metrics.voxel.mmd:MMD2_GENMODELS",
        {
            "label": "bMMD",
            "source": "Tudosiu et al. 2022, SASHIMI; code GenerativeModels, metrics/voxel/mmd.py",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "mmd2-rbf": (
        "cerebench.metrics.features.mmd_rbf:MMD2_RBF",
        {
            "label": "MMD RBF",
            "source": "Gretton et al. 2012, JMLR 13, equation 3",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "fd-rand3d-v1": (
        "cerebench.metrics.features.frechet:FD_RAND3D",
        {
            "label": "FD[rand3d-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "rand3d-v1",
            "views": [""],
        },
    ),
    "kid-rand3d-v1": (
        "cerebench.metrics.features.kid:KID_RAND3D",
        {
            "label": "KID[rand3d-v1]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4, on other features",
            "better": "lower",
            "needs": "rand3d-v1",
            "views": [""],
        },
    ),
    "fd-mirp-v1": (
        "cerebench.metrics.features.frechet:FD_MIRP",
        {
            "label": "FD[mirp-v1]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "mirp-v1",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet10": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET10",
        {
            "label": "FD[medicalnet10]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet10",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet18": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET18",
        {
            "label": "FD[medicalnet18]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet18",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet34": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET34",
        {
            "label": "FD[medicalnet34]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet34",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet50": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET50",
        {
            "label": "FD[medicalnet50]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet50",
            "views": [""],
        },
    ),
    "fd-rand3d-v1-pca64": (
        "cerebench.metrics.features.frechet:FD_RAND3D_PCA64",
        {
            "label": "FD[rand3d-v1-pca64]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "rand3d-v1",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet10-pca64": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET10_PCA64",
        {
            "label": "FD[medicalnet10-pca64]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet10",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet18-pca64": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET18_PCA64",
        {
            "label": "FD[medicalnet18-pca64]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet18",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet34-pca64": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET34_PCA64",
        {
            "label": "FD[medicalnet34-pca64]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet34",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet50-pca64": (
        "cerebench.metrics.features.frechet:FD_MEDICALNET50_PCA64",
        {
            "label": "FD[medicalnet50-pca64]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features",
            "better": "lower",
            "needs": "medicalnet-orig-resnet50",
            "views": [""],
        },
    ),
    "fd-inf-radlite-v1": (
        "cerebench.metrics.features.fd_infinity:FD_INF_RADLITE",
        {
            "label": "FD∞[radlite-v1]",
            "source": "Chong and Forsyth 2020, arXiv:1911.07023, section 3",
            "better": "lower",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "fd-rand2d-v1-fg": (
        "cerebench.metrics.features.slice_frechet:FD_RAND2D_FG",
        {
            "label": "FD[rand2d-v1] fg",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fd-rand2d-v1-middle": (
        "cerebench.metrics.features.slice_frechet:FD_RAND2D_MIDDLE",
        {
            "label": "FD[rand2d-v1] middle",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fd-rand2d-v1-center3": (
        "cerebench.metrics.features.slice_frechet:FD_RAND2D_CENTER3",
        {
            "label": "FD[rand2d-v1] center3",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid-fg": (
        "cerebench.metrics.features.slice_frechet:FID_FG",
        {
            "label": "FID fg",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid-middle": (
        "cerebench.metrics.features.slice_frechet:FID_MIDDLE",
        {
            "label": "FID middle",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid-center3": (
        "cerebench.metrics.features.slice_frechet:FID_CENTER3",
        {
            "label": "FID center3",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fd-inception-unverified": (
        "cerebench.metrics.features.slice_frechet:FD_UNVERIFIED",
        {
            "label": "FD[inception-unverified]",
            "source": "Heusel et al. 2017, arXiv:1706.08500, eq. 6",
            "better": "lower",
            "needs": "inception-unverified",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "kid-rand2d-v1": (
        "cerebench.metrics.features.kid:KID_RAND2D",
        {
            "label": "KID[rand2d-v1]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4; block form: ours",
            "better": "lower",
            "needs": "rand2d-v1",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "kid-inception": (
        "cerebench.metrics.features.kid:KID_INCEPTION",
        {
            "label": "KID[inception]",
            "source": "Binkowski et al. 2018, arXiv:1801.01401, section 4; block form: ours",
            "better": "lower",
            "needs": "inception",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "fid-patientwise": (
        "cerebench.metrics.features.patient_fid:FID_PATIENTWISE",
        {
            "label": "FID patient-wise",
            "source": "Shaik et al., ALDM, table 1",
            "better": "lower",
            "needs": "inception-rgb",
            "views": ["axial"],
        },
    ),
    "fid-pooled-rgb": (
        "cerebench.metrics.features.patient_fid:FID_POOLED_RGB",
        {
            "label": "FID pooled RGB",
            "source": "anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py",
            "better": "lower",
            "needs": "inception-rgb",
            "views": ["axial"],
        },
    ),
    "prdc-radlite-v1": (
        "cerebench.metrics.features.prdc:PRDC_RADLITE",
        {
            "label": "PRDC[radlite-v1]",
            "source": "Naeem et al. 2020, arXiv:2002.09797, section 3",
            "better": "higher",
            "needs": "radlite-v1",
            "views": ["precision", "recall", "density", "coverage"],
        },
    ),
    "prdc-rand3d-v1": (
        "cerebench.metrics.features.prdc:PRDC_RAND3D",
        {
            "label": "PRDC[rand3d-v1]",
            "source": "Naeem et al. 2020, arXiv:2002.09797, section 3",
            "better": "higher",
            "needs": "rand3d-v1",
            "views": ["precision", "recall", "density", "coverage"],
        },
    ),
    "vendi-radlite-v1": (
        "cerebench.metrics.features.vendi:VENDI_RADLITE",
        {
            "label": "Vendi[radlite-v1]",
            "source": "Friedman and Dieng 2023, arXiv:2210.02410, definition 3.1",
            "better": "near-real",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "ct-z": (
        "cerebench.metrics.memorisation.ct_z:CT_Z",
        {
            "label": "C_T",
            "source": "Meehan et al. 2020, arXiv:2004.05675",
            "better": "near-real",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "authpct": (
        "cerebench.metrics.memorisation.authpct:AUTHPCT",
        {
            "label": "authentic %",
            "source": "Alaa et al. 2022, arXiv:2102.08921, section 3.3",
            "better": "near-real",
            "needs": "radlite-v1",
            "views": [""],
        },
    ),
    "max-corr": (
        "cerebench.metrics.memorisation.max_corr:MAX_CORR",
        {
            "label": "max corr.",
            "source": "after Dar et al. 2023, arXiv:2307.01148",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "lesion-volume": (
        "cerebench.metrics.voxel.lesion_volume:LESION_VOLUME",
        {
            "label": "lesion volume",
            "source": "Schuirmann 1987; Hedges 1981; transport after Jafrasteh 2025",
            "better": "lower",
            "needs": "",
            "views": ["TOST p", "|g|", "KS", "W2²"],
        },
    ),
    "structure-volume": (
        "cerebench.metrics.voxel.structure_volume:STRUCTURE_VOLUME",
        {
            "label": "structures",
            "source": "Schuirmann 1987; Hedges 1981; transport after Jafrasteh 2025",
            "better": "lower",
            "needs": "",
            "views": ["TOST p", "|g|", "KS", "W2²"],
            "structures": True,
        },
    ),
    "ssim": (
        "cerebench.metrics.voxel.paired:SSIM",
        {
            "label": "SSIM",
            "source": "Wang et al. 2004, IEEE TIP 13",
            "better": "higher",
            "needs": "",
            "views": [""],
        },
    ),
    "psnr": (
        "cerebench.metrics.voxel.paired:PSNR",
        {
            "label": "PSNR",
            "source": "Wang et al. 2004, IEEE TIP 13",
            "better": "higher",
            "needs": "",
            "views": [""],
        },
    ),
    "mae": (
        "cerebench.metrics.voxel.paired:MAE",
        {
            "label": "MAE",
            "source": "mean of absolute differences",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "ssim-aldm": (
        "cerebench.metrics.voxel.paired:SSIM_ALDM",
        {
            "label": "SSIM 2D (ALDM)",
            "source": "anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py",
            "better": "higher",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-squeezenet1-1-vlm3d": (
        "cerebench.metrics.features.vlm3d:FD_VLM3D",
        {
            "label": "FD[squeezenet1-1]-2.5D",
            "source": "VLM3D challenge, MR track, page of the challenge",
            "better": "lower",
            "needs": "squeezenet1-1-vlm3d",
            "views": ["mean", "axial", "coronal", "sagittal"],
        },
    ),
    "mse-vlm3d": (
        "cerebench.metrics.features.vlm3d:MSE_VLM3D",
        {
            "label": "MSE (VLM3D)",
            "source": "VLM3D challenge, MR track, page of the challenge",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
    "psnr-vlm3d": (
        "cerebench.metrics.features.vlm3d:PSNR_VLM3D",
        {
            "label": "PSNR (VLM3D)",
            "source": "VLM3D challenge, MR track, page of the challenge",
            "better": "higher",
            "needs": "",
            "views": [""],
        },
    ),
    "ssim-vlm3d": (
        "cerebench.metrics.features.vlm3d:SSIM_VLM3D",
        {
            "label": "SSIM (VLM3D)",
            "source": "VLM3D challenge, MR track, page of the challenge",
            "better": "higher",
            "needs": "",
            "views": [""],
        },
    ),
    "fd-medicalnet-orig-resnet50-wdm": (
        "cerebench.metrics.features.wdm:FD_WDM",
        {
            "label": "FD[medicalnet50]-WDM",
            "source": "Friedrich et al. 2024, arXiv:2402.19043, table 2; code wdm-3d",
            "better": "lower",
            "needs": "medicalnet-orig-resnet50-wdm",
            "views": [""],
        },
    ),
    "ms-ssim-wdm": (
        "cerebench.metrics.features.wdm:MS_SSIM_WDM",
        {
            "label": "MS-SSIM (WDM)",
            "source": "Friedrich et al. 2024, arXiv:2402.19043, table 2; code wdm-3d",
            "better": "near-real",
            "needs": "",
            "views": [""],
        },
    ),
    "class-fidelity": (
        "cerebench.metrics.probes.class_fidelity:CLASS_FIDELITY",
        {
            "label": "class bits",
            "source": "after Xu et al. 2020, arXiv:2002.10689, definition 2",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "tstr": (
        "cerebench.metrics.probes.tstr:TSTR",
        {
            "label": "TSTR AUC",
            "source": "Esteban et al. 2017, arXiv:1706.02633, section 4.1",
            "better": "higher",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "trts": (
        "cerebench.metrics.probes.trts:TRTS",
        {
            "label": "TRTS AUC",
            "source": "Esteban et al. 2017, arXiv:1706.02633, section 4.1",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "c2st": (
        "cerebench.metrics.probes.c2st:C2ST",
        {
            "label": "C2ST AUC",
            "source": "Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "copies": (
        "cerebench.metrics.memorisation.copies:COPIES",
        {
            "label": "copies",
            "source": "after Dar et al. 2023, arXiv:2307.01148",
            "better": "lower",
            "needs": "radlite-v2",
            "views": [""],
        },
    ),
    "nndr": (
        "cerebench.metrics.memorisation.nndr:NNDR",
        {
            "label": "NNDR",
            "source": "Lowe 2004, IJCV 60, section 7.1; Zhao et al. 2021, arXiv:2102.08369",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": ["features", "voxels"],
        },
    ),
    "dcr": (
        "cerebench.metrics.memorisation.dcr:DCR",
        {
            "label": "DCR",
            "source": "after Park et al. 2018, arXiv:1806.03384",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": ["features", "voxels"],
        },
    ),
    "membership-inference": (
        "cerebench.metrics.memorisation.membership:MEMBERSHIP",
        {
            "label": "membership AUC",
            "source": "Hilprecht et al. 2019, PoPETs 2019(4); Chen et al. 2020, arXiv:1909.03935",
            "better": "near-real",
            "needs": "radlite-v2",
            "views": ["features", "voxels"],
        },
    ),
    "slice-consistency": (
        "cerebench.metrics.voxel.slice_consistency:SLICE_CONSISTENCY",
        {
            "label": "slice corr.",
            "source": "own; lag-one autocorrelation, Box and Jenkins 1970",
            "better": "near-real",
            "needs": "",
            "views": ["axial", "coronal", "sagittal"],
        },
    ),
    "spectrum": (
        "cerebench.metrics.voxel.spectrum:SPECTRUM",
        {
            "label": "spectrum dB",
            "source": "after Durall et al. 2020, arXiv:2003.01826, section 3",
            "better": "lower",
            "needs": "",
            "views": [""],
        },
    ),
}
