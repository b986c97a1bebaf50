"""Our own WASI preview1 host: what a guest can ask of us, and nothing else.

All 46 functions of `wasi_snapshot_preview1` are defined, by families: `words` (arguments, environment), `descriptors`
(fd_*), `paths` (path_*), `waiting` (clocks, chance, poll, ending). Pointers, lengths and numbers from the guest are
hostile: each reaches memory through `Guest.span` alone, which checks it against the memory's true size.
"""
