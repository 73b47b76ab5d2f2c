#!/usr/bin/env python3
"""Full copies between the nodes of a group, as real processes: a node whose log its leader's no longer reaches back to. Needs Proton's Python binding.

Usage: copy_test.py path/to/mainstay CASE
"""
import json
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from clients import BINARY, connect, run_case, send, take_all  # noqa: E402
from checks import expect, ok  # noqa: E402
from group import Group  # noqa: E402
from group_test import DEDUP, Publisher, audit  # noqa: E402

# A log that is given up early, in small pieces.
SMALL = {"journal": {"segment_bytes": "512KiB", "reserve_bytes": "64KiB", "checkpoint_every_records": 2000}, **DEDUP}
KEEP_LITTLE = {"keep_log_bytes": "1MiB"}


def first_lsn(node):
    """Of the oldest record in the node's directory."""
    return min(int(path.name[8:28]) for path in node.data.glob("segment-*.log"))


def give_up_the_log(leader):
    """Publishes and takes so much that the leader's log no longer begins where it did; what stays in `plain` stays."""
    connection = connect(leader)
    before = first_lsn(leader)
    send(connection, "plain", [f"stays{n}" for n in range(100)], body="z" * 2_000)
    until = time.monotonic() + 90
    while first_lsn(leader) <= before + 200:
        expect(time.monotonic() < until, "the leader to remove the beginning of its log")
        send(connection, "dedup", [f"goes{time.monotonic_ns()}" for n in range(200)], body="y" * 20_000)
        take_all(connection, "dedup")
    connection.close()
    ok(f"the log of {leader.name} begins with LSN {first_lsn(leader)} now")


def wait_copying(node, bytes_done=1, timeout_s=60):
    """Until the node has so much of a copy."""
    until = time.monotonic() + timeout_s
    copy = None
    while time.monotonic() < until:
        code, told = node.get("/status")
        copy = (json.loads(told).get("group") or {}).get("copy") if code == 200 else None
        if copy and copy["way"] == "taking" and copy["bytes_done"] >= bytes_done:
            return copy
        time.sleep(0.02)
    raise AssertionError(f"{node.name} does not take a copy: {copy}\n{node.log_tail(30)}")


def disk_of(node):
    """The incarnation of the node's disk, as its leader knows it, is another one after a copy; here by its file."""
    return (node.data / "superblock-0").read_bytes()


def finish(group, publisher):
    group.wait_in_sync(timeout_s=90)
    confirmed = publisher.finish()
    group.wait_equal()
    audit(group, confirmed)
    told = group.wait_equal()
    ok(f"logs and states are equal at LSN {told['durable_lsn']}")
    for node in group.nodes.values():
        node.stop()
        checked = node.command_on_data("verify")
        expect(checked.returncode == 0, f"`mainstay verify` to find {node.name} whole", checked.stdout + checked.stderr)
    ok("`mainstay verify` finds every node whole")


def wiped_disk(directory):
    """A node comes back with an empty disk after the leader removed its log's beginning: it gets everything, under load."""
    with Group(BINARY, directory, group=KEEP_LITTLE, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        backup.kill()
        shutil.rmtree(backup.data)
        group.wait_in_sync(1)
        give_up_the_log(leader)
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.3)
        backup.start(ready=False)
        begun = time.monotonic()
        group.wait_in_sync(timeout_s=90)
        ok(f"in sync {time.monotonic() - begun:.1f} s after its start; the longest wait of a publish was {publisher.longest_s:.2f} s")
        expect("a full copy, up to LSN" in backup.log(), "the backup to say that it took a copy")
        expect(first_lsn(backup) > 1, "a log that begins where the copy does")
        before = len(publisher.confirmed)
        leader.kill()
        group.leader(but=(leader.name,))
        until = time.monotonic() + 20
        while len(publisher.confirmed) < before + 20:
            expect(time.monotonic() < until, "publishing to go on with the node that was copied")
            time.sleep(0.05)
        ok(f"{backup.name} leads after {leader.name} was killed, with the log it got")
        leader.start(ready=False)
        finish(group, publisher)


