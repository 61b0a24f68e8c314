"""Ring 3: the gateway's own pages: sign-in, second factor, account, errors. Served by aiohttp over a Unix socket."""
