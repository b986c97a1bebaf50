"""Temporary objects that killed jobs left behind: find them, remove them.

They lie in the temporary container (`.insitu-jobs`, unless the spec named another) as JOB/partition-NNNNN, and the
storage drops each one a week after it was stored. A job that is still running looks the same from outside, which is why
removal asks for the job's id.
"""

from collections import Counter

from insitu.jobs.errors import NoInput, StorageUnusable
from insitu.jobs.names import shown
from insitu.jobs.store import Store


def leftovers(store: Store, container: str) -> Counter[str]:
    """Number of temporary objects by job id. Raises `StorageUnusable`."""
    if not store.has_container(container):
        return Counter()
    return Counter(found.name.partition("/")[0] for found in store.listing(container))


def remove(store: Store, container: str, job_ids: tuple[str, ...]) -> int:
    """Remove these jobs' temporary objects, and the container once it is empty; returns how many objects there were.

    Raises `NoInput` when one of the jobs has none, before anything is removed; `StorageUnusable`.
    """
    there = leftovers(store, container)
    for job_id in job_ids:
        if job_id not in there:
            raise NoInput(f"no temporary objects of job {shown(job_id)} in container {shown(container)}")
    removed = 0
    for job_id in job_ids:
        for found in store.listing(container, f"{job_id}/"):
            store.delete(container, found.name)
            removed += 1
    try:
        store.remove_if_empty(container)
    except StorageUnusable:
        pass  # the objects are gone; an empty container costs nothing
    return removed
