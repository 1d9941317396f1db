"""The embedded lab: a small real guest, backed up, changed, restored and compared."""
