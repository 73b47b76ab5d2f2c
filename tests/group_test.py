#!/usr/bin/python3
"""`mainstay group status` and `repair-register` on registers and disks that this test makes: group_test.py MAINSTAY CASE.
No node runs: superblocks are written here, byte by byte after docs/formats/superblock.md."""
import ctypes
import ctypes.util
import json
import pathlib
import re
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import uuid

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here / "process"))
from broker import Broker  # noqa: E402
from checks import expect, ok, run, skip  # noqa: E402
from voters import Voters  # noqa: E402

BINARY = str(pathlib.Path(sys.argv[1]).resolve())
CLUSTER = uuid.UUID("11111111-2222-4333-8444-555555555555")
DISKS = {"east-1": uuid.UUID("aaaaaaaa-0000-4000-8000-000000000001"), "east-2": uuid.UUID("bbbbbbbb-0000-4000-8000-000000000002")}


def xxh3(data, seed):
    name = ctypes.util.find_library("xxhash")
    if name is None:
        skip("the library xxhash is not installed")
    function = ctypes.CDLL(name).XXH3_64bits_withSeed
    function.restype = ctypes.c_uint64
    return function(data, ctypes.c_size_t(len(data)), ctypes.c_uint64(seed))


def member(node):
    return {"node": node, "incarnation": str(DISKS[node])}


def record(epoch, leader, isr, cluster=CLUSTER, reason="test"):
    return {"format": 1, "cluster": str(cluster), "epoch": epoch, "leader": member(leader), "isr": [member(n) for n in isr],
            "mode": "serving", "region_term": 1, "by": f"node {leader}", "reason": reason, "at_ms": 1700000000000}


def write_superblock(directory, node, promised, seen, last=None, generation=4):
    directory.mkdir(parents=True, exist_ok=True)
    for copy in (0, 1):
        text = json.dumps(last).encode() if last else b""
        body = struct.pack("<Q", generation - (copy != generation % 2)) + CLUSTER.bytes + DISKS[node].bytes
        body += struct.pack("<QQQQHH", promised, seen, 301, 0, 0, len(node)) + node.encode()
        body += struct.pack("<H", len(text)) + text
        body = body.ljust(4096 - 16, b"\0")
        head = b"MSGM" + struct.pack("<I", 1)
        checksum = xxh3(body, struct.unpack("<Q", head)[0])
        (directory / f"superblock.{copy}").write_bytes(head + struct.pack("<Q", checksum) + body)


class Group:
    """Configurations of two nodes, their disks, and a register in a file."""

    def __init__(self, directory, register=None):
        self.directory = pathlib.Path(directory)
        self.register = self.directory / "register.db"
        for i, node in enumerate(DISKS):
            other = [n for n in DISKS if n != node][0]
            lines = [f'[node]\nname = "{node}"\nregion = "east"\ndata = "{node}"\ncluster = "{CLUSTER}"',
                     "[amqp]\nanonymous = true",
                     f'[group]\nlisten = "127.0.0.1:{5690 + i}"\nallow_unsafe_layout = "a test on one machine"',
                     f'[[group.node]]\nname = "{other}"\naddress = "127.0.0.1:{5691 - i}"',
                     register or '[register]\nfile = "register.db"']
            self.config(node).write_text("\n".join(lines) + "\n")

    def config(self, node):
        return self.directory / f"{node}.toml"

    def disk(self, node, promised, seen, last=None):
        write_superblock(self.directory / node, node, promised, seen, last)

    def run(self, *words, node="east-1", stdin=subprocess.DEVNULL):
        return subprocess.run([BINARY, "group", words[0], "--config", str(self.config(node)), *map(str, words[1:])],
                              capture_output=True, text=True, stdin=stdin, timeout=60)

    def repair(self, *words, **options):
        return self.run("repair-register", "--reason", "restored from noon", "--by", "operator eve", *words, **options)

    def status(self, node="east-1", status=0):
        done = self.run("status", "--json", node=node)
        expect(done.returncode == status, f"exit status {status} of group status", (done.returncode, done.stdout, done.stderr))
        return json.loads(done.stdout)

    def put(self, value):
        """What somebody restored into the file; the table is what docs/formats/register.md says."""
        with sqlite3.connect(self.register) as db:
            db.execute("PRAGMA application_id = 0x4d534552")
            db.execute("PRAGMA user_version = 2")
            db.execute("CREATE TABLE IF NOT EXISTS record(name TEXT PRIMARY KEY, revision INTEGER NOT NULL, value TEXT NOT NULL)")
            db.execute("INSERT OR REPLACE INTO record VALUES ('main/config/east', 3, ?)",
                       (value if isinstance(value, str) else json.dumps(value),))
        db.close()


