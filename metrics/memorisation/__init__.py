"""Whether generated volumes are copies of training cases."""
