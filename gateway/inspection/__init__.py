"""Ring 2: what a request says, as the upstream would read it, and whether that is an attack."""
