#!/usr/bin/env python3
"""The nodes of one group as real processes: one leads, the others have what it confirmed and take over. Needs Proton's Python binding.

Usage: group_test.py path/to/mainstay CASE
"""
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from proton import symbol  # noqa: E402
from clients import BINARY, SEED, Message, ProtonException, connect, run_case, send, small_file_system, take_all  # noqa: E402
from checks import expect, ok  # noqa: E402
from group import Group  # noqa: E402

DEDUP = {"queues": {"dedup": {"duplicate_detection": True}, "plain": {}}}


class Resender:
    """Sends to whoever serves, each message until it is confirmed: what has no answer is sent again under its id."""

    def __init__(self, group, queue):
        self.group, self.queue, self.sender = group, queue, None

    def send(self, message, timeout_s=3):
        begun = time.monotonic()
        while True:
            try:
                if self.sender is None:
                    self.sender = connect(self.group.leader(60), timeout=timeout_s).create_sender(self.queue)
                self.sender.send(message, timeout=timeout_s)
                return
            except (ProtonException, OSError):
                self.sender = None
                expect(time.monotonic() - begun < 60, f"{message.id} to be confirmed within a minute")


class Publisher(threading.Thread):
    """Publishes numbered messages, each until it is confirmed."""

    def __init__(self, group, queue="dedup"):
        super().__init__(daemon=True)
        self.group, self.queue = group, queue
        self.confirmed, self.longest_s, self.stopping, self.failed = [], 0.0, False, None
        self.pause_s = 0.001

    def run(self):
        try:
            self.publish()
        except Exception as trouble:  # told by finish()
            self.failed = trouble

    def publish(self):
        number, sender = 0, Resender(self.group, self.queue)
        while not self.stopping:
            begun = time.monotonic()
            sender.send(Message(id=f"m{number}", body=b"x" * 200))
            self.longest_s = max(self.longest_s, time.monotonic() - begun)
            self.confirmed.append(f"m{number}")
            number += 1
            time.sleep(self.pause_s)

    def finish(self):
        self.stopping = True
        self.join(90)
        if self.failed:
            raise AssertionError(f"the publisher failed: {self.failed!r}")
        expect(not self.is_alive(), "the publisher to end")
        return self.confirmed


def audit(group, confirmed, queue="dedup"):
    """Every confirmed message once, in order."""
    found = take_all(connect(group.leader()), queue)
    missing, twice = set(confirmed) - set(found), len(found) - len(set(found))
    expect(not missing, "every confirmed message", f"{len(missing)} are missing: {sorted(missing)[:5]}")
    expect(twice == 0, "no message twice", twice)
    expect([id_ for id_ in found if id_ in set(confirmed)] == confirmed, "the order of publishing")
    ok(f"{len(confirmed)} confirmed messages are there, each once and in order")


def two_copies(directory):
    """What is confirmed is on both disks, and both have the same log and state."""
    with Group(BINARY, directory).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        told = backup.status()
        expect(told["group"]["role"] == "backup" and told["group"]["leader"] == leader.name, "a backup that knows its leader", told["group"])
        code, why = backup.get("/readyz")
        expect(code == 503 and f"node {leader.name} leads" in why, "/readyz of the backup to say who leads", why)
        ok("one node leads, the other is its backup and says so")
        connection = connect(leader)
        send(connection, "plain", [f"m{n}" for n in range(500)])
        at = leader.status()
        expect(at["group"]["second_copy_lsn"] == at["committed_lsn"], "all that is committed on a second disk", at["group"])
        told = group.wait_equal()
        ok(f"after 500 messages both have LSN {told['durable_lsn']} with hash {told['log_hash']} and the same state")
        expect(take_all(connection, "plain") == [f"m{n}" for n in range(500)], "the messages in order")
        group.wait_equal()
        connection.close()


