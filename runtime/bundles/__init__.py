"""Programs in one file: a zip of a manifest, the wasm, and files that the guest gets as its read-only `/`.

    archive.py    reads a stranger's zip and refuses by name what is not plain
    manifest.py   `program.toml`: what a program says of itself
    bundle.py     both together: what a bundle is
    build.py      makes one from a directory: the same input, the same bytes
    pack.py       its files laid out flat in the cache, to be mapped and handed to guests
    asked.py      the limits that a program asks for, and what it gets of them

docs/programs.md is the format as its users read it.
"""
