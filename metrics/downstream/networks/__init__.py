"""Classifiers of volumes, and how one is trained."""
