"""3D-VQGAN-cond: a VQGAN with importance scores and a class-conditional causal transformer."""
