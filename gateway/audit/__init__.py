"""Ring 2: what an audit record says, how it is encoded, and how its proof is checked. Pure: no I/O, clock or randomness."""
