"""Ring 1: YAML documents people write. Reads text into plain values and knows where each one stands."""
