#!/usr/bin/env python3
"""Nodes that share one data directory, as real processes: one leads, the others take the store over. Needs Proton's Python binding.

Usage: shared_store_test.py path/to/mainstay CASE
"""
import fcntl
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from clients import BINARY, Message, ProtonException, connect, run_case, send, take_all  # noqa: E402
from checks import expect, ok  # noqa: E402
from group import Group  # noqa: E402
from group_test import DEDUP, Publisher, audit  # noqa: E402
from voters import Voters  # noqa: E402


class SharedStore(Group):
    """Nodes n1, n2, … with the data directory `store`, and the register in a file or in voters."""

    def __init__(self, directory, nodes=2, group=None, voters=None, **tables):
        self.store = directory / "store"
        self.store.mkdir()
        super().__init__(BINARY, directory, nodes=nodes, group={"mode": "shared-store", **(group or {})}, **tables)
        for node in self.nodes.values():
            node.config["node"]["data"] = node.data = self.store
            if voters is not None:
                del node.config["register"]["file"]
                node.arrays["register.voter"] = [{"name": f"v{i}", "address": address} for i, address in enumerate(voters.endpoints)]
            node.write_config()

    def standby(self, leader, timeout_s=20):
        """The other of two nodes, once it knows who leads."""
        other, = self.others(leader)
        other.wait(lambda: other.group_status().get("leader") == leader.name, timeout_s, f"the standby to hear of {leader.name}")
        return other


def one_leads(directory):
    """Two nodes, one directory: one leads, the other says why it does not, and a tool or a lone node is refused."""
    with SharedStore(directory).start() as group:
        leader = group.leader()
        standby = group.standby(leader)
        code, why = standby.get("/readyz")
        expect(code == 503 and f"node {leader.name} leads" in why, "/readyz of the standby to say who leads", why)
        told = leader.status()["group"]
        expect(told["mode"] == "shared-store" and told["role"] == "leader" and told["in_sync"] == [leader.name], "a leader in shared-store mode", told)
        told = standby.status()["group"]
        expect(told["mode"] == "shared-store" and told["role"] == "standby", "a standby in shared-store mode", told)
        ok("one leads, the other is a standby and says so")
        connection = connect(leader)
        send(connection, "plain", [f"m{n}" for n in range(200)])
        expect(take_all(connection, "plain") == [f"m{n}" for n in range(200)], "the messages in order")
        connection.close()
        try:
            connect(standby, timeout=3)
            expect(False, "a standby to take no clients")
        except (ProtonException, OSError):
            ok("a standby takes no clients: they go on to the next endpoint")
        done = subprocess.run([BINARY, "verify", str(group.store)], capture_output=True, text=True, timeout=60)
        expect(done.returncode == 2 and "lock" in done.stderr, "verify to refuse a store that is used", (done.returncode, done.stdout, done.stderr))
        ok(f"verify refuses: {done.stderr.strip()}")
        shown = standby.command("group", "status")
        expect(shown.returncode == 0 and "shared-store" in shown.stdout and leader.name in shown.stdout, "group status to show the mode", (shown.stdout, shown.stderr))
        told = json.loads(standby.command("group", "status", "--json").stdout)
        expect(told["mode"] == "shared-store" and told["report"]["promised_epoch"] >= 1, "the report of the store", told)
        ok("group status shows mode, leader and what the store remembers")
        for node in group.nodes.values():
            expect(node.stop() == 0, "an end without complaint")
        done = subprocess.run([BINARY, "verify", str(group.store)], capture_output=True, text=True, timeout=60)
        expect(done.returncode == 0 and "every record is whole" in done.stdout, "verify of the stopped group's store", (done.returncode, done.stdout, done.stderr))
        ok("verify checks the store of a stopped group")
        lone = leader
        for key in ("mode",):
            del lone.config["group"][key]
        lone.write_config()
        lone.start(ready=False)
        expect(lone.wait_end() == 2 and "share" in lone.log_tail(5), "a node of another mode to refuse the store", lone.log_tail(5))
        ok("a node without the mode refuses the directory")


