"""What the checks install for themselves, from the package registries, into target/."""

import os
import shutil
import subprocess
import sys

from shop import ROOT

TOOLS = ROOT / "target" / "tools"


def python_module(name, requirement):
    """A Python module: the machine's, or this version of it (`pyyaml==6.0.3`)."""
    try:
        return __import__(name)
    except ImportError:
        folder = TOOLS / requirement
        if not folder.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--root-user-action=ignore", "--target", folder, requirement], check=True)
        sys.path.append(str(folder))
        return __import__(name)


def go_program(name, package, version):
    """A program: the machine's, or this version of it, built by Go."""
    if found := shutil.which(name):
        return found
    folder = TOOLS / f"{name}-{version}"
    if not (folder / name).exists():
        if not shutil.which("go"):
            sys.exit(f"{name} was not found, and no Go to build it with: put one of them on the PATH")
        env = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        subprocess.run(["go", "install", f"{package}@{version}"], env=env, check=True)
    return str(folder / name)
