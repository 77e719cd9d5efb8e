"""Downstream protocols: does a classifier gain from the generated volumes?"""

PRESETS = ["paper", "stable", "lite", "quick", "smoke"]

# name -> ("module:Class", static facts). A test proves that the facts equal the class's own, so
# listing protocols needs no torch.
BUILTIN: dict[str, tuple[str, dict[str, object]]] = {
    "exp1": (
        "cerebench.metrics.downstream.exp1:Exp1",
        {
            "label": "Experiment 1",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024, Tables 2 (a) and 5",
            "role": "experiment",
            "needs_samples": True,
            "description": "Pretrained on the larger class and as many generated volumes of "
            "the smaller one, fine-tuned on real cases.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
    "exp2": (
        "cerebench.metrics.downstream.exp2:Exp2",
        {
            "label": "Experiment 2",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024, Tables 2 (b) and 6",
            "role": "experiment",
            "needs_samples": True,
            "description": "Pretrained on generated volumes of both classes, fine-tuned on "
            "real cases.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
    "trad-aug": (
        "cerebench.metrics.downstream.trad_aug:TradAug",
        {
            "label": "Trad. Aug.",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024, Tables 2 (a) and 5",
            "role": "baseline",
            "needs_samples": False,
            "description": "Trained on all real cases of the larger class, those of the "
            "smaller one and transformed copies of these.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
    "medicalnet": (
        "cerebench.metrics.downstream.medicalnet:MedicalNetHead",
        {
            "label": "MedicalNet",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024, Table 7; Chen et al. 2019, arXiv:1904.00625",
            "role": "baseline",
            "needs_samples": False,
            "description": "A head on frozen MedicalNet features, trained on the real "
            "fine-tuning cases.",
            "weights": "medicalnet-resnet34",
            "presets": PRESETS,
        },
    ),
    "real-only": (
        "cerebench.metrics.downstream.controls:RealOnly",
        {
            "label": "Real only",
            "version": 1,
            "source": "ours",
            "role": "control",
            "needs_samples": False,
            "description": "Trained from random weights on the real fine-tuning cases alone.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
    "oversample": (
        "cerebench.metrics.downstream.controls:Oversample",
        {
            "label": "Oversampling",
            "version": 1,
            "source": "ours",
            "role": "control",
            "needs_samples": False,
            "description": "Trained on all real cases of the larger class and those of the "
            "smaller one, repeated up to the same number.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
    "shuffled-label": (
        "cerebench.metrics.downstream.controls:ShuffledLabel",
        {
            "label": "Shuffled labels",
            "version": 2,
            "source": "ours",
            "role": "control",
            "needs_samples": True,
            "description": "Pretrained as in experiment 2, the labels of the generated volumes "
            "shuffled anew in every repetition; not fine-tuned.",
            "weights": "",
            "presets": PRESETS,
        },
    ),
}
