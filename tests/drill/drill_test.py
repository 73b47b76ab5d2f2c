#!/usr/bin/python3
"""The drill as a whole, on real processes: a clean one is clean, and a damaged one is not (N1, N2, P15.1).

usage: drill_test.py MAINSTAY CASE
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

MESSAGES = 600


class Drill:
    """`mainstay drill region-outage` in a directory of its own; `meanwhile(workspace)` runs beside it."""

    def __init__(self, program, meanwhile=None, more=()):
        self.directory = tempfile.TemporaryDirectory(prefix="mainstay-drill-")
        command = [program, "drill", "region-outage", "--messages", str(MESSAGES), "--rate", "400", "--seed", "5",
                   "--stuck-after", "60", "--keep", "--report", self.directory.name, *more]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        beside = None
        if meanwhile:
            beside = threading.Thread(target=self.with_workspace, args=(process, meanwhile))
            beside.start()
        self.out, self.err = process.communicate(timeout=170)
        self.status = process.returncode
        if beside:
            beside.join()

    def report_directory(self):
        return os.path.join(self.directory.name, os.listdir(self.directory.name)[0])

    def with_workspace(self, process, meanwhile):
        while process.poll() is None:
            for name in os.listdir(self.directory.name):
                workspace = os.path.join(self.directory.name, name, "work")
                if os.path.isdir(os.path.join(workspace, "shared", "destination")) and meanwhile(workspace):
                    return
            time.sleep(0.01)


def check(condition, what, drill):
    if not condition:
        sys.exit(f"FAILED: {what}\nexit status {drill.status}\n{drill.out}\n{drill.err}")


def delivered(workspace):
    destination = os.path.join(workspace, "shared", "destination")
    return sorted(os.path.join(destination, name) for name in os.listdir(destination) if not name.startswith("."))


def clean(program):
    drill = Drill(program)
    check(drill.status == 0, "a drill without damage is clean", drill)
    check("CLEAN: nothing was lost" in drill.out, "it says so", drill)
    with open(os.path.join(drill.report_directory(), "report.json"), encoding="utf-8") as file:
        report = json.load(file)
    audit = report["audit"]
    check(report["clean"] and audit["in"] == MESSAGES, "every message is accounted for", drill)
    check(audit["in"] == audit["unique"] + audit["duplicates"] + audit["conflicts"] + audit["malformed"],
          "the counts add up", drill)
    check(audit["delivered"] == audit["unique"] > 0, "everything was delivered", drill)
    check(audit["order_evidence"] == "arrivals", "the order was witnessed", drill)
    check(report["rto_s"] is not None and report["rto_s"] > 0, "recovery was measured", drill)
    kinds = [mark["kind"] for mark in report["marks"]]
    check({"kill", "promotion", "replay", "first_delivery"} <= set(kinds), "the timeline has its marks", drill)
    with open(os.path.join(drill.report_directory(), "report.html"), encoding="utf-8") as file:
        check("<svg" in file.read(), "the page has its picture", drill)


def deleted_delivery(program):
    removed = []

    def remove_one(workspace):
        files = delivered(workspace)
        if len(files) < 5:
            return False
        os.remove(files[2])
        removed.append(os.path.basename(files[2]))
        return True

    drill = Drill(program, remove_one, ["--json"])
    check(drill.status == 1, "a deleted message makes the drill not clean", drill)
    lost = json.loads(drill.out)["audit"]["lost"]
    check(len(lost) == 1 and removed[0] in lost[0]["what"], f"it is named: {removed}", drill)


def copied_delivery(program):
    def copy_one(workspace):
        files = delivered(workspace)
        if len(files) < 5:
            return False
        with open(files[2], "rb") as file:
            content = file.read()
        copy = os.path.join(os.path.dirname(files[2]), "copy")
        with open(copy + ".tmp", "wb") as file:
            file.write(content)
        os.rename(copy + ".tmp", copy)
        return True

    drill = Drill(program, copy_one, ["--json"])
    check(drill.status == 1, "a repeated message makes the drill not clean", drill)
    check(json.loads(drill.out)["audit"]["repeated"], "it is named", drill)


def dead_standby(program):
    def kill_the_west_processor(workspace):
        for process in os.listdir("/proc"):
            if not process.isdigit():
                continue
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if os.path.join(workspace, "west", "processor.toml") in words:
                os.kill(int(process), signal.SIGKILL)
                return True
        return False

    drill = Drill(program, kill_the_west_processor)
    check(drill.status == 2, "a drill that can't go on is no verdict", drill)
    check("COULD NOT FINISH: the west processor ended by itself (signal 9)" in drill.out, "it says why", drill)


CASES = {case.__name__: case for case in (clean, deleted_delivery, copied_delivery, dead_standby)}

if __name__ == "__main__":
    CASES[sys.argv[2]](sys.argv[1])