def leader_killed(directory):
    """kill -9 of the leader under load: the standby takes the store and has every confirmed message."""
    with SharedStore(directory, **DEDUP).start() as group:
        group.standby(group.leader())
        publisher = Publisher(group)
        publisher.start()
        time.sleep(1)
        for turn in range(3):
            leader = group.leader()
            before = len(publisher.confirmed)
            publisher.longest_s = 0
            leader.kill()
            begun = time.monotonic()
            while len(publisher.confirmed) < before + 20 and time.monotonic() - begun < 30:
                time.sleep(0.01)
            expect(before > 0 and time.monotonic() - begun < 30, "publishing to go on")
            ok(f"kill -9 of {leader.name}: publishing went on; the longest wait of a publish was {publisher.longest_s:.2f} s")
            expect(publisher.longest_s < 8, "a wait of less than 8 s", publisher.longest_s)
            leader.start(ready=False)
            group.standby(group.leader(but=(leader.name,)))
        confirmed = publisher.finish()
        audit(group, confirmed)


def leader_sleeps(directory):
    """SIGSTOP of the leader: with the lock required nobody takes over; what sleeps goes on where it was."""
    with SharedStore(directory, **DEDUP).start() as group:
        leader = group.leader()
        standby = group.standby(leader)
        connection = connect(leader)
        send(connection, "dedup", ["a"])
        os.kill(leader.process.pid, signal.SIGSTOP)
        try:
            until = time.monotonic() + 15
            why = ""
            while "the store's lock is held" not in why and time.monotonic() < until:
                code, why = standby.get("/readyz")
                expect(code == 503, "no takeover while the lock is held", why)
                time.sleep(0.05)
            expect("nobody leads without the lock" in why and str(leader.process.pid) in why, "the standby to say who holds the lock", why)
            time.sleep(1)
            expect(standby.get("/readyz")[0] == 503, "no takeover while the lock is held")
        finally:
            os.kill(leader.process.pid, signal.SIGCONT)
        ok(f"nobody takes over: {why.strip()}")
        expect(group.leader() is leader, "the sleeper to lead on")
        send(connect(leader), "dedup", ["b"])
        expect(take_all(connect(leader), "dedup") == ["a", "b"], "both messages")
        ok("awake again it serves on")


def zombie(directory):
    """lock = "preferred": the leader sleeps, its lock held, longer than the others wait; another takes the store. What
    wakes up confirms nothing, says why, sends its clients on and becomes a standby."""
    with SharedStore(directory, group={"lock": "preferred"}, **DEDUP).start() as group:
        sleeper = group.leader()
        group.standby(sleeper)
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        held = connect(sleeper, timeout=30)
        sender = held.create_sender("plain")
        sender.send(Message(id="before", body=b"x"))
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        try:
            # In the sleeper's socket when it wakes up: it finds this before its clock.
            delivery = sender.link.send(Message(id="while-asleep", body=b"x"))
            held.container.process() if hasattr(held.container, "process") else None
            successor = group.leader(but=(sleeper.name,))
            send(connect(successor), "plain", ["after"])
            ok(f"{successor.name} leads while {sleeper.name} sleeps with the lock")
            wanted = {"lock_held": False, "lock_holder": f"process {sleeper.process.pid}"}
            successor.wait(lambda: successor.group_status().get("store") == wanted, 10, f"/status to say {wanted}")
            expect(successor.metric("mainstay_group_store_lock_held") == 0, "the metric to say that it leads without the lock")
            expect("leads without the store's lock" in successor.status()["group"]["problem"], "the problem to be told", successor.status()["group"])
            ok("/status says that it leads without the lock, and who has it")
            time.sleep(1)
        finally:
            os.kill(sleeper.process.pid, signal.SIGCONT)
        try:
            held.wait(lambda: delivery.settled, timeout=10, msg="an answer of the sleeper")
            expect(delivery.remote_state != delivery.ACCEPTED, "no confirm of what woke up")
        except (ProtonException, OSError) as sent_on:
            ok(f"the client of the sleeper is sent on: {sent_on}")
        sleeper.wait(lambda: sleeper.group_status().get("role") == "standby", 20, "the sleeper to be a standby")
        code, why = sleeper.get("/readyz")
        expect(code == 503 and f"node {successor.name} has taken the store" in why, "the sleeper to say why", why)
        ok(f"the sleeper says: {why.strip()}")
        expect(group.leader() is successor, "the successor to lead on")
        successor.wait(lambda: "the store's lock is this node's now" in successor.log(), 20, "the successor to get the lock that the sleeper gave up")
        told = successor.status()["group"]
        expect(told["store"] == {"lock_held": True, "lock_holder": ""} and "lock" not in told["problem"], "/status to say so", told)
        expect(successor.metric("mainstay_group_store_lock_held") == 1, "the metric to say that it has the lock")
        ok("the successor has the lock that the sleeper gave up")
        confirmed = publisher.finish()
        audit(group, confirmed)
        expect(take_all(connect(successor), "plain") == ["before", "after"], "what was confirmed, and nothing that was not")


