"""Ring 3: mail to people: rendering, queueing, SMTP. Decides nothing about who is told of what."""
