"""
Becomes another program, one that dies with its parent and, if asked, is not root.

Run by its path with the standard library alone. PostgreSQL refuses to run as root; there are two
honest ways out. A user namespace shows the same user under another number, with no capability left:
files stay where and whose they are. Where the kernel forbids that, `--user` changes to a real user.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--namespace", action="store_true")
    parser.add_argument("--user", default="")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args(arguments)
    if asked.namespace:
        leave_root_by_namespace()
    if asked.user:
        become(asked.user)
    if asked.parent:
        die_with(asked.parent, asked.signal)
    os.execvp(asked.command[0], asked.command)  # noqa: S606  # the point of this module


def leave_root_by_namespace() -> None:
    """Root as some other number of the same files; OSError where the kernel forbids it."""
    stranger = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "the kernel allows no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{stranger.pw_uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{stranger.pw_gid} {gid} 1")


def become(name: str) -> None:
    entry = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def die_with(parent: int, number: int) -> None:
    """Linux sends the signal when the parent ends; elsewhere the next `up` clears what was left."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    main(sys.argv[1:])
