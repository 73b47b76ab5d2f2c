#!/usr/bin/python3
"""Who leads, changed and refused, between two real brokers of regions east and west: regions.py MAINSTAY CASE."""
import ctypes
import ctypes.util
import json
import os
import pathlib
import sqlite3
import struct
import subprocess
import sys
import threading
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import TOKEN, Broker  # noqa: E402
from checks import expect, ok, skip  # noqa: E402
from clients import (BINARY, RawClient, connect, in_step, pair, run_case, send, serves, start_standby,  # noqa: E402
                     take_all)
from voters import Voters  # noqa: E402

from proton import Delivery, Message, ProtonException  # noqa: E402
from proton.utils import LinkDetached  # noqa: E402

SEALED, FORKED = 2, 3  # types of records, docs/formats/journal.md


# ---------------------------------------------------------------- what a case looks at

def east_and_west(directory):
    return pair(directory, ("east", "west"))


def region(broker, what, *words, reason="a test"):
    """`mainstay region WHAT …`: (answer, None) or (None, what it told)."""
    done = broker.command("region", what, "--json", "--reason", reason, *words)
    if done.returncode == 0:
        return json.loads(done.stdout), None
    expect(done.returncode == 2 and done.stdout == "", "exit status 2 and nothing on standard output when refused",
           (done.returncode, done.stdout))
    return None, done.stderr


def region_status(broker):
    done = broker.command("region", "status")
    expect(done.returncode == 0, "region status to answer", done.stderr)
    return done.stdout


def refused(broker, what, *words, told):
    answer, why = region(broker, what, *words)
    expect(answer is None, f"region {what} {' '.join(words)} to be refused", answer)
    for part in told:
        expect(part in why, f"{part!r} in what region {what} tells", why)
    return why.strip()


def accepted(broker, what, *words):
    answer, why = region(broker, what, *words)
    expect(answer is not None, f"region {what} {' '.join(words)} to be done", why)
    return answer


def leads(broker, timeout_s=20):
    broker.wait(lambda: broker.get("/readyz")[0] == 200, timeout_s, "/readyz to answer 200")


def follows(broker, timeout_s=20):
    """As a standby that is connected and has everything its live region committed."""
    def caught_up():
        status = broker.status()
        return status["role"] == "standby" and status["replication"]["connected"] and status["replication"]["lag_records"] == 0
    broker.wait(caught_up, timeout_s, "to follow as a connected standby with lag 0")


def turned_away(broker):
    """The condition with which a new client is closed."""
    client = RawClient(broker)
    client.pump(lambda: client.connection.remote_condition or client.transport.closed)
    condition = client.connection.remote_condition
    client.socket.close()
    expect(condition, f"{broker.name} to close a client with a condition", client.transport.condition)
    return condition


def publish(connection, queue, id_):
    """(True, "") when the message is accepted, else (False, the condition told)."""
    sender = connection.create_sender(queue)
    try:
        delivery = sender.send(Message(id=id_, body="x"), timeout=20, error_states=[])
    except LinkDetached as detached:
        return False, str(detached)
    if delivery.remote_state == Delivery.ACCEPTED:
        sender.close()
        return True, ""
    return False, str(delivery.remote.condition)


def log_records(broker):
    """(LSN, checksum, type) of each record in the journal's files, read beside the running node."""
    records = []
    for segment in sorted(broker.data.glob("segment-*.log")):
        data = segment.read_bytes()
        at = 8192
        while at + 48 <= len(data):
            magic, size, checksum, _, lsn, _, type_ = struct.unpack_from("<4sIQQQQH", data, at)
            if magic != b"MSRC":
                break
            records.append((lsn, checksum, type_))
            at += (48 + size + 7) // 8 * 8
    return records


