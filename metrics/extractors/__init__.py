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
    "radlite-v2": (
        "cerebench.metrics.extractors.radlite:Radlite2",
        {
            "label": "IBSI radiomics subset, noise-proof mask, bounded",
            "source": "IBSI, Zwanenburg et al. 2020; LoG and Haar features, mask and bound: ours",
            "bounded": True,
            "dim": 83,
            "ndim": 3,
            "weights": None,
        },
    ),
    "mirp-v1": (
        "cerebench.metrics.extractors.mirp:Mirp",
        {
            "label": "IBSI radiomics by mirp",
            "source": "IBSI, Zwanenburg et al. 2020; mirp, Zwanenburg and Löck 2024, JOSS 9(99)",
            "dim": 121,
            "ndim": 3,
            "weights": None,
            "package": "mirp",
            "extra": "radiomics",
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
    "inception-64": (
        "cerebench.metrics.extractors.inception:Inception64",
        {
            "label": "TF Inception 2015-12-05, after the first pooling",
            "source": "Heusel et al. 2017, arXiv:1706.08500; weights as in pytorch-fid",
            "dim": 64,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
    "inception-192": (
        "cerebench.metrics.extractors.inception:Inception192",
        {
            "label": "TF Inception 2015-12-05, after the second pooling",
            "source": "Heusel et al. 2017, arXiv:1706.08500; weights as in pytorch-fid",
            "dim": 192,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
    "inception-768": (
        "cerebench.metrics.extractors.inception:Inception768",
        {
            "label": "TF Inception 2015-12-05, before the last reduction",
            "source": "Heusel et al. 2017, arXiv:1706.08500; weights as in pytorch-fid",
            "dim": 768,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
    "inception-rgb": (
        "cerebench.metrics.extractors.inception:InceptionRGB",
        {
            "label": "TF Inception 2015-12-05, pool3, slices as in ALDM",
            "source": "anatomically-conditioned-LDM, src/evaluation/test_using_fid_ssim.py",
            "dim": 2048,
            "ndim": 2,
            "weights": "inception-2015-12-05",
        },
    ),
    "inception-unverified": (
        "cerebench.metrics.extractors.inception:InceptionUnverified",
        {
            "label": "that network from a file with another SHA-256",
            "source": "a file of your own",
            "dim": 2048,
            "ndim": 2,
            "weights": None,
            "any_file_of": "inception-2015-12-05",
        },
    ),
    "medicalnet-orig-resnet10": (
        "cerebench.metrics.extractors.medicalnet:MedicalNet10",
        {
            "label": "MedicalNet ResNet-10, original topology",
            "source": "Chen et al. 2019, arXiv:1904.00625",
            "dim": 512,
            "ndim": 3,
            "weights": "medicalnet-resnet10",
        },
    ),
    "medicalnet-orig-resnet18": (
        "cerebench.metrics.extractors.medicalnet:MedicalNet18",
        {
            "label": "MedicalNet ResNet-18, original topology",
            "source": "Chen et al. 2019, arXiv:1904.00625",
            "dim": 512,
            "ndim": 3,
            "weights": "medicalnet-resnet18",
        },
    ),
    "medicalnet-orig-resnet34": (
        "cerebench.metrics.extractors.medicalnet:MedicalNet34",
        {
            "label": "MedicalNet ResNet-34, original topology",
            "source": "Chen et al. 2019, arXiv:1904.00625",
            "dim": 512,
            "ndim": 3,
            "weights": "medicalnet-resnet34",
        },
    ),
    "medicalnet-orig-resnet50": (
        "cerebench.metrics.extractors.medicalnet:MedicalNet50",
        {
            "label": "MedicalNet ResNet-50, original topology",
            "source": "Chen et al. 2019, arXiv:1904.00625",
            "dim": 2048,
            "ndim": 3,
            "weights": "medicalnet-resnet50",
        },
    ),
    "squeezenet1-1": (
        "cerebench.metrics.extractors.squeezenet:SqueezeNet",
        {
            "label": "SqueezeNet 1.1 of ImageNet",
            "source": "Iandola et al. 2016, arXiv:1602.07360; weights of torchvision",
            "dim": 512,
            "ndim": 2,
            "weights": "squeezenet1-1-imagenet",
        },
    ),
    "squeezenet1-1-vlm3d": (
        "cerebench.metrics.extractors.squeezenet:SqueezeNetVLM3D",
        {
            "label": "SqueezeNet 1.1, percentiles as in VLM3D",
            "source": "VLM3D challenge, MR track; network: Iandola et al. 2016, arXiv:1602.07360",
            "dim": 512,
            "ndim": 2,
            "weights": "squeezenet1-1-imagenet",
        },
    ),
    "medicalnet-orig-resnet50-wdm": (
        "cerebench.metrics.extractors.medicalnet:MedicalNet50WDM",
        {
            "label": "MedicalNet ResNet-50, input as in WDM",
            "source": "Friedrich et al. 2024, arXiv:2402.19043, code wdm-3d; network: Chen et al. "
            "2019, arXiv:1904.00625",
            "dim": 2048,
            "ndim": 3,
            "weights": "medicalnet-resnet50",
        },
    ),
}
