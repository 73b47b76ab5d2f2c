#!/usr/bin/python3
"""Scenarios of `mainstay drill partition`, short: clean, and the fault was met; and on a disk that lies, not clean.
Exit status 77: this machine gives no network namespaces, so nothing was tested.

usage: partition_test.py MAINSTAY SCENARIO
"""
import json
import os
import subprocess
import sys
import tempfile

SEED = os.environ.get("MAINSTAY_SEED", "7")
# A figure that must not be zero: without it the scenario broke nothing. What is no number must be there.
REACHED = {
    "client-deaf": "packets cut off",
    "standby-unheard": "packets cut off",
    "loss-and-jitter": "packets lost",
    "zombie": "the zombie's role",
    "disk-full": "writes that met the full disk",
    "sync-fails": "failed syncs",
    "power-loss": "lost with the power",
    "lying-disk": "lost with the power",
    "pair-leader-killed": "new leader",
    "pair-all-voters-killed": "operations judged",
    "pair-leader-isolated-with-clients": "packets cut off",
    "pair-zombie": "new leader",
    "pair-power-loss-both": "lost with the power",
    "pair-register-restored": "new leader",
    "store-leader-killed": "new leader",
    "store-zombie": "new leader",
}


def main(program, scenario):
    with tempfile.TemporaryDirectory(prefix="mainstay-partition-") as directory:
        result = subprocess.run(
            [program, "drill", "partition", "--scenario", scenario, "--seed", SEED, "--json", "--messages", "1200",
             "--rate", "300", "--fault", "2", "--report", directory],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def check(condition, what):
        if not condition:
            sys.exit(f"FAILED: {what}\nseed {SEED}, exit status {result.returncode}\n{result.stdout}\n{result.stderr[-3000:]}")

    check(result.stdout.startswith("{"), "there is a report")
    report = json.loads(result.stdout)
    if "cannot make a network of its own" in report["failure"] or "install Debian's etcd" in report["failure"]:
        print("skipped: " + report["failure"])
        sys.exit(77)
    figures = {row["name"]: row["value"] for row in report["figures"]}
    value = figures.get(REACHED[scenario])
    check(value not in (None, "none") and not value.startswith("0"), f"the fault was met: {figures}")
    if scenario == "lying-disk":
        # Either the broker sees for itself that something durable is gone and refuses to start, or it lost the whole end of
        # its log, which only others can tell.
        refused = "but this record was durable" in report["failure"] or "restore this node" in report["failure"]
        lost = report["broken"] or report["audit"]["lost"]
        check(not report["clean"] and (result.returncode == 2 if refused else result.returncode == 1 and lost),
              "what a lying disk loses is found and named")
    else:
        check(result.returncode == 0 and report["clean"], "the drill is clean")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