def same_log(east, west):
    """Both journals hold the same records, the last of them named by both nodes."""
    def agree():
        e, w = east.status(), west.status()
        return e["durable_lsn"] == w["durable_lsn"] and e["log_hash"] == w["log_hash"] and e["state_hash"] == w["state_hash"]
    east.wait(agree, 20, "both sides to show the same log_hash and state_hash at the same durable_lsn")
    status = east.status()
    ours, theirs = log_records(east), log_records(west)
    expect(ours == theirs, "the same records in both journals", (ours[-3:], theirs[-3:]))
    expect(ours[-1][:2] == (status["durable_lsn"], int(status["log_hash"], 16)), "/status to name the last record", ours[-1])
    return ours


class Publisher(threading.Thread):
    """Publishes one after the other until it is turned away."""

    def __init__(self, broker, queue):
        super().__init__()
        self.broker, self.queue = broker, queue
        self.confirmed, self.told = [], None

    def next_id(self):
        return f"{self.broker.name}-{len(self.confirmed)}"

    def run(self):
        try:
            sender = connect(self.broker).create_sender(self.queue)
            while True:
                id_ = self.next_id()
                sender.send(Message(id=id_, body="x"))
                self.confirmed.append(id_)
        except Exception as told:  # whatever ends it is looked at by the case
            self.told = told


def switch_under_load(here_, there):
    """Switches from one broker to the other while a client publishes; @return the answer and the publisher."""
    publisher = Publisher(here_, "dedup")
    publisher.start()
    until = time.monotonic() + 20
    while len(publisher.confirmed) < 50 and publisher.is_alive() and time.monotonic() < until:
        time.sleep(0.01)
    answer = accepted(here_, "switch")
    publisher.join(30)
    expect(not publisher.is_alive(), "the publisher to be turned away")
    expect("amqp:connection:forced" in str(publisher.told), "amqp:connection:forced for the publisher", repr(publisher.told))
    leads(there)
    return answer, publisher


def all_confirmed(broker, publisher):
    confirmed = publisher.confirmed
    connection = connect(broker)
    found = take_all(connection, "dedup")
    connection.close()
    # One publish was under way when the client was turned away: its outcome is unknown to it, both are right.
    expect(found in (confirmed, confirmed + [publisher.next_id()]), f"all {len(confirmed)} confirmed messages once and in order",
           (len(found), found[-3:]))


# ---------------------------------------------------------------- cases

def region_switch(directory):
    """A planned switch under load loses nothing, by construction; and back again."""
    east, west = east_and_west(directory)
    with east.start(), west:
        start_standby(west)
        connection = connect(east)
        send(connection, "plain", [f"m{n}" for n in range(20)])
        receiver = connection.create_receiver("plain", credit=10)
        for n in range(5):
            expect(receiver.receive(timeout=10).id == f"m{n}", f"m{n}")
            if n < 2:
                receiver.accept()
        send(connection, "thrice", ["flush"])  # Proton writes the settlements before it waits for this answer
        in_step(east)

        answer, publisher = switch_under_load(east, west)
        expect("nothing was lost" in answer["note"] and "west" in answer["note"], "the outcome in words", answer)
        ok(f"switched to west in term {answer['term']} after {len(publisher.confirmed)} confirmed messages; the publisher got amqp:connection:forced")
        try:
            # What was delivered before may still be there to take; then comes the close.
            for _ in range(20):
                receiver.receive(timeout=10)
            expect(False, "the receiver to be turned away")
        except ProtonException as told:
            expect("amqp:connection:forced" in str(told), "amqp:connection:forced for the receiver", str(told))
        condition = turned_away(east)
        expect(condition.name == "amqp:connection:forced" and "west" in condition.description,
               "new clients of east to be sent to west", condition)
        ok(f"east turns clients away: {condition.description}")

        follows(east)
        records = same_log(east, west)
        seal = next((r for r in records if r[0] == answer["lsn"]), None)
        expect(seal == (answer["lsn"], int(answer["hash"], 16), SEALED), "the hash told at the LSN told is the seal's in both logs", seal)
        expect(not [r for r in records if r[2] == FORKED], "no fork in the log")
        ok(f"both logs are the same, and have the hash told at the seal, LSN {answer['lsn']}; east follows with lag 0")

        all_confirmed(west, publisher)
        connection = connect(west)
        found = take_all(connection, "plain")
        expect(found == [f"m{n}" for n in range(2, 20)], "what was not settled, again and in order", found)
        connection.close()
        ok("west delivers every confirmed message in order; what was unsettled comes again, what was completed does not")

        in_step(west)
        answer, publisher = switch_under_load(west, east)
        all_confirmed(east, publisher)
        follows(west)
        same_log(east, west)
        ok(f"the switch back works too (term {answer['term']}), {len(publisher.confirmed)} more confirmed messages are there")