def planned_move(directory):
    """`mainstay group switch` moves the lead there and back; nothing is lost."""
    with SharedStore(directory, nodes=3, **DEDUP).start() as group:
        group.leader()
        publisher = Publisher(group)
        publisher.start()
        names = list(group.nodes)
        for _ in range(4):
            time.sleep(0.3)
            leader = group.leader()
            target = group.nodes[names[(names.index(leader.name) + 1) % 3]]
            target.wait(lambda: target.group_status().get("leader") == leader.name, 20, "the standby to hear of the leader")
            time.sleep(0.5)
            publisher.longest_s = 0
            moved = leader.command("group", "switch", "--to", target.name, "--reason", "a test")
            expect(moved.returncode == 0 and f"node {target.name} leads" in moved.stdout, "the lead to move", (moved.stdout, moved.stderr))
            expect(group.leader(but=(leader.name,)) is target, "the node that was named to lead")
            time.sleep(0.3)
            ok(f"the lead moved from {leader.name} to {target.name}; the longest wait of a publish was {publisher.longest_s:.2f} s")
        leader = group.leader()
        code, answer = leader.post("/group/switch", '{"to": "nobody", "by": "a test"}')
        expect(code == 409 and "nothing is heard" in answer, "a move to an unknown node to be refused", answer)
        other = group.others(leader)[0]
        code, answer = other.post("/group/switch", f'{{"to": "{leader.name}", "by": "a test"}}')
        expect(code == 409 and "Ask the node that leads" in answer, "a standby to refuse a move", answer)
        ok("moves that cannot be are refused with the reason")
        confirmed = publisher.finish()
        audit(group, confirmed)


def stopped_meanwhile(directory):
    """SIGTERM at any time of a takeover ends the node in good order: as a standby, as a leader, and between the two."""
    with SharedStore(directory, **DEDUP).start() as group:
        confirmed = []
        for step in range(16):
            leader = group.leader()
            other = group.standby(leader)
            confirmed.append(f"m{step}")
            send(connect(leader), "dedup", confirmed[-1:])
            leader.process.terminate()
            time.sleep(0.05 * step)
            expect(other.stop() == 0, "the node that takes over to end in good order", other.log_tail(10))
            expect(leader.wait_end() == 0, "the leader to end in good order", leader.log_tail(10))
            for node in group.nodes.values():
                node.start(ready=False)
        ok("16 times, 0 to 750 ms after the leader was told to end")
        expect(take_all(connect(group.leader()), "dedup") == confirmed, "every message")


def lock_is_held(directory):
    """Whoever starts while another process holds the store's lock says who it is and leads when it is free."""
    with SharedStore(directory) as group:
        with open(group.store / "lock", "w+") as lock:
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            # F_OFD_SETLK, as docs/formats/shared-store.md says.
            fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            group.start()
            first = group.nodes["n1"]
            first.wait(lambda: "lock is held" in first.get("/readyz")[1], 20, "/readyz to tell of the lock")
            code, why = first.get("/readyz")
            expect(code == 503 and str(os.getpid()) in why, "the holder of the lock to be named", why)
            ok(f"it refuses to lead: {why.strip()}")
        group.leader()
        ok("with the lock free a node leads")


