#!/usr/bin/env python3
"""Runs SPIN on pair.pml: the true rules exhaustively, each mutant until it is refuted, each probe until it is reached.

Exit status: 0 as expected; 1 the rules are violated, a mutant survives, a probe is not reached, or a search was not
complete; 2 wrong usage; 77 spin or gcc is not installed.
"""
import argparse
import dataclasses
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "pair.pml")
MEMORY_MB = 7000
DEPTH = 10_000
SECONDS = 900  # of one search

MUTANTS = {
    "M1": ("R3", "acknowledges alone while the shrink is in flight"),
    "M2": ("R2, R4", "promotes without a promise"),
    "M3": ("R6", "adds without the union rule"),
    "M4": ("R4", "membership by name, not by disk"),
    "M5": ("R4", "promotes without looking at the in-sync set"),
    "M6": ("R5", "a restarted leader resumes its epoch"),
    "M7": ("R1", "follower acknowledges before its fsync"),
    "M8": ("R6", "adds before catch-up"),
    "M9": ("R2", "the promise is in memory only"),
    "M10": ("R2, R6", "match watermark not keyed by disk"),
}
PROBES = {
    "REACH_1": "a promotion after a crash",
    "REACH_2": "a rejoin with truncation",
    "REACH_3": "a compare-and-swap of unknown outcome that lands after its sender's end",
    "REACH_4": "an add after a disk loss",
    "REACH_5": "two leaderships that both acknowledged",
    "REACH_6": "a leadership that begins after it is over",
}


@dataclasses.dataclass(frozen=True)
class Bounds:
    ops: int
    epochs: int
    crashes: int
    disk_losses: int

    def defines(self):
        return [f"-DOPS={self.ops}", f"-DEPOCHS={self.epochs}", f"-DCRASHES={self.crashes}", f"-DDISK_LOSSES={self.disk_losses}"]

    def __str__(self):
        return f"{self.ops} ops, {self.epochs} epochs, {self.crashes} crashes, {self.disk_losses} disk losses"


QUICK = [Bounds(2, 3, 1, 1)]
FULL = [Bounds(2, 4, 2, 1), Bounds(3, 3, 1, 1), Bounds(3, 4, 1, 0), Bounds(3, 4, 2, 1)]
SMALL = Bounds(2, 4, 1, 1)  # enough for every mutant and every probe


class Unreadable(Exception):
    """What the verifier printed is not what a search prints."""


@dataclasses.dataclass(frozen=True)
class Search:
    errors: int
    states: int
    transitions: int
    depth: int
    complete: bool
    memory_mb: float
    seconds: float = 0.0


def read_output(text):
    """The figures in pan's output. Whatever may mean "not everything was looked at" makes the search incomplete."""
    def number(pattern, kind=int):
        found = re.findall(pattern, text, re.MULTILINE)
        if len(found) != 1:
            raise Unreadable(f"{len(found)} times /{pattern}/ in the verifier's output")
        return kind(found[0])

    doubts = ("Search not completed", "max search depth too small", "out of memory", "reached -DMEMLIM", "hash table is full",
              "Bit statespace", "Hash-Compact", "interrupted", "Partial Order Reduction", "Depth-First Search interrupted",
              "aborted")
    if "assertion violations\t+" not in text:
        raise Unreadable("the verifier did not look for assertion violations")
    return Search(errors=number(r"errors: (\d+)\s*$"), states=number(r"^\s*(\d+) states, stored\s*$"),
                  transitions=number(r"^\s*(\d+) transitions "), depth=number(r"depth reached (\d+),"),
                  complete="Full statespace search for:" in text and not any(doubt in text for doubt in doubts),
                  memory_mb=number(r"^\s*([\d.]+)\s+total actual memory usage", float))


def verdict_of_rules(search):
    """What is wrong, or None."""
    if search.errors:
        return "VIOLATED"
    if not search.complete:
        return "INCOMPLETE"
    if search.states < 1000:
        return "EMPTY"  # a model that does nothing violates nothing
    return None


def verdict_of_mutant(search, words, expected):
    """A mutant must violate a property; a probe must be reached, and nothing be violated before. What is wrong, or None."""
    if not search.errors:
        return "SURVIVED" if expected == "violated" else "NOT REACHED"
    if not words.startswith(expected + ": "):
        return "WRONG REASON"
    return None


def run(command, directory, memory_mb=None):
    def limit():
        if memory_mb:
            size = (memory_mb + 500) * 1024 * 1024
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=SECONDS, preexec_fn=limit, check=False)
    return done.returncode, done.stdout


def search(directory, bounds, defines, shortest):
    """Generates, compiles and runs a verifier. `shortest`: breadth first, which leaves the shortest trail behind."""
    shutil.copy(MODEL, directory)  # spin looks for a trail beside the model
    spin = ["spin", *bounds.defines(), *defines, *([] if shortest else ["-DQUIET"]), "-a", "pair.pml"]
    status, text = run(spin, directory)
    if status != 0 or not os.path.exists(os.path.join(directory, "pan.c")):
        raise Unreadable(f"spin failed ({status}):\n{text}")
    gcc = ["gcc", "-O0" if shortest else "-O2",  # a short search is over before an optimiser is
           "-w", "-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={MEMORY_MB}", *(["-DBFS"] if shortest else []), "-o", "pan", "pan.c"]
    status, text = run(gcc, directory)
    if status != 0:
        raise Unreadable(f"gcc failed ({status}):\n{text}")
    started = time.monotonic()
    status, text = run(["./pan", f"-m{DEPTH}", "-w22" if shortest else "-w26"], directory, MEMORY_MB)
    seconds = time.monotonic() - started
    if status not in (0, 1):
        raise Unreadable(f"the verifier ended with status {status}:\n{text}")
    return dataclasses.replace(read_output(text), seconds=seconds)


