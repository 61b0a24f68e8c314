"""Ring 3: what the gateway remembers: keys, sessions, accounts. The only package that opens the state store."""
