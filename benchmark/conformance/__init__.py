"""What a plugin must do, tried on the plugin itself: a suite a kind."""
