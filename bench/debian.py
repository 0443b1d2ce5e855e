"""What a run needs beside Python, fetched from Debian where that is allowed."""

import os
import shutil
import subprocess

PACKAGE = "nginx-light"
FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
MISSING = f"nginx is missing: the comparisons with it are left out. Install it with: apt-get install {PACKAGE}"


def nginx() -> str | None:
    """Find nginx, installing it first where it is missing and we may."""
    return _found() or (_install() and _found()) or None


def _found() -> str | None:
    return shutil.which("nginx", path=FOLDERS)


def _install() -> bool:
    root = _root()
    if root is None or shutil.which("apt-get") is None:
        return False
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    if subprocess.run(install, env=env, check=False, capture_output=True).returncode:
        subprocess.run([*root, "apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(install, env=env, check=False, capture_output=True)
    if systemctl := shutil.which("systemctl"):  # the package starts a server of its own, which nobody asked for
        subprocess.run([*root, systemctl, "disable", "--now", "nginx"], check=False, capture_output=True)
    return True


def _root() -> list[str] | None:
    """Say how to run a command as root without being asked for a password; None where that cannot be."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None
