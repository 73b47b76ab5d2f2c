#!/usr/bin/env python3
"""`mainstay verify --compare` on the directories of real nodes. Needs Proton's Python binding.

Usage: compare_test.py path/to/mainstay CASE
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from clients import BINARY, Broker, Message, ProtonException, connect, run_case, send  # noqa: E402
from checks import expect, ok  # noqa: E402
from group import Group  # noqa: E402


def verify(first, *words, status):
    done = subprocess.run([BINARY, "verify", str(first), *map(str, words)], capture_output=True, text=True, timeout=90)
    expect(done.returncode == status, f"exit status {status} of verify {words}", (done.returncode, done.stdout, done.stderr))
    return done


def compare(first, second, *words, status):
    return json.loads(verify(first, "--compare", second, *words, "--json", status=status).stdout)


def everything(directory):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(directory.rglob("*")) if path.is_file()}


def equal(directory):
    """Two nodes that were stopped: the same log, and at any position the state hash that they said when they ran."""
    with Group(BINARY, directory).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"m{n}" for n in range(300)])
        early = group.wait_equal()
        send(connect(leader), "plain", [f"m{n}" for n in range(300, 500)])
        late = group.wait_equal()
        backup.stop()
        leader.stop()
        before = [everything(node.data) for node in (leader, backup)]
        found = compare(leader.data, backup.data, status=0)
        expect(found["ok"] and found["verdict"] == "equal" and found["log"]["verdict"] == "equal", "equal logs and states", found)
        expect(found["log"]["to_lsn"] >= late["durable_lsn"] and found["second"]["node"] == backup.name, "the whole log", found)
        expect(found["second"]["group"]["report"]["node"] == backup.name, "what the group's superblock says", found["second"])
        ok(f"the logs are equal up to LSN {found['log']['to_lsn']}, and so are the states")
        for told in (early, late):
            found = compare(backup.data, leader.data, "--at", told["applied_lsn"], status=0)
            hashes = (found["state"]["first"]["hash"], found["state"]["second"]["hash"])
            expect(found["state"]["lsn"] == told["applied_lsn"] and hashes == (told["state_hash"],) * 2,
                   "the state hash that both nodes said at this LSN", (told, found["state"]))
        ok("at each LSN at which /status told a state hash, both directories give that one")
        text = verify(leader.data, "--compare", backup.data, status=0).stdout
        for part in ("logs        equal up to LSN", "states      equal at LSN", "the same log and the same state"):
            expect(part in text, f"{part!r} in what is told", text)
        expect([everything(node.data) for node in (leader, backup)] == before, "nothing to be changed")
        ok("nothing is changed in either directory")

        found = compare(leader.data, backup.data, "--at", late["durable_lsn"] + 10_000, status=2)
        expect(found["log"]["verdict"] == "equal" and "is not in both" in found["state"]["why"], "an LSN that is in neither", found)
        verify(leader.data, "--at", 5, status=64)
        verify(leader.data, "--compare", leader.data, status=64)
        nothing = directory / "nothing"
        nothing.mkdir()
        expect("no journal here" in verify(leader.data, "--compare", nothing, status=2).stderr, "an empty directory to be told")
        ok("what can't be compared is refused and told")

        with Broker(BINARY, directory / "other", name="other").start() as other:
            other.stop()
            told = verify(leader.data, "--compare", other.data, status=64).stderr
            expect("belongs to cluster" in told and group.cluster in told, "both clusters to be named", told)
        ok("a node of another cluster is refused")


def damaged(directory):
    """A byte of an old record is flipped in a copy: the damage is named, and that the logs are the same all the same."""
    with Group(BINARY, directory).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"m{n}" for n in range(300)])
        group.wait_equal()
        backup.stop()
        leader.stop()
    copy = directory / "copy"
    shutil.copytree(backup.data, copy)
    compare(backup.data, copy, status=0)
    ok("a copy is equal to what it was made of")
    segment = sorted(copy.glob("segment-*.log"))[0]
    content = bytearray(segment.read_bytes())
    content[8192 + 5000] ^= 1
    segment.write_bytes(content)
    found = compare(leader.data, copy, status=1)
    problems = found["second"]["problems"]
    expect(found["verdict"] == "damaged" and found["first"]["problems"] == [] and any(segment.name in p for p in problems),
           "the damaged file to be named", found)
    expect(found["log"]["verdict"] == "equal" and found["state"]["damaged"], "the chain behind it to be the same, and no state without it", found)
    expect("PROBLEM" in verify(leader.data, "--compare", copy, status=1).stdout, "the damage in words")
    ok("a flipped byte is named; the hash chain says that the logs are the same otherwise")


# So slow that a leader does not go on without a backup that stands still before this test has killed both.
SLOW = {"drop_after_ms": 3000, "lease_ms": 4000, "suspect_after_ms": 5000, "suspect_after_max_ms": 5000}


def diverged(directory):
    """A leader has records that its backup never got; the backup leads on without them. Compared, then together again, then compared."""
    with Group(BINARY, directory, group=SLOW).start() as group:
        leader = group.wait_in_sync()
        backup, = group.others(leader)
        send(connect(leader), "plain", [f"m{n}" for n in range(100)])
        common = group.wait_equal()
        connection = connect(leader)
        sender = connection.create_sender("plain")
        os.kill(backup.process.pid, signal.SIGSTOP)  # what it is sent stays in its sockets, and ends with it

        def publish():
            try:
                sender.send(Message(id="never-confirmed", body="x"), timeout=30)
                confirmed.append(True)
            except (ProtonException, OSError):
                pass

        confirmed = []
        threading.Thread(target=publish, daemon=True).start()
        until = time.monotonic() + 2
        while leader.status()["durable_lsn"] == common["durable_lsn"]:
            expect(time.monotonic() < until, "the leader to write the message to its own disk")
            time.sleep(0.01)
        leader.kill()
        backup.kill()
        expect(not confirmed, "no confirm of what one node has")
        backup.start(ready=False)
        group.leader(30, but=(leader.name,))
        send(connect(backup), "plain", ["goes on"])
        backup.stop()
        ok(f"{leader.name} has records behind LSN {common['durable_lsn']} that {backup.name} went on without")

        found = compare(leader.data, backup.data, status=1)
        at = common["durable_lsn"] + 1
        log = found["log"]
        expect((found["verdict"], log["verdict"], log["equal_to_lsn"], log["difference"]["lsn"], log["difference"]["exact"]) ==
               ("differ", "differ", at - 1, at, True), "the first LSN that differs", log)
        expect(log["difference"]["first"]["epoch"] < log["difference"]["second"]["epoch"], "the epochs there", log)
        expect(log["goes_on"] == "second" and not found["must_never_be"], "whose records the group goes on with", found)
        expect(found["state"]["verdict"] == "equal" and found["state"]["lsn"] == at - 1 and
               found["state"]["first"]["hash"] == common["state_hash"], "the same state up to there", found["state"])
        text = verify(backup.data, "--compare", leader.data, status=1).stdout
        for part in (f"DIFFER from LSN {at} on", f"The group goes on with the log of {backup.name}", f"of {leader.name} are a tail that was never committed",
                     "they differ"):
            expect(part in text, f"{part!r} in what is told", text)
        print(text, flush=True)
        ok(f"the logs part at LSN {at}, what {leader.name} has from there on is its tail, and the states before it are equal")

        for node in (backup, leader):
            node.start(ready=False)
        group.wait_in_sync(timeout_s=60)
        group.wait_equal()
        for node in (leader, backup):
            node.stop()
        found = compare(leader.data, backup.data, status=0)
        expect(any(name.startswith(f"cut-{at:020d}") for name in found["first"]["quarantine"]), "the tail in quarantine, as it was said", found["first"])
        ok("together again the nodes are equal, and the tail is in quarantine")


if __name__ == "__main__":
    run_case((equal, damaged, diverged))