def refused(done, *told):
    expect(done.returncode == 2, "exit status 2 when refused", (done.returncode, done.stdout, done.stderr))
    for part in told:
        expect(part in done.stderr, f"{part!r} in what is told", done.stderr)


def file_status(directory):
    group = Group(directory)
    shown = group.status()
    expect(shown["register"]["record"] is None and shown["report"] is None, "neither a record nor a report", shown)
    expect(not group.register.exists(), "that looking made no register")
    expect(len(shown["layout_warnings"]) == 3, "what the override allows", shown["layout_warnings"])
    ok("before anything was written status says so and makes nothing")

    now = record(5, "east-1", ["east-1", "east-2"])
    group.put(now)
    group.disk("east-1", 5, 5, now)
    shown = group.status()
    expect(shown["register"]["record"] == now and shown["register"]["problem"] == "", "the record as it is stored", shown)
    expect(shown["report"]["seen_epoch"] == 5 and shown["report"]["record"] == now, "what the disk remembers", shown)
    table = group.run("status").stdout
    for part in ("group           main in east", "epoch 5, serving", "leader          east-1 (disk", "the record lets it lead",
                 "LSN 301 committed at least", "LAYOUT"):
        expect(part in table, f"{part!r} in the table", table)
    ok("status shows the record, the disk and the layout that was allowed")

    group.put(record(3, "east-1", ["east-1"]))
    shown = group.status(status=1)
    expect("holds epoch 3" in shown["register"]["problem"] and "has seen epoch 5" in shown["register"]["problem"],
           "that the register is behind", shown)
    ok("a register that was put back is told, with exit status 1")

    (group.directory / "east-1" / "superblock.0").write_bytes(b"x" * 4096)
    (group.directory / "east-1" / "superblock.1").write_bytes(b"x" * 4096)
    done = group.run("status")
    expect(done.returncode == 1 and re.search(r"^DISK ", done.stdout, re.M), "a damaged superblock to be told", done.stdout)
    ok("a damaged superblock is told")

    group.register.unlink()
    group.register.mkdir()  # there, and nothing that can be opened
    done = group.run("status", node="east-2")
    expect(done.returncode == 2 and "does not answer" in done.stdout, "a register that cannot be opened to be told", (done.returncode, done.stdout))
    elsewhere = Group(directory, '[register]\nfile = "not-mounted/register.db"')
    done = elsewhere.run("status", node="east-2")
    expect(done.returncode == 2 and f"nor is its directory {directory / 'not-mounted'}" in done.stdout and "none was ever written" not in done.stdout,
           "a register whose directory is not there to be told", (done.returncode, done.stdout))
    expect(not (directory / "not-mounted").exists(), "that looking made no directory")
    ok("a register that cannot be opened, or whose directory is not there, does not answer: exit status 2, also on a new disk")
    config = elsewhere.config("east-1")
    config.write_text('[node]\nname = "east-1"\nregion = "east"\ndata = "east-1"\n[amqp]\nanonymous = true\n[register]\nfile = "register.db"\n')
    done = elsewhere.run("status")
    expect(done.returncode == 78 and "has no [group]" in done.stderr and done.stdout == "", "a configuration without [group] to be refused",
           (done.returncode, done.stdout, done.stderr))
    ok("a configuration without [group] has no status of a group")


