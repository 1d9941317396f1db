"""One module a noun; each command opens what it needs, calls one use case and shows the result."""