def region_switch_without_standby(directory):
    east, west = east_and_west(directory)
    with east.start(), west:
        told = refused(east, "switch", told=("no standby is connected",))
        serves(east)
        expect(east.status()["active_region"]["phase"] == "active", "the register untouched", east.status()["active_region"])
        ok(f"without a standby: {told}; east serves on")
        start_standby(west)
        in_step(east)
        told = refused(west, "switch", told=("west is not active here", "east"))
        ok(f"asked at the standby: {told}")
        west.kill()
        east.wait(lambda: not east.status()["replication"]["connected"], 20, "east to notice that west is gone")
        refused(east, "switch", told=("no standby is connected",))
        serves(east)
        ok("the same when the standby has just gone")


def region_promote_refused(directory):
    east, west = east_and_west(directory)
    with east.start(), west:
        start_standby(west)
        in_step(east)
        told = refused(east, "promote", told=("east is active already",))
        refused(east, "promote", "--force", told=("east is active already",))
        ok(f"the active one: {told}")
        for words in ((), ("--force",)):
            told = refused(west, "promote", *words, told=("east is alive and connected", "mainstay region switch"))
        ok(f"while the active region is connected: {told}")
        serves(east)
        east.kill()
        west.wait(lambda: not west.status()["replication"]["connected"], 20, "west to notice that east is gone")
        told = refused(west, "promote", told=("east is the active one", "--force"))
        expect(west.get("/readyz")[0] == 503 and west.status()["active_region"]["region"] == "east", "west still a standby")
        ok(f"without --force: {told}")


