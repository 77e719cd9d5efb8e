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
            "presets": ["paper", "kwon", "kwon-asis", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "alpha-wgan": (
        "cerebench.methods.alpha_wgan:AlphaWGAN",
        {
            "label": "3D-alpha-WGAN",
            "version": 1,
            "source": "arXiv:1908.02498",
            "conditioning": "none",
            "presets": ["paper", "reference", "sn", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "wgan-gp-c": (
        "cerebench.methods.wgan_gp_c:WGANGPC",
        {
            "label": "3D-WGAN-GP-C",
            "version": 1,
            "source": "ours; arXiv:1704.00028, arXiv:1802.05637",
            "conditioning": "class",
            "presets": ["paper", "lite", "quick", "smoke"],
            "paper_row": False,
        },
    ),
    "alpha-wgan-c": (
        "cerebench.methods.alpha_wgan_c:AlphaWGANC",
        {
            "label": "3D-alpha-WGAN-C",
            "version": 1,
            "source": "ours; arXiv:1908.02498, arXiv:1802.05637",
            "conditioning": "class",
            "presets": ["paper", "lite", "quick", "smoke"],
            "paper_row": False,
        },
    ),
    "vqgan": (
        "cerebench.methods.vqgan.method:VQGAN",
        {
            "label": "3D-VQGAN",
            "version": 1,
            "source": "arXiv:2310.01251",
            "conditioning": "none",
            "presets": ["paper", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "vqgan-cond": (
        "cerebench.methods.vqgan_cond.method:VQGANCond",
        {
            "label": "3D-VQGAN-cond",
            "version": 1,
            "source": "Zhou and Khalvati, MIDL 2024",
            "conditioning": "class",
            "presets": ["paper", "reference-code", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "med-ddpm": (
        "cerebench.methods.med_ddpm:MedDDPM",
        {
            "label": "3D-Med-DDPM",
            "version": 1,
            "source": "arXiv:2305.18453",
            "conditioning": "none",
            "presets": ["paper", "repo", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "med-ddpm-mask": (
        "cerebench.methods.med_ddpm_mask:MedDDPMMask",
        {
            "label": "3D-Med-DDPM, mask (variant)",
            "version": 1,
            "source": "arXiv:2305.18453",
            "conditioning": "mask",
            "presets": ["paper", "repo", "lite", "quick", "smoke"],
            "paper_row": False,
        },
    ),
    "med-ddpm-c": (
        "cerebench.methods.med_ddpm_c:MedDDPMC",
        {
            "label": "3D-Med-DDPM, class (variant)",
            "version": 1,
            "source": "arXiv:2305.18453",
            "conditioning": "class",
            "presets": ["paper", "repo", "lite", "quick", "smoke"],
            "paper_row": False,
        },
    ),
    "medical-diffusion": (
        "cerebench.methods.medical_diffusion.method:MedicalDiffusion",
        {
            "label": "Medical Diffusion",
            "version": 1,
            "source": "arXiv:2211.03364",
            "conditioning": "none",
            "presets": ["paper", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
    "medical-diffusion-c": (
        "cerebench.methods.medical_diffusion.conditional:MedicalDiffusionC",
        {
            "label": "Medical Diffusion-C",
            "version": 1,
            "source": "arXiv:2211.03364; Zhou and Khalvati, MIDL 2024",
            "conditioning": "class",
            "presets": ["paper", "lite", "quick", "smoke"],
            "paper_row": True,
        },
    ),
}
