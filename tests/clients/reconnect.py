#!/usr/bin/python3
"""Clients with several endpoints while brokers are switched, killed, frozen and promoted: reconnect.py MAINSTAY CASE CLIENT."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import USER, free_port  # noqa: E402
from checks import expect, ok  # noqa: E402
from clients import BINARY, in_step, pair, run_case, start_standby  # noqa: E402
from load import OWN, Process, Producer, audit, audit_shown, consume, endpoint  # noqa: E402

QUEUES = {
    # The confirm waits for the other region: what is confirmed survives a forced promotion.
    "flow": {"duplicate_detection": True, "durability": "global", "lock_duration_s": 30},
    "local": {"duplicate_detection": True, "lock_duration_s": 30},
    "sessions": {"duplicate_detection": True, "requires_session": True, "durability": "global"},
    "repeats": {},
}


def regions(directory):
    east, west = pair(directory, ("east", "west"))
    for broker in (east, west):
        broker.queues = QUEUES
        broker.write_config()
    return east, west


def command(broker, what, *words):
    done = broker.command("region", what, "--json", "--reason", "a test", *words)
    expect(done.returncode == 0, f"region {what} to be done", done.stderr)


def leads(broker, timeout_s=30):
    broker.wait(lambda: broker.get("/readyz")[0] == 200, timeout_s, "/readyz to answer 200")


# ---------------------------------------------------------------- cases

def switch_then_kill(directory):
    """A planned switch under load, then kill -9 of the live node and a forced promotion of the other: every confirmed message once and in order."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        east.wait(lambda: east.status()["replication"]["connected"], 20, "the standby to be connected")
        producer = Producer(directory, [f"127.0.0.1:{free_port()}", endpoint(east), endpoint(west)], "flow")
        try:
            producer.wait(lambda: len(producer.lines) > 200, 30, "200 confirms through the second endpoint of the list")
            ok("the first entry of the list is dead: the next one serves")
            command(east, "switch")
            gap = producer.confirms_go_on()
            ok(f"planned switch under load: confirmed again {gap:.2f} s after the command was done")
            west.wait(lambda: west.status()["replication"]["connected"], 30, "east to be connected as standby")
            producer.confirms_go_on(100)
            west.kill()
            time.sleep(1)
            command(east, "promote", "--force")
            leads(east)
            command(east, "admit-producers")
            # East waits for west before it confirms "global", as the queue demands. What west had stored and not shipped was
            # never confirmed; with it west's log has diverged, so it comes back with an empty disk.
            west.data.rename(west.data.with_suffix(".aside"))
            start_standby(west)
            gap = producer.confirms_go_on()
            ok(f"kill -9 of the live node and a forced promotion: confirmed again {gap:.2f} s after west was back")
            producer.stop()
        finally:
            producer.kill()
        count = audit(producer, consume(directory, [endpoint(west), endpoint(east)], "flow", len(producer.fed)))
        ok(f"all {count} confirmed messages once and in order")


def kill_and_restart(directory):
    """kill -9 of the live node three times under load; it comes back by itself. A standby in the list says "not live" all the time."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        producer = Producer(directory, [endpoint(west), endpoint(east)], "local")
        try:
            for round_ in range(3):
                producer.confirms_go_on(200)
                east.kill()
                time.sleep(0.3)
                east.start(ready=False)
                gap = producer.confirms_go_on()
                expect(gap < 20, "confirms soon after the start", gap)
                ok(f"killed and started: confirmed again after {gap:.2f} s")
            producer.stop()
        finally:
            producer.kill()
        count = audit(producer, consume(directory, [endpoint(west), endpoint(east)], "local", len(producer.fed)))
        ok(f"all {count} confirmed messages once and in order")


def frozen(directory):
    """SIGSTOP of the live node: TCP goes on accepting, nothing answers. Load comes while it is frozen; the other region is promoted."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        producer = Producer(directory, [endpoint(east), endpoint(west)], "local")
        try:
            producer.confirms_go_on(200)
            # Nothing confirmed is missing in west, and what comes from here on goes to a frozen node.
            producer.paused.set()
            producer.wait(lambda: len(producer.lines) == len(producer.fed), 20, "all that was fed to be confirmed")
            in_step(east)
            os.kill(east.process.pid, signal.SIGSTOP)
            producer.paused.clear()
            begun, from_ = time.monotonic(), len(producer.lines)
            west.wait(lambda: not west.status()["replication"]["connected"], 60, "west to notice that east is silent")
            command(west, "promote", "--force")
            leads(west)
            command(west, "admit-producers")
            admitted = time.monotonic()
            producer.wait(lambda: len(producer.lines) >= from_ + 50, 40, "confirms by the promoted region")
            ok(f"the live node frozen: confirmed again {producer.at[from_] - begun:.2f} s after that, "
               f"{producer.at[from_] - admitted:.2f} s after the promoted region took messages")
            producer.stop()
            lines = consume(directory, [endpoint(east), endpoint(west)], "local", len(producer.fed))
        finally:
            os.kill(east.process.pid, signal.SIGCONT)
            producer.kill()
        ok(f"all {audit(producer, lines)} confirmed messages once and in order")


