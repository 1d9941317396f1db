"""Measurements against peers, run by hand: `python -m tests.benchmarks` (`make bench`).

One disk, built from real files, goes through every tool in turn; each command is a real process.
Start reading in `__main__`: `source_disk` makes the disk, `tools` says which commands each tool
runs, `measuring` runs one command, `image_rounds` and `vm_rounds` put them in order, `bars` judges.
"""
