#!/usr/bin/python3
"""Bad input and trouble against the real broker process, one case per CTest test: trouble.py MAINSTAY CASE.

Each case says what a person would see; random choices come from MAINSTAY_SEED, which is printed.
"""
import concurrent.futures
import os
import pathlib
import random
import re
import socket
import struct
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import PASSWORD, USER, Broker, bytes_below, resident_bytes  # noqa: E402
from checks import expect, ok  # noqa: E402
from clients import (BINARY, CLUSTER, LAG_METRIC, SEED, RawClient, connect, in_step, pair, run_case, send,  # noqa: E402
                     serves, small_file_system, start_standby, take_all)

from proton import Delivery, Message, ProtonException  # noqa: E402
from proton.utils import LinkDetached, SendException  # noqa: E402


def frame(performative, channel=0, kind=0):
    return struct.pack(">IBBH", 8 + len(performative), 2, kind, channel) + performative


SASL_HEADER, AMQP_HEADER = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"


def sasl_plain(symbolic=False):
    response = b"\0" + USER.encode() + b"\0" + PASSWORD.encode()
    fields = b"\xa3\x05PLAIN" + b"\xa0" + bytes([len(response)]) + response
    descriptor = b"\x00\xa3\x13amqp:sasl-init:list" if symbolic else b"\x00\x53\x41"
    return frame(descriptor + b"\xc0" + bytes([len(fields) + 1]) + b"\x02" + fields, kind=1)


def open_frame(symbolic=False):
    fields = b"\xa1\x03raw\xa1\x09localhost"
    descriptor = b"\x00\xa3\x0eamqp:open:list" if symbolic else b"\x00\x53\x10"
    return frame(descriptor + b"\xc0" + bytes([len(fields) + 1]) + b"\x02" + fields)


