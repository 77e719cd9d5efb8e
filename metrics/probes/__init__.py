"""What a linear model reads from features: class fidelity, TSTR, TRTS, C2ST."""
