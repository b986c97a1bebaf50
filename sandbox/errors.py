"""Errors of the sandbox, each named for what its reader can do about it.

Nothing here reports what a guest did wrong while it ran: that is an `Outcome`, never an exception.
"""


class SandboxError(Exception):
    """Base of all of them. The message is one line for people."""


class ProgramError(SandboxError):
    """The bytes are no program that can run here; the message names why. Fix the program."""


class LimitsError(SandboxError):
    """A limit is malformed or out of range; the message names it and what is allowed. Fix the limit."""


class FilesError(SandboxError):
    """A directory that a guest should get cannot be given to it; the message names what of it, and why."""


class ChannelError(SandboxError):
    """A channel that a launch asks for cannot be; the message names it and why."""


class BundleError(SandboxError):
    """A recorded run cannot be kept, or what was kept is damaged or not to be trusted; the message names what and
    where."""


class EngineError(SandboxError):
    """The engine itself refused or broke: neither the program's fault nor the caller's. Report it."""
