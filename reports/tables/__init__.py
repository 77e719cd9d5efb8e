"""Tables, as values that every renderer draws."""