def leader_killed(directory):
    """kill -9 of the leader under load: the backup serves within three seconds and has every confirmed message."""
    with Group(BINARY, directory, **DEDUP).start() as group:
        group.wait_in_sync()
        publisher = Publisher(group)
        publisher.start()
        time.sleep(1)
        leader = group.leader()
        before = len(publisher.confirmed)
        leader.kill()
        begun = time.monotonic()
        while len(publisher.confirmed) < before + 20 and time.monotonic() - begun < 30:
            time.sleep(0.01)
        took = time.monotonic() - begun
        expect(before > 0 and took < 30, "publishing to go on", took)
        ok(f"kill -9 of {leader.name}: publishing went on; the longest wait of a publish was {publisher.longest_s:.2f} s")
        expect(publisher.longest_s < 5, "a wait of less than 5 s", publisher.longest_s)
        time.sleep(0.5)
        leader.start(ready=False)
        group.wait_in_sync()
        ok(f"{leader.name} is back in sync")
        confirmed = publisher.finish()
        group.wait_equal()
        audit(group, confirmed)
        group.wait_equal()
        ok("logs and states are equal")


def killed_again_and_again(directory):
    """Leader or backup, killed or stopped in turn while clients publish; every confirmed message is there once."""
    rng = random.Random(SEED)
    with Group(BINARY, directory, **DEDUP).start() as group:
        group.wait_in_sync()
        publisher = Publisher(group)
        publisher.start()
        for turn in range(6):
            time.sleep(rng.uniform(0.1, 0.6))
            victim = rng.choice(list(group.nodes.values()))
            led = victim is group.leader()
            if rng.random() < 0.7:
                victim.kill()
            else:
                victim.stop()
            time.sleep(rng.uniform(0, 0.5))
            victim.start(ready=False)
            group.wait_in_sync()
            ok(f"turn {turn + 1}: {victim.name}, the {'leader' if led else 'backup'}, was ended and is in sync again; {len(publisher.confirmed)} confirmed")
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def leader_sleeps(directory):
    """SIGSTOP of the leader for longer than its lease: another leads; when it wakes it confirms and delivers nothing any more."""
    with Group(BINARY, directory, **DEDUP).start() as group:
        group.wait_in_sync()
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        sleeper = group.leader()
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        try:
            successor = group.leader(but=(sleeper.name,))
            time.sleep(1)
        finally:
            os.kill(sleeper.process.pid, signal.SIGCONT)
        ok(f"{successor.name} leads while {sleeper.name} sleeps")
        group.wait_in_sync()
        expect(group.leader() is successor, "the successor to stay the leader")
        expect(sleeper.status()["group"]["role"] == "backup", "the sleeper to follow", sleeper.status()["group"])
        ok("the one that slept follows, from the log that its successor has")
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def planned_move(directory):
    """`mainstay group switch`'s request moves the lead there and back; nothing is lost and nobody waits for a timeout."""
    with Group(BINARY, directory, **DEDUP).start() as group:
        group.wait_in_sync()
        publisher = Publisher(group)
        publisher.start()
        for _ in range(4):
            time.sleep(0.3)
            leader = group.wait_in_sync()
            target, = group.others(leader)
            publisher.longest_s = 0
            moved = leader.command("group", "switch", "--to", target.name, "--reason", "a test")
            expect(moved.returncode == 0 and f"node {target.name} leads" in moved.stdout, "the lead to move", (moved.stdout, moved.stderr))
            group.leader(but=(leader.name,))
            time.sleep(0.3)
            ok(f"the lead moved from {leader.name} to {target.name}; the longest wait of a publish was {publisher.longest_s:.2f} s")
        group.wait_in_sync()
        code, answer = group.leader().post("/group/switch", '{"to": "nobody", "by": "a test"}')
        expect(code == 409 and "no node of this name is listed" in answer, "a move to an unknown node to be refused", answer)
        code, answer = group.others(group.leader())[0].post("/group/switch", f'{{"to": "{group.leader().name}", "by": "a test"}}')
        expect(code == 409 and "Ask the node that leads" in answer, "a backup to refuse a move", answer)
        ok("moves that cannot be are refused with the reason")
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def promoted_by_an_operator(directory):
    """promotion = "operator": a backup whose leader is gone waits until it is told to lead, and then has every confirmed message."""
    with Group(BINARY, directory, group={"promotion": "operator"}, **DEDUP).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        early = backup.command("group", "promote", "--reason", "a test")
        expect(early.returncode == 2 and f"leader {leader.name} was heard" in early.stderr, "a promotion beside a leader to be refused", early.stderr)
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        leader.kill()
        until = time.monotonic() + 20
        while not backup.status()["group"]["waits_for_operator"]:
            expect(time.monotonic() < until, "the backup to say that it waits for an operator", backup.status()["group"])
            time.sleep(0.02)
        time.sleep(2)  # a backup that does not wait for one leads after 1.2 s
        code, why = backup.get("/readyz")
        expect(code == 503 and "mainstay group promote" in why, "/readyz to say what to do", why)
        expect("mainstay_group_waits_for_operator 1" in backup.get("/metrics")[1], "a metric to say so")
        ok("without its leader the backup waits, and says for what")
        done = backup.command("group", "promote", "--reason", "fire in a")
        expect(done.returncode == 0 and f"node {backup.name} leads epoch" in done.stdout, "the backup to be promoted", (done.stdout, done.stderr))
        expect(group.leader() is backup, "the promoted node to serve")
        told = backup.command("group", "status").stdout
        ok("told to lead, it leads: " + done.stdout.strip())
        leader.start(ready=False)
        group.wait_in_sync()
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()
        expect("fire in a" in backup.log_tail(2000), "the reason in the node's log", told)