def answer(broker, data, quiet_s=1, wait_s=20):
    """Sends bytes and reads until the broker closes the socket, or nothing came for quiet_s."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=wait_s) as s:
        received = b""
        closed = False
        try:
            s.sendall(data)
            s.settimeout(quiet_s)
            end = time.monotonic() + wait_s
            while time.monotonic() < end:
                more = s.recv(65536)
                if not more:
                    closed = True
                    break
                received += more
        except socket.timeout:
            pass
        except (ConnectionResetError, BrokenPipeError):
            closed = True
        return received, closed


# ---------------------------------------------------------------- cases

def port_in_use(directory):
    for listener in ("amqp", "control", "replication"):
        broker = Broker(BINARY, directory / listener)
        with socket.socket() as taken:
            port = {"amqp": broker.port, "control": broker.control_port, "replication": broker.replication_port}[listener]
            taken.bind(("127.0.0.1", port))
            taken.listen()
            with broker.start(ready=False):
                status = broker.wait_end()
                expect(status not in (0, None) and status > 0, "a status above 0, not a crash", status)
                expect(str(port) in broker.log() and "in use" in broker.log().lower(), "the port and 'in use' in the message", broker.log())
        ok(f"the {listener} port in use: ends, naming the port")


def config_errors(directory):
    broker = Broker(BINARY, directory)
    good = broker.config_file.read_text()

    def refused(text, *parts):
        broker.config_file.write_text(text)
        broker.log_file.unlink(missing_ok=True)
        with broker.start(ready=False):
            status = broker.wait_end()
            expect(status > 0, "a status above 0, not a crash", status)
            for part in parts:
                expect(part in broker.log(), f"{part!r} in the message", broker.log())
            expect(PASSWORD not in broker.log(), "no password in the message")

    line = good.splitlines().index("[journal]") + 2
    refused(good.replace("segment_bytes", "segmnt_bytes"), f"{broker.config_file}:{line}:1:", 'did you mean "segment_bytes"?')
    ok("an unknown key: file, line, column, nearest key")
    refused(good.replace('level = "debug"', "level = 3").replace('"8MiB"', "-1"),
            "the integer 3", "the integer -1", f"{broker.config_file}:{line}:17:")
    refused(good.replace("name = \"a1\"\n", ""), '"name" in [node] is missing')
    refused("[node\n", f"{broker.config_file}:1:")
    ok("wrong types, missing keys and broken syntax are told with their place")
    broker.config_file.unlink()
    broker.log_file.unlink()
    with broker.start(ready=False):
        expect(broker.wait_end() > 0 and str(broker.config_file) in broker.log(), "the missing file's name", broker.log())
    ok("a missing file is named")
    expect(not broker.data.exists(), "no journal made by a refused start")


def second_process(directory):
    with Broker(BINARY, directory).start() as first:
        second = Broker(BINARY, directory, queues={})
        second.log_file = directory / "second.log"
        with second.start(ready=False):
            expect(second.wait_end() > 0, "the second process to end")
            expect(str(first.data) in second.log(), "the directory named", second.log())
            expect(re.search(f"process {first.process.pid} is using", second.log()), "the process that has it", second.log())
        serves(first)
        ok("a second process on the same directory ends and says why; the first serves on")


def foreign_journal(directory):
    with Broker(BINARY, directory).start() as broker:
        connection = connect(broker)
        send(connection, "plain", ["kept"])
        connection.close()
        broker.stop()
    for what, changes in (("another node", {"node": {"name": "a2"}}),
                          ("another cluster", {"node": {"cluster": CLUSTER}})):
        other = Broker(BINARY, directory, **changes)
        other.data = broker.data
        other.config["node"]["data"] = broker.data
        other.write_config()
        other.log_file = directory / "other.log"
        other.log_file.unlink(missing_ok=True)
        with other.start(ready=False):
            expect(other.wait_end() > 0, f"a start as {what} to be refused")
            expect(str(broker.data) in other.log(), "the directory named", other.log())
        ok(f"the journal of {what} is refused, with the directory's name")
    again = Broker(BINARY, directory)
    with again.start():
        connection = connect(again)
        expect(take_all(connection, "plain") == ["kept"], "the message still there for its own node")
        connection.close()
    ok("its own node finds everything as it was")


def wrong_password(directory):
    with Broker(BINARY, directory).start() as broker:
        client = RawClient(broker, password="mistaken-4711")
        client.pump(lambda: client.transport.closed or client.transport.condition)
        expect("auth" in str(client.transport.condition).lower(), "an authentication error", client.transport.condition)
        expect("mistaken-4711" not in broker.log() and PASSWORD not in broker.log(), "no password in the log")
        serves(broker)
        ok("a wrong password is refused by SASL and in no log")


def garbage(directory):
    rng = random.Random(SEED)
    with Broker(BINARY, directory, amqp={"idle_timeout_s": 1}).start() as broker:
        received, closed = answer(broker, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(closed and received[:4] in (b"AMQP", b""), "HTTP answered by the AMQP header and the end", received)
        ok("another protocol gets our header and is closed")

        received, closed = answer(broker, SASL_HEADER + sasl_plain() + AMQP_HEADER + open_frame())
        expect(not closed and received.count(b"AMQP") == 2 and b"\x00\x53\x10" in received, "a good hand-written client to be let in", received)
        received, closed = answer(broker, SASL_HEADER + sasl_plain(True) + AMQP_HEADER + open_frame(True))
        expect(not closed and b"\x00\x53\x10" in received, "symbolic descriptors of performatives to be understood", received)
        ok("descriptors may be symbols, also those of performatives")

        good = SASL_HEADER + sasl_plain() + AMQP_HEADER + open_frame()
        malformed = (
                ("a frame shorter than its header", struct.pack(">IBBH", 3, 2, 0, 0), b"amqp:"),
                ("a data offset beyond the frame", struct.pack(">IBBH", 8, 200, 0, 0), b"amqp:"),
                ("an unknown performative", frame(b"\x00\x53\x99\x45"), b"amqp:"),
                ("a body that is cut", frame(b"\x00\x53\x11\xc0\x40\x04"), b"amqp:decode-error"),
                ("a frame over the limit", struct.pack(">IBBH", 0x7fffffff, 2, 0, 0), b"amqp:"),
                ("a transfer on no session", frame(b"\x00\x53\x14\xc0\x05\x03\x43\x43\x40\x43", channel=5), b"amqp:"))
        # The broker's close may wait for ours, but not for longer than the idle time-out allows.
        with concurrent.futures.ThreadPoolExecutor(len(malformed)) as pool:
            answers = list(pool.map(lambda each: answer(broker, good + each[1], quiet_s=8), malformed))
        for (name, _, condition), (received, closed) in zip(malformed, answers):
            expect(closed, f"{name} to end the connection", received[-80:])
            expect(b"\x00\x53\x18" in received and condition in received, f"{name}: close with an error", received[-80:])
        ok("malformed frames end the connection with a close that says why")

        for _ in range(300):
            data = bytearray(good + frame(b"\x00\x53\x11\xc0\x06\x04\x40\x43\x52\xff\x52\xff"))
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            data += bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
            with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as s:
                try:
                    s.sendall(bytes(data))
                except OSError:
                    pass
        expect(broker.process.poll() is None, "the broker to live after 300 damaged openings")
        serves(broker)
        ok("300 randomly damaged openings later it serves as before")


def half_frame(directory):
    with Broker(BINARY, directory, amqp={"idle_timeout_s": 2}).start() as broker:
        good = SASL_HEADER + sasl_plain() + AMQP_HEADER + open_frame()
        for cut in range(1, len(good)):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as s:
                s.sendall(good[:cut])
        ok(f"connections cut after each of the first {len(good)} bytes")
        held = [socket.create_connection(("127.0.0.1", broker.port), timeout=30) for _ in range(20)]
        for number, s in enumerate(held):
            s.sendall(good[:len(good) - 3 - number])
        serves(broker)
        ok("others are served while twenty clients hold half a frame")
        for s in held:
            s.settimeout(20)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            except socket.timeout:
                expect(False, "a client that stays silent after half a frame to be closed within 20 s")
            s.close()
        ok("clients that stay silent are closed by the idle time-out")


def never_reads(directory):
    with Broker(BINARY, directory, journal={"body_cache_bytes": "1MiB"}).start() as broker:
        connection = connect(broker)
        send(connection, "plain", [f"n{n}" for n in range(160)], body=b"\x00" * (512 << 10))
        client = RawClient(broker)
        session = client.connection.session()
        session.open()
        receiver = session.receiver("never-reads")
        receiver.source.address = "plain"
        receiver.open()
        client.pump(lambda: receiver.state & receiver.REMOTE_ACTIVE)
        before = resident_bytes(broker.process)
        receiver.flow(1000)
        client.write()
        most = before
        until = time.monotonic() + 5
        while time.monotonic() < until:
            most = max(most, resident_bytes(broker.process))
            time.sleep(0.05)
        # 80 MiB are asked for; what may be held for one connection is bounded (16 MiB), a sanitizer keeps freed memory.
        expect(most - before < 60 << 20, "less than 60 MiB more memory", f"{(most - before) >> 20} MiB")
        ok(f"a client that asks for 80 MiB and never reads costs {(most - before) >> 20} MiB")
        serves(broker, "dedup")
        ok("others are served meanwhile")
        client.socket.close()
        connection.close()


def ready_when_recovered(directory):
    """After kill -9 nobody is served before /readyz answers 200; from then on everything is there; how long it took is told."""
    count = 20_000
    with Broker(BINARY, directory).start() as broker:
        sent = subprocess.run([BINARY, "send", "--endpoint", f"127.0.0.1:{broker.port}", "--queue", "dedup", "--user", USER],
                              input="".join(f"r{n}\t\tx\n" for n in range(count)), env={**os.environ, "MAINSTAY_PASSWORD": PASSWORD},
                              capture_output=True, text=True, timeout=60)
        expect(sent.returncode == 0, "all to be confirmed", sent.stderr)
        broker.kill()
        begun = time.monotonic()
        broker.start(ready=False)
        refused = 0
        while True:
            try:
                connection = connect(broker, timeout=5)
                receiver = connection.create_receiver("dedup", credit=1)
                first = receiver.receive(timeout=5).id
                break
            except ProtonException:
                refused += 1
                expect(broker.get("/readyz")[0] != 200 or refused < 500, "a broker that is ready to serve")
        ready = broker.get("/readyz")[0]  # asked after it served: it may not be behind what clients are given
        took = time.monotonic() - begun
        expect(ready == 200 and first == "r0", "a broker that serves to be ready, from the first message on", (ready, first))
        depth = next(queue for queue in broker.status()["queues"] if queue["name"] == "dedup")
        expect(depth["active"] == count, f"all {count} messages at once", depth)
        told = broker.metric("mainstay_recovery_seconds")
        expect(0 < told < took, "the time of recovery, a part of the time that was measured", (told, took))
        connection.close()
        ok(f"ready after {took:.2f} s, {told:.3f} s of them recovery; {refused} clients were refused before, none served")


def kill_broker(directory):
    """SIGKILL at random instants; every confirmed message is there once, in order, and what was completed is gone."""
    rng = random.Random(SEED)
    kills = int(os.environ.get("MAINSTAY_KILLS", "10"))
    with Broker(BINARY, directory).start() as broker:
        number, confirmed, killed = 0, [], 0
        while killed < kills:
            due = time.monotonic() + rng.uniform(0.0, 0.6)
            try:
                connection = connect(broker)
                sender = connection.create_sender("dedup")
                while True:
                    if time.monotonic() >= due:
                        broker.kill()
                        killed += 1
                        break
                    sender.send(Message(id=f"k{number}", body="x" * rng.randrange(2000)))
                    confirmed.append(f"k{number}")
                    number += 1
            except ProtonException:
                pass
            # Not closed: Proton would wait for the answer of a process that is gone.
            broker.start()
        connection = connect(broker)
        sender = connection.create_sender("dedup")
        sender.send(Message(id=f"k{number}", body="last"))  # its first attempt may have been stored: a duplicate then
        confirmed.append(f"k{number}")
        sender.close()
        found = take_all(connection, "dedup")
        expect(found == confirmed, f"all {len(confirmed)} confirmed messages once and in order",
               f"{len(found)} found; missing {sorted(set(confirmed) - set(found))[:5]}, unexpected {sorted(set(found) - set(confirmed))[:5]}")
        ok(f"{killed} kills, {len(confirmed)} confirmed messages: each there once, in order")
        connection.close()
        broker.kill()
        broker.start()
        connection = connect(broker)
        expect(take_all(connection, "dedup") == [], "completed messages to stay gone after another kill")
        connection.close()
        ok("what was completed does not come back")
    verified = subprocess.run([BINARY, "verify", str(broker.data)], capture_output=True, text=True)
    expect(verified.returncode == 0, "mainstay verify to find the journal whole", verified.stdout + verified.stderr)
    ok("mainstay verify finds the journal whole")


def stuck_message(directory):
    """One message that a consumer keeps locked and one that nobody asks for, while many times the log's bound passes them."""
    segment, passes = 1 << 20, 64 << 20
    # A log of four segments before cleaning begins, then what is written until a checkpoint lets go of segments, and the spare ones.
    bound = 16 * segment
    rng = random.Random(SEED)
    body = rng.randbytes(32 << 10)
    kept, asleep = rng.randbytes(100 << 10), rng.randbytes(100 << 10)
    queues = {"plain": {"lock_duration_s": 300}, "asleep": {}, "mark": {}}
    journal = {"segment_bytes": segment, "reserve_bytes": 128 << 10, "checkpoint_every_records": 200}
    broker = Broker(BINARY, directory, queues=queues, journal=journal)
    del broker.config["replication"]  # a log that the other region may need stays whole
    broker.write_config()
    with broker.start():
        connection = connect(broker)
        connection.create_sender("asleep").send(Message(id="asleep", body=asleep))
        sender = connection.create_sender("plain")
        sender.send(Message(id="stuck", body=kept))
        holder = connect(broker).create_receiver("plain", credit=1)
        expect(holder.receive(timeout=10).id == "stuck", "the first message")

        receiver = connection.create_receiver("plain", credit=20)
        peak = 0
        for n in range(passes // len(body)):
            sender.send(Message(id=f"p{n}", body=body))
            expect(receiver.receive(timeout=10).id == f"p{n}", f"p{n} past the stuck one")
            receiver.accept()
            if n % 16 == 0:
                peak = max(peak, bytes_below(broker.data))
        expect(peak < bound, f"{passes >> 20} MiB past two messages in less than {bound >> 20} MiB of disk", f"{peak / (1 << 20):.1f} MiB")
        ok(f"{passes >> 20} MiB went past two messages that stay; the data directory had at most {peak / (1 << 20):.1f} MiB")
        # accept() does not wait for an answer. What is confirmed behind it in the same log says that it is synced.
        connection.create_sender("mark").send(Message(id="mark", body=b"mark"))
        # Not closed: a broker that sees its consumer go would give the message back first.
        broker.kill()
        broker.start()
        connection = connect(broker)
        for queue, id_, content in (("plain", "stuck", kept), ("asleep", "asleep", asleep)):
            receiver = connection.create_receiver(queue, credit=1)
            found = receiver.receive(timeout=10)
            expect(found.id == id_ and bytes(found.body) == content, f"{id_} with its content after kill -9", found.id)
            receiver.accept()
            receiver.close()
            expect(take_all(connection, queue) == [], f"nothing else in {queue}")
        ok("both are there with their content after kill -9, and nothing else is")
        connection.close()
        broker.stop()
    verified = subprocess.run([BINARY, "verify", str(broker.data)], capture_output=True, text=True)
    expect(verified.returncode == 0, "mainstay verify to find the journal whole", verified.stdout + verified.stderr)


def deleted_while_unread(directory):
    """What was received and deleted by a client that does not read yet is only in the log: its segments stay until it has read."""
    segment, count, body_bytes, passes = 1 << 20, 600, 32 << 10, 24 << 20
    rng = random.Random(SEED)
    bodies = [rng.randbytes(body_bytes) for _ in range(count)]
    broker = Broker(BINARY, directory, queues={"plain": {}, "other": {}}, limits={"delivery_window": 1000},
                    journal={"segment_bytes": segment, "reserve_bytes": 128 << 10, "checkpoint_every_records": 200, "body_cache_bytes": 0})
    del broker.config["replication"]  # a log that the other region may need stays whole
    broker.write_config()
    with broker.start():
        connection = connect(broker)
        sender = connection.create_sender("plain")
        for n, body in enumerate(bodies):
            sender.send(Message(id=f"d{n}", body=body))
        client = RawClient(broker)
        session = client.connection.session()
        session.open()
        link = session.receiver("deletes")
        link.source.address = "plain"
        link.snd_settle_mode = link.SND_SETTLED
        link.open()
        client.pump(lambda: link.state & link.REMOTE_ACTIVE)
        link.flow(count)
        client.write()
        messages = 'mainstay_queue_messages{queue="plain"}'
        broker.wait(lambda: f"{messages} 0\n" in broker.get("/metrics")[1], 30, "all to be deleted")

        def log_bytes():
            return bytes_below(broker.data, "segment-*.log")  # without the spares that a node keeps of what it had

        expect(log_bytes() >= count * body_bytes // 2, "a log that holds them", log_bytes())
        ok(f"{count * body_bytes >> 20} MiB are deleted, and their reader has not read")
        sender, receiver = connection.create_sender("other"), connection.create_receiver("other", credit=1)
        for n in range(passes // body_bytes):
            sender.send(Message(id=f"o{n}", body=bodies[n % count]))
            receiver.receive(timeout=10)
            receiver.accept()
        found = []

        def take():
            while link.current and not link.current.partial:
                message = Message()
                message.decode(link.recv(link.current.pending))
                link.advance()
                found.append((message.id, bytes(message.body)))
            return len(found) == count

        client.pump(take, timeout_s=60)
        expect([id_ for id_, _ in found] == [f"d{n}" for n in range(count)], "each once and in order", len(found))
        expect([body for _, body in found] == bodies, "each with its content")
        ok(f"it gets all {count} whole after {passes >> 20} MiB of others, checkpoints and cleaning")
        client.socket.close()
        connection.close()
        connection = connect(broker)
        sender, receiver = connection.create_sender("other"), connection.create_receiver("other", credit=1)
        for n in range(200):
            sender.send(Message(id=f"l{n}", body=bodies[n]))
            receiver.receive(timeout=10)
            receiver.accept()
        broker.wait(lambda: log_bytes() < 16 * segment, 20, "the log to go when nobody waits for it any more")
        ok(f"then the log is let go: {log_bytes() / (1 << 20):.1f} MiB are left")
        connection.close()


def full_disk(directory):
    with small_file_system(directory, "48m") as disk:
        with Broker(BINARY, directory, node={"data": disk / "journal"}).start() as broker:
            connection = connect(broker)
            sender = connection.create_sender("plain")
            stored, refusal = [], None
            for n in range(200):
                delivery = None
                try:
                    delivery = sender.send(Message(id=f"f{n}", body=b"\x00" * (256 << 10)), timeout=20, error_states=[])
                except (LinkDetached, SendException) as detached:
                    refusal = str(detached)
                    break
                if delivery.remote_state != Delivery.ACCEPTED:
                    refusal = str(delivery.remote.condition)
                    break
                stored.append(f"f{n}")
            expect(refusal, "a publish to be refused on a full disk")
            expect("disk" in refusal.lower() or "space" in refusal.lower(), "the disk named in the refusal", refusal)
            expect(len(stored) >= 40, "at least 10 MiB stored before", len(stored))
            ok(f"after {len(stored)} messages publishes are refused: {refusal}")
            receiver = connection.create_receiver("plain", credit=10)
            for n in range(20):
                expect(receiver.receive(timeout=10).id == f"f{n}", f"f{n}")
                receiver.accept()
            receiver.close()
            expect(broker.process.poll() is None, "the broker to live on")
            ok("settlements still work")
            connection.close()
            broker.kill()
            broker.start()
            connection = connect(broker)
            found = take_all(connection, "plain")
            expect(found == stored[20:], "all other confirmed messages after a restart on the full disk",
                   f"{len(found)} of {len(stored) - 20}")
            connection.close()
            ok("a restart on the full disk finds every confirmed message")


def standby_away(directory):
    a, b = pair(directory)
    with a.start(), b:
        start_standby(b)
        expect(b.get("/readyz")[0] != 200, "the standby not to be ready for clients")
        connection = connect(a)
        send(connection, "plain", [f"s{n}" for n in range(200)])
        in_step(a)
        ok("the standby is in step")
        b.kill()
        send(connection, "plain", [f"t{n}" for n in range(200)])
        a.wait(lambda: (a.metric(LAG_METRIC) or 0) >= 200, 20, f"{LAG_METRIC} to show the 200 records the standby lacks")
        ok("without its standby the live region goes on, and the meter shows what is not safe there")
        start_standby(b)
        in_step(a)
        ok("back again, the standby catches up by itself")
        connection.close()
        in_step(a)
        a.stop()
        b.stop()
    ends = []
    for broker in (a, b):
        verified = subprocess.run([BINARY, "verify", str(broker.data)], capture_output=True, text=True)
        expect(verified.returncode == 0, f"{broker.name}'s journal whole", verified.stdout + verified.stderr)
        ends.append(verified.stdout)
    ok("both journals are whole")


def standby_diverged(directory):
    a, b = pair(directory)
    # Each region leads once by a register of its own: two histories of one cluster.
    own = directory / "own.db"
    b.config["register"] = {"file": own, "initial_region": "b"}
    b.config["replication"]["peers"] = []
    b.write_config()
    for broker, ids in ((b, ["b-only"]), (a, ["a-only"])):
        with broker.start():
            connection = connect(broker)
            send(connection, "plain", ids)
            connection.close()
            broker.stop()
    before = subprocess.run([BINARY, "verify", str(b.data)], capture_output=True, text=True).stdout
    b.config["register"] = {"file": a.register, "initial_region": "a"}
    b.config["replication"]["peers"] = [f"127.0.0.1:{a.replication_port}"]
    b.write_config()
    b.log_file.unlink()
    with a.start(), b:
        b.start(ready=False)
        until = time.monotonic() + 30
        while not re.search("diverge", b.log() + a.log()) and time.monotonic() < until:
            time.sleep(0.1)
        expect(re.search("diverge", b.log() + a.log()), "a log line that says the standby diverged", b.log_tail())
        ok("a standby with another history is refused, and the log says why")
        serves(a, "dedup")
        a.stop()
        b.kill()
    after = subprocess.run([BINARY, "verify", str(b.data)], capture_output=True, text=True)
    expect(after.returncode == 0 and after.stdout == before, "its journal untouched", after.stdout + after.stderr)
    ok("its journal is untouched")


run_case((port_in_use, config_errors, second_process, foreign_journal, wrong_password, garbage, half_frame, never_reads,
          ready_when_recovered, kill_broker, stuck_message, deleted_while_unread, full_disk, standby_away, standby_diverged))
