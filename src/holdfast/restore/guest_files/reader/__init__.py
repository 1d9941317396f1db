"""The program that runs inside the sandbox and interprets guest file systems.

Everything below this folder runs with guest-controlled data as its input and is not trusted by the
parent. It owns partition tables, volume groups, file systems and path lookup; it must not know
repositories, keys, processes or the network, and imports only the standard library, dissect,
zstandard and `..protocol`. Enter at `__main__`.

dissect is used below its own directory and path layers where those were seen to give wrong
answers; each place says which.
"""
