"""Generators, one per file or, where one has several networks, per folder."""

# name -> ("module:Class", static facts). A test proves that the facts equal the class's own, so
# listing methods needs no torch.
BUILTIN = {
    "wgan-gp": (
        "cerebench.methods.wgan_gp:WGANGP",
        {
            "label": "3D-WGAN-GP",
            "version": 1,
            "source": "arXiv:1704.00028",
            "conditioning": "none",
            "presets": ["paper", "kwon", "kwon-asis", "quick", "smoke"],
            "paper_row": True,
        },
    ),
}
