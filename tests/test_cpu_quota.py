"""The quota of control groups, read from a folder in place of the file system's root."""

import pytest

from fastbp._support.cpu_quota import cpu_quota

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 23 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "34 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def tree(folder, files):
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return str(folder)


@pytest.mark.parametrize(
    "groups, mounts, files, expected",
    [
        pytest.param("0::/", V2, {"cpu.max": "150000 100000"}, 1.5, id="version 2, in a namespace of its own"),
        pytest.param("0::/", V2, {"cpu.max": "max 100000"}, None, id="version 2, no quota"),
        pytest.param("0::/", V2, {}, None, id="version 2, root group"),
        pytest.param(
            "0::/a/b",
            V2,
            {"a/cpu.max": "50000 100000", "a/b/cpu.max": "400000 100000"},
            0.5,
            id="the group above bounds",
        ),
        pytest.param(
            "0::/a/b",
            V2,
            {"a/cpu.max": "max 100000", "a/b/cpu.max": "300000 100000"},
            3.0,
            id="the group itself bounds",
        ),
        pytest.param(
            "5:memory:/x\n4:cpu,cpuacct:/docker/f00",
            V1.format(root="/docker/f00") + "\n" + MEMORY,
            {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            4.0,
            id="version 1, mounted at the container's group",
        ),
        pytest.param(
            "4:cpuacct,cpu:/slice",
            V1.format(root="/"),
            {"cpu,cpuacct/slice/cpu.cfs_quota_us": "-1", "cpu,cpuacct/slice/cpu.cfs_period_us": "100000"},
            None,
            id="version 1, no quota",
        ),
        pytest.param("0::/gone", V2, {"cpu.max": "nonsense"}, None, id="what cannot be read is no quota"),
        pytest.param("", "", {}, None, id="no control groups"),
    ],
)
def test_quota(tmp_path, groups, mounts, files, expected):
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    root = tree(tmp_path, {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts} | files)
    assert cpu_quota(root) == expected


def test_without_proc(tmp_path):
    assert cpu_quota(str(tmp_path)) is None
