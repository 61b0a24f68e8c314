"""What follows from a policy for the requests there were: the audit log decided again, and what was used of the policy."""
