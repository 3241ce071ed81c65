"""A running shop for checks that ask it from outside."""

import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PORTS = [8000, *range(8080, 8087), 50051, 50052, 50053]
READY_MAX_S = 300
# For a caller that is no customer: it sends more than a limit of one lets through.
UNLIMITED = {"RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_ACCOUNT": "off", "RATE_LIMIT_SIGN_IN": "off"}


def binary():
    """The program that SAGASHOP names; without it, target/debug/sagashop is built."""
    if given := os.environ.get("SAGASHOP"):
        return given
    subprocess.run(["cargo", "build", "--locked", "--bin", "sagashop"], cwd=ROOT, check=True)
    return ROOT / "target" / "debug" / "sagashop"


@contextlib.contextmanager
def shop(log_file, env):
    """A shop of its own, on ports that nobody uses: its program, data folder and port offset."""
    program, offset = binary(), free_offset()
    with tempfile.TemporaryDirectory() as folder, open(log_file, "w") as log:
        # A cluster of root's runs as another user, who must be able to enter.
        os.chmod(folder, 0o755)
        data = pathlib.Path(folder) / "data"
        arguments = [program, "up", "--data-dir", data, "--port-offset", str(offset)]
        up = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **env})
        try:
            wait_until_ready(up, log_file)
            yield program, data, offset
        finally:
            up.terminate()
            up.wait(30)


def wait_until_ready(up, log_file):
    deadline = time.monotonic() + READY_MAX_S
    for line in up.stdout:
        if line.startswith("Sagashop is ready"):
            return
        if time.monotonic() > deadline:
            break
    sys.exit(f"the shop does not start: {pathlib.Path(log_file).read_text()}")


def free_offset():
    # Beyond the ports that systems hand out by themselves.
    candidates = random.sample(range(10_960, 15_360, 10), 100)
    return next(offset for offset in candidates if all(is_free(port + offset) for port in PORTS))


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accounts(data):
    """The development accounts of the shop."""
    return json.loads((data / "development-accounts.json").read_text())


def login(port, email, password):
    return post(port, "/login", {"email": email, "password": password})["token"]


def post(port, path, body, headers=()):
    url, body = f"http://127.0.0.1:{port}{path}", json.dumps(body).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **dict(headers)})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