def repair(directory):
    group = Group(directory)
    last = record(5, "east-1", ["east-1", "east-2"])
    group.put(record(3, "east-1", ["east-1"]))
    group.disk("east-1", 5, 5, last)
    group.disk("east-2", 6, 5, last)
    refused(group.repair("--yes"), "nobody has looked at node east-2", "--without east-2")
    ok("a node that nobody looked at is asked for")
    report = group.directory / "east-2.json"
    report.write_text(group.run("status", "--json", node="east-2").stdout)
    refused(group.repair("--report", report), "say --yes")
    expect(group.status(status=1)["register"]["record"]["epoch"] == 3, "nothing to be changed by a question")
    ok("without --yes and without a terminal nothing is written")
    done = group.repair("--report", report, "--yes")
    expect(done.returncode == 0, "the repair", done.stderr)
    for part in (f"highest         epoch 6; this will be written to the register {group.register}:", "epoch 7, serving", "by operator eve: restored from noon", "looked at       east-2"):
        expect(part in done.stdout, f"{part!r} in what is shown", done.stdout)
    written = group.status()["register"]["record"]
    expect((written["epoch"], written["leader"], written["isr"], written["by"], written["reason"]) ==
           (7, member("east-1"), last["isr"], "operator eve", "restored from noon"), "the record", written)
    ok("the newest record is written under the epoch after everything seen, with who and why")
    refused(group.repair("--report", report, "--yes"), "holds epoch 7, newer than everything seen here (5)", "Nothing was changed")
    ok("the same repair again is refused: the register is newer than everything seen")

    group.put("not a record")
    done = group.repair("--data", group.directory / "east-2", "--yes", "--json")
    expect(done.returncode == 0 and json.loads(done.stdout)["record"]["epoch"] == 7, "a register that cannot be read", done.stderr)
    ok("what cannot be read is replaced")
    group.register.unlink()
    done = group.repair("--data", group.directory / "east-2", "--yes")
    expect(f"there is no file {group.register}" in done.stdout and "WARNING" not in done.stdout, "the file that is made to be named", done.stdout)
    expect(done.returncode == 0 and group.status()["register"]["record"]["epoch"] == 7, "a register that is gone", done.stderr)
    ok("a register that is gone is made anew")

    group.put(record(3, "east-1", ["east-1"], cluster=uuid.uuid4()))
    refused(group.repair("--data", group.directory / "east-2", "--yes"), "Another group's record is never replaced")
    ok("another cluster's record is left alone")
    old = json.loads(report.read_text())
    old["report"]["at_ms"] -= 2 * 3600 * 1000
    report.write_text(json.dumps(old))
    refused(group.repair("--report", report, "--yes"), "more than an hour ago")
    report.write_text("{}")
    refused(group.repair("--report", report, "--yes"), "is no report of a node")
    ok("reports that are old, or none, are refused")
    expect(group.repair("--json").returncode == 64, "--json without --yes to be a wrong command line")
    for words in (("repair-register", "--reason", ""), ("promote", "--reason", ""), ("switch", "--to", ""), ("remove", "--node", "east-2", "--reason", ""),
                  ("remove", "--node", "", "--reason", "moved")):
        done = group.run(*words)
        expect(done.returncode == 64 and "must not be empty" in done.stderr, f"{words} to be a wrong command line", (done.returncode, done.stderr))
    ok("words that must be given are refused when they are empty")


def lost_disk(directory):
    group = Group(directory)
    last = record(5, "east-1", ["east-1", "east-2"])
    group.disk("east-2", 6, 6, last)
    refused(group.repair("--without", "east-1", "--yes", node="east-2"), "is of epoch 5, epoch 6 was heard of", "--leader")
    expect(not group.register.exists(), "no register to be made by a refusal")
    done = group.repair("--without", "east-1", "--leader", "east-2", "--yes", node="east-2")
    expect(done.returncode == 0 and "WARNING" in done.stdout, "the repair with a named leader, and its warning", (done.stdout, done.stderr))
    written = group.status(node="east-2")["register"]["record"]
    expect(written["isr"] == [member("east-2")], "only the copy of the named leader to count", written)
    # From the time of the repair: beyond any that was made before, known or not.
    expect(abs(written["epoch"] / 1024 - time.time() * 1000) < 3_600_000 and "passed over" in done.stdout,
           "epochs that the lost disk may have used to be passed over", written)
    ok("with a disk lost and a later epoch heard of, a person names who leads")


