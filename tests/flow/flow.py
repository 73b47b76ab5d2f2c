#!/usr/bin/python3
"""Flow control and what a confirm means, against the real broker process: flow.py MAINSTAY CASE.

Syncs are seen by strace, from outside; it also makes the disk slow where a case needs it.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "process"))
from broker import PASSWORD, USER, Broker  # noqa: E402
from checks import expect, ok, skip  # noqa: E402
from clients import BINARY, RawClient, connect, pair, run_case, send, start_standby, take_all  # noqa: E402

from proton import Delivery, Endpoint, Message, symbol  # noqa: E402


class Syncs:
    """strace on the broker: when each sync returned; `delay_ms` makes every one take that much longer."""

    def __init__(self, broker, delay_ms=0):
        if shutil.which("strace") is None:
            skip("strace is not installed (Debian's package is strace)")
        self.file = broker.directory / f"{broker.name}.syncs.trace"
        command = ["strace", "-f", "-ttt", "-T", "-e", "trace=fdatasync,fsync", "-o", str(self.file), "-p", str(broker.process.pid)]
        if delay_ms:
            command += ["-e", f"inject=fdatasync:delay_enter={delay_ms * 1000}"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "attached" not in line:
            self.process.kill()
            self.process.wait()
            skip(f"this user may not trace the broker: {line.strip()}")

    def stop(self):
        """Returns the times at which syncs returned, seconds of the wall clock, in order."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        returned = []
        for line in self.file.read_text().splitlines():
            told = re.match(r"\d+ +([\d.]+) (.*) = 0( \(DELAYED\))? <([\d.]+)>$", line)
            if not told:
                continue
            # A call on one line has the time it began, the second half of one that was interrupted by others the time it ended.
            began = float(told.group(1))
            returned.append(began if "resumed" in told.group(2) else began + float(told.group(4)))
        return sorted(returned)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)


class Publisher:
    """A sending link on an own connection that is driven by hand, so that reading and writing are this test's."""

    def __init__(self, broker, queues, receive=None, credit=0):
        self.raw = RawClient(broker)
        session = self.raw.connection.session()
        session.open()
        self.links, self.unconfirmed, self.latencies, self.confirmed, self.refused = [], {}, [], 0, 0
        for n, queue in enumerate(queues):
            link = session.sender(f"s{n}")
            link.target.address = queue
            link.open()
            self.links.append(link)
        self.receiver = None
        if receive:
            self.receiver = session.receiver("r")
            self.receiver.source.address = receive
            self.receiver.open()
            self.receiver.flow(credit)
        self.raw.pump(lambda: all(link.credit > 0 for link in self.links))
        self.tag, self.settling, self.settled = 0, {}, []

    def put(self, link, body):
        self.tag += 1
        delivery = link.delivery(str(self.tag))
        link.send(body)
        link.advance()
        self.unconfirmed[self.tag] = (delivery, time.time())

    def write(self):
        """All that there is in as few calls as can be."""
        out = []
        transport = self.raw.transport
        while transport.pending() > 0:
            out.append(bytes(transport.peek(transport.pending())))
            transport.pop(len(out[-1]))
        if out:
            self.raw.socket.settimeout(30)
            self.raw.socket.sendall(b"".join(out))

    def read(self, wait_s):
        self.raw.socket.settimeout(wait_s)
        try:
            data = self.raw.socket.recv(1 << 20)
        except (socket.timeout, BlockingIOError):
            return
        expect(data, "the connection to live on")
        self.raw.push(data)
        self.look()

    def look(self):
        now = time.time()
        for tag in list(self.unconfirmed):
            delivery, sent = self.unconfirmed[tag]
            if not delivery.updated and not delivery.remote_state:
                continue
            if delivery.remote_state == Delivery.ACCEPTED:
                self.confirmed += 1
                self.latencies.append((sent, now))
            else:
                self.refused += 1
            delivery.settle()
            del self.unconfirmed[tag]


    def settle(self):
        """Accepts what has come and waits for nothing; notes how long the broker's answers took."""
        receiver = self.receiver
        while receiver.current is not None and not receiver.current.partial:
            delivery = receiver.current
            receiver.recv(delivery.pending)
            receiver.advance()
            delivery.update(Delivery.ACCEPTED)
            self.settling[delivery.tag] = (delivery, time.time())
        for tag in list(self.settling):
            delivery, asked = self.settling[tag]
            if delivery.settled:
                self.settled.append(time.time() - asked)
                delivery.settle()
                del self.settling[tag]
                receiver.flow(1)