def region_promote_forced(directory):
    """The region that lost power had confirmed what it had not shipped: its log is refused and says so, never serves."""
    east, west = east_and_west(directory)
    with east.start(), west:
        start_standby(west)
        connection = connect(east)
        send(connection, "plain", [f"m{n}" for n in range(10)])
        in_step(east)
        east.kill()
        answer = accepted(west, "promote", "--force")
        leads(west)
        ok(f"promoted: {answer['note']}")

        connection = connect(west)
        done, told = publish(connection, "plain", "early")
        expect(not done and "server-busy" in told and "recovering" in told and "archive replay" in told,
               "an ordinary producer refused with the reason and what ends it", told)
        connection.close()
        connection = connect(west)
        receiver = connection.create_receiver("plain", credit=1)
        expect(receiver.receive(timeout=10).id == "m0", "m0")
        receiver.accept()
        receiver.close()
        expect("recovering" in region_status(west), "the phase in region status", region_status(west))
        refused(west, "switch", told=("recovering", "archive replay"))
        ok(f"until producers are admitted consumers work, and producers are told: {told}")
        # A restart in the middle does not end the recovery.
        connection.close()
        west.kill()
        west.start()
        connection = connect(west)
        done, told = publish(connection, "plain", "early")
        expect(not done and "recovering" in told, "the recovery to go on after a restart of the promoted node", told)
        connection.close()
        ok("a restart of the promoted node does not admit them")
        accepted(west, "admit-producers")
        connection = connect(west)
        expect(publish(connection, "plain", "after")[0], "a publish accepted once producers are admitted")
        expect(take_all(connection, "plain") == [f"m{n}" for n in range(1, 10)] + ["after"], "the messages in order, none refused one among them")
        ok("after admit-producers they publish")

        start_standby(east)
        follows(east)
        expect(turned_away(east).name == "amqp:connection:forced", "east to turn clients away")
        ok("east, whose log is a prefix, follows")
        send(connection, "dedup", ["shared"])
        in_step(west)
        connection.close()

        # Now west is the one whose confirmed messages the other never got.
        east.kill()
        connection = connect(west)
        send(connection, "dedup", [f"tail{n}" for n in range(5)])
        west.kill()
        start_standby(east)
        refused(east, "promote", told=("west is the active one", "--force"))
        accepted(east, "promote", "--force")
        leads(east)
        accepted(east, "admit-producers")
        before = log_records(west)
        start_standby(west)
        west.wait(lambda: west.status()["role"] == "sealed", 20, "the diverged node to seal itself")
        ready, why = west.get("/readyz")
        expect(ready == 503, "503 of the diverged node", ready)
        for where, text in (("/readyz", why), ("the log", west.log()), ("region status", region_status(west))):
            expect("diverge" in text and "LSN" in text, f"{where} to tell that the log diverged and where", text[-600:])
        ok(f"west, with a tail that was never shipped: {why.strip()}")
        condition = turned_away(west)
        expect(condition.name == "amqp:connection:forced", "the diverged node to turn clients away", condition)
        refused(west, "promote", "--force", told=("diverge",))
        for _ in range(20):
            expect(west.get("/readyz")[0] == 503, "the diverged node never to serve")
            time.sleep(0.1)
        connection = connect(east)
        expect(take_all(connection, "dedup") == ["shared"], "only what east had")
        connection.close()
        expect(log_records(west) == before, "the diverged log untouched")
        ok("it never serves, cannot be promoted, and keeps its log; east serves on")
        west.kill()
        start_standby(west)
        west.wait(lambda: west.status()["role"] == "sealed", 20, "the diverged node to seal itself again")
        ok("the same after a restart")


def control_token(directory):
    east = Broker(BINARY, directory, name="east1", region="east", initial_region="east")
    with east.start():
        commands = ("/region/switch", "/region/promote", "/region/admit-producers", "/messages/known")
        for path in commands:
            for authorization in (None, "Bearer ", "Bearer wrong", "Bearer " + TOKEN + "x", "Bearer " + TOKEN[:-1], "Basic " + TOKEN, TOKEN):
                status, body = east.post(path, '{"queue": "plain", "ids": ["x"], "reason": "r"}', authorization)
                expect(status == 401 and "token" in json.loads(body)["error"], f"401 and a reason for {path} with {authorization!r}", (status, body))
        status, body = east.post("/messages/known", '{"queue": "plain", "ids": ["x"]}')
        expect((status, json.loads(body)) == (200, {"known": [False]}), "the right token to be taken", (status, body))
        ok("no command is taken without the token, with a wrong one or a part of it")
        for path in ("/livez", "/readyz", "/metrics", "/status"):
            status, body = east.get(path)
            expect(status == 200 and TOKEN not in body, f"{path} to answer without a token, and to show none", status)
        ok("health, metrics and status need none")
        east.config["control"]["token"] = "mistaken-token"
        east.write_config()
        for what in ("switch", "promote", "admit-producers"):
            why = refused(east, what, told=("token", "[control]", "--config"))
            expect("mistaken-token" not in why and TOKEN not in why, "no token in the message", why)
        ok(f"region commands with another token: {why}")
        expect(TOKEN not in east.log() and "mistaken-token" not in east.log(), "no token in the log")
        del east.config["control"]["token"]
        east.write_config()
        refused(east, "switch", told=("token", "[control]"))
        east.stop()
        east.start()
        refused(east, "switch", told=("takes no commands", "[control]"))
        ok("a node without a token takes no commands and says why")


