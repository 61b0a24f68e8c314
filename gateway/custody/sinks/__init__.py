"""Where the audit log is delivered: one module a kind of receiver, one that ships, one that remembers how far it got."""
