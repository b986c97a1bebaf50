"""A program that has begun already: a module's own initialisation is run once, and what it left is written as a module.

An interpreter takes tens of milliseconds to start and to import what its scripts need, and each launch would pay for
that. So a module may export `wizer-initialize` (the name that such modules go by, whoever made the tool): a function
that does what is the same in every launch. It is called here instead of `_start`, in a sandbox like any other, frozen,
with nothing of the host; and a new module is written, whose launches begin where that call ended:

    module ──► the same with every mutable global and table exported ──► instance ──► wizer-initialize()
                                                                                             │
    types, imports, functions, tables, exports, elements, code: as they were                 │
    memory      as large as it became, and what is not zero in it as data segments     ◄─────┤
    globals     the mutable ones with the values that they have by then                ◄─────┘
    start       is gone: it has run

The same module with the same words and files gives the same bytes. The new one still exports `wizer-initialize`: a
snapshot can be snapshotted again, with a script loaded, say.

What is neither in memory nor in a global would be lost, so it is refused by name: open files, files written, output,
tables that changed, segments that may have been dropped.

    module.py   what has to be known of a module, and the module that is run
    state.py    what is taken out of an instance
    make.py     runs one and writes the other
"""

from insitu.sandbox.snapshot.make import ENTRY, SnapshotError, laid_open, snapshot

__all__ = ["ENTRY", "SnapshotError", "laid_open", "snapshot"]
