"""Ring 2: the life of a session as values: tokens, beginnings, elevations, ends. Pure."""
