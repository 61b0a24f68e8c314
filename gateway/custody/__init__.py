"""What becomes of the audit log after it was written: sealed, proven, shipped and, when it is time, pruned."""
