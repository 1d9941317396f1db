"""The command line: composes the parts for one command and shows the result.

`main` is the entry point and maps errors to exit codes; `commands/` has one module a noun;
`screen` is everything that is printed; `opening` turns arguments into a repository or a source.
Heavy libraries are imported by the command that needs them: a listing must start at once.
"""
