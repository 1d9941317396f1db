"""The module that nbdkit 1.32 gives to Python plugins: the part that Holdfast uses."""

THREAD_MODEL_PARALLEL: int
EXTENT_HOLE: int
EXTENT_ZERO: int
FLAG_REQ_ONE: int

def set_error(err: int) -> None: ...