def too_far_behind(directory):
    """A node was away for longer than the log is kept: a copy takes the place of its log, which is a prefix."""
    with Group(BINARY, directory, group=KEEP_LITTLE, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"early{n}" for n in range(50)])
        group.wait_equal()
        before = disk_of(backup)
        backup.kill()
        group.wait_in_sync(1)
        give_up_the_log(leader)
        publisher = Publisher(group)
        publisher.start()
        backup.start(ready=False)
        finish(group, publisher)
        expect(disk_of(backup) != before, "another disk to the group")
        expect(not list((backup.data / "copy" / "new").glob("segment*")), "nothing left of the copy")


def delta_is_enough(directory):
    """A node that was away and whose log the leader's still reaches back to gets no copy."""
    with Group(BINARY, directory, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        before = disk_of(backup)
        backup.kill()
        group.wait_in_sync(1)
        publisher = Publisher(group)
        publisher.start()
        send(connect(leader), "plain", [f"m{n}" for n in range(300)], body="y" * 20_000)
        backup.start(ready=False)
        finish(group, publisher)
        expect(disk_of(backup) == before, "the same disk")
        expect("full copy" not in backup.log(), "no word of a copy")


def interrupted(directory):
    """kill -9 of either side while a copy is under way: it goes on where it was, or begins anew; the audit holds."""
    with Group(BINARY, directory, group={**KEEP_LITTLE, "copy_bytes_per_second": "1MiB"}, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"ballast{n}" for n in range(300)], body="w" * 20_000)
        group.wait_equal()
        backup.kill()
        shutil.rmtree(backup.data)
        group.wait_in_sync(1)
        give_up_the_log(leader)
        publisher = Publisher(group)
        publisher.start()
        backup.start(ready=False)
        copy = wait_copying(backup, 1 << 20)
        ok(f"a copy is under way: {copy}")
        told = leader.status()["group"]["copy"]
        expect(told["way"] == "giving" and told["node"] == backup.name, "the leader to tell of it, too", told)
        expect(backup.name not in leader.status()["group"]["in_sync"], "the node that is copied not to be in sync")
        backup.kill()
        time.sleep(1)
        backup.start(ready=False)
        again = wait_copying(backup, copy["bytes_done"])
        expect("a copy was begun before" in backup.log(), "the copy to go on where it was")
        ok(f"the backup was killed: the copy goes on: {again}")
        leader.kill()
        time.sleep(0.5)
        leader.start(ready=False)
        wait_copying(backup)
        ok("the leader was killed: the copy began anew")
        finish(group, publisher)
        taken = [line for line in backup.log().splitlines() if "full copy from node" in line and "begins" in line]
        expect(len(taken) == 2, "two copies begun, one of them anew after the leader's end", taken)


def damaged_log(directory):
    """A backup's log is damaged before good records: it is kept as it is, and the node gets everything from its leader."""
    with Group(BINARY, directory, **SMALL).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"m{n}" for n in range(200)], body="z" * 2_000)
        group.wait_equal()
        backup.stop()
        victim = sorted(backup.data.glob("segment-*.log"))[0]
        content = bytearray(victim.read_bytes())
        content[100_000] ^= 4
        victim.write_bytes(content)
        publisher = Publisher(group)
        publisher.start()
        backup.start(ready=False)
        time.sleep(1)
        finish(group, publisher)
        expect("ALARM" in backup.log() and "damaged-1" in backup.log(), "an alarm that says where the damaged log is")
        kept = backup.data / "quarantine" / "damaged-1" / victim.name
        expect(kept.read_bytes() == bytes(content), "the damaged segment to be kept as it was")


if __name__ == "__main__":
    run_case((wiped_disk, too_far_behind, delta_is_enough, interrupted, damaged_log))
