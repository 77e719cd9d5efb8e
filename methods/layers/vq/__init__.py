"""What methods share that make volumes of the codes of a codebook."""
