"""Errors of the jobs room, each named for what its reader can do about it."""


class JobError(Exception):
    """Base of all of them. The message is one line for people (`SpecError` may list several mistakes, one a line)."""


class UserError(JobError):
    """The user asked for something that cannot be; nothing was started and nothing stored. Change the request."""


class SpecError(UserError):
    """The spec is malformed: the message names the place in it and what is allowed there."""


class NoInput(UserError):
    """No object matches the input pattern. Fix container or pattern: an empty success would hide the mistake."""


class OutputClash(UserError):
    """A result would overwrite an input, or another result. Rename the output."""


class StorageUnusable(UserError):
    """The storage cannot be used before anything started: no credentials, wrong ones, or nobody answers."""


class SpoolError(JobError):
    """The local disk failed this process (most often: it is full). The job cannot go on."""


class MachineError(JobError):
    """An event that the state machine cannot take: a bug here, never a user's. Carries the task's story."""
