"""CPython and Pillow as one guest, built from source: `python guests/build.py --python`.

    recipe.py      what goes in: sources, digests, flags, what is left out
    debian.py      source packages, through the machine's own apt
    steps.py       steps that are cached one by one, told and logged
    native.py      a CPython for the machine of the build, which the other one's build needs
    wasi.py        CPython for wasm32-wasi, as a library
    libraries.py   zlib, libjpeg-turbo, FreeType, libwebp, and Pillow's own C
    library.py     the standard library and Pillow's modules, as files
    bundle.py      the module, its snapshot, the bundle, the wheel
    install.py     the wheel into the environment that builds

In the guest: main.c, boot.py as the module insitu_boot, absent.py, which tells what is not there, and in the place of
what a guest cannot have _socket.py, mmap.py, and unix_events.py of asyncio.
"""