def encoded(bytes_):
    return Message(body=b"x" * bytes_).encode()


# ---------------------------------------------------------------- cases

def sync_before_confirm(directory):
    """One message in flight: each has a sync of its own, which has returned when the confirm is on the wire."""
    with Broker(BINARY, directory).start() as broker, Syncs(broker) as syncs:
        publisher = Publisher(broker, ["plain"])
        body = encoded(100)
        messages = 60
        for n in range(messages):
            publisher.put(publisher.links[0], body)
            publisher.write()
            while publisher.unconfirmed:
                publisher.read(10)
        returned = syncs.stop()
        expect(publisher.confirmed == messages, f"{messages} confirms", publisher.confirmed)
        covered = [sum(sent <= sync <= heard for sync in returned) for sent, heard in publisher.latencies]
        expect(min(covered) >= 1, "a sync that returned between each publish and its confirm", covered)
        ok(f"{messages} messages, one at a time: {len(returned)} syncs; each confirm came after the return of one begun for it")


def sync_saturated(directory):
    """Many in flight: a sync covers many messages."""
    with Broker(BINARY, directory).start() as broker, Syncs(broker, delay_ms=2) as syncs:
        publisher = Publisher(broker, ["plain"])
        link, body, messages = publisher.links[0], encoded(100), 0
        before = broker.metric("mainstay_journal_syncs_total")
        until = time.monotonic() + 60
        while publisher.confirmed < 10000 and time.monotonic() < until:
            while link.credit > 0 and messages < 10000:
                publisher.put(link, body)
                messages += 1
            publisher.write()
            publisher.read(10)
        told = broker.metric("mainstay_journal_syncs_total") - before
        returned = syncs.stop()
        expect(publisher.confirmed == 10000, "10000 confirms", publisher.confirmed)
        expect(publisher.refused == 0, "none refused", publisher.refused)
        expect(len(returned) < 0.02 * messages, "fewer than 0.02 syncs per message", len(returned) / messages)
        expect(told <= len(returned) + 2, "the metric not to claim more syncs than there were", (told, len(returned)))
        ok(f"{messages} messages, all credit used: {len(returned)} syncs, {len(returned) / messages:.4f} per message")


def durability_global(directory):
    """A producer asks for a confirm that waits for the other region; without a standby it is refused or waits, never given."""
    asking = Message(body=b"x", annotations={symbol("x-opt-mainstay-durability"): "global"}).encode()
    alone = Broker(BINARY, directory / "alone")
    del alone.config["replication"]
    alone.write_config()
    with alone.start():
        publisher = Publisher(alone, ["plain"])
        publisher.put(publisher.links[0], asking)
        publisher.put(publisher.links[0], encoded(1))
        publisher.write()
        while publisher.unconfirmed:
            publisher.read(10)
        expect((publisher.confirmed, publisher.refused) == (1, 1), "the one that asks for global refused", publisher.refused)
        expect(alone.status()["queues"][0]["active"] == 1, "nothing stored of it", alone.status()["queues"])
        ok("a node without a standby region refuses durability global and stores nothing")
    live, standby = pair(directory)
    with live.start(), standby:
        publisher = Publisher(live, ["plain"])
        publisher.put(publisher.links[0], asking)
        publisher.put(publisher.links[0], encoded(1))
        publisher.write()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            publisher.read(0.5)
        expect(publisher.confirmed == 1 and len(publisher.unconfirmed) == 1, "only the other one confirmed", publisher.confirmed)
        expect(live.metric("mainstay_flow_confirms_waiting") == 1, "the waiting confirm in the metrics")
        ok("while the standby is away the confirm waits, others go on")
        start_standby(standby)
        until = time.monotonic() + 60
        while publisher.unconfirmed and time.monotonic() < until:
            publisher.read(0.5)
        expect(publisher.confirmed == 2, "the confirm once the standby has it", publisher.confirmed)
        with Syncs(live) as at_live, Syncs(standby) as at_standby:
            publisher.latencies.clear()
            for _ in range(20):
                publisher.put(publisher.links[0], asking)
                publisher.write()
                while publisher.unconfirmed:
                    publisher.read(10)
            returned = {"live": at_live.stop(), "standby": at_standby.stop()}
        expect(publisher.confirmed == 22, "20 more confirms", publisher.confirmed)
        for node, syncs in returned.items():
            covered = [sum(sent <= sync <= heard for sync in syncs) for sent, heard in publisher.latencies]
            expect(min(covered) >= 1, f"a sync of the {node} node that returned between each publish and its confirm", covered)
        ok(f"20 messages, one at a time: {len(returned['live'])} syncs here and {len(returned['standby'])} there, each confirm after both")
        live.kill()
        promoted = standby.command("region", "promote", "--force", "--reason", "the other region is gone")
        expect(promoted.returncode == 0, "the promotion", promoted.stdout + promoted.stderr)
        standby.wait(lambda: standby.get("/readyz")[0] == 200, 60, "/readyz to answer 200")
        connection = connect(standby)
        expect(len(take_all(connection, "plain")) == 22, "the messages in the other region")
        connection.close()
        ok("all that was confirmed is there after the loss of the region")


