"""What can go wrong while guests are built: each error's text is all that the user sees."""


class BuildError(Exception):
    """A guest could not be built; the message says which, at what step, and why."""


class SourceError(BuildError):
    """A pinned distribution could not be had, or is not the one that was pinned."""


class ToolError(BuildError):
    """The compiler is missing or refused; the message ends with the tail of what it said."""
