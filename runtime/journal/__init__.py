"""A node's journal: one usage record per launch, in an SQLite file of its own.

    PATH            the records (see `schema`), and SQLite's PATH-wal and PATH-shm beside it
    PATH-running    the launches under way (see `running`); its lock is the node's claim on the journal

A launch is entered in PATH-running before anybody is told that it was accepted, and its record is in PATH before
anybody is told what it came to. So whatever a client has seen survives the node's sudden end, and a launch that ended
with the node is found by the next one, which records it as lost.

What survives a power failure is what has reached the disk: a thread asks for that every few milliseconds, so that
`SYNCED` is kept by a disk that is quick enough, and the log says when it was not. The node's loop itself never waits
for a disk: it appends to SQLite's log, and another thread (see `housekeeping`) brings the log into the database.

When a record cannot be written, new launches are refused, and the answers of those under way are held back until theirs
are written. Room for those is reserved beforehand.
"""

from typing import Final

SYNCED: Final = 0.05
"""Seconds within which a record is on the disk, if the disk takes its part in time."""
