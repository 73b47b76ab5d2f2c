#!/usr/bin/env python3
"""Damage that nodes of a group meet in their own log or state while they run, or at a start that the log alone would survive; as real processes. Needs Proton's Python binding.

Usage: damage_test.py path/to/mainstay CASE
"""
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from clients import BINARY, ProtonException, connect, run_case, send, take_all  # noqa: E402
from checks import expect, ok  # noqa: E402
from copy_test import KEEP_LITTLE, SMALL, finish, give_up_the_log  # noqa: E402
from group import Group  # noqa: E402
from group_test import Message, Publisher  # noqa: E402

# Segments that nothing gives up while the test runs.
QUIET = {"journal": {"segment_bytes": "512KiB", "reserve_bytes": "64KiB"},
         "queues": {"dedup": {"duplicate_detection": True}, "plain": {"lock_duration_s": 5, "max_delivery_count": 100}}}
CREDIT = 10


def body_of(number):
    return f"body-of-{number}-" + "z" * 3_000


def send_numbered(node, count):
    """To the queue `plain`, each with a body of its own, into several segments."""
    connection = connect(node)
    sender = connection.create_sender("plain")
    for number in range(count):
        sender.send(Message(id=f"m{number}", body=body_of(number)))
    connection.close()


def damage_body(node, number):
    """Turns a bit over in the message's body, on the disk, under the running node. @return the file and what it holds now"""
    wanted = f"body-of-{number}-".encode()
    for path in sorted(node.data.glob("segment-*.log")):
        content = path.read_bytes()
        at = content.find(wanted)
        if at >= 0:
            file = os.open(path, os.O_WRONLY)
            os.pwrite(file, bytes([content[at + 500] ^ 4]), at + 500)
            os.close(file)
            return path, path.read_bytes()
    raise AssertionError(f"{node.name} has no body of message {number}")


def lead_without_cache(group):
    """Moves the lead to the backup: it has received every body in a stream, and keeps none in memory."""
    leader = group.wait_in_sync()
    backup, = group.others(leader)
    moved = leader.command("group", "switch", "--to", backup.name, "--reason", "a test")
    expect(moved.returncode == 0, "the lead to move", (moved.stdout, moved.stderr))
    until = time.monotonic() + 30
    while group.wait_in_sync() is not backup:
        expect(time.monotonic() < until, f"{backup.name} to lead")
    return backup


def take(group, numbers, timeout_s=90, credit=CREDIT):
    """Deliveries of `plain`, as (id, body), accepted one by one, from whoever serves, until these messages were seen."""
    got, lacking, until = [], {f"m{number}" for number in numbers}, time.monotonic() + timeout_s
    while lacking:
        expect(time.monotonic() < until, "every message to be delivered", sorted(lacking)[:10])
        try:
            connection = connect(group.leader(60), timeout=3)
            receiver = connection.create_receiver("plain", credit=credit)
            while lacking:
                message = receiver.receive(timeout=3)
                got.append((message.id, message.body))
                lacking.discard(message.id)
                receiver.accept()
            connection.close()
        except (ProtonException, OSError):
            time.sleep(0.05)
    return got


def check_bodies(got, numbers, breaks):
    expect({id_ for id_, _ in got} == {f"m{n}" for n in numbers}, "every message", len(got))
    wrong = [id_ for id_, body in got if body != body_of(int(id_[1:]))]
    expect(not wrong, "every body as it was sent", wrong)
    expect(len(got) - len({id_ for id_, _ in got}) <= breaks * CREDIT, "no message twice but those under way at a break", len(got))
    ok(f"{len(numbers)} messages delivered as they were sent, in {len(got)} deliveries")


def wait_for(what, node, condition, timeout_s=30):
    until = time.monotonic() + timeout_s
    told = None
    while time.monotonic() < until:
        code, _ = node.get("/status")
        told = node.status()["group"] if code == 200 else None
        if told and condition(told):
            return told
        time.sleep(0.05)
    raise AssertionError(f"{node.name}: {what} expected, and told {told}\n{node.log_tail(30)}")


def in_service(directory):
    """A body in the leader's log is damaged: the other node takes the lead and delivers it; the damaged log is kept, and its node gets everything anew."""
    with Group(BINARY, directory, **QUIET).start() as group:
        group.wait_in_sync()
        send(connect(group.leader()), "dedup", ["stays"])  # and keeps the log, damaged part included
        send_numbered(group.leader(), 400)
        damaged = lead_without_cache(group)
        whole, = group.others(damaged)
        victim, content = damage_body(damaged, 150)
        publisher = Publisher(group)
        publisher.start()
        check_bodies(take(group, range(400)), range(400), breaks=3)
        expect(group.leader() is whole, f"{whole.name} to lead")
        told = wait_for("a log that was set aside", damaged, lambda group: group["logs_set_aside"] == 1)
        expect(told["alarms"] >= 1 and told["damage"] == "", "alarms, and nothing damaged any more", told)
        finish(group, publisher)
        log = damaged.log()
        expect("ALARM: this node's log is damaged" in log and "quarantine/damaged-1" in log, "an alarm that says where the damaged log is")
        expect(f"ALARM: {victim}" in log, "an alarm that says what is damaged")
        expect(log.count("ALARM: this node's log is damaged") == 1, "one alarm")
        kept = damaged.data / "quarantine" / "damaged-1" / victim.name
        expect(kept.read_bytes() == content, "the damaged segment to be kept as it was")
        ok(f"{damaged.name} gave the lead away, keeps the damaged log in quarantine and is in sync again")


