"""OUT. What leaves a hypervisor: which bytes, why those, and reading them fast and in full.

`plan` decides per disk between changed, compare and full, with the reason; `reading` moves the
chosen bytes through worker threads to a sink; `audit` picks the sample that keeps change tracking
honest. Knows no repository: where bytes go is the sink's business.
"""