def serve_refuses(directory):
    group = Group(directory, '[replication]\nlisten = "127.0.0.1:25999"\n[register]\nfile = "register.db"')
    done = subprocess.run([BINARY, "serve", "--config", str(group.config("east-1"))], capture_output=True, text=True, timeout=60)
    expect(done.returncode == 78 and "[group] and [replication] are both given" in done.stderr, "serve to refuse", done.stderr)
    expect("the group's layout is unsafe and was allowed (\"a test on one machine\"): register-is-a-file" in done.stderr,
           "the override to be told", done.stderr)
    expect(not (group.directory / "east-1").exists(), "no journal to be made")
    ok("serve tells what the override allows, and refuses a group that ships to another region: no promise it cannot keep")


def register_of_voters(directory):
    with Voters(directory) as voters:
        tables = ["[register]"]
        for i, address in enumerate(voters.endpoints):
            tables.append(f'[[register.voter]]\nname = "v{i}"\naddress = "{address}"')
        group = Group(directory, "\n".join(tables))
        last = record(5, "east-1", ["east-1", "east-2"])
        group.disk("east-1", 5, 5, last)
        group.disk("east-2", 5, 5, last)
        expect("the register has no record" in group.status(status=1)["register"]["problem"], "voters without a record to be told")
        done = group.repair("--data", group.directory / "east-2", "--yes")
        expect(done.returncode == 0, "the repair in voters", done.stderr)
        shown = group.status()
        expect(shown["register"]["record"]["epoch"] == 6 and shown["register"]["problem"] == "", "the record", shown)
        ok("a record is written to voters")
        for i in range(2):
            voters.kill(i)
        began = time.monotonic()
        shown = group.status(status=2)
        expect("does not answer" in shown["register"]["problem"] and shown["report"]["seen_epoch"] == 5,
               "no answer to be told, and what the disk remembers", shown)
        expect(time.monotonic() - began < 20, "an answer in bounded time")
        refused(group.repair("--data", group.directory / "east-2", "--yes"), "Repair needs a register that answers")
        ok("without a majority status still shows the disk, and nothing is repaired")


def verify(directory):
    broker = Broker(BINARY, directory, name="east-1", region="east", initial_region="east").start()
    broker.stop()

    def verified(status):
        done = subprocess.run([BINARY, "verify", str(broker.data), "--json"], capture_output=True, text=True, timeout=60)
        expect(done.returncode == status, f"exit status {status} of verify", (done.returncode, done.stdout, done.stderr))
        return json.loads(done.stdout)["group"]

    expect(verified(0) is None, "a node that never was in a group to have no superblock of one")
    last = record(5, "east-1", ["east-1", "east-2"])
    write_superblock(broker.data, "east-1", 6, 5, last)
    shown = verified(0)
    expect(shown["report"]["promised_epoch"] == 6 and shown["report"]["record"] == last and shown["committed_lsn"] == 301,
           "the superblock", shown)
    text = subprocess.run([BINARY, "verify", str(broker.data)], capture_output=True, text=True, timeout=60).stdout
    expect("group     promised epoch 6, seen epoch 5" in text, "the superblock in words", text)
    ok("verify shows the group's superblock")
    (broker.data / "superblock.1").write_bytes(b"x" * 4096)
    expect(verified(1)["problem"] != "", "one damaged copy to be a finding")
    (broker.data / "superblock.0").unlink()
    expect(verified(1)["report"] is None, "two damaged copies to be a finding")
    ok("a damaged superblock is a finding")


CASES = {"verify": verify, "status": file_status, "repair": repair, "lost_disk": lost_disk, "serve_refuses": serve_refuses,
         "register_of_voters": register_of_voters}


def main():
    with tempfile.TemporaryDirectory() as directory:
        CASES[sys.argv[2]](pathlib.Path(directory))


run(main)
