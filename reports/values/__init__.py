"""Records to tidy rows, and to what tables and figures say of them."""
