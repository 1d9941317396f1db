"""One VM into one restore point: the only composer of capture and repository.

Enter at `run.back_up_vm`.
"""
