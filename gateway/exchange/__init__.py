"""Ring 0: the vocabulary every other package speaks. No I/O, no imports from the rest of the gateway."""
