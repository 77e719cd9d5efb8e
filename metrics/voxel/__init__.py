"""Metrics on voxels, without a feature space."""