def register_unavailable(directory):
    east = Broker(BINARY, directory, name="east1", region="east", initial_region="east")
    with east.start():
        connection = connect(east)
        send(connection, "plain", ["kept0", "kept1"])
        register = sqlite3.connect(str(east.register), isolation_level=None)
        register.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        expect(publish(connection, "plain", "at-once")[0], "a short silence of the register not to matter")
        told, number = "", 0
        while time.monotonic() - begun < 20:
            done, told = publish(connection, "dedup", f"n{number}")
            if not done:
                break
            number += 1
            time.sleep(0.05)
        after = time.monotonic() - begun
        expect(told, "publishes to be refused while the register does not answer")
        expect("server-busy" in told and str(east.register) in told, "the register named in the refusal", told)
        expect(after > 8, "not before the register was silent for its time", after)
        ok(f"after {after:.1f} s without the register: {told}")
        expect(take_all(connection, "plain") == ["kept0", "kept1", "at-once"], "consumers to work meanwhile")
        expect(str(east.register) in region_status(east), "the register's trouble in region status", region_status(east))
        expect(east.metric("mainstay_register_reachable") == 0, "the metric to show it")
        ok("consumers work meanwhile; region status and metrics show the trouble")
        register.execute("ROLLBACK")
        register.close()
        east.wait(lambda: publish(connection, "plain", "again")[0], 10, "publishes to be taken again")
        expect(take_all(connection, "dedup") == [f"n{n}" for n in range(number)], "everything confirmed, nothing refused")
        connection.close()
        ok("when it answers again publishes are taken")
        east.stop()
        east.register.write_bytes(b"no register at all\n" * 400)
        east.log_file.unlink()
        east.start(ready=False)
        expect(east.wait_end() == 2, "a start with garbage for a register to end", east.process.returncode)
        expect(str(east.register) in east.log() and "move it away" in east.log(), "the file and what to do", east.log())
        ok(f"started with garbage for a register: {east.log().strip().splitlines()[-1]}")


def register_lost(directory):
    """A register that is gone or empty is not taken for one in which nobody ever led."""
    east, west = east_and_west(directory)
    away = directory / "away.db"
    with east.start(), west:
        start_standby(west)
        west.wait(lambda: "is a standby" in west.get("/readyz")[1], 10, "/readyz of a standby to say that it is one")
        connection = connect(east)
        send(connection, "plain", ["kept"])
        in_step(east)
        east.register.rename(away)
        begun, done, told = time.monotonic(), True, ""
        while done and time.monotonic() - begun < 20:
            done, told = publish(connection, "dedup", "probe")
            time.sleep(0.1)
        expect(not done and "server-busy" in told and str(east.register) in told, "publishes to be refused with the file's name", told)
        expect(not east.register.exists(), "the running node not to make another register")
        ok(f"moved away under a running node: {told}")
        away.rename(east.register)
        east.wait(lambda: publish(connection, "plain", "again")[0], 10, "publishes to be taken again")
        connection.close()
        ok("put back: publishes are taken again")
        in_step(east)
        for broker in (east, west):
            broker.stop()
        east.register.unlink()
        start_standby(west)
        start_standby(east)
        for broker in (east, west):
            broker.wait(lambda: "has no record" in broker.get("/readyz")[1], 10, "/readyz to tell of the lost record")
        time.sleep(1)
        expect([broker.status()["role"] for broker in (east, west)] == ["standby", "standby"], "nobody to lead by an empty register")
        ok(f"removed while both were stopped: {east.get('/readyz')[1].strip()}")
        refused(east, "promote", told=("has no record", "--force"))
        accepted(east, "promote", "--force")
        leads(east)
        accepted(east, "admit-producers")
        follows(west)
        same_log(east, west)
        refused(west, "promote", "--force", told=("east is alive and connected",))
        connection = connect(east)
        expect(take_all(connection, "plain") == ["kept", "again"], "every confirmed message")
        connection.close()
        ok("promoted by force at the region that led last: everything is there, the other follows")


