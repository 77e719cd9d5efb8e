"""Whether what lies in a folder of results is what was written there."""
