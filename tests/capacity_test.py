#!/usr/bin/python3
"""`mainstay capacity` as its user meets it: a plan from a record, and clear refusals with their exit statuses."""
import json
import pathlib
import subprocess
import sys
import tempfile

MAINSTAY = sys.argv[1]
RECORD = {"format": "mainstay-bench-1", "records": [{"benchmark": "publish", "command": "./dev bench publish", "environment": "machine\n",
          "figures": [{"id": "publish.rate", "samples": [200000, 210000, 190000]}, {"id": "publish.message_bytes", "samples": [1024]},
                      {"id": "both.rate", "samples": [100000]}, {"id": "both.server_cpu_us", "samples": [4]}]}]}


def run(*arguments):
    ran = subprocess.run([MAINSTAY, "capacity", *arguments], capture_output=True, text=True, timeout=60)
    return ran.returncode, ran.stdout, ran.stderr


def main():
    with tempfile.TemporaryDirectory() as directory:
        record, broken = pathlib.Path(directory) / "figures.json", pathlib.Path(directory) / "broken.json"
        record.write_text(json.dumps(RECORD))
        broken.write_text("{}")
        load = ["--message-bytes", "1024", "--peak-rate", "150000", "--network-mbit", "100000"]

        status, out, _ = run("--record", str(record), *load)
        assert status == 0 and "Hit first: broker as measured" in out, (status, out)
        status, out, _ = run("--record", str(record), *load, "--json")
        plan = json.loads(out)
        # 150,000 / (100,000 × 0.7) = 2.14; one more for the node that may be lost; two regions
        assert status == 0 and (plan["groups"], plan["nodes_per_region"], plan["nodes"]) == (3, 4, 8), plan

        status, _, err = run("--record", str(record), "--message-bytes", "0", "--peak-rate", "-1")
        assert status == 64 and "message-bytes" in err and "peak-rate" in err, (status, err)
        status, _, err = run("--record", str(broken), *load)
        assert status == 2 and "broken.json" in err and "./dev bench" in err, (status, err)
        status, _, err = run("--record", str(record) + ".none", *load)
        assert status == 2 and "cannot read" in err, (status, err)
        assert run("--record", str(record))[0] == 64
        status, out, _ = run("--help")
        assert status == 0 and "Examples:" in out and "Exit status:" in out, out
    print("mainstay capacity: a plan, its JSON, and four refusals")


main()
