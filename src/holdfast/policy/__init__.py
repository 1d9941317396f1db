"""POLICY. Pure decisions: values in, values out. No I/O, no clock reads, no repository.

Enter at `retention.decide`: which restore points live and why. What follows from a decision is
done elsewhere: `repository/prune.py` deletes.
"""

from holdfast.policy.retention import Decision, PointFacts, RetentionRules, decide

__all__ = ["Decision", "PointFacts", "RetentionRules", "decide"]
