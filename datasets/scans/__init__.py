"""Reading scans: files, headers, preprocessing, and what is wrong with them."""
