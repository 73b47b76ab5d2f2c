#!/usr/bin/env python3
"""Nodes that are added to a group, taken out of it and replaced while the others run, as real processes. Needs Proton's Python binding.

Usage: members_test.py path/to/mainstay CASE
"""
import json
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from clients import BINARY, connect, run_case, send  # noqa: E402
from checks import expect, ok  # noqa: E402
from copy_test import KEEP_LITTLE, SMALL, give_up_the_log  # noqa: E402
from group import Group  # noqa: E402
from group_test import DEDUP, Publisher, audit  # noqa: E402


def asked(node, *words):
    """`mainstay group …` of the node, which must succeed. @return what it prints"""
    done = node.command("group", *words)
    expect(done.returncode == 0, f"`mainstay group {' '.join(words)}` on {node.name} to be done", (done.stdout, done.stderr))
    return done.stdout


def refused(node, *words):
    done = node.command("group", *words)
    expect(done.returncode == 2, f"`mainstay group {' '.join(words)}` on {node.name} to be refused", (done.stdout, done.stderr))
    return done.stderr


def state_of(node, name):
    """What `mainstay group status` on one node says of another."""
    live = json.loads(node.command("group", "status", "--json").stdout)["live"]
    return next((each["state"] for each in live["nodes"] if each["name"] == name), None)


def wait_members(group, names, timeout_s=60):
    """Until the leader counts exactly these nodes as in sync."""
    until = time.monotonic() + timeout_s
    found = None
    while time.monotonic() < until:
        leader = group.leader(max(0.1, until - time.monotonic()))
        found = sorted((leader.status().get("group") or {}).get("in_sync", []))
        if found == sorted(names):
            return leader
        time.sleep(0.05)
    raise AssertionError(f"{found} are in sync after {timeout_s} s, {sorted(names)} should be\n" +
                         "\n".join(n.log_tail(25) for n in group.nodes.values()))


def third_added(directory):
    """A third node joins a pair under load, without a restart of either; then it can lead."""
    with Group(BINARY, directory, group=KEEP_LITTLE, **SMALL).start() as group:
        leader = group.wait_in_sync()
        give_up_the_log(leader)
        publisher = Publisher(group)
        publisher.start()
        third = group.add("n3").start(ready=False)
        time.sleep(1.5)
        expect(sorted(leader.status()["group"]["in_sync"]) == ["n1", "n2"], "nobody to be taken in who is not listed")
        pids = {name: group.nodes[name].process.pid for name in ("n1", "n2")}
        for name in ("n1", "n2"):
            told = asked(group.list_nodes(name), "reload")
            expect("new: n3" in told, "the reload to name the new node", told)
        leader = wait_members(group, ["n1", "n2", "n3"])
        ok(f"n3 is in sync; the longest wait of a publish was {publisher.longest_s:.2f} s")
        expect("a full copy, up to LSN" in third.log(), "the new node to have taken a copy: the log had lost its beginning")
        expect(pids == {name: group.nodes[name].process.pid for name in pids}, "the same processes")
        expect(state_of(leader, "n3") == "in sync", "`mainstay group status` to say so")
        moved = leader.command("group", "switch", "--to", "n3", "--reason", "a test")
        expect(moved.returncode == 0, "the lead to move to the new node", (moved.stdout, moved.stderr))
        expect(group.leader().name == "n3", "the new node to lead")
        wait_members(group, ["n1", "n2", "n3"])
        confirmed = publisher.finish()
        group.wait_equal()
        audit(group, confirmed)
        group.wait_equal()
        ok("three equal logs and states")


