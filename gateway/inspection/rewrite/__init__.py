"""Streaming rewriting of HTML: bytes pass as they came, but for what is put in at places that no parser reads otherwise."""