def frozen_first(directory):
    """A list whose first entry accepts TCP and never answers."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        os.kill(west.process.pid, signal.SIGSTOP)
        try:
            producer = Producer(directory, [endpoint(west), endpoint(east)], "local")
            try:
                producer.confirms_go_on(100, timeout_s=20)
                producer.stop()
            finally:
                producer.kill()
            lines = consume(directory, [endpoint(west), endpoint(east)], "local", len(producer.fed))
            ok(f"{audit(producer, lines)} messages past an entry that never answers, sending and receiving")
        finally:
            os.kill(west.process.pid, signal.SIGCONT)


def consumer_killed_broker(directory):
    """The broker dies while messages are received and completed: nothing is missed, and (our own client) nothing is shown twice."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        producer = Producer(directory, [endpoint(east)], "local")
        try:
            producer.wait(lambda: len(producer.lines) > 3000, 60, "3000 confirms")
            producer.stop()
        finally:
            producer.kill()
        extra = ["--idle", "4"] if OWN else []
        consumer = Process(directory, "consumer", "receive", [endpoint(west), endpoint(east)], "local",
                           **({"extra": extra} if OWN else {}))
        try:
            for kill_at in (300, 900, 1500):
                consumer.wait(lambda: len(consumer.lines) >= kill_at, 60, f"{kill_at} messages")
                east.kill()
                east.start()
            consumer.wait(lambda: len({line["id"] for line in list(consumer.lines)}) >= len(producer.fed), 90, "all messages")
            if OWN:
                expect(consumer.end() == 0, "the consumer to end with status 0", consumer.tail())
        finally:
            consumer.kill()
        ok(f"{audit_shown(producer, consumer)} after 3 kills")


def sessions(directory):
    """Order within sessions through a planned switch and back under load, sending and receiving at once."""
    east, west = regions(directory)
    with east.start(), west:
        start_standby(west)
        east.wait(lambda: east.status()["replication"]["connected"], 20, "the standby to be connected")
        both = [endpoint(east), endpoint(west)]
        producer = Producer(directory, both, "sessions", sessions=8)
        consumer = Process(directory, "consumer", "receive", both, "sessions", extra=["--sessions", "--idle", "8"])
        try:
            producer.confirms_go_on(200)
            command(east, "switch")
            producer.confirms_go_on(200)
            west.wait(lambda: west.status()["replication"]["connected"], 30, "east to be connected as standby")
            in_step(west)
            command(west, "switch")
            producer.confirms_go_on(200)
            producer.stop()
            expect(consumer.end(60) == 0, "the consumer to end with status 0", consumer.tail())
        finally:
            producer.kill()
            consumer.kill()
        ok(f"all {audit(producer, consumer.lines, sessions=True)} messages once, in order in each of 8 sessions")


def wrong_password(directory):
    """Refused credentials end the client soon, with words that say so."""
    east, _ = regions(directory)
    with east.start():
        begun = time.monotonic()
        client = Process(directory, "producer", "send", [endpoint(east), f"127.0.0.1:{free_port()}"], "local",
                         password="wrong")
        try:
            client.process.stdin.write("id-0\t\tbody\n")
            client.process.stdin.flush()
            status = client.end(20)
            told = client.log_file.read_text() + json.dumps(client.lines)
            expect("unauthorized-access" in told, "amqp:unauthorized-access to be told", told)
            if OWN:
                expect(status == 2 and "password" in told, "status 2 and a hint at the password", (status, told))
                expect(client.lines and client.lines[-1]["outcome"] == "rejected", "the message told as not sent", client.lines)
        finally:
            client.kill()
        ok(f"ended after {time.monotonic() - begun:.1f} s: amqp:unauthorized-access")


def no_duplicate_detection(directory):
    """A queue that would store repeats is refused, unless it is said what is to happen."""
    east, _ = regions(directory)
    with east.start():
        def run(*extra):
            client = Process(directory, "producer", "send", [endpoint(east)], "repeats", extra=extra)
            try:
                client.process.stdin.write("id-0\t\tbody\n")
                client.process.stdin.close()
                return client.end(20), client.lines, client.log_file.read_text()
            finally:
                client.kill()
        status, lines, told = run()
        expect(status == 2 and "mainstay:no-duplicate-detection" in told, "a refusal with its reason", (status, told))
        expect(lines[0]["outcome"] == "rejected", "the message told as not sent", lines)
        ok(f"refused: {told.strip()[:120]}…")
        for choice in ("report", "resend-anyway"):
            status, lines, told = run("--on-unknown", choice)
            expect(status == 0 and lines[0]["outcome"] == "confirmed", f"a confirm with {choice}", (status, lines, told))
        ok("report and resend-anyway publish to it")


