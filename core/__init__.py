"""What the other folders share: no torch, nothing of theirs, no file over 200 lines."""
