"""Ring 3: the audit daemon, the files it owns, and the programs that write to it and read from it."""
