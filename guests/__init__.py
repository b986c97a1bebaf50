"""The programs that ship with insitu, and the tool that builds them from source: not part of the wheel."""
