"""Ring 4: the demo. An old-fashioned portal of ours, the gateway in front of it, three people to try it with."""
