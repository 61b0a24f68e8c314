"""Mail to people about their own account: written, queued, and handed to the operator's mail server."""