def register_row(broker, put=None):
    """The region's record as the register's file holds it; with `put` that one takes its place, as a restored backup would."""
    register = sqlite3.connect(str(broker.register), isolation_level=None, timeout=10)
    if put is not None:
        register.execute("UPDATE record SET revision = ?, value = ? WHERE name NOT LIKE '%/%'", put)
    row, = register.execute("SELECT revision, value FROM record WHERE name NOT LIKE '%/%'").fetchall()
    register.close()
    return row


def register_put_back(directory):
    """A register put back to when the other region led: nobody leads or stops because of it; the region that led last writes it again."""
    east, west = east_and_west(directory)
    with east.start(), west:
        start_standby(west)
        in_step(east)
        backup = register_row(east)
        accepted(east, "switch")
        leads(west)
        follows(east)
        connection = connect(west)
        send(connection, "plain", ["before"])
        term = west.status()["active_region"]["term"]
        newest = register_row(west)
        register_row(west, put=backup)
        for broker in (east, west):
            broker.wait(lambda: "put back to an older state" in region_status(broker), 10, "region status to tell of it")
            expect(f"ALARM: the register {east.register}" in broker.log(), "an alarm in the log", broker.log_tail(5))
        time.sleep(2)
        expect((east.status()["role"], west.status()["role"]) == ("standby", "live"), "nobody to lead or stop because of it",
               (east.status(), west.status()))
        expect(west.status()["term"] == term and publish(connection, "plain", "meanwhile")[0], "the region that leads to go on for a while")
        expect(west.metric("mainstay_register_reachable") == 0, "the metric to show it")
        ok(f"put back to term 1 of east: {east.get('/readyz')[1].strip()}")
        refused(west, "switch", told=("put back to an older state",))
        for words in ((), ("--force",)):
            refused(east, "promote", *words, told=("west is alive and connected", "promote --force` on its node"))
        told = refused(west, "promote", told=("put back to an older state", "led last", "--force"))
        ok(f"without --force: {told}")
        # Nobody looks after it for longer than R7 allows.
        west.wait(lambda: not publish(connection, "plain", "refused")[0], 20, "publishes to be refused in the end")
        done = accepted(west, "promote", "--force")
        expect(done["term"] == term and "leads on" in done["note"], "the register written as it was", done)
        west.wait(lambda: publish(connection, "plain", "after")[0], 10, "publishes to be taken again")
        expect(register_row(west)[1] != newest[1] and json.loads(register_row(west)[1])["term"] == term, "the same term", register_row(west))
        connection.close()
        follows(east)
        same_log(east, west)
        ok(f"written again by the region that led last: {done['note']}")

        # The same when everybody was stopped; and the former live region is the only one that is there.
        for broker in (east, west):
            broker.stop()
        register_row(east, put=backup)
        start_standby(east)
        east.wait(lambda: "put back to an older state" in east.get("/readyz")[1], 10, "/readyz to tell of it")
        refused(east, "promote", told=("put back to an older state", "--force"))
        start_standby(west)
        west.wait(lambda: "put back to an older state" in west.get("/readyz")[1], 10, "/readyz to tell of it")
        time.sleep(1)
        expect([broker.status()["role"] for broker in (east, west)] == ["standby", "standby"], "nobody to lead")
        accepted(west, "promote", "--force")
        leads(west)
        accepted(west, "admit-producers")
        follows(east)
        same_log(east, west)
        connection = connect(west)
        got = take_all(connection, "plain")
        expect([id_ for id_ in got if id_ != "refused"] == ["before", "meanwhile", "after"], "every confirmed message", got)
        connection.close()
        ok("stopped meanwhile: nobody leads by it; promoted by force at the region that led last, the other follows")


