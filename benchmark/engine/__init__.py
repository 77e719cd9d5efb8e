"""What makes a plan happen: plugins, rows and their stages, the runner, the store."""
