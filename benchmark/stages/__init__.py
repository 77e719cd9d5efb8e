"""What the stages of a row do: train, sample, score, diagnose, classify, draw figure data."""