def register_of_voters(directory):
    """Three voters instead of a file: one may go at any time; without a majority what is there is still served."""
    east, west = east_and_west(directory)
    with Voters(directory) as voters:
        for broker in (east, west):
            del broker.config["register"]["file"]
            broker.config["register"].update({"etcd": voters.endpoints, "prefix": "/test", "timeout_ms": 1000})
            broker.write_config()
        with east.start(), west:
            start_standby(west)
            connection = connect(east)
            send(connection, "plain", ["kept0"])
            in_step(east)
            follows(west)
            ok("three voters: east leads, west follows")
            voters.kill(0)
            expect(publish(connection, "plain", "kept1")[0], "publishes to be taken without one of three voters")
            connection.close()
            in_step(east)
            accepted(east, "switch")
            leads(west)
            follows(east)
            ok("one voter killed: the region is switched all the same")

            voters.kill(1)
            connection = connect(west)
            begun = time.monotonic()
            expect(publish(connection, "plain", "kept2")[0], "a short absence of the majority not to matter")
            told, number = "", 0
            while time.monotonic() - begun < 25:
                done, told = publish(connection, "dedup", f"n{number}")
                if not done:
                    break
                number += 1
                time.sleep(0.05)
            expect("server-busy" in told and "in etcd (" in told, "publishes to be refused, the voters named", told)
            expect(take_all(connection, "plain") == ["kept0", "kept1", "kept2"], "consumers to work meanwhile")
            ok(f"two of three killed: {told}")
            voters.start(0)
            west.wait(lambda: publish(connection, "plain", "again")[0], 20, "publishes to be taken again")
            expect(take_all(connection, "dedup") == [f"n{n}" for n in range(number)], "everything confirmed, nothing refused")
            connection.close()
            ok("a majority is back: publishes are taken")
            west.stop()
            west.start()
            ok("a broker that starts again leads by what the voters say")