def no_register(directory):
    """The register goes away: the leader serves on, because its store says that it is nobody else's; nobody takes over."""
    with SharedStore(directory, group={"alone_without_register_max_s": 2}, **DEDUP).start() as group:
        leader = group.leader()
        standby = group.standby(leader)
        connection = connect(leader)
        send(connection, "plain", ["before"])
        register, hidden = directory / "register.db", directory / "register.hidden"
        os.rename(register, hidden)
        register.mkdir()  # nothing that can be opened is there now
        time.sleep(4)
        send(connection, "plain", ["meanwhile"])
        ok("four seconds without the register: the leader serves on")
        leader.kill()
        time.sleep(2)
        code, why = standby.get("/readyz")
        expect(code == 503 and "register" in why, "nobody to lead without the register", why)
        ok(f"nobody takes over without it: {why.strip()}")
        register.rmdir()
        os.rename(hidden, register)
        expect(group.leader(30) is standby, "the standby to lead when the register is back")
        expect(take_all(connect(standby), "plain") == ["before", "meanwhile"], "both messages")


def voters_away(directory):
    """The register in voters: a takeover; then all voters are killed: the leader serves on, nobody takes over from it, and the
    standby says so before it is needed; when they are back it takes over."""
    with Voters(directory) as voters, SharedStore(directory, voters=voters, group={"alone_without_register_max_s": 2}, **DEDUP).start() as group:
        first = group.leader(30)
        group.standby(first)
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        first.kill()
        second = group.leader(but=(first.name,))
        ok(f"kill -9 of {first.name}: {second.name} leads by the voters' word")
        first.start(ready=False)
        group.standby(second)
        voters.kill_all()
        first.wait(lambda: f"node {second.name} leads; and the register does not answer" in first.get("/readyz")[1], 30, "the standby to miss the register")
        before, publisher.longest_s = len(publisher.confirmed), 0.0
        time.sleep(4)
        expect(len(publisher.confirmed) > before + 50 and publisher.longest_s < 2, "the leader to serve on without the voters",
               (len(publisher.confirmed) - before, publisher.longest_s))
        ok(f"four seconds without voters: {len(publisher.confirmed) - before} messages confirmed, none waited longer than {publisher.longest_s:.2f} s")
        second.kill()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            code, why = first.get("/readyz")
            expect(code == 503, "nobody to lead without voters", why)
            time.sleep(0.05)
        expect("register" in why, "the standby to say that it waits for the register", why)
        ok(f"nobody takes over without them: {why.strip()}")
        voters.start_all()
        expect(group.leader(60) is first, "the standby to lead when the voters are back")
        confirmed = publisher.finish()
        audit(group, confirmed)


def refused_by_all(group):
    """Every node has raised the alarm over the register and says so."""
    for node in group.nodes.values():
        node.wait(lambda: node.group_status().get("register_refused"), 30, f"{node.name} to refuse the register")
        expect("ALARM: the register" in node.log() and node.metric("mainstay_group_alarms_total") >= 1, "an alarm", node.log_tail(10))


def repair(node, *words):
    return node.command("group", "repair-register", "--reason", "restored from noon", "--by", "operator eve", *words)


def register_put_back(directory):
    """Voters restored from an old copy: alarm, the leader serves on, nobody takes over until the repair."""
    with Voters(directory) as voters, SharedStore(directory, voters=voters).start() as group:
        first = group.leader(30)
        group.standby(first)
        voters.keep()
        send(connect(first), "plain", ["before"])
        first.kill()
        second = group.leader(but=(first.name,))
        first.start(ready=False)
        group.standby(second)
        expect(repair(second, "--yes").returncode == 2, "a register that is well to be left alone")
        voters.put_back()
        refused_by_all(group)
        send(connect(second), "plain", ["beside"])
        expect(group.leader() is second, "the leader to lead on")
        ok("the register is older than the store: both nodes raise the alarm, the leader serves on")
        shown = first.command("group", "status")
        expect(shown.returncode == 1 and "REGISTER" in shown.stdout and "has seen epoch" in shown.stdout, "group status to tell", (shown.returncode, shown.stdout))
        second.kill()
        first.wait(lambda: "put back to an older state" in first.get("/readyz")[1], 20, "/readyz to tell")
        time.sleep(2)
        expect(first.get("/readyz")[0] == 503, "nobody to lead by an old register")
        ok(f"nobody takes over: {first.get('/readyz')[1].strip()}")
        # Takers that had an epoch of the register and ended before they had the log.
        highest = max(int(claim.name.split("-")[1]) for claim in group.store.glob("epoch-*"))
        for epoch in (highest + 2, highest + 4):
            (group.store / f"epoch-{epoch:020}").mkdir()
        asked = repair(first)
        expect(asked.returncode == 2 and "say --yes" in asked.stderr, "nothing to be written unasked", asked.stderr)
        done = repair(first, "--yes")
        expect(done.returncode == 0 and f"epoch {highest + 5}, serving" in done.stdout and "by operator eve: restored from noon" in done.stdout,
               "a record beyond every epoch that was had for the store", (done.stdout, done.stderr))
        ok("the repair goes beyond every epoch that was had for the store, led in or not")
        expect(group.leader(60) is first, "the node that is there to lead")
        expect(not first.status()["group"]["register_refused"], "the register to be believed again")
        expect(take_all(connect(first), "plain") == ["before", "beside"], "both messages")
        second.start(ready=False)
        group.standby(first)
        again = repair(first, "--yes")
        expect(again.returncode == 2 and "nothing to repair" in again.stderr, "the same repair again to be refused", (again.stdout, again.stderr))
        first.kill()
        expect(group.leader(30) is second, "the next takeover")
        ok("a takeover works again; everything that was confirmed is there")


