"""SQL as five servers read it: the tokens of a text, and what a statement does once a value has got out of its place."""
