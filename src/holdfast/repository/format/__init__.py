"""The on-disk format, version 1: bytes in, values out. Pure; normative text in docs/format/.

`keys` derives and wraps keys, `envelope` seals small objects, `pack` and `index` lay out chunks,
`point` the manifest, `config` the public header of a repository, `recovery_kit` its paper form.
"""

FORMAT_VERSION = 1
MAX_CHUNK_BYTES = 16 * 1024 * 1024
