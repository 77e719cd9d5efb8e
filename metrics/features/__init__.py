"""Distances and diversity in a feature space."""
