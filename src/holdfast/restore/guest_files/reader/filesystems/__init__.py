"""One module for each file system family; each imports its dissect package only when opened."""
