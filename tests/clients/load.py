"""Clients under load, and what must hold of what they saw: our own, Proton's and rhea, told by the third argument of the command line."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import PASSWORD, USER  # noqa: E402
from checks import expect, skip  # noqa: E402
from clients import BINARY  # noqa: E402

CLIENT = sys.argv[3]
OWN = CLIENT == "own"
RATE = 400


def words_of(what, endpoints, queue, user=USER, password=PASSWORD, extra=()):
    if OWN:
        return [BINARY, what, "--endpoint", ",".join(endpoints), "--queue", queue, "--user", user,
                "--connect-timeout-ms", "1000", "--idle-timeout-ms", "2000", *extra], {"MAINSTAY_PASSWORD": password}
    program = ["/usr/bin/python3", str(here / "proton_load.py")]
    if CLIENT == "rhea":
        node = shutil.which("node")
        if node is None or not (here.parent / "interop" / "node_modules" / "rhea").is_dir():
            skip("rhea is not installed: ./dev test fetches it with npm")
        program = [node, str(here / "rhea_load.js")]
    return [*program, what, ",".join(endpoints), user, password, queue], {}


class Process:
    """A client; every line it prints is kept with the moment of its arrival."""

    def __init__(self, directory, name, what, endpoints, queue, **how):
        words, environment = words_of(what, endpoints, queue, **how)
        self.name, self.log_file = name, directory / f"{name}.log"
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        stderr=open(self.log_file, "w"), env={**os.environ, **environment})
        self.lines, self.at = [], []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            self.at.append(time.monotonic())

    def wait(self, condition, timeout_s, what):
        until = time.monotonic() + timeout_s
        while not condition():
            expect(time.monotonic() < until, f"{self.name}: {what} within {timeout_s} s", self.tail())
            time.sleep(0.01)

    def end(self, timeout_s=30):
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            expect(False, f"{self.name} to end within {timeout_s} s", self.tail())
        self.reader.join(10)
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def tail(self):
        return (len(self.lines), self.lines[-2:], self.log_file.read_text()[-1500:])


class Producer(Process):
    """Feeds ids at a rate until stop()."""

    def __init__(self, directory, endpoints, queue, sessions=0, **how):
        super().__init__(directory, "producer", "send", endpoints, queue, **how)
        self.fed, self.sessions = [], sessions
        self.stopping, self.paused = threading.Event(), threading.Event()
        self.feeder = threading.Thread(target=self.feed, daemon=True)
        self.feeder.start()

    def feed(self):
        due, last = 0.0, time.monotonic()
        try:
            while not self.stopping.is_set():
                now = time.monotonic()
                due, last = due + (0 if self.paused.is_set() else (now - last) * RATE), now
                while len(self.fed) < int(due) and len(self.fed) - len(self.lines) < 3000:
                    n = len(self.fed)
                    self.fed.append(f"id-{n}")
                    session = f"s{n % self.sessions}" if self.sessions else ""
                    self.process.stdin.write(f"id-{n}\t{session}\tbody {n}\n")
                self.process.stdin.flush()
                time.sleep(0.01)
            self.process.stdin.close()
        except OSError:
            pass

    def confirmed(self):
        return [line["id"] for line in list(self.lines) if line.get("outcome") == "confirmed"]

    def confirms_go_on(self, more=50, timeout_s=40):
        """@return how long until the first of them."""
        begun, from_ = time.monotonic(), len(self.lines)
        self.wait(lambda: len(self.lines) >= from_ + more, timeout_s, f"{more} more outcomes")
        return self.at[from_] - begun

    def stop(self):
        self.stopping.set()
        self.feeder.join(10)
        status = self.end(60)
        expect(status == 0, "the producer to end with status 0", (status, self.tail()))


def consume(directory, endpoints, queue, count, sessions=False):
    """Everything in the queue, as lines."""
    extra = ["--idle", "4", *(["--sessions"] if sessions else [])]
    consumer = Process(directory, "consumer", "receive", endpoints, queue, **({"extra": extra} if OWN else {}))
    try:
        consumer.wait(lambda: len(consumer.lines) >= count, 60, f"{count} messages")
        if OWN:
            expect(consumer.end() == 0, "the consumer to end with status 0", consumer.tail())
        else:
            time.sleep(2)  # what comes twice comes in this time
            consumer.process.stdin.close()
            consumer.end()
    finally:
        consumer.kill()
    return consumer.lines


def audit(producer, lines, sessions=False):
    confirmed, received = producer.confirmed(), [line["id"] for line in lines]
    refused = [line for line in producer.lines if line.get("outcome") != "confirmed"]
    expect(not refused, "nothing but confirms", refused[:3])
    expect(len(confirmed) == len(producer.fed), "every message fed to be confirmed", (len(producer.fed), len(confirmed)))
    expect(len(set(received)) == len(received), "nothing twice at the consumer", repeated(received))
    expect(set(received) == set(confirmed), "exactly what was confirmed at the consumer",
           (len(received), len(confirmed), sorted(set(confirmed) ^ set(received))[:5]))
    groups = {}
    for line in lines:
        groups.setdefault(line.get("session") or "" if sessions else "", []).append(int(line["id"][3:]))
    for session, numbers in groups.items():
        expect(numbers == sorted(numbers), f"the order of sending in session {session!r}",
               next(((a, b) for a, b in zip(numbers, numbers[1:]) if a > b), None))
    return len(received)


def audit_shown(producer, consumer):
    """Of a consumer that lived through the end of its broker. @return what it was shown, in words."""
    ids = [line["id"] for line in consumer.lines]
    expect(set(ids) == set(producer.confirmed()), "exactly what was confirmed", len(set(ids)))
    twice = len(ids) - len(set(ids))
    if OWN:
        expect(twice == 0, "nothing shown twice", repeated(ids))
    return f"all {len(set(ids))} messages, {twice} of them shown twice"


def repeated(ids):
    seen = set()
    return [id_ for id_ in ids if id_ in seen or seen.add(id_)][:5]


def endpoint(broker):
    return f"127.0.0.1:{broker.port}"