def alone(directory):
    """min_copies = 2: a leader whose backup is gone refuses publishes, settles, and goes on when the backup is back."""
    with Group(BINARY, directory, group={"min_copies": 2}, **DEDUP).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        connection = connect(leader)
        send(connection, "dedup", ["a", "b"])
        backup.kill()
        group.wait_in_sync(1)
        sender = connection.create_sender("dedup")
        begun = time.monotonic()
        try:
            sender.send(Message(id="c", body=b"c"), timeout=5)
            expect(False, "a publish without a second copy to be refused")
        except ProtonException as refused:
            ok(f"a publish is refused after {time.monotonic() - begun:.2f} s: {refused}")
        receiver = connection.create_receiver("dedup", credit=1)
        expect(receiver.receive(timeout=5).id == "a", "the first message")
        receiver.accept()
        ok("settlements go on")
        backup.start(ready=False)
        group.wait_in_sync()
        connection = connect(group.leader())
        send(connection, "dedup", ["c"])
        group.wait_equal()
        ok("with the backup back publishes are taken again")


def repair_elsewhere(directory, leader, backup):
    """A file that names another register than the running nodes use must not look like a register that was lost."""
    other = directory / "elsewhere.db"
    good = leader.config_file.read_text()
    leader.config_file.write_text(good.replace(str(directory / "register.db"), str(other)))
    try:
        words = ("group", "repair-register", "--reason", "a test", "--data", str(backup.data))
        asked, done = leader.command(*words), leader.command(*words, "--yes")
    finally:
        leader.config_file.write_text(good)
    expect(asked.returncode == 2 and "say --yes" in asked.stderr, "nothing to be written unasked", (asked.returncode, asked.stderr))
    for part in (f"there is no file {other}", "WARNING", f"node {leader.name} leads", "is the same path in every node's file"):
        expect(part in asked.stdout, f"{part!r} before the question", asked.stdout)
    expect(done.returncode == 0 and "WARNING" in done.stdout and other.exists(), "--yes to go on, with the warning", (done.returncode, done.stdout, done.stderr))
    ok("a repair of another register than the running nodes use warns before it asks")