def busy_producer(port):
    """The other process of `fairness`: 20 links on 4 connections that use all their credit with large messages."""
    class There:
        pass
    there = There()
    there.port = int(port)
    publishers = [Publisher(there, ["busy"] * 5) for _ in range(4)]
    body = encoded(16 << 10)
    parent = os.getppid()
    while os.getppid() == parent:
        for publisher in publishers:
            for link in publisher.links:
                for _ in range(min(link.credit, 50)):
                    publisher.put(link, body)
            publisher.write()
        for publisher in publishers:
            publisher.read(0.001)


def calm_round(broker, seconds):
    """(messages per second, median confirm, 95 % of settlements) of a client with 16 small messages in flight that takes them again."""
    client = Publisher(broker, ["calm"], receive="calm", credit=64)
    link, body, settled = client.links[0], encoded(1000), client.settled
    begun = time.time()
    while time.time() - begun < seconds:
        while link.credit > 0 and len(client.unconfirmed) < 16:
            client.put(link, body)
        client.write()
        client.read(1)
        client.settle()
    client.write()
    client.raw.socket.close()
    expect(len(settled) > 20 and client.confirmed > 20, "messages to go through", (client.confirmed, len(settled)))
    confirms = sorted(heard - sent for sent, heard in client.latencies)
    settled.sort()
    return client.confirmed / seconds, statistics.median(confirms), settled[int(len(settled) * 0.95)], client.confirmed


def fairness(directory):
    """A producer with 20 links and a consumer that never reads leave another queue's clients their share."""
    limits = {"memory_bytes": "16MiB", "journal_bytes": "512KiB"}
    queues = {"busy": {}, "calm": {}}
    with Broker(BINARY, directory, queues=queues, limits=limits, journal={"segment_bytes": "32MiB"}).start() as broker, \
            Syncs(broker, delay_ms=5):
        rate, confirm, settle, _ = calm_round(broker, 4)
        deaf = Publisher(broker, [], receive="busy", credit=1000)  # asks and never reads again
        deaf.write()
        other = subprocess.Popen([sys.executable, __file__, BINARY, "--busy", str(broker.port)])
        try:
            broker.wait(lambda: broker.metric("mainstay_flow_sending_links") == 20, 20, "the busy producer's links")
            time.sleep(0.5)
            before = broker.status()
            busy_rate, busy_confirm, busy_settle, calm = calm_round(broker, 6)
            after = broker.status()
            published = after["amqp"]["published"] - before["amqp"]["published"] - calm
            text = broker.get("/metrics")[1]
            expect(other.poll() is None, "the busy producer to live on", other.poll())
        finally:
            other.kill()
            other.wait()
        figures = (f"alone {rate:.0f}/s, confirm {confirm * 1000:.1f} ms, settle {settle * 1000:.1f} ms (95 %); beside "
                   f"{busy_rate:.0f}/s, {busy_confirm * 1000:.1f} ms, {busy_settle * 1000:.1f} ms; the other published {published}")
        print(figures, flush=True)
        expect(published * 16 > 10 * calm, "ten times the bytes from the busy producer", (published * 16, calm))
        expect(busy_rate > 0.25 * rate, "at least a quarter of the throughput", figures)
        expect(busy_confirm < 6 * confirm + 0.02, "confirms in at most six times the time", figures)
        expect(busy_settle < 0.5, "settlements within half a second", figures)
        expect("mainstay_flow_throttled_links" in text and broker.metric("mainstay_amqp_publish_refused_total") == 0,
               "throttled by credit, none refused", broker.metric("mainstay_amqp_publish_refused_total"))
        ok("the small producer keeps its share, settlements stay quick, and nobody is refused: " + figures)