def alone(directory):
    """A leader that is alone meets damage: it serves what is whole and says so; when another node is in sync that one leads and delivers the rest."""
    with Group(BINARY, directory, **QUIET).start() as group:
        group.wait_in_sync()
        send_numbered(group.leader(), 300)
        damaged = lead_without_cache(group)
        whole, = group.others(damaged)
        whole.kill()
        group.wait_in_sync(1)
        damage_body(damaged, 100)
        # One at a time: what a client has under way when its connection ends comes again together with the damaged one.
        got = take(group, [n for n in range(300) if n != 100], credit=1)
        expect("m100" not in {id_ for id_, _ in got}, "the damaged body not to be delivered")
        told = wait_for("the reason why it leads on", damaged, lambda group: "no other node is in sync" in group["damage"])
        expect(told["role"] == "leader" and told["problem"] == told["damage"], "a leader that tells of its problem", told)
        _, metrics = damaged.get("/metrics")
        expect("\nmainstay_group_log_damaged 1" in metrics, "the metric to say so")
        send(connect(damaged), "plain", ["m300"], body=body_of(300))
        ok("alone it delivers all but the damaged body, takes new messages, and tells of the damage")
        time.sleep(3)
        expect(group.leader() is damaged and damaged.status()["group"]["logs_set_aside"] == 0, "its log to stay while it may be the only one")
        whole.start(ready=False)
        wait_for("a log that was set aside", damaged, lambda group: group["logs_set_aside"] == 1)
        expect(group.leader() is whole, f"{whole.name} to lead")
        got += take(group, [100, 300])
        check_bodies(got, range(301), breaks=6)
        group.wait_in_sync(timeout_s=60)
        told = group.wait_equal()
        ok(f"logs and states are equal at LSN {told['durable_lsn']}")


def lacked_by_a_backup(directory):
    """What a backup lacks is damaged on its leader's disk and no longer needed: the backup gets a full copy, and then the leader begins anew."""
    with Group(BINARY, directory, **QUIET).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        backup.kill()
        group.wait_in_sync(1)
        send_numbered(leader, 400)
        damage_body(leader, 200)
        # The newest bodies are in memory: these are delivered and gone before anybody reads the disk. What follows
        # them in their segment stays, and keeps it.
        connection = connect(leader)
        receiver = connection.create_receiver("plain", credit=1)
        for number in range(203):
            message = receiver.receive(timeout=10)
            expect((message.id, message.body) == (f"m{number}", body_of(number)), f"m{number}", message.id)
            receiver.accept()
        connection.close()
        send(connect(leader), "plain", ["m400"], body=body_of(400))
        backup.start(ready=False)
        wait_for("a log that was set aside", leader, lambda group: group["logs_set_aside"] == 1, timeout_s=60)
        expect("a full copy, up to LSN" in backup.log(), "the backup to get a copy")
        expect(group.leader() is backup, f"{backup.name} to lead")
        group.wait_in_sync(timeout_s=60)
        # m202's settlement may not have come through before its connection ended.
        left = [each for each in take(group, range(203, 401)) if each[0] != "m202"]
        check_bodies(left, range(203, 401), breaks=1)
        group.wait_equal()
        ok(f"{backup.name} got a copy of what is whole, and {leader.name} one of that")


def pages_at_start(directory):
    """Every page of a backup's state is damaged, and its log no longer reaches back to the beginning: the node gets everything anew."""
    with Group(BINARY, directory, group=KEEP_LITTLE, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        give_up_the_log(leader)
        give_up_the_log(leader)
        group.wait_equal()
        until = time.monotonic() + 30
        while min(int(path.name[8:28]) for path in backup.data.glob("segment-*.log")) == 1:
            expect(time.monotonic() < until, "the backup to remove the beginning of its log")
            send(connect(leader), "dedup", [f"more{time.monotonic_ns()}" for _ in range(100)], body="y" * 20_000)
            take_all(connect(leader), "dedup")
        backup.stop()
        pages = [path for path in (backup.data / "pages").iterdir() if path.is_file()]
        expect(pages, "files of pages")
        for path in pages:
            path.write_bytes(bytes(b ^ 1 if i % 64 == 63 else b for i, b in enumerate(path.read_bytes())))
        publisher = Publisher(group)
        publisher.start()
        backup.start(ready=False)
        time.sleep(1)
        finish(group, publisher)
        expect("ALARM" in backup.log() and "damaged-1" in backup.log(), "an alarm that says where the damaged state is")
        expect((backup.data / "quarantine" / "damaged-1" / "pages").is_dir(), "the damaged pages to be kept")


if __name__ == "__main__":
    run_case((in_service, alone, lacked_by_a_backup, pages_at_start))
