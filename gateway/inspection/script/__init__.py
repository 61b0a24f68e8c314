"""JavaScript as a browser would read it out of a value: tokens, and whether they are a program or prose."""