def throttled_is_seen(directory):
    """All credit gone: the client sees credit 0 on a living connection, operators see why, consumers drain."""
    limits = {"memory_bytes": "8MiB", "journal_bytes": "64KiB"}
    queues = {"plain": {}, "sink": {}}
    with Broker(BINARY, directory, queues=queues, limits=limits).start() as broker, Syncs(broker, delay_ms=300):
        connection = connect(broker)
        send(connection, "plain", [f"m{n}" for n in range(20)])
        connection.close()
        consumer = Publisher(broker, [], receive="plain", credit=1)
        flood = Publisher(broker, ["sink"] * 4)
        body = encoded(32 << 10)
        zero_seen = 0
        begun = time.time()
        while time.time() - begun < 9 or (len(consumer.settled) < 20 and time.time() - begun < 40):
            for link in flood.links:
                for _ in range(max(0, min(link.credit, 20))):
                    flood.put(link, body)
            flood.write()
            flood.read(0.01)
            zero_seen += all(link.credit <= 0 for link in flood.links)
            consumer.settle()
            consumer.write()
            consumer.read(0.01)
        longest = max(consumer.settled)
        expect(len(consumer.settled) == 20, "all 20 settled while publishes wait", len(consumer.settled))
        expect(longest < 1.5, "each within 1.5 s, when a sync takes 0.3 s", longest)
        expect(zero_seen > 0, "links without credit at times", zero_seen)
        expect(flood.refused == 0, "no publish refused", flood.refused)
        expect(flood.raw.connection.state & Endpoint.REMOTE_ACTIVE, "the throttled connection to live")
        waited = sum(float(line.rsplit(" ", 1)[1]) for line in broker.get("/metrics")[1].splitlines()
                     if line.startswith('mainstay_flow_stall_seconds_total{reason="journal"}'))
        expect(waited > 0.2, "stall seconds for the journal", waited)
        flow = broker.status()["flow"]
        expect(flow["memory_bytes"] < 8 << 20, "memory below its limit", flow)
        expect("(journal)" in broker.log() and "publishing links have waited" in broker.log(), "a line in the log", broker.log_tail(5))
        ok(f"credit went to 0 ({waited:.1f} s counted), 20 settlements took {min(consumer.settled):.2f} to {longest:.2f} s each, "
           "nothing refused")


def alert_rules(directory):
    """Every metric of the shipped alert rules is one that /metrics has."""
    rules = here.parent.parent / "samples/prometheus/mainstay.rules.yml"
    text = rules.read_text()
    expressions = re.findall(r"^ *expr: (.*?)(?: +#.*)?$", text, flags=re.M)
    recorded = set(re.findall(r"^ *- record: (\S+)$", text, flags=re.M))
    expect(len(expressions) > 15, "rules in the file", len(expressions))
    used = set()
    for expression in expressions:
        used |= set(re.findall(r"\bmainstay[:_][\w:]+", expression))
    with Broker(BINARY, directory).start() as broker:
        connection = connect(broker)
        send(connection, "plain", ["one"])
        take_all(connection, "plain")
        lines = broker.get("/metrics")[1].splitlines()
        have = {re.split(r"[{ ]", line)[0] for line in lines if line and not line.startswith("#")} | recorded
        missing = sorted(used - have)
        expect(not missing, "every metric of the rules in /metrics", missing)
        expect("mainstay_no_such_metric" not in have, "a check that can fail")
        reasons = set(re.findall(r'mainstay_flow_stall_seconds_total{reason="(\w+)"}', "\n".join(lines)))
        for expression in expressions:
            for wanted in re.findall(r'reason=~?"([\w|]+)"', expression):
                expect(set(wanted.split("|")) <= reasons, "reasons that exist", (wanted, reasons))
        connection.close()
    page = (here.parent.parent / "docs/control-api.md").read_text()
    names = {name[:-7] if name.endswith("_bucket") else name for name in used if ":" not in name}
    expect(all(name in page for name in names), "every metric in docs/control-api.md", [n for n in names if n not in page])
    ok(f"{len(expressions)} rules use {len(used)} metrics; all exist")
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True)
        expect(checked.returncode == 0, "promtool to find the rules good", checked.stdout + checked.stderr)
        ok("promtool finds them good: " + " ".join(checked.stdout.split()))
    else:
        print("promtool is not installed (Debian's package prometheus): the rules' syntax is not checked", flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "--busy":
        busy_producer(sys.argv[3])
    else:
        run_case((sync_before_confirm, sync_saturated, durability_global, fairness, throttled_is_seen, alert_rules))
