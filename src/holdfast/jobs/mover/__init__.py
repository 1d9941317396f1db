"""One attempt of one run, in a process of its own: moves the bytes, knows no catalogue.

The order comes as one JSON line on standard input, secrets included; after it come `alive` and
`cancel` lines. Events go to standard output, one JSON document a line (`events.py`). Enter at
`__main__`; each kind of run is a function of a `Task` (`task.py`) in a module of its own.
"""
