"""Downstream protocols: does a classifier gain from the generated volumes?"""

# name -> ("module:Class", static facts). A test proves that the facts equal the class's own, so
# listing protocols needs no torch.
BUILTIN: dict[str, tuple[str, dict[str, object]]] = {
    "exp2": (
        "cerebench.metrics.downstream.exp2:Exp2",
        {
            "label": "Experiment 2",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024, Tables 2 (b) and 6",
            "role": "experiment",
            "needs_samples": True,
            "description": "Pretrained on generated volumes of both classes, fine-tuned on real "
            "cases.",
            "weights": "",
            "presets": ["paper", "stable", "quick", "smoke"],
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
            "presets": ["paper", "stable", "quick", "smoke"],
        },
    ),
}
