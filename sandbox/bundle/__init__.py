"""Bundles: what went into a run and what came of it, kept so that it can be run again anywhere.

    DIR/bundle.json         everything there is to know, in words and figures              format, fields, results
    DIR/program.wasm        the program, unless it is large                                directory
    DIR/program.zip         instead of it, what a node had of a program with files: all of it
    DIR/inputs/stdin        what the guest read of its stdin                               witness
    DIR/inputs/in-NAME      a named input
    DIR/files/<64 hex>      the files of its tree, each by its SHA-256                     tree

No path in a bundle leads anywhere: the names of its parts follow from channel names and digests. It is read as what it
may be, the work of an enemy: every part is a regular file that was reached through no link, of exactly the size and
digest that `bundle.json` says, and that is read field by field.
"""
