"""What goes over the wire, by noun. Names and fields fixed by the plan are marked in backups.py,
restores.py and repositories.py; everything here ends up in openapi.json and so in the dashboard's
client."""