def trail(directory, bounds, defines):
    """The protocol's steps of the trail in this directory, one block for each."""
    _, text = run(["spin", "-T", "-t", *bounds.defines(), *defines, "pair.pml"], directory)
    lines = [line.rstrip() for line in text.splitlines()]
    return [line for line in lines if line.strip() and not re.match(r"spin: |#processes|\s*\d+:\s+proc |\d+ process|\s+\w+(\[\d+\])?(\.\w+)* = ", line)]


def reason(lines):
    return next((line for line in lines if line.startswith(("violated: ", "reached: "))), "no reason in the trail")


def numbered(lines):
    step = 0
    for line in lines:
        if line.startswith(" "):
            yield "     " + line.strip()
        elif line.startswith(("violated: ", "reached: ")):
            yield "  => " + line
        else:
            step += 1
            yield f"{step:3}. {line}"


def load():
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def say(line):
    print(line, flush=True)


def row(name, what, result, found, bounds):
    say(f"{name:9} {what[:62]:62} {result:12} {found.states:>11,} {found.transitions:>12,} {found.depth:>5} {found.memory_mb:>6.0f} {found.seconds:>7.1f}  {bounds}")


def check_rules(all_bounds):
    wrong = 0
    for bounds in all_bounds:
        say(f"# rules, {bounds} …")
        with tempfile.TemporaryDirectory(prefix="mainstay-model-") as directory:
            found = search(directory, bounds, [], shortest=False)
        result = verdict_of_rules(found)
        row("rules", "as written", result or "holds", found, bounds)
        if result:
            wrong += 1
            say(f"  its steps: ./dev model --trail --bounds {bounds.ops},{bounds.epochs},{bounds.crashes},{bounds.disk_losses}")
    return wrong


def check_one(name, defines, what, expected, bounds):
    with tempfile.TemporaryDirectory(prefix="mainstay-model-") as directory:
        found = search(directory, bounds, defines, shortest=True)
        words = reason(trail(directory, bounds, defines)) if found.errors else ""
    result = verdict_of_mutant(found, words, expected)
    row(name, what, result or ("refuted" if expected == "violated" else "reached"), found, bounds)
    if words:
        say(f"{'':9} {words}")
    return result is not None


def show_trail(bounds, defines):
    with tempfile.TemporaryDirectory(prefix="mainstay-model-") as directory:
        found = search(directory, bounds, defines, shortest=True)
        if not found.errors:
            say(f"nothing is violated and no probe reached within {bounds} ({found.states:,} states)")
            return 1
        for line in numbered(trail(directory, bounds, defines)):
            say(line)
    return 0


def parse_bounds(text):
    try:
        return Bounds(*(int(part) for part in text.split(",", 3)))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError("wanted OPS,EPOCHS,CRASHES,DISK_LOSSES, for example 2,4,2,1") from error


def main():
    parser = argparse.ArgumentParser(prog="./dev model", description="The replication rules of the pair under SPIN: see model/README.md.")
    parser.add_argument("--quick", action="store_true", help="smaller bounds for the rules; all mutants and probes")
    parser.add_argument("--bounds", type=parse_bounds, action="append", metavar="OPS,EPOCHS,CRASHES,DISK_LOSSES",
                        help="check the rules within these bounds (may be repeated)")
    parser.add_argument("--only", choices=["rules", "mutants", "probes"], help="only this part")
    parser.add_argument("--mutant", choices=list(MUTANTS), help="only this mutant")
    parser.add_argument("--probe", choices=list(PROBES), help="only this probe")
    parser.add_argument("--trail", action="store_true", help="print the shortest counterexample (or way to the probe) as protocol steps")
    choice = parser.parse_args()

    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            say(f"SKIPPED: {program} is not installed; the model was not checked (Debian: apt-get install {program})")
            return 77

    defines = []
    if choice.mutant:
        defines.append(f"-DMUTANT_{choice.mutant}")
    if choice.probe:
        defines.append(f"-D{choice.probe}")
    if choice.trail:
        return show_trail((choice.bounds or [SMALL])[0], defines)

    say(f"# {subprocess.run(['spin', '-V'], capture_output=True, text=True, check=False).stdout.strip()}; {load()}")
    say(f"{'':9} {'what':62} {'result':12} {'states':>11} {'transitions':>12} {'depth':>5} {'MB':>6} {'seconds':>7}  bounds")
    started, wrong = time.monotonic(), 0
    small = (choice.bounds or [SMALL])[0]
    if not defines and choice.only in (None, "rules"):
        wrong += check_rules(choice.bounds or (QUICK if choice.quick else FULL))
    if not choice.probe and choice.only in (None, "mutants"):
        for name, (rule, what) in MUTANTS.items():
            if choice.mutant in (None, name):
                wrong += check_one(name, [f"-DMUTANT_{name}"], f"{rule}: {what}", "violated", small)
    if not choice.mutant and choice.only in (None, "probes"):
        for name, what in PROBES.items():
            if choice.probe in (None, name):
                wrong += check_one(name, [f"-D{name}"], what, "reached", small)
    say(f"# {'as expected' if not wrong else f'{wrong} not as expected'}, {time.monotonic() - started:.0f} s; {load()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unreadable, subprocess.TimeoutExpired) as error:
        sys.exit(f"./dev model: {error}")
