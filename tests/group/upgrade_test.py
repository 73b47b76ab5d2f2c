#!/usr/bin/env python3
"""A group goes from the release before to this one, one node after the other, while clients publish. Needs Proton's Python binding.

Usage: MAINSTAY_PREVIOUS=path/to/the/older/mainstay upgrade_test.py path/to/mainstay CASE
"""
import os
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from clients import BINARY, SEED, run_case  # noqa: E402
from checks import expect, ok, skip  # noqa: E402
from group import Group  # noqa: E402
from group_test import DEDUP, Publisher, audit  # noqa: E402

PREVIOUS = os.environ.get("MAINSTAY_PREVIOUS", "")


def version(binary):
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def begin(directory, binaries):
    """A group of two whose nodes n1 and n2 run these binaries, in sync."""
    if not PREVIOUS:
        skip("MAINSTAY_PREVIOUS does not name the binary of the release before (./dev upgrade builds it)")
    group = Group(BINARY, directory, **DEDUP)
    for node, binary in zip(group.nodes.values(), binaries):
        node.binary = str(binary)
    ok(f"{version(PREVIOUS)} and {version(BINARY)}")
    return group


def lead(group, name):
    """Has this node lead, by a planned move when it does not. The request is the older command's as often as the newer's."""
    leader = group.wait_in_sync()
    if leader.name == name:
        return leader
    moved = leader.command("group", "switch", "--to", name, "--reason", "an upgrade")
    expect(moved.returncode == 0, f"the lead to move to {name}", (moved.stdout, moved.stderr))
    leader = group.leader(but=(leader.name,))
    group.wait_in_sync()
    return leader


def replace_binary(group, node, binary):
    node.stop()
    node.binary = str(binary)
    node.start(ready=False)
    group.wait_in_sync()


def rolling(directory):
    """Old and old, new backup, new leader, new and new: under load, with planned moves. What was confirmed is there."""
    with begin(directory, [PREVIOUS, PREVIOUS]) as group:
        group.start()
        publisher = Publisher(group)
        publisher.start()
        first = group.wait_in_sync()
        second, = group.others(first)
        time.sleep(0.5)
        replace_binary(group, second, BINARY)
        ok("a new backup follows an old leader")
        time.sleep(0.5)
        lead(group, second.name)
        ok("the new one leads, the old one follows")
        time.sleep(0.5)
        replace_binary(group, first, BINARY)
        ok("both are new")
        time.sleep(0.5)
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def back_again(directory):
    """While one node is old, an upgrade can be taken back: the new one becomes old again, with what it wrote as leader."""
    with begin(directory, [PREVIOUS, BINARY]) as group:
        group.start()
        lead(group, "n2")
        publisher = Publisher(group)
        publisher.start()
        time.sleep(1)
        lead(group, "n1")
        replace_binary(group, group.nodes["n2"], PREVIOUS)
        ok("what the newer one wrote as leader, the older one reads")
        time.sleep(0.5)
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()


def mixed_killed(directory):
    """One old, one new; whoever leads is killed, again and again."""
    with begin(directory, [PREVIOUS, BINARY]) as group:
        group.start()
        random.seed(SEED)
        publisher = Publisher(group)
        publisher.start()
        led = set()
        for _ in range(6):
            leader = group.wait_in_sync()
            led.add(leader.name)
            time.sleep(random.uniform(0.05, 0.5))
            leader.kill()
            group.leader(but=(leader.name,))
            leader.start(ready=False)
        group.wait_in_sync()
        expect(led == {"n1", "n2"}, "each of them to have led", led)
        confirmed = publisher.finish()
        audit(group, confirmed)
        group.wait_equal()
        ok("old and new led in turn")


if __name__ == "__main__":
    run_case((rolling, back_again, mixed_killed))