def register_lost(directory):
    """The register is gone: nothing is begun anew. The store alone is enough to repair it, even when its last leader never wrote down
    what the register said."""
    with SharedStore(directory).start() as group:
        leader = group.leader()
        send(connect(leader), "plain", ["kept"])
        for node in group.nodes.values():
            node.stop()
        for file in directory.glob("register.db*"):
            file.unlink()
        group.start()
        first = group.nodes["n1"]
        first.wait(lambda: "the register has no record" in first.get("/readyz")[1], 30, "/readyz to tell")
        time.sleep(1)
        expect(all(node.get("/readyz")[0] == 503 for node in group.nodes.values()), "nobody to lead")
        expect("ALARM: the register has no record" in first.log(), "an alarm", first.log_tail(10))
        ok(f"without its register the store is not begun anew: {first.get('/readyz')[1].strip()}")
        gone = repair(first, "--without", "n2", "--yes")
        expect(gone.returncode == 2 and "no node has a disk of its own" in gone.stderr, "--without to be refused", gone.stderr)
        done = repair(first, "--yes")
        expect(done.returncode == 0, "the repair", (done.stdout, done.stderr))
        expect(take_all(connect(group.leader(60)), "plain") == ["kept"], "the message")
        ok("repaired from the store alone; the message is there")


def not_mounted(directory):
    """An empty directory where the store was is no new store."""
    with SharedStore(directory).start() as group:
        leader = group.leader()
        send(connect(leader), "plain", ["kept"])
        for node in group.nodes.values():
            node.stop()
        kept = directory / "kept"
        os.rename(group.store, kept)
        first = group.nodes["n1"]
        first.start(ready=False)
        expect(first.wait_end() == 2 and "made by hand" in first.log_tail(3), "a missing directory to be refused", first.log_tail(3))
        for there in ("missing", "empty"):
            if there == "empty":
                group.store.mkdir()
            shown = first.command("group", "status")
            expect(shown.returncode == 1 and "is the shared storage mounted?" in shown.stdout, f"group status to tell of a {there} directory",
                   (shown.returncode, shown.stdout, shown.stderr))
        ok("group status tells, with exit status 1, that the store of the register's group is not there")
        first.start(ready=False)
        first.wait(lambda: "is the shared storage mounted" in first.get("/readyz")[1], 20, "/readyz to ask whether the storage is mounted")
        ok(f"an empty directory is not begun anew: {first.get('/readyz')[1].strip()}")
        first.stop()
        expect(not (group.store / "store").exists(), "that nothing was made there")
        os.rmdir(group.store) if not list(group.store.iterdir()) else [f.unlink() for f in group.store.iterdir()] and os.rmdir(group.store)
        os.rename(kept, group.store)
        group.start()
        expect(take_all(connect(group.leader()), "plain") == ["kept"], "the message")
        ok("with the store back it is served")


if __name__ == "__main__":
    run_case((one_leads, leader_killed, leader_sleeps, zombie, planned_move, stopped_meanwhile, lock_is_held, no_register, voters_away, register_put_back, register_lost, not_mounted))
