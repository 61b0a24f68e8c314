"""What the interpreters of programming languages run, and how to find it without reading every text closely."""
