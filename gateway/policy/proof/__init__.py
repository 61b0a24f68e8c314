"""What follows from a policy for every request there could be: solved over the table and its conditions, never guessed."""
