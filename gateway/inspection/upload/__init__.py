"""Uploads: what a form or a raw body brings along, judged before the portal sees a byte of it."""