def clock_jump(directory):
    """The wall clock jumps by an hour while messages are locked: locks follow the monotonic clock."""
    libraries = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        skip("libfaketime is not installed; Debian's package is faketime")
    offset_file = directory / "offset"
    east = Broker(BINARY, directory, name="east1", region="east", initial_region="east",
                  queues={"plain": {}, "brief": {"lock_duration_s": 2}, "clock": {}})
    # A sanitizer's library insists on being the first unless told otherwise.
    east.environment = {"LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(offset_file), "FAKETIME_NO_CACHE": "1",
                        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
                        "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}

    def set_clock(offset_s):
        offset_file.with_suffix(".new").write_text(f"{offset_s:+d}\n")
        offset_file.with_suffix(".new").rename(offset_file)

    def age(queue):
        return next(q["oldest_seconds"] for q in east.status()["queues"] if q["name"] == queue)

    def receive(connection, queue, timeout_s):
        """The id of one message that is completed, or None."""
        receiver = connection.create_receiver(queue, credit=1)
        try:
            id_ = receiver.receive(timeout=timeout_s).id
            receiver.accept()
            return id_
        except ProtonException:
            return None
        finally:
            receiver.close()

    set_clock(0)
    with east.start():
        mine, other = connect(east), connect(east)
        send(mine, "clock", ["old"])
        set_clock(3600)
        time.sleep(0.2)
        if age("clock") < 3500:
            skip(f"libfaketime does not move this program's clock (a message is {age('clock')} s old after an hour's jump)")
        set_clock(0)
        for number, offset_s in enumerate((3600, 0, -3600, 7200, -7200)):
            send(mine, "plain", [f"m{number}"])
            receiver = mine.create_receiver("plain", credit=1)
            expect(receiver.receive(timeout=10).id == f"m{number}", f"m{number}")
            set_clock(offset_s)
            expect(receive(other, "plain", 1) is None, "the locked message not to be given to another client")
            receiver.accept()
            receiver.close()
            expect(receive(other, "plain", 0.5) is None, "the completed message to be gone")
            ok(f"clock set to {offset_s:+d} s while m{number} was locked: the lock held, the message was completed")
        for offset_s in (-10800, 10800):
            send(mine, "brief", ["left"])
            receiver = mine.create_receiver("brief", credit=1)
            expect(receiver.receive(timeout=10).id == "left", "the message")
            begun = time.monotonic()
            set_clock(offset_s)
            expect(receive(other, "brief", 15) == "left", "the message again when its lock has ended")
            took = time.monotonic() - begun
            expect(1.5 < took < 8, "a lock of about 2 s", took)
            receiver.close()
            ok(f"clock set to {offset_s:+d} s: a lock of 2 s that is not renewed ended after {took:.1f} s")
        mine.close()
        other.close()
        east.kill()
        set_clock(-86400)
        east.start()
        mine = connect(east)
        expect(take_all(mine, "clock") == ["old"] and take_all(mine, "plain") == [] and take_all(mine, "brief") == [],
               "what was there before, and nothing twice")
        mine.close()
        serves(east)
        ok("a start with the clock a day behind the log finds everything and serves")


def newer_journal_format(directory):
    """A journal of a later release is told from a damaged one, and left alone."""
    library = ctypes.util.find_library("xxhash")
    if not library:
        skip("libxxhash is not installed; Debian's package is libxxhash0")
    xxh3 = ctypes.CDLL(library).XXH3_64bits_withSeed
    xxh3.restype, xxh3.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)

    def set_version(file, version):
        """In the first page of a superblock or segment (docs/formats/journal.md, Pages)."""
        data = bytearray(file.read_bytes())
        sum_of = lambda: xxh3(bytes(data[16:4096]), 4096 - 16, struct.unpack_from("<Q", data)[0])  # noqa: E731
        expect(struct.unpack_from("<Q", data, 8)[0] == sum_of(), f"the checksum of {file.name} as the format page has it")
        struct.pack_into("<I", data, 4, version)
        struct.pack_into("<Q", data, 8, sum_of())
        file.write_bytes(data)

    east = Broker(BINARY, directory, name="east1", region="east", initial_region="east")
    with east.start():
        connection = connect(east)
        send(connection, "plain", ["kept"])
        connection.close()
        east.stop()

    def content_of(directory):
        return {file: file.read_bytes() for file in directory.rglob("*") if file.is_file() and file.name != "lock"}

    def is_refused(files):
        for file in files:
            set_version(file, 3)
        before = content_of(east.data)
        east.log_file.unlink(missing_ok=True)
        east.start(ready=False)
        status = east.wait_end()
        expect(status == 2, "exit status 2", status)
        for part in (files[0].name, "newer release", "journal format 2", "Start the newer release"):
            expect(part in east.log(), f"{part!r} in the message", east.log())
        expect(content_of(east.data) == before, "the directory as it was")
        verified = subprocess.run([BINARY, "verify", str(east.data)], capture_output=True, text=True)
        told = verified.stdout + verified.stderr
        expect(verified.returncode != 0 and "newer release" in told, "mainstay verify to tell the same", (verified.returncode, told))
        ok(f"{files[0].name}: {east.log().strip().splitlines()[-1]}")
        for file in files:
            set_version(file, 2)

    superblocks = sorted(east.data.glob("superblock-*"))
    expect(len(superblocks) == 2, "two superblocks", superblocks)
    is_refused(superblocks)
    is_refused(superblocks[1:])
    is_refused(sorted(east.data.glob("segment-*.log"))[:1])
    with east.start():
        connection = connect(east)
        expect(take_all(connection, "plain") == ["kept"], "the message still there for the release that may read it")
        connection.close()
    ok("with its own format again everything is there")


run_case((region_switch, region_switch_without_standby, region_promote_refused, region_promote_forced, control_token,
          register_unavailable, register_lost, register_put_back, register_of_voters, clock_jump, newer_journal_format))
