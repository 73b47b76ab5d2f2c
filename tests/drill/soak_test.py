#!/usr/bin/python3
"""The soak as a whole, on a real broker: a short one is clean and met what it is for; its history, doctored afterwards,
is not; and a broker that ends by itself makes it unclean.

usage: soak_test.py MAINSTAY CASE
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

SEED = os.environ.get("MAINSTAY_SEED", "7")


def fail(what, status, out, err):
    sys.exit(f"FAILED: {what}\nseed {SEED}, exit status {status}\n{out}\n{err[-2000:]}")


class Soak:
    def __init__(self, program, more, meanwhile=None):
        self.directory = tempfile.TemporaryDirectory(prefix="mainstay-soak-")
        command = [program, "drill", "soak", "--seed", SEED, "--json", "--keep", "--report", self.directory.name, *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        beside = threading.Thread(target=meanwhile, args=(process, self.path())) if meanwhile else None
        if beside:
            beside.start()
        self.out, self.err = process.communicate(timeout=280)
        self.status = process.returncode
        if beside:
            beside.join()

    def path(self):
        return os.path.join(self.directory.name, f"soak-seed-{SEED}")

    def check(self, condition, what):
        if not condition:
            fail(what, self.status, self.out, self.err)


def doctored(program, path, kind, doctor):
    """Judges a copy of the history that `doctor` changed, and expects exactly this kind of finding, about its message."""
    with tempfile.TemporaryDirectory(prefix="mainstay-doctored-") as copy:
        lines = {}
        for name in os.listdir(path):
            if name.startswith("facts-"):
                with open(os.path.join(path, name), encoding="utf-8") as file:
                    lines[name] = [line.rstrip("\n").split("\t") for line in file]
        message = doctor(lines)
        for name, facts in lines.items():
            with open(os.path.join(copy, name), "w", encoding="utf-8") as file:
                file.writelines("\t".join(fact) + "\n" for fact in facts)
        result = subprocess.run([program, "drill", "soak", "--history", copy, "--json"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 1:
            fail(f"a history with a message {kind} is not clean", result.returncode, result.stdout, result.stderr)
        found = [(finding["kind"], finding["id"]) for finding in json.loads(result.stdout)["findings"]]
        if (kind, message) not in found or {kind} != {other for other, _ in found}:
            fail(f"{message} is named as {kind}: {found}", result.returncode, result.stdout, result.stderr)


# Columns of a fact's line (src/drills/soak_history.cpp).
RECEIVED = {"at": 1, "link": 2, "delivery": 3, "id": 4, "sequence": 5, "count": 6, "enqueued": 7, "until": 8, "bytes": 9,
            "checksum": 10, "claimed": 11, "session": 12, "note": 13}


def simple_message(lines, queue):
    """A message of this queue that was received once and completed: its file, and the place of its receipt."""
    receipts = {}
    for name, facts in lines.items():
        for at, fact in enumerate(facts):
            if fact[0] == "received" and fact[RECEIVED["id"]].startswith(queue + "-"):
                receipts.setdefault(fact[RECEIVED["id"]], []).append((name, at))
    for message, places in sorted(receipts.items()):
        name, at = places[0]
        told = [fact for fact in lines[name] if fact[0] == "settled" and fact[4] == message]
        if len(places) == 1 and len(told) == 1 and told[0][5:7] == ["complete", "confirmed"]:
            return message, name, at
    sys.exit(f"FAILED: no message of {queue} was received once and completed")


def lost(lines):
    message, name, _ = simple_message(lines, "orders")
    lines[name] = [fact for fact in lines[name] if not (fact[0] in ("received", "settling", "settled") and message in fact)]
    return message


def altered(lines):
    message, name, at = simple_message(lines, "plain")
    lines[name][at][RECEIVED["checksum"]] = "1"
    return message


def repeated(lines):
    message, name, at = simple_message(lines, "backlog")
    again = list(lines[name][at])
    again[RECEIVED["sequence"]] = "999999999"
    lines[name].insert(at + 1, again)
    return message


def resurrected(lines):
    message, name, at = simple_message(lines, "orders")
    again = list(lines[name][at])
    last = max(int(fact[1]) for facts in lines.values() for fact in facts)
    again[RECEIVED["at"]], again[RECEIVED["until"]] = str(last), str(last // 1000 + 2000)
    again[RECEIVED["delivery"]] = "999999999"
    lines[name].append(again)
    return message


def reordered(lines):
    """Two messages of one session change places in the order of sending, all their attempts."""
    received = {fact[RECEIVED["id"]] for facts in lines.values() for fact in facts if fact[0] == "received"}
    sent = {}
    for facts in lines.values():
        for fact in facts:
            if fact[0] == "sent" and fact[2] == "sessions" and fact[3] in received:
                sent.setdefault(fact[4], {}).setdefault(fact[3], []).append(fact)
    members = next(members for _, members in sorted(sent.items()) if len(members) >= 2)
    first, second = sorted(members, key=lambda id: int(members[id][0][5]))[:2]
    orders = members[first][0][5], members[second][0][5]
    for message, order in ((first, orders[1]), (second, orders[0])):
        for fact in members[message]:
            fact[5] = order
    return first


def short(program):
    soak = Soak(program, ["--minutes", "0.6", "--kill-every", "5", "--rate", "150"])
    soak.check(soak.status == 0, "a short soak is clean")
    report = json.loads(soak.out)
    queues = report["audit"]["queues"]
    soak.check(report["clean"] and report["verified"] and report["kills"] >= 2, "it was killed and its journal is whole")
    soak.check(report["messages"] > 1000 and report["publishes_unknown"] > 0 and report["duplicates_sent"] > 0,
               "messages flowed, outcomes were lost, duplicates were sent")
    soak.check(report["vanished"] > 0 and report["silent"] > 0 and report["slow"] > 0, "clients of every manner were there")
    soak.check(all(queue["acknowledged"] > 0 and queue["deliveries"] > 0 for queue in queues.values()), "all queues worked")
    soak.check(all(queue["acknowledged"] + queue["uncertain_stored"] ==
                   queue["completed"] + queue["completed_unheard"] + queue["expired"] for queue in queues.values()),
               "the counts add up")
    soak.check(queues["fleeting"]["expired"] > 0 and queues["deadlines"]["dead_by_expiry"] > 0, "messages expired, both ways")
    soak.check(queues["sessions"]["sessions"] > 200, "hundreds of sessions")
    soak.check(sum(queue["redelivered"] for queue in queues.values()) > 0 and queues["orders"]["dead_lettered"] > 0,
               "messages came again and were dead-lettered")
    for doctor in (lost, altered, repeated, resurrected, reordered):
        doctored(program, soak.path(), doctor.__name__, doctor)


def broker_dies(program):
    """Killed by somebody else than the soak: to the soak, a broker that ended by itself."""

    def kill_it(process, path):
        config = os.path.join(path, "broker.toml")
        while process.poll() is None:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        words = file.read().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if config in words and os.path.exists(os.path.join(path, "facts-plain-producer-0.tsv")):
                    os.kill(int(pid), signal.SIGKILL)
                    return
            time.sleep(0.05)

    soak = Soak(program, ["--minutes", "0.1", "--kill-every", "1000", "--rate", "50"], kill_it)
    soak.check(soak.status == 1, "a broker that ends by itself makes the soak not clean")
    findings = json.loads(soak.out)["audit"]["findings"]
    soak.check(any("the broker ended by itself with signal 9" in finding["what"] for finding in findings), "it says so")
    soak.check({finding["kind"] for finding in findings} == {"broker"}, "and nothing else is found")


def without_history(program):
    """What cannot be run is neither clean nor broken."""
    with tempfile.TemporaryDirectory(prefix="mainstay-soak-") as empty:
        result = subprocess.run([program, "drill", "soak", "--history", empty], stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 2 or "holds no history" not in result.stderr:
            fail("a directory without history cannot be judged", result.returncode, "", result.stderr)


def power_loss(program):
    """Each kill takes what was not synced: clean, and something was taken. It lasts as many kills, however long they take here."""
    soak = Soak(program, ["--minutes", "2", "--kills", "5", "--kill-every", "2", "--rate", "150", "--power-loss"])
    soak.check(soak.status == 0, "what a broker confirmed survives a loss of power")
    report = json.loads(soak.out)
    soak.check(report["power_losses"] == 5 and report["bytes_lost"] > 0, "power was lost, and unsynced bytes with it")


def lying_disk(program):
    """The same on a disk whose syncs do nothing: the audit has to find the loss."""
    soak = Soak(program, ["--minutes", "2", "--kills", "3", "--kill-every", "2", "--rate", "100", "--lying-disk"])
    soak.check(soak.status == 1, "messages on a disk that keeps nothing are found to be lost")
    report = json.loads(soak.out)
    # Fewer than three when the broker does not come back after one, which is found, too.
    soak.check(not report["clean"] and 1 <= report["power_losses"] <= 3, "and the report says so, after a loss of power")


CASES = {"power_loss": power_loss, "lying_disk": lying_disk, "short": short, "broker_dies": broker_dies, "without_history": without_history}

if __name__ == "__main__":
    CASES[sys.argv[2]](sys.argv[1])