def removed(directory):
    """A node is taken out of three under load, stays out over a restart and a change of leaders, and comes back when it is listed anew."""
    with Group(BINARY, directory, nodes=3, group={"min_copies": 2}, **DEDUP).start() as group:
        leader = wait_members(group, ["n1", "n2", "n3"])
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        stays, goes = group.others(leader)
        expect("Ask the node that leads" in refused(stays, "remove", "--node", goes.name, "--reason", "a test"), "a backup to refuse")
        expect("it leads" in refused(leader, "remove", "--node", leader.name, "--reason", "a test"), "the leader not to remove itself")
        expect("no node nobody" in refused(leader, "remove", "--node", "nobody", "--reason", "a test"), "an unknown node to be refused")
        asked(leader, "remove", "--node", goes.name, "--reason", "a test")
        wait_members(group, [leader.name, stays.name])
        expect(state_of(leader, goes.name) == "removed", "`mainstay group status` to say so")
        ok(f"{goes.name} is removed; the longest wait of a publish was {publisher.longest_s:.2f} s")
        why = refused(leader, "remove", "--node", stays.name, "--reason", "a test")
        expect("min_copies is 2" in why, "the last second copy to be kept", why)
        ok("one more would leave a single copy: refused")
        goes.kill()
        goes.start(ready=False)
        moved = leader.command("group", "switch", "--to", stays.name, "--reason", "a test")
        expect(moved.returncode == 0, "the lead to move", (moved.stdout, moved.stderr))
        time.sleep(2)
        leader = wait_members(group, [leader.name, stays.name])
        expect("was removed from the group" in goes.status()["group"]["problem"], "the removed node to say why", goes.status()["group"])
        ok("it stays out over its restart and a change of leaders")
        told = asked(leader, "reload")
        expect(f"taken in again after its removal: {goes.name}" in told, "the reload to say so", told)
        wait_members(group, ["n1", "n2", "n3"])
        ok("listed anew it is back")
        # Out for good: out of the files of the others.
        asked(leader, "remove", "--node", goes.name, "--reason", "a test")
        goes.stop()
        del group.nodes[goes.name]
        for node in group.nodes.values():
            told = asked(group.list_nodes(node.name), "reload")
            expect(f"no longer: {goes.name}" in told, "the reload to say who went", told)
        wait_members(group, list(group.nodes))
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def replaced(directory):
    """A node's disk is lost: the same name comes back on a new one; then another node takes the place of one, under another name."""
    with Group(BINARY, directory, **DEDUP).start() as group:
        leader = group.wait_in_sync()
        publisher = Publisher(group)
        publisher.start()
        time.sleep(0.5)
        backup, = group.others(leader)
        backup.kill()
        group.wait_in_sync(1)  # or the old disk would still be counted below
        shutil.rmtree(backup.data)
        backup.start(ready=False)
        wait_members(group, ["n1", "n2"])
        ok(f"{backup.name} is back with a new disk")
        group.add("n3").start(ready=False)
        for name in ("n1", "n2"):
            asked(group.list_nodes(name), "reload")
        leader = wait_members(group, ["n1", "n2", "n3"])
        asked(leader, "remove", "--node", backup.name, "--reason", "its machine goes")
        backup.stop()
        del group.nodes[backup.name]
        for node in group.nodes.values():
            asked(group.list_nodes(node.name), "reload")
        wait_members(group, list(group.nodes))
        ok(f"n3 has taken the place of {backup.name}; the longest wait of a publish was {publisher.longest_s:.2f} s")
        leader.kill()
        group.leader(but=(leader.name,))
        leader.start(ready=False)
        wait_members(group, list(group.nodes))
        confirmed = publisher.finish()
        group.wait_equal()
        audit(group, confirmed)
        group.wait_equal()


def maintenance(directory):
    """Every node in turn is stopped and started again, the leader after it gave the lead away: no publish fails in a way that a client may not repeat."""
    with Group(BINARY, directory, nodes=3, group={"min_copies": 2}, **DEDUP).start() as group:
        wait_members(group, ["n1", "n2", "n3"])
        publisher = Publisher(group)
        publisher.start()
        for name in ("n1", "n2", "n3"):
            leader = wait_members(group, ["n1", "n2", "n3"])
            node = group.nodes[name]
            publisher.longest_s = 0
            if node is leader:
                asked(leader, "switch", "--to", group.others(leader)[0].name, "--reason", "maintenance")
                group.leader(but=(name,))
            expect(node.stop() == 0, "an orderly end")
            before = len(publisher.confirmed)
            until = time.monotonic() + 20
            while len(publisher.confirmed) < before + 20:
                expect(time.monotonic() < until, "publishing to go on meanwhile")
                time.sleep(0.05)
            node.start(ready=False)
            wait_members(group, ["n1", "n2", "n3"])
            ok(f"{name} was stopped and is back in sync; the longest wait of a publish was {publisher.longest_s:.2f} s")
            expect(publisher.longest_s < 5, "no long wait", publisher.longest_s)
        confirmed = publisher.finish()
        group.wait_equal()
        audit(group, confirmed)
        group.wait_equal()


