"""What lies in a folder of results: the shape of every JSON file that the suite writes."""
