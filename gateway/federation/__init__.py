"""Ring 3: the conversation with identity providers: metadata, keys, tokens, logout. Decides nothing about people."""
