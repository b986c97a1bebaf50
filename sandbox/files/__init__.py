"""The files a guest sees: a tree of its own in memory, of which no name leads to the host's."""
