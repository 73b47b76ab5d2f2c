"""Voters of a test: etcd processes on loopback, each ended by pid."""
import http.client
import os
import pathlib
import shutil
import subprocess
import time

from broker import free_port
from checks import expect, skip

ETCD = "/usr/bin/etcd"


class Voters:
    def __init__(self, directory, members=3):
        if not os.access(ETCD, os.X_OK):
            skip("etcd is not installed; Debian's package is etcd-server")
        self.directory = pathlib.Path(directory)
        self.ports = [free_port() for _ in range(members)]
        self.peer_ports = [free_port() for _ in range(members)]
        self.processes = [None] * members

    @property
    def endpoints(self):
        return [f"127.0.0.1:{port}" for port in self.ports]

    def start(self, i):
        client, peer = f"http://127.0.0.1:{self.ports[i]}", f"http://127.0.0.1:{self.peer_ports[i]}"
        cluster = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(self.peer_ports))
        with open(self.directory / f"m{i}.log", "ab") as log:
            self.processes[i] = subprocess.Popen(
                [ETCD, "--name", f"m{i}", "--data-dir", str(self.directory / f"m{i}"), "--listen-client-urls", client,
                 "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", cluster, "--heartbeat-interval", "50", "--election-timeout", "500",
                 "--log-level", "error"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def kill(self, i):
        if self.processes[i] is not None:
            self.processes[i].kill()
            self.processes[i].wait()
            self.processes[i] = None

    def kill_all(self):
        for i in range(len(self.processes)):
            self.kill(i)

    def start_all(self):
        for i in range(len(self.processes)):
            self.start(i)
        until = time.monotonic() + 60
        while not all(self.healthy(i) for i in range(len(self.processes))):
            expect(time.monotonic() < until, "the voters to be healthy within 60 s")
            time.sleep(0.05)

    def keep(self):
        """A copy of every member's disk, as of one moment at which none of them runs."""
        self.kill_all()
        for i in range(len(self.processes)):
            shutil.copytree(self.directory / f"m{i}", self.directory / f"m{i}.kept")
        self.start_all()

    def put_back(self):
        """As who restores machines from an old backup does: what was written since keep() is forgotten."""
        self.kill_all()
        for i in range(len(self.processes)):
            shutil.rmtree(self.directory / f"m{i}")
            shutil.copytree(self.directory / f"m{i}.kept", self.directory / f"m{i}")
        self.start_all()

    def healthy(self, i):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[i], timeout=5)
        try:
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def __enter__(self):
        self.start_all()
        return self

    def __exit__(self, *_):
        self.kill_all()
