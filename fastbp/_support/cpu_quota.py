"""The CPU time that a container grants this process, by Linux control groups of version 1 or 2.

A group's quota is the CPU time that its processes may use in each period: a quota of two periods is worth two cores.
The quotas of all groups above a group bound it as well.

Source: the kernel's documentation, admin-guide/cgroup-v2 (``cpu.max``) and scheduler/sched-bwc (``cpu.cfs_quota_us``).
"""

import os
import posixpath
from collections.abc import Iterator


def cpu_quota(root: str = "/") -> float | None:
    """The number of cores that the quotas of this process's control groups are worth.

    Parameters
    ----------
    root : str, default "/"
        The folder that ``proc`` and ``sys`` lie in.

    Returns
    -------
    float or None
        The smallest quota divided by its period; None when there is no quota, or no control group can be read.
    """
    quotas = []
    for hierarchy, group in _groups(root):
        for mount_root, mount_point in _mounts(root, hierarchy):
            folder = mount_point
            inside = posixpath.relpath(group, mount_root)
            parts = [] if inside.startswith("..") or inside == "." else inside.split("/")
            quotas.append(_quota(root, folder))
            for part in parts:
                folder = posixpath.join(folder, part)
                quotas.append(_quota(root, folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _lines(root: str, path: str) -> list[str]:
    """The lines of a file below `root`; none when it cannot be read."""
    try:
        with open(os.path.join(root, path.lstrip("/")), encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """(file system type, path) of each group of this process that can have a CPU quota."""
    for line in _lines(root, "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "cpu" in controllers.split(","):
            yield "cgroup", path


def _mounts(root: str, hierarchy: str) -> Iterator[tuple[str, str]]:
    """(path of the group at the mount point, mount point) of each mounted hierarchy of the given file system type."""
    for line in _lines(root, "proc/self/mountinfo"):
        fields, _, mounted = line.partition(" - ")
        kind, _, options = mounted.partition(" ")
        names = fields.split(" ")
        if kind != hierarchy or len(names) < 5:
            continue
        if hierarchy == "cgroup2" or "cpu" in options.split(" ")[-1].split(","):
            yield names[3], names[4]


def _quota(root: str, folder: str) -> float | None:
    """The quota of one group in cores; None when it has none."""
    both = _lines(root, posixpath.join(folder, "cpu.max"))
    fields = both[0].split() if both else []
    if not fields:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        fields = [line for name in names for line in _lines(root, posixpath.join(folder, name))[:1]]
    try:
        quota, period = float(fields[0]), float(fields[1])
    except (IndexError, ValueError):  # "max": no quota
        return None
    return quota / period if quota > 0 and period > 0 else None
