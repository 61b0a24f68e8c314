"""Ring 2: how a person proves who they are: names, passwords, codes, throttling. Pure."""
