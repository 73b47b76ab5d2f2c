#!/usr/bin/python3
"""Clients with several endpoints while the lead of a group moves: group_reconnect.py MAINSTAY CASE CLIENT."""
import os
import pathlib
import signal
import sys
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import free_port  # noqa: E402
from checks import expect, ok  # noqa: E402
from clients import BINARY, run_case  # noqa: E402
from group import Group  # noqa: E402
from load import OWN, Process, Producer, audit, audit_shown, consume, endpoint  # noqa: E402

QUEUES = {
    "plain": {"duplicate_detection": True, "lock_duration_s": 30},
    "sessions": {"duplicate_detection": True, "requires_session": True},
}


def endpoints(group):
    """The first entry is dead; a client has to get past it after each loss."""
    return [f"127.0.0.1:{free_port()}", *(endpoint(node) for node in group.nodes.values())]


def move_the_lead(group):
    leader = group.wait_in_sync()
    target, = group.others(leader)
    moved = leader.command("group", "switch", "--to", target.name, "--reason", "a test")
    expect(moved.returncode == 0, "the lead to move", (moved.stdout, moved.stderr))


def lead_moves(directory):
    """Under load the lead is switched, its node killed, and the next one frozen for longer than its lease: every confirmed message once and in order."""
    with Group(BINARY, directory, queues=QUEUES).start() as group:
        group.wait_in_sync()
        producer = Producer(directory, endpoints(group), "plain")
        frozen = None
        try:
            producer.confirms_go_on(200)

            move_the_lead(group)
            ok(f"planned move: confirmed again {producer.confirms_go_on():.2f} s after the command was done")

            leader = group.wait_in_sync()
            leader.kill()
            gap = producer.confirms_go_on()
            ok(f"kill -9 of the leader: confirmed again after {gap:.2f} s")
            leader.start(ready=False)

            frozen = group.wait_in_sync()
            os.kill(frozen.process.pid, signal.SIGSTOP)
            # Confirms of the frozen node may still be in a client's socket: only a leader that answers counts.
            successor = group.leader(but=(frozen.name,))
            gap = producer.confirms_go_on(200)
            ok(f"SIGSTOP of the leader: {successor.name} leads, and confirmed {gap:.2f} s after that")
            os.kill(frozen.process.pid, signal.SIGCONT)
            expect(group.wait_in_sync() is successor, "the successor to stay the leader")
            producer.confirms_go_on(100)
            producer.stop()
        finally:
            if frozen is not None:
                os.kill(frozen.process.pid, signal.SIGCONT)
            producer.kill()
        lines = consume(directory, endpoints(group), "plain", len(producer.fed))
        ok(f"all {audit(producer, lines)} confirmed messages once and in order")
        group.wait_equal()
        ok("logs and states are equal")


def consumer_outlives_leaders(directory):
    """Leaders are killed while messages are sent, received and completed: nothing is missed, and (our own client) nothing is shown twice."""
    with Group(BINARY, directory, queues=QUEUES).start() as group:
        group.wait_in_sync()
        producer = Producer(directory, endpoints(group), "plain")
        extra = ["--idle", "8"] if OWN else []
        consumer = Process(directory, "consumer", "receive", endpoints(group), "plain", **({"extra": extra} if OWN else {}))

        def shown():
            return {line["id"] for line in list(consumer.lines)}
        try:
            for _ in range(3):
                producer.confirms_go_on(300)
                consumer.wait(lambda: len(shown()) > 100, 30, "messages")
                leader = group.wait_in_sync()
                leader.kill()
                begun, after = time.monotonic(), f"id-{len(producer.fed)}"
                consumer.wait(lambda: after in shown(), 60, f"{after}, which was sent after the kill")
                ok(f"{leader.name} killed: what was sent after that was received {time.monotonic() - begun:.2f} s later")
                leader.start(ready=False)
            producer.stop()
            consumer.wait(lambda: len(shown()) >= len(producer.fed), 90, "all messages")
            if OWN:
                expect(consumer.end() == 0, "the consumer to end with status 0", consumer.tail())
        finally:
            producer.kill()
            consumer.kill()
        ok(f"{audit_shown(producer, consumer)} after 3 kills")


def sessions(directory):
    """Order within sessions while the lead is switched and its node killed, sending and receiving at once."""
    with Group(BINARY, directory, queues=QUEUES).start() as group:
        group.wait_in_sync()
        producer = Producer(directory, endpoints(group), "sessions", sessions=8)
        consumer = Process(directory, "consumer", "receive", endpoints(group), "sessions", extra=["--sessions", "--idle", "8"])
        try:
            producer.confirms_go_on(200)
            move_the_lead(group)
            producer.confirms_go_on(200)
            leader = group.wait_in_sync()
            leader.kill()
            producer.confirms_go_on(200)
            leader.start(ready=False)
            group.wait_in_sync()
            producer.confirms_go_on(200)
            producer.stop()
            expect(consumer.end(60) == 0, "the consumer to end with status 0", consumer.tail())
        finally:
            producer.kill()
            consumer.kill()
        ok(f"all {audit(producer, consumer.lines, sessions=True)} messages once, in order in each of 8 sessions")


run_case([lead_moves, consumer_outlives_leaders, sessions])
