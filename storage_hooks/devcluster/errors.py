"""What can go wrong with a development cluster, named for what its user can do about it."""


class DevClusterError(Exception):
    """Base of all of them. The first line of the message says it all; more lines, if any, are a log's tail."""


class OptionRefused(DevClusterError):
    """An option has no sensible meaning. Give another value."""


class DirectoryRefused(DevClusterError):
    """The directory is not a cluster's and not empty, or cannot hold one. Name another."""


class AlreadyRunning(DevClusterError):
    """A cluster lives in that directory. Use it, or end it first."""


class NotRunning(DevClusterError):
    """No cluster answers there. Start one."""


class StartFailed(DevClusterError):
    """A part of the cluster did not come up; the message holds the tail of its log."""
