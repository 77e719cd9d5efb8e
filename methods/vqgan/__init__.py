"""3D-VQGAN: an unconditional VQGAN and a causal transformer, one pair per class."""
