"""Tests, intervals and comparisons on the values in records. No torch."""
