"""A `mainstay serve` process on loopback: configuration, start, readiness, end by pid, log on failure."""
import atexit
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

USER, PASSWORD, TOKEN = "app", "correct-horse", "control-token"

QUEUES = {
    "plain": {},
    "thrice": {"max_delivery_count": 3},
    "sessions": {"requires_session": True},
    "dedup": {"duplicate_detection": True},
}


PORTS = pathlib.Path(tempfile.gettempdir()) / "mainstay-test-ports"


def reserve(port):
    """Keeps other tests that run beside this one from taking the port before a node of this one listens on it."""
    PORTS.mkdir(exist_ok=True)
    mark = PORTS / str(port)
    try:
        owner = int(mark.read_text() or 0)
        if owner and pathlib.Path(f"/proc/{owner}").exists():
            return False
        mark.unlink()
    except (FileNotFoundError, ValueError):
        pass
    try:
        with open(mark, "x", encoding="ascii") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    atexit.register(mark.unlink, missing_ok=True)
    return True


def free_port():
    """A free loopback port outside the range that outgoing connections use, of this process until it ends."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if reserve(port):
            return port
    raise RuntimeError("no free port found on 127.0.0.1")


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Broker:
    """One node. Every argument beyond binary and directory overrides a table of the configuration."""

    def __init__(self, binary, directory, name="a1", region="a", initial_region="a", queues=None, register=None,
                 **tables):
        self.binary = str(binary)
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name, self.region = name, region
        self.port, self.control_port, self.replication_port = free_port(), free_port(), free_port()
        self.data = self.directory / name
        self.register = pathlib.Path(register) if register else self.directory / "register.db"
        self.log_file = self.directory / f"{name}.log"
        self.config_file = self.directory / f"{name}.toml"
        self.process = None
        self.arrays = {}  # tables that may be there several times
        self.environment = {}  # beyond this process's own
        self.config = {
            "node": {"name": name, "region": region, "data": self.data},
            "amqp": {"listen": f"127.0.0.1:{self.port}"},
            "control": {"listen": f"127.0.0.1:{self.control_port}", "token": TOKEN},
            "replication": {"listen": f"127.0.0.1:{self.replication_port}"},
            "register": {"file": self.register, "initial_region": initial_region},
            # Small, so that a start is quick and a roll happens.
            "journal": {"segment_bytes": "8MiB", "reserve_bytes": "1MiB"},
            "log": {"level": "debug"},
        }
        # The same cases with sockets on threads of their own: tests/CMakeLists.txt sets it for some.
        if "MAINSTAY_TEST_IO_THREADS" in os.environ:
            self.config["threads"] = {"io": int(os.environ["MAINSTAY_TEST_IO_THREADS"])}
        for table, keys in tables.items():
            self.config.setdefault(table, {}).update(keys)
        self.queues = QUEUES if queues is None else queues
        self.write_config()

    def write_config(self):
        lines = []
        for table, keys in self.config.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {toml(value)}" for key, value in keys.items()]
        for table, entries in self.arrays.items():
            for entry in entries:
                lines.append(f"[[{table}]]")
                lines += [f"{key} = {toml(value)}" for key, value in entry.items()]
        lines += ["[[user]]", f"name = {toml(USER)}", f"password = {toml(PASSWORD)}"]
        for queue, options in self.queues.items():
            lines += ["[[queue]]", f"name = {toml(queue)}"]
            lines += [f"{key} = {toml(value)}" for key, value in options.items()]
        self.config_file.write_text("\n".join(lines) + "\n")

    @property
    def url(self):
        return f"amqp://127.0.0.1:{self.port}"

    def start(self, ready=True, timeout_s=60):
        """Starts the process; with `ready`, returns when /readyz says so."""
        log = open(self.log_file, "ab")
        self.process = subprocess.Popen([self.binary, "serve", "--config", str(self.config_file)], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=subprocess.STDOUT, cwd=self.directory,
                                        env={**os.environ, **self.environment})
        log.close()
        if ready:
            self.wait(lambda: self.get("/readyz")[0] == 200, timeout_s, "/readyz to answer 200")
        return self

    def wait(self, condition, timeout_s, what):
        """Waits while the process lives."""
        until = time.monotonic() + timeout_s
        while True:
            if condition():
                return
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with status {self.process.returncode} before: {what}\n{self.log_tail()}")
            if time.monotonic() > until:
                raise AssertionError(f"{self.name}: waited {timeout_s} s for {what}\n{self.log_tail()}")
            time.sleep(0.02)

    def wait_end(self, timeout_s=30):
        """The exit status of a process that should end by itself."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout_s} s, it should have ended\n{self.log_tail()}") from None

    def get(self, path):
        """(status, body) of the control listener; (0, reason) when it does not answer."""
        return self.request("GET", path)

    def post(self, path, body="{}", authorization="Bearer " + TOKEN):
        return self.request("POST", path, body, {"Authorization": authorization} if authorization else {})

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=5)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except OSError as trouble:
            return 0, str(trouble)
        except http.client.HTTPException as trouble:
            return 0, repr(trouble)
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/status")[1])

    def group_status(self):
        """The part of /status about the group; nothing while the node does not answer. A node of a shared store opens
        its control listener anew when it becomes the leader or a standby, so any two requests may have that between."""
        code, body = self.get("/status")
        return json.loads(body).get("group", {}) if code == 200 else {}

    def command(self, *words):
        """`mainstay` with these words and this node's configuration."""
        return subprocess.run([self.binary, *words, "--config", str(self.config_file)], capture_output=True, text=True,
                              timeout=90)

    def command_on_data(self, *words):
        """`mainstay` with these words and this node's data directory."""
        return subprocess.run([self.binary, *words, str(self.data)], capture_output=True, text=True, timeout=90)

    def metric(self, name):
        """Sum of the samples of a metric; None when it is not there."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics")[1].splitlines()
                  if line.split("{")[0].split(" ")[0] == name]
        return sum(values) if values else None

    def kill(self):
        """As a power cut would: SIGKILL, by pid."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def stop(self, timeout_s=30):
        """SIGTERM, by pid. @return the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not end within {timeout_s} s after SIGTERM\n{self.log_tail()}") from None
        return self.process.returncode

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines=60):
        return f"--- last lines of {self.log_file.name}\n" + "\n".join(self.log().splitlines()[-lines:]) + "\n---"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.kill()
        if kind is not None:
            print(self.log_tail(), file=sys.stderr, flush=True)


def resident_bytes(process):
    """Memory of a process (VmRSS)."""
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def bytes_below(directory, names="*"):
    """What the files of such names below a directory have on the disk; what goes meanwhile does not count."""
    total = 0
    for file in pathlib.Path(directory).rglob(names):
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def running_as_root():
    return os.geteuid() == 0
