"""What ``bench report --diagnostics`` shows: why rows are marked, how trainings went, labels."""
