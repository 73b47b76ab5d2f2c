"""AMQP clients, a pair of regions and the frame of a case, shared by the tests of real processes."""
import contextlib
import inspect
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from broker import PASSWORD, USER, Broker, running_as_root
from checks import expect, run, skip

try:
    from proton import Connection, Message, ProtonException, Transport
    from proton.utils import BlockingConnection
except ImportError as missing:
    skip(f"{sys.executable} has no Proton binding ({missing}); Debian's package is python3-qpid-proton")

BINARY = sys.argv[1]
SEED = int(os.environ.get("MAINSTAY_SEED", "20240917"))
CLUSTER = "6f2c1d0e-8a4b-4c3d-9e5f-0123456789ab"
LAG_METRIC = "mainstay_replication_lag_records"


def connect(broker, timeout=20):
    return BlockingConnection(broker.url, timeout=timeout, user=USER, password=PASSWORD, allow_insecure_mechs=True,
                              allowed_mechs="PLAIN")


@contextlib.contextmanager
def small_file_system(directory, size):
    """A file system of its own, mounted below the directory, of this size. Skips where it cannot be."""
    if not running_as_root():
        skip("a small file system can only be mounted by root")
    disk = directory / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        skip(f"mount is not possible here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def send(connection, queue, ids, body="x"):
    sender = connection.create_sender(queue)
    for id_ in ids:
        sender.send(Message(id=id_, body=body))
    sender.close()


def take_all(connection, queue):
    """Ids in the queue, in order, completed."""
    receiver = connection.create_receiver(queue, credit=100)
    ids = []
    while True:
        try:
            ids.append(receiver.receive(timeout=1).id)
        except ProtonException:
            break
        receiver.accept()
    receiver.close()
    return ids


def serves(broker, queue="plain"):
    """A client can send and receive, quickly."""
    begun = time.monotonic()
    connection = connect(broker)
    send(connection, queue, ["probe"])
    receiver = connection.create_receiver(queue, credit=1)
    expect(receiver.receive(timeout=10).id == "probe", "the probe message")
    receiver.accept()
    connection.close()
    expect(time.monotonic() - begun < 10, "a round trip within 10 s", time.monotonic() - begun)


class RawClient:
    """Proton's engine on a socket that this test reads and writes when it likes."""

    def __init__(self, broker, user=USER, password=PASSWORD):
        self.connection, self.transport = Connection(), Transport()
        self.connection.hostname, self.connection.user, self.connection.password = "localhost", user, password
        self.transport.sasl().allow_insecure_mechs = True
        self.transport.sasl().allowed_mechs("PLAIN")
        self.transport.bind(self.connection)
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
        self.connection.open()

    def write(self):
        while self.transport.pending() > 0:
            self.transport.pop(self.socket.send(self.transport.peek(self.transport.pending())))

    def pump(self, until, timeout_s=10):
        end = time.monotonic() + timeout_s
        while not until():
            expect(time.monotonic() < end, "the broker to answer in time")
            self.write()
            self.socket.settimeout(0.2)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                continue
            if not data:
                self.transport.close_tail()
                return
            self.push(data)
        self.write()

    def push(self, data):
        """Proton's engine takes as much at a time as it has room for."""
        while data:
            room = self.transport.capacity()
            expect(room > 0, "the client's engine to take what comes", self.transport.condition)
            self.transport.push(data[:room])
            data = data[room:]


def pair(directory, regions=("a", "b")):
    """A live and a standby node of two regions that share a register; the first region leads when nobody ever did."""
    a, b = (Broker(BINARY, directory / region, name=region + "1", region=region, initial_region=regions[0],
                   register=directory / "register.db", node={"cluster": CLUSTER}) for region in regions)
    a.config["replication"]["peers"] = [f"127.0.0.1:{b.replication_port}"]
    b.config["replication"]["peers"] = [f"127.0.0.1:{a.replication_port}"]
    a.write_config()
    b.write_config()
    return a, b


def start_standby(broker):
    broker.start(ready=False)
    broker.wait(lambda: broker.get("/livez")[0] == 200, 60, "/livez to answer 200")


def in_step(live, timeout_s=60):
    live.wait(lambda: live.metric(LAG_METRIC) == 0, timeout_s, f"{LAG_METRIC} to be 0")


def run_case(cases):
    """The case named on the command line, in a directory of its own."""
    cases = {case.__name__: case for case in cases}

    def main():
        case = cases.get(sys.argv[2])
        expect(case, f"a case, one of {', '.join(cases)}", sys.argv[2])
        print(f"case {case.__name__}, MAINSTAY_SEED={SEED}", flush=True)
        if inspect.getdoc(case):
            print(inspect.getdoc(case), flush=True)
        directory = pathlib.Path(tempfile.mkdtemp(prefix=f"mainstay_{case.__name__}_"))
        try:
            case(directory)
        except AssertionError as told:
            print(f"not ok - {told}", flush=True)
            sys.exit(1)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    run(main)
