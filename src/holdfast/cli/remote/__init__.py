"""A Holdfast service from a terminal: where it is, who asks, and what it answers.

Knows only the service's API over HTTP, nothing of what is behind it. Enter at `server.connected`.
"""
