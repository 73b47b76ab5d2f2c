#!/usr/bin/python3
"""Starts a broker and lets a client that nobody here wrote talk to it: run_interop.py MAINSTAY proton|rhea.

Ends with the client's status; 77 (skipped, with the reason) when the client is not on this machine.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import PASSWORD, USER, Broker  # noqa: E402
from checks import skip  # noqa: E402

CLIENT_SECONDS = 240


def command(client, broker):
    if client == "proton":
        try:
            import proton  # noqa: F401
        except ImportError as missing:
            skip(f"{sys.executable} has no Proton binding ({missing}); Debian's package is python3-qpid-proton")
        return ["/usr/bin/python3", str(here / "proton_client.py"), broker.url, USER, PASSWORD]
    node = shutil.which("node")
    if node is None:
        skip("node is not installed")
    if not (here / "node_modules" / "rhea").is_dir():
        noted = here.parent.parent / "build" / "rhea-missing"
        why = noted.read_text().strip() if noted.exists() else "npm ci has not run; ./dev test does that"
        skip(f"rhea is not installed in {here}: {why}")
    return [node, str(here / "rhea_client.js"), "127.0.0.1", str(broker.port), USER, PASSWORD]


def main():
    binary, client = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="mainstay_interop_") as directory:
        broker = Broker(binary, directory)
        words = command(client, broker)
        with broker.start():
            try:
                status = subprocess.run(words, timeout=CLIENT_SECONDS).returncode
            except subprocess.TimeoutExpired:
                status = 1
                print(f"not ok - the {client} client was not done after {CLIENT_SECONDS} s", flush=True)
            if status == 0:
                ended = broker.stop()
                if ended != 0:
                    status = 1
                    print(f"not ok - the broker ended with status {ended} after SIGTERM", flush=True)
            if status != 0:
                print(broker.log_tail(), flush=True)
    sys.exit(status)


main()