def no_register(directory):
    """The register goes away: the pair serves on; alone it stops accepting after the time that is configured."""
    with Group(BINARY, directory, group={"alone_without_register_max_s": 2}, **DEDUP).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        register = directory / "register.db"
        hidden = directory / "register.hidden"
        repair_elsewhere(directory, leader, backup)
        connection = connect(leader)
        send(connection, "plain", ["before"])
        os.rename(register, hidden)
        register.mkdir()  # nothing that can be opened is there now
        time.sleep(3)
        send(connection, "plain", ["meanwhile"])
        ok("three seconds without the register: a healthy pair serves on")
        backup.kill()
        code = 200
        until = time.monotonic() + 15
        while code == 200 and time.monotonic() < until:
            code, why = leader.get("/readyz")
            time.sleep(0.05)
        expect(code == 503, "a leader that lost its backup and cannot ask the register to stop serving", why)
        ok(f"then its backup goes, too: {why.strip()[:160]}")
        register.rmdir()
        os.rename(hidden, register)
        group.leader(30)
        connection = connect(group.leader())
        expect(take_all(connection, "plain") == ["before", "meanwhile"], "both messages")
        ok("the register is back, and the node serves alone")


def backup_full(directory):
    """The backup's disk is full: it lives and says so, the leader goes on without it; with space it counts again."""
    with small_file_system(directory, "40m") as disk:
        with Group(BINARY, directory, **DEDUP) as group:
            backup = group.nodes["n2"]
            backup.config["node"]["data"] = disk / "journal"
            backup.write_config()
            group.start()
            leader = group.wait_in_sync()
            if leader is backup:
                moved = leader.command("group", "switch", "--to", "n1", "--reason", "a test")
                expect(moved.returncode == 0, "the lead to move", moved.stderr)
                leader = group.leader(but=("n2",))
                group.wait_in_sync()
            sender = Resender(group, "dedup")
            stored = [f"f{n}" for n in range(200)]
            for id_ in stored:
                sender.send(Message(id=id_, body=b"\x00" * (256 << 10)), timeout_s=20)
            backup.wait(lambda: "full" in backup.status()["group"]["problem"], 20, "the backup to say that its disk is full")
            ok(f"{backup.status()['group']['problem']}")
            group.wait_in_sync(1)
            time.sleep(2.5)  # it tries again meanwhile
            expect(backup.process.poll() is None, "the backup to live on")
            expect(backup.log_tail(1000).count("disk full: this backup") == 1, "that to be told once")
            sender.send(Message(id="alone", body=b"x"))
            ok("the leader confirms without it")
            grown = subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], capture_output=True, text=True)
            expect(grown.returncode == 0, "the file system to grow", grown.stderr)
            group.wait_in_sync()
            group.wait_equal()
            leader.kill()
            connection = connect(group.leader(but=(leader.name,)))
            expect(take_all(connection, "dedup") == [*stored, "alone"], "every confirmed message, from the disk that was full")
            connection.close()
            ok("with space it counts again, and has every confirmed message")


def durability_region(directory):
    """A publish of durability region waits for a second disk while its leader is alone; others do not."""
    with Group(BINARY, directory, **DEDUP).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        backup.kill()
        group.wait_in_sync(1)
        send(connect(leader), "plain", ["journal"])
        ok("durability journal is confirmed by the leader alone")
        outcome = {}

        def publish():
            asking = Message(id="region", body="x", annotations={symbol("x-opt-mainstay-durability"): "region"})
            connect(leader, timeout=60).create_sender("dedup").send(asking, timeout=60)
            outcome["confirmed"] = time.monotonic()

        waiting = threading.Thread(target=publish, daemon=True)
        waiting.start()
        leader.wait(lambda: leader.metric("mainstay_flow_confirms_waiting") == 1, 20, "the publish of durability region to wait")
        time.sleep(1)
        expect(not outcome, "no confirm of durability region while there is one disk")
        begun = time.monotonic()
        backup.start(ready=False)
        waiting.join(30)
        expect(outcome, "the confirm once a second disk has the message")
        ok(f"durability region waits for the second disk; confirmed {outcome['confirmed'] - begun:.2f} s after the backup's start")
        leader.kill()
        connection = connect(group.leader(but=(leader.name,)))
        expect(take_all(connection, "dedup") == ["region"], "the message on that disk")
        connection.close()
        ok("the leader is killed, and the message is there")


if __name__ == "__main__":
    run_case((two_copies, leader_killed, killed_again_and_again, leader_sleeps, planned_move, promoted_by_an_operator, alone, no_register, backup_full, durability_region))