def switch_is_true(directory):
    """`mainstay group switch` says "moved" only when the node that was named leads; a file that is wrong is not taken over."""
    with Group(BINARY, directory, nodes=3, **DEDUP).start() as group:
        leader = wait_members(group, ["n1", "n2", "n3"])
        for target in ("n3", "n1", "n2", "n3"):
            leader = wait_members(group, ["n1", "n2", "n3"])
            if leader.name == target:
                continue
            told = asked(leader, "switch", "--to", target, "--reason", "a test", "--json")
            expect(json.loads(told)["note"] == f"node {target} leads", "the answer to name who leads", told)
            record = json.loads(leader.command("group", "status", "--json").stdout)["register"]["record"]
            expect(record["leader"]["node"] == target, "the register to say the same", record)
        ok("the register had the node that was named, each time")
        leader = wait_members(group, ["n1", "n2", "n3"])
        good = leader.config_file.read_text()
        leader.config_file.write_text(good + '\n[[group.node]]\nname = "n2"\naddress = "127.0.0.1:1"\n')
        expect(leader.command("group", "reload").returncode == 78, "a wrong file to be told as such")
        code, why = leader.post("/group/reload")
        leader.config_file.write_text(good)
        expect(code == 409 and "listed twice" in why, "the node itself to refuse it", why)
        expect(sorted(leader.status()["group"]["in_sync"]) == ["n1", "n2", "n3"], "everything as before")
        ok(f"a file that is wrong is refused: {why.strip()[:120]}")
        connection = connect(leader)
        send(connection, "plain", ["one"])
        group.wait_equal()


def kept_unlisted(directory):
    """A new leader keeps the copy of a node that its own file does not list, and says so. Its reload then takes that node
    out as it would a listed one: not below min_copies, and done only when the register says so."""
    with Group(BINARY, directory, nodes=3, group={"min_copies": 2}, **DEDUP) as group:
        group.list_nodes("n2", but=("n3",))
        group.start()
        leader = group.leader()
        # What can lead is what a leader's file has taken in: n1 and n3 list all.
        if leader.name == "n2":
            wait_members(group, ["n1", "n2"])
            asked(leader, "switch", "--to", "n1", "--reason", "a test")
            group.leader(but=("n2",))
        leader = wait_members(group, ["n1", "n2", "n3"])
        asked(leader, "switch", "--to", "n2", "--reason", "a test")
        second = wait_members(group, ["n1", "n2", "n3"])
        expect(second.name == "n2", "the node that was named to lead", second.name)
        second.wait(lambda: "node n3 is in sync and not listed" in second.log(), 20, "the leader to tell of the copy that it keeps")
        ok("n2 leads and keeps the copy of n3, which its file does not list")
        first = group.nodes["n1"]
        first.kill()
        wait_members(group, ["n2", "n3"])
        why = refused(second, "reload")
        expect("without n3" in why and "min_copies is 2" in why, "the last second copy to be kept", why)
        expect(sorted(second.status()["group"]["in_sync"]) == ["n2", "n3"], "everything as before")
        ok(f"a reload of the same file would leave one copy: {why.strip()[:120]}")
        first.start(ready=False)
        wait_members(group, ["n1", "n2", "n3"])
        told = asked(second, "reload")
        expect("no longer: n3" in told, "the reload to say who went", told)
        expect(sorted(second.status()["group"]["in_sync"]) == ["n1", "n2"], "the register to have it when the command ends")
        told = asked(group.list_nodes("n2"), "reload")
        expect("new: n3" in told and "no longer" not in told, "the reload to name the new node", told)
        wait_members(group, ["n1", "n2", "n3"])
        ok("listed, it is taken in again")
        connection = connect(second)
        send(connection, "plain", ["one"])
        group.wait_equal()


if __name__ == "__main__":
    run_case((third_added, removed, replaced, maintenance, switch_is_true, kept_unlisted))
