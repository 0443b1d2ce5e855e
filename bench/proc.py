"""What Linux tells about processes: CPU time, memory, children, and who listens on a port."""

import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LISTEN = "0A"


def cpu_seconds(pid: int) -> float:
    """Sum the user and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def held_up_seconds(pid: int) -> float:
    """Read how long a process's first thread was ready to run while others had its CPU; 0 if Linux does not count."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0


def resident_bytes(pid: int) -> int:
    """Read how much memory of a process is resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def began(pid: int) -> int | None:
    """Read when a process began, in ticks since boot, or None when it is gone; with the pid this names one for good."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(fields[18])


def family(pid: int) -> list[int]:
    """List a process and all its descendants."""
    children = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(child) for child in listing.read_text().split()]
    return [pid, *(one for child in children for one in family(child))]


def listener(pid: int, port: int) -> int | None:
    """Find which process of a family listens on a TCP port; the youngest, where children share a parent's socket."""
    inodes = set()
    for listing in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):  # Node listens on `::`
        for line in listing.read_text().splitlines()[1:] if listing.exists() else ():
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    owners = [one for one in family(pid) if inodes & _open_files(one)]
    return owners[-1] if owners else None


def _open_files(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def pin(pid: int, cpus: set[int]) -> None:
    """Keep every thread of a process on these CPUs."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus)
