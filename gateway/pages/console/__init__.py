"""The console: pages on which administrators read the policy, ask it questions, and manage people and sessions.

`door` is who comes in; read it to answer "can anybody see or change something here without passing X?". Policy files are
only read: Git owns them. What is done to people is decided behind `desk.People`.
"""