def pipeline_wrong_password(directory):
    """The pipeline's processes end, too, instead of asking for ever."""
    east, _ = regions(directory)
    with east.start():
        for part in ("builder", "processor"):
            config = directory / f"{part}.toml"
            config.write_text(f"""
[pipeline]
region = "east"
worker = "w1"
[amqp]
endpoints = ["127.0.0.1:{free_port()}", "{endpoint(east)}"]
user = "{USER}"
password = "wrong"
queue = "sessions"
[register]
file = "{east.register}"
[source]
directory = "incoming"
[spool]
directory = "spool"
[archive]
directory = "archive"
[ledger]
file = "ledger.db"
[destination]
directory = "delivered"
""")
            for name in ("incoming", "spool", "archive", "delivered"):
                (directory / name).mkdir(exist_ok=True)
            done = subprocess.run([BINARY, "pipeline", part, "--config", str(config)], capture_output=True, text=True, timeout=30)
            expect(done.returncode == 2 and "amqp:unauthorized-access" in done.stderr and f'"{USER}" is refused' in done.stderr,
                   f"the {part} to end with status 2 and the reason", (done.returncode, done.stderr[-800:]))
            ok(f"{part}: {done.stderr.strip().splitlines()[-1][:150]}…")


def malformed_line(directory):
    """A line that is no message ends `mainstay send`; what came before it is finished and told."""
    east, _ = regions(directory)
    with east.start():
        client = Process(directory, "producer", "send", [endpoint(east)], "local")
        try:
            # Its input stays open: it is the line that ends it.
            client.process.stdin.write("id-0\t\tone\nid-1\t\ttwo\nno tab\nid-2\t\tthree\n")
            client.process.stdin.flush()
            status, told = client.end(20), client.log_file.read_text()
            expect(status == 64 and "line 3 is not" in told, "exit status 64 and the line's number", (status, told))
            expect([(line["id"], line["outcome"]) for line in client.lines] == [("id-0", "confirmed"), ("id-1", "confirmed")],
                   "an outcome for each line before it, and no other", client.lines)
        finally:
            client.kill()
        expect([line["id"] for line in consume(directory, [endpoint(east)], "local", 2)] == ["id-0", "id-1"], "those two in the queue")
        ok(f"two messages confirmed, then: {told.strip()}")


def told_to_stop(directory):
    """SIGTERM while the broker is silent: an unknown outcome for each message that has none; sent again they are there once."""
    east, _ = regions(directory)
    with east.start():
        client = Process(directory, "producer", "send", [endpoint(east)], "local", extra=["--in-flight", "2"])
        try:
            client.process.stdin.write("id-0\t\tbody\n")
            client.process.stdin.flush()
            client.wait(lambda: len(client.lines) == 1, 20, "a confirm")
            east.process.send_signal(signal.SIGSTOP)
            client.process.stdin.write("".join(f"id-{n}\t\tbody\n" for n in range(1, 6)))
            client.process.stdin.flush()
            time.sleep(0.5)
            client.process.terminate()
            status, told = client.end(20), client.log_file.read_text()
        finally:
            east.process.send_signal(signal.SIGCONT)
            client.kill()
        expect([(line["id"], line["outcome"]) for line in client.lines] == [("id-0", "confirmed"), ("id-1", "unknown"), ("id-2", "unknown")],
               "an outcome for each message that was taken", client.lines)
        expect(status == 1 and "before the end of its input: 2 message(s) without outcome, 3 line(s) read and not sent" in told, "status 1 and what was not sent", (status, told))
        again = Process(directory, "again", "send", [endpoint(east)], "local")
        try:
            again.process.stdin.write("".join(f"id-{n}\t\tbody\n" for n in range(1, 6)))
            again.process.stdin.close()
            expect(again.end(20) == 0, "all of them confirmed", again.tail())
        finally:
            again.kill()
        expect([line["id"] for line in consume(directory, [endpoint(east)], "local", 6)] == [f"id-{n}" for n in range(6)], "each once and in order")
        ok(f"told to stop: {told.strip().splitlines()[-1]}")


def unknown_queue(directory):
    east, _ = regions(directory)
    with east.start():
        client = Process(directory, "producer", "send", [endpoint(east)], "nowhere")
        try:
            client.process.stdin.write("id-0\t\tbody\n")
            client.process.stdin.flush()
            status = client.end(20)
            told = client.log_file.read_text()
            expect(status == 2 and "amqp:not-found" in told and "nowhere" in told, "the queue's name and status 2", (status, told))
        finally:
            client.kill()
        ok("an unknown queue ends the client: amqp:not-found")


run_case([switch_then_kill, kill_and_restart, frozen, frozen_first, consumer_killed_broker, sessions, wrong_password,
          no_duplicate_detection, pipeline_wrong_password, malformed_line, told_to_stop, unknown_queue])
