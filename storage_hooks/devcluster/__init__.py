"""A real OpenStack Swift on loopback, from pip packages alone, as any user, with insitu nodes beside it.

What runs, for four object servers::

    DevCluster (your process)
        | starts, reads its report, holds its lifeline
    supervisor   imports Swift once, binds every port, writes rings and configuration, forks
        |- proxy          127.0.0.1   … s3api tempauth [run_hook] copy … symlink proxy-logging [run_switch] proxy-server
        |- account, container         127.0.0.1
        |- object-1 … 4   127.0.0.1-4   healthcheck [object_hook] object-server
        '- node-1 … 4     `python -m insitu node`, each at its own Unix socket

Nothing outlives the supervisor: it ends its children, they are killed by the kernel when it is killed, and it ends
itself when its lifeline breaks. Ports are the kernel's choice, so any number of clusters can stand side by side.

It is for development, tests and demonstrations: no replicators, no memcached, one disk.
"""

from insitu.storage_hooks.devcluster.cluster import DevCluster
from insitu.storage_hooks.devcluster.errors import DevClusterError, DirectoryRefused, NotRunning, StartFailed
from insitu.storage_hooks.devcluster.options import Options
from insitu.storage_hooks.devcluster.state import NodeInfo

__all__ = ["DevCluster", "DevClusterError", "DirectoryRefused", "NodeInfo", "NotRunning", "Options", "StartFailed"]
