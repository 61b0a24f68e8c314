"""Ring 3: a witness for the logs of others: it holds what it saw last and signs nothing that does not continue it."""
