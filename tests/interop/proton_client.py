#!/usr/bin/python3
"""Qpid Proton, an AMQP 1.0 client that nobody here wrote, against a broker: proton_client.py URL USER PASSWORD.

The broker has the queues of tests/process/broker.py, empty, and a limit of 1 MiB per message.
"""
import pathlib
import sys
import uuid

from proton import (UNDESCRIBED, Array, Condition, ConnectionException, Data, Delivery, Endpoint, Handler, Message, int32,
                    symbol, uint)
from proton.reactor import AtMostOnce, Filter, LinkOption
from proton.utils import BlockingConnection, LinkDetached

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "process"))
from checks import Failed, expect, ok, run  # noqa: E402

LIMIT = 1 << 20
TIMEOUT = 20
URL, USER, PASSWORD = sys.argv[1:4]


def connect(user=USER, password=PASSWORD, **options):
    options.setdefault("allowed_mechs", "PLAIN")
    return BlockingConnection(URL, timeout=TIMEOUT, user=user, password=password, allow_insecure_mechs=True, **options)


class Inbox(Handler):
    """Takes deliveries as bytes and settles nothing by itself; remembers how the link ended."""

    def __init__(self):
        super().__init__()
        self.deliveries = []  # (delivery, payload)
        self.condition = None
        self.drained = False

    def on_delivery(self, event):
        delivery = event.delivery
        if event.link.is_receiver and delivery.readable and not delivery.partial:
            self.deliveries.append((delivery, event.link.recv(delivery.pending) or b""))
            event.link.advance()

    def on_link_flow(self, event):
        if event.link.is_receiver and event.link.credit == 0:
            self.drained = True

    def on_link_remote_close(self, event):
        self.condition = event.link.remote_condition
        event.link.close()


class Receiver:
    def __init__(self, connection, address, options=None):
        self.connection, self.inbox = connection, Inbox()
        self.link = connection.container.create_receiver(connection.conn, address, name=str(uuid.uuid4()),
                                                         handler=self.inbox, options=options)
        connection.wait(lambda: not self.link.state & Endpoint.REMOTE_UNINIT, msg=f"attach from {address}")

    def take(self, count, credit=None):
        """The next `count` deliveries as (delivery, message); the message has its bytes in .raw."""
        self.link.flow(count if credit is None else credit)
        self.connection.wait(lambda: len(self.inbox.deliveries) >= count or self.inbox.condition,
                             msg=f"{count} messages")
        taken, self.inbox.deliveries = self.inbox.deliveries[:count], self.inbox.deliveries[count:]
        expect(len(taken) == count, f"{count} messages", f"{len(taken)}, link ended: {self.inbox.condition}")
        messages = []
        for delivery, payload in taken:
            message = Message()
            message.decode(payload)
            message.raw = payload
            messages.append((delivery, message))
        return messages

    def settle(self, delivery, outcome, failed=False, condition=None):
        """Tells the outcome unsettled and waits for the broker's settled answer."""
        if outcome == Delivery.MODIFIED:
            delivery.local.failed = failed
        if condition:
            delivery.local.condition = condition
        delivery.update(outcome)
        self.connection.wait(lambda: delivery.settled, msg="the broker to settle")
        state = delivery.remote_state
        delivery.settle()
        return state

    def empty(self):
        """Nothing more comes: a drain answers with no delivery."""
        self.inbox.drained = False
        self.link.drain(1)
        self.connection.wait(lambda: self.inbox.drained or self.inbox.deliveries, msg="the drain to be answered")
        return not self.inbox.deliveries

    def close(self):
        self.link.close()
        self.connection.wait(lambda: not self.link.state & Endpoint.REMOTE_ACTIVE, msg="detach")


class Sender:
    def __init__(self, connection, address, options=None):
        self.connection = connection
        self.link = connection.create_sender(address, name=str(uuid.uuid4()), options=options).link

    def send_bytes(self, payload, settled=False):
        """@return the delivery, settled by the broker (or by us when `settled`)."""
        self.connection.wait(lambda: self.link.credit > 0, msg="credit")
        delivery = self.link.delivery(self.link.delivery_tag())
        self.link.stream(payload)
        if settled:
            delivery.settle()
        self.link.advance()
        if not settled:
            self.connection.wait(lambda: delivery.settled, msg="the broker to settle what was sent")
            delivery.state_told = delivery.remote_state
            delivery.condition_told = delivery.remote.condition
            delivery.settle()
        return delivery

    def send(self, message, settled=False):
        return self.send_bytes(message.encode(), settled)

    def send_accepted(self, message):
        delivery = self.send(message)
        expect(delivery.state_told == Delivery.ACCEPTED, f"{message.id} accepted",
               f"{delivery.state_told} {delivery.condition_told}")

    def close(self):
        self.link.close()


# ---------------------------------------------------------------- sections of an encoded message

def value_end(data, at):
    """Position after the AMQP value that begins at `at` (AMQP 1.0 part 1, figure 1.2)."""
    code = data[at]
    if code == 0x00:
        return value_end(data, value_end(data, at + 1))
    width = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}.get(code >> 4)
    if width is not None:
        return at + 1 + width
    if code >> 4 in (0xA, 0xC, 0xE):
        return at + 2 + data[at + 1]
    return at + 5 + int.from_bytes(data[at + 1:at + 5], "big")


SECTIONS = {"amqp:header:list": 0x70, "amqp:delivery-annotations:map": 0x71, "amqp:message-annotations:map": 0x72,
            "amqp:properties:list": 0x73, "amqp:application-properties:map": 0x74, "amqp:data:binary": 0x75,
            "amqp:amqp-sequence:list": 0x76, "amqp:amqp-value:*": 0x77, "amqp:footer:map": 0x78}


def bare(data):
    """The bare message: properties, application-properties and body sections, as they are encoded."""
    at, begin, end = 0, None, 0
    while at < len(data):
        expect(data[at] == 0, "a described section", data[at])
        descriptor = data[at + 1:value_end(data, at + 1)]
        if descriptor[0] == 0xA3:
            code = SECTIONS[descriptor[2:].decode()]
        else:
            code = descriptor[-1]
        after = value_end(data, at)
        if 0x73 <= code <= 0x77:
            begin = at if begin is None else begin
            end = after
        at = after
    return data[begin:end]


# ---------------------------------------------------------------- checks

def identity():
    connect().close()
    ok("a connection with PLAIN and the right password opens")
    for who, options in (("a wrong password", {"password": "wrong"}), ("an unknown user", {"user": "nobody"}),
                         ("ANONYMOUS", {"user": None, "password": None, "allowed_mechs": "ANONYMOUS"})):
        try:
            connect(**options).close()
        except ConnectionException as refused:
            text = str(refused).lower()
            expect("auth" in text or "mechanism" in text or "unauthorized" in text, f"an authentication error for {who}", text)
            ok(f"{who} is refused: {str(refused).splitlines()[0]}")
        else:
            raise Failed(f"expected {who} to be refused, the connection opened")


def addresses(connection):
    for role, attach in (("sender", lambda: Sender(connection, "no-such-queue")),
                         ("receiver", lambda: connection.create_receiver("no-such-queue"))):
        try:
            attach()
        except LinkDetached as detached:
            expect(detached.condition == "amqp:not-found", "amqp:not-found", detached.condition)
            expect("no-such-queue" in str(detached), "the queue's name in the error", str(detached))
        else:
            raise Failed(f"expected the {role} on an unknown queue to be refused")
    ok("an unknown queue is amqp:not-found, for senders and receivers, and the error names it")
    try:
        Sender(connection, "plain/$DeadLetterQueue")
    except LinkDetached as detached:
        expect(detached.condition == "amqp:not-allowed", "amqp:not-allowed", detached.condition)
        ok("sending to a dead-letter queue is amqp:not-allowed")
    else:
        raise Failed("expected a sender on a dead-letter queue to be refused")


def outcomes(connection):
    sender, receiver = Sender(connection, "plain"), Receiver(connection, "PLAIN")
    for n in range(100):
        sender.send_accepted(Message(id=f"m{n:03}", body=f"body {n}", properties={"n": n}, durable=True))
    ok("100 messages with ids are accepted one by one; addresses ignore case")

    taken = receiver.take(100)
    expect([m.id for _, m in taken] == [f"m{n:03}" for n in range(100)], "the 100 messages in order",
           [m.id for _, m in taken])
    expect([m.body for _, m in taken] == [f"body {n}" for n in range(100)], "their bodies")
    expect(all(m.delivery_count == 0 for _, m in taken), "delivery-count 0 at the first delivery")
    annotations = taken[0][1].annotations
    for name in ("x-opt-sequence-number", "x-opt-enqueued-time", "x-opt-locked-until"):
        expect(name in annotations, f"annotation {name}", list(annotations))
    numbers = [m.annotations["x-opt-sequence-number"] for _, m in taken]
    expect(numbers == list(range(numbers[0], numbers[0] + 100)), "consecutive sequence numbers", numbers[:5])
    ok("they arrive in order with sequence number, enqueued time and lock end")

    for delivery, _ in taken[4:]:
        expect(receiver.settle(delivery, Delivery.ACCEPTED) == Delivery.ACCEPTED, "the accepted outcome mirrored")
    released = receiver.settle(taken[0][0], Delivery.RELEASED)
    expect(released == Delivery.RELEASED, "the released outcome mirrored", released)
    ok("accept and release are answered with the same outcome, settled")

    [(delivery, message)] = receiver.take(1)
    expect((message.id, message.delivery_count) == ("m000", 0), "m000 again with count 0",
           (message.id, message.delivery_count))
    ok("a released message comes back in its place, its delivery-count unchanged")
    receiver.settle(delivery, Delivery.ACCEPTED)

    receiver.settle(taken[1][0], Delivery.MODIFIED, failed=True)
    [(delivery, message)] = receiver.take(1)
    expect((message.id, message.delivery_count) == ("m001", 1), "m001 again with count 1",
           (message.id, message.delivery_count))
    expect(not message.first_acquirer, "first-acquirer false on a second delivery")
    ok("modified with delivery-failed raises the delivery-count")
    receiver.settle(delivery, Delivery.ACCEPTED)

    state = receiver.settle(taken[2][0], Delivery.REJECTED, condition=Condition("test:unreadable", "cannot be read"))
    expect(state == Delivery.REJECTED, "the rejected outcome mirrored", state)
    receiver.settle(taken[3][0], Delivery.ACCEPTED)
    expect(receiver.empty(), "nothing left in the queue", receiver.inbox.deliveries)
    dead = Receiver(connection, "plain/$DeadLetterQueue")
    [(delivery, message)] = dead.take(1)
    expect(message.id == "m002" and message.body == "body 2", "m002 in the dead-letter queue", message.id)
    expect(message.properties.get("DeadLetterReason") == "test:unreadable", "the condition as DeadLetterReason", message.properties)
    expect(message.properties.get("DeadLetterErrorDescription") == "cannot be read", "its description", message.properties)
    expect(message.properties.get("n") == 2, "the sender's own property kept", message.properties)
    dead.settle(delivery, Delivery.ACCEPTED)
    expect(dead.empty(), "nothing left in the dead-letter queue")
    ok("a rejected message is in the dead-letter queue with reason and description")

    thrice_in, thrice = Sender(connection, "thrice"), Receiver(connection, "thrice")
    thrice_in.send_accepted(Message(id="poison", body="x"))
    for attempt in range(3):
        [(delivery, message)] = thrice.take(1)
        expect(message.delivery_count == attempt, f"delivery-count {attempt}", message.delivery_count)
        thrice.settle(delivery, Delivery.MODIFIED, failed=True)
    expect(thrice.empty(), "the queue to give up after 3 failed deliveries")
    dead_thrice = Receiver(connection, "thrice/$DeadLetterQueue")
    [(delivery, message)] = dead_thrice.take(1)
    expect(message.properties.get("DeadLetterReason") == "MaxDeliveryCountExceeded", "MaxDeliveryCountExceeded", message.properties)
    dead_thrice.settle(delivery, Delivery.ACCEPTED)
    ok("after max_delivery_count failed deliveries a message is dead-lettered")
    for link in (sender, receiver, dead, thrice_in, thrice, dead_thrice):
        link.close()


def sized(bytes_wanted, id_):
    """A message that is exactly so long when encoded."""
    body = bytes_wanted - 100
    for _ in range(3):
        message = Message(id=id_, body=b"\x5a" * body, inferred=True)
        body += bytes_wanted - len(message.encode())
    expect(len(message.encode()) == bytes_wanted, f"a message of {bytes_wanted} bytes", len(message.encode()))
    return message


def sizes(connection):
    sender, receiver = Sender(connection, "plain"), Receiver(connection, "plain")
    expect(sender.link.remote_max_message_size == LIMIT, f"max-message-size {LIMIT}", sender.link.remote_max_message_size)
    message = sized(LIMIT, "largest")
    sender.send_accepted(message)
    [(delivery, received)] = receiver.take(1)
    expect(bytes(received.body) == bytes(message.body), "the 1 MiB body unchanged")
    receiver.settle(delivery, Delivery.ACCEPTED)
    ok("a message of exactly 1 MiB passes")
    delivery = sender.send(sized(LIMIT + 1, "too large"))
    expect(delivery.state_told == Delivery.REJECTED, "a message over the limit rejected", delivery.state_told)
    expect(delivery.condition_told.name == "amqp:link:message-size-exceeded", "amqp:link:message-size-exceeded",
           delivery.condition_told)
    sender.send_accepted(Message(id="after", body="still here"))
    [(delivery, received)] = receiver.take(1)
    expect(received.id == "after", "the link to work on", received.id)
    receiver.settle(delivery, Delivery.ACCEPTED)
    ok("one byte more is rejected with amqp:link:message-size-exceeded, and the link works on")
    sender.close()
    receiver.close()


def text(string):  # str32, where one length byte would do
    return b"\xb1" + len(string).to_bytes(4, "big") + string


def fidelity(connection):
    """The bare message leaves bit for bit as it came, whatever valid encoding its sender chose."""
    wide_properties = b"\x00\x53\x73\xd0" + (4 + 11).to_bytes(4, "big") + (1).to_bytes(4, "big") + text(b"raw-01")
    symbolic = (b"\x00\xa3\x14amqp:properties:list" + b"\xc0\x09\x01" + b"\xa1\x06raw-02")
    app = (b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x74" + b"\xd1" + (4 + 6 + 9 + 6 + 1).to_bytes(4, "big") +
           (4).to_bytes(4, "big") + text(b"k") + b"\x80" + (7).to_bytes(8, "big") + text(b"z") + b"\x40")
    data_twice = b"\x00\x53\x75\xb0\x00\x00\x00\x03abc" + b"\x00\x53\x75\xa0\x02de"
    value = b"\x00\x53\x77\xc1\x05\x02\xa1\x01q\x41"
    head = b"\x00\x53\x70\xc0\x02\x01\x41"
    footer = b"\x00\x53\x78\xc1\x07\x02\xa3\x02ft\x54\x05"
    sender, receiver = Sender(connection, "plain"), Receiver(connection, "plain")
    for name, payload in (("wide encodings and two data sections", head + wide_properties + app + data_twice),
                          ("symbolic descriptors and a value body", symbolic + value),
                          ("a footer", wide_properties + value + footer),
                          ("no properties at all", value)):
        delivery = sender.send_bytes(payload)
        expect(delivery.state_told == Delivery.ACCEPTED, f"{name} accepted", f"{delivery.state_told} {delivery.condition_told}")
        receiver.link.flow(1)
        connection.wait(lambda: receiver.inbox.deliveries, msg=name)
        delivery, raw = receiver.inbox.deliveries.pop()
        receiver.settle(delivery, Delivery.ACCEPTED)
        expect(bare(raw) == bare(payload), f"the bare message bit for bit ({name}): {bare(payload).hex()}", bare(raw).hex())
        if payload.endswith(footer):
            expect(raw.endswith(footer), "the footer kept")
    ok("the bare message is delivered bit for bit: wide and symbolic encodings, several data sections, footers")
    message = Message(id=uuid.uuid4(), correlation_id=7, user_id=b"me", address="to", subject="s", reply_to="r",
                      content_type="text/plain", content_encoding="gzip", creation_time=1.5, group_id="g",
                      group_sequence=3, reply_to_group_id="rg", body={"k": [1, None, "ü"]}, properties={"a": True, "b": 1.5})
    sender.send_accepted(message)
    [(delivery, received)] = receiver.take(1)
    expect(bare(received.raw) == bare(message.encode()), "all properties bit for bit", bare(received.raw).hex())
    receiver.settle(delivery, Delivery.ACCEPTED)
    for junk in (b"\x00\x53\x73", b"not amqp at all", b"\x00\x53\x70\x45"):
        delivery = sender.send_bytes(junk)
        expect(delivery.state_told == Delivery.REJECTED, f"{junk!r} rejected", delivery.state_told)
        expect(delivery.condition_told.name == "amqp:decode-error", "amqp:decode-error", delivery.condition_told)
    ok("every property passes; what is no message is rejected with amqp:decode-error")
    sender.close()
    receiver.close()


def credit(connection):
    sender, receiver = Sender(connection, "plain"), Receiver(connection, "plain")
    for n in range(5):
        sender.send_accepted(Message(id=f"c{n}", body="x"))
    taken = receiver.take(3)
    expect([m.id for _, m in taken] == ["c0", "c1", "c2"], "c0 to c2", [m.id for _, m in taken])
    receiver.inbox.drained = False
    receiver.link.drain(10)
    connection.wait(lambda: receiver.inbox.drained, msg="the drain to be answered")
    expect(len(receiver.inbox.deliveries) == 2, "the 2 messages left before the drain's answer", len(receiver.inbox.deliveries))
    expect(receiver.link.credit == 0, "no credit left after the drain", receiver.link.credit)
    for delivery, _ in taken + receiver.inbox.deliveries:
        receiver.settle(delivery, Delivery.ACCEPTED)
    receiver.inbox.deliveries.clear()
    ok("credit is kept to, and a drain sends what there is and uses up the rest")

    for n in range(50):
        sender.send(Message(id=f"s{n}", body="x"), settled=True)
    sender.send_accepted(Message(id="last", body="x"))
    taken = receiver.take(51)
    expect([m.id for _, m in taken] == [f"s{n}" for n in range(50)] + ["last"], "50 settled sends and the last, in order")
    for delivery, _ in taken:
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()  # settled at once: no answer comes
    expect(receiver.empty(), "nothing left")
    ok("settled sends arrive in order; settled dispositions need no answer")
    receiver.close()

    sender.send_accepted(Message(id="once", body="x"))
    once = Receiver(connection, "plain", AtMostOnce())
    [(delivery, message)] = once.take(1)
    expect(message.id == "once" and delivery.settled, "a settled delivery on a settled link", delivery.settled)
    once.close()
    again = Receiver(connection, "plain")
    expect(again.empty(), "a message received settled to be gone")
    again.close()
    sender.close()
    ok("a receiver with snd-settle-mode settled receives and deletes")


def duplicates(connection):
    sender, receiver = Sender(connection, "dedup"), Receiver(connection, "dedup")
    for id_ in ("d1", "d2", "d1", "d3", "d2"):
        sender.send_accepted(Message(id=id_, body="x"))
    taken = receiver.take(3)
    expect([m.id for _, m in taken] == ["d1", "d2", "d3"], "each id once", [m.id for _, m in taken])
    for delivery, _ in taken:
        receiver.settle(delivery, Delivery.ACCEPTED)
    sender.send_accepted(Message(id="d1", body="x"))
    expect(receiver.empty(), "a settled message's id to be remembered")
    ok("a message id seen within the window is accepted and not stored again, also after its first was settled")
    sender.close()
    receiver.close()


class SessionFilter(Filter):
    def __init__(self, session):
        super().__init__({symbol("com.microsoft:session-filter"): session})


class ShortWait(LinkOption):
    """Link property com.microsoft:timeout: how long to wait for a session."""

    def apply(self, link):
        from proton import PropertyDict, uint
        link.properties = PropertyDict({symbol("com.microsoft:timeout"): uint(500)})


def sessions(connection):
    sender = Sender(connection, "sessions")
    for n in range(6):
        sender.send_accepted(Message(id=f"{'ab'[n % 2]}{n}", group_id="ab"[n % 2], body="x"))
    delivery = sender.send(Message(id="none", body="x"))
    expect(delivery.state_told == Delivery.REJECTED and delivery.condition_told.name == "amqp:not-allowed",
           "a message without group-id rejected with amqp:not-allowed", f"{delivery.state_told} {delivery.condition_told}")
    ok("a queue with sessions takes messages with a group-id and no others")

    a = Receiver(connection, "sessions", SessionFilter("a"))
    taken = a.take(3)
    expect([m.id for _, m in taken] == ["a0", "a2", "a4"], "session a in order", [m.id for _, m in taken])
    echoed = a.link.remote_source.filter
    echoed.rewind()
    filters = echoed.get_object() if echoed.next() else {}
    expect(filters.get(symbol("com.microsoft:session-filter")) == "a", "the session echoed in the filter", filters)
    expect("com.microsoft:locked-until-utc" in (a.link.remote_properties or {}), "the session lock's end", a.link.remote_properties)
    ok("a named session is received in order, and nothing else")

    busy = Receiver(connection, "sessions", SessionFilter("a"))
    connection.wait(lambda: busy.inbox.condition, msg="the second receiver of a session to be refused")
    expect(busy.inbox.condition.name == "com.microsoft:session-cannot-be-locked", "session-cannot-be-locked", busy.inbox.condition)
    ok("a session held elsewhere cannot be locked")

    b = Receiver(connection, "sessions", SessionFilter(None))
    taken_b = b.take(3)
    expect([m.id for _, m in taken_b] == ["b1", "b3", "b5"], "the next free session, b", [m.id for _, m in taken_b])
    ok("a null filter takes the next free session")

    none = Receiver(connection, "sessions", [SessionFilter(None), ShortWait()])
    connection.wait(lambda: none.inbox.condition, msg="the wait for a session to end")
    expect(none.inbox.condition.name == "com.microsoft:timeout", "com.microsoft:timeout", none.inbox.condition)
    ok("waiting for a session ends after the client's own time-out")

    for receiver, messages in ((a, taken), (b, taken_b)):
        for delivery, _ in messages[:2]:
            receiver.settle(delivery, Delivery.ACCEPTED)
        receiver.close()  # the third goes back
    again = Receiver(connection, "sessions", SessionFilter("a"))
    [(delivery, message)] = again.take(1)
    expect((message.id, message.delivery_count) == ("a4", 0), "a4 back with count 0", (message.id, message.delivery_count))
    again.settle(delivery, Delivery.ACCEPTED)
    again.close()
    ok("a closed session receiver frees its session; what it had not settled returns uncounted")

    plain = Receiver(connection, "sessions")
    connection.wait(lambda: plain.inbox.condition, msg="a receiver without session to be refused")
    expect(plain.inbox.condition.name == "amqp:not-allowed", "amqp:not-allowed", plain.inbox.condition)
    wrong = Receiver(connection, "plain", SessionFilter("a"))
    connection.wait(lambda: wrong.inbox.condition, msg="a session on a queue without to be refused")
    expect(wrong.inbox.condition.name == "amqp:not-allowed", "amqp:not-allowed", wrong.inbox.condition)
    ok("receivers with and without session are refused where they do not belong")


class Management:
    """A request/response pair to an entity's management node, on one session."""

    def __init__(self, connection, entity):
        address = f"{entity}/$management"
        self.name = str(uuid.uuid4())
        self.connection, self.inbox = connection, Inbox()
        self.responses = connection.container.create_receiver(connection.conn, address, target=self.name, name=self.name,
                                                              handler=self.inbox)
        connection.wait(lambda: not self.responses.state & Endpoint.REMOTE_UNINIT, msg=f"attach from {address}")
        self.responses.flow(50)
        self.requests = Sender(connection, address)

    def ask(self, operation, body):
        """@return (status, condition, body)"""
        id_ = str(uuid.uuid4())
        settled = self.requests.send(Message(id=id_, reply_to=self.name, body=body,
                                             properties={"operation": f"com.microsoft:{operation}"}))
        expect(settled.state_told == Delivery.ACCEPTED, f"the request {operation} accepted", settled.condition_told)
        self.connection.wait(lambda: self.inbox.deliveries, msg=f"a response to {operation}")
        delivery, payload = self.inbox.deliveries.pop(0)
        delivery.settle()
        self.responses.flow(1)
        response = Message()
        response.decode(payload)
        expect(response.correlation_id == id_, "the request's id as correlation-id", response.correlation_id)
        return response.properties["statusCode"], response.properties.get("errorCondition"), response.body

    def close(self):
        self.requests.close()
        self.responses.close()


def array(kind, *values):
    return Array(UNDESCRIBED, kind, *values)


def token(delivery):
    """The delivery-tag as the uuid by which requests name the lock."""
    return uuid.UUID(bytes_le=delivery_tag(delivery))


def delivery_tag(delivery):
    tag = delivery.tag
    return tag if isinstance(tag, bytes) else tag.encode("utf-8", "surrogateescape")


def management(connection):
    sender, receiver = Sender(connection, "plain"), Receiver(connection, "plain")
    node = Management(connection, "plain")
    status, condition, _ = node.ask("get-session-state", {"session-id": "a"})
    expect((status, condition) == (501, "amqp:not-implemented"), "501 amqp:not-implemented", (status, condition))
    status, condition, _ = node.ask("renew-lock", {})
    expect((status, condition) == (400, "com.microsoft:argument-error"), "400 argument-error", (status, condition))
    ok("the management node answers what it does not know and what is malformed")

    for id_ in ("kept", "deferred"):
        sender.send_accepted(Message(id=id_, body=id_))
    [(kept, kept_message), (deferred, deferred_message)] = receiver.take(2)
    status, _, body = node.ask("renew-lock", {"lock-tokens": array(Data.UUID, token(kept))})
    expect(status == 200, "200", status)
    [end] = body["expirations"].elements
    expect(end >= kept_message.annotations["x-opt-locked-until"], "a lock that ends later", end)
    status, condition, _ = node.ask("renew-lock", {"lock-tokens": array(Data.UUID, uuid.uuid4())})
    expect((status, condition) == (410, "com.microsoft:message-lock-lost"), "410 message-lock-lost", (status, condition))
    ok("a lock is renewed by its token; one that is not there is lost")

    deferred.local.undeliverable = True
    receiver.settle(deferred, Delivery.MODIFIED)
    number = deferred_message.annotations["x-opt-sequence-number"]
    receiver.close()  # locks outlive the link
    complete = {"disposition-status": "completed", "lock-tokens": array(Data.UUID, token(kept))}
    status, _, _ = node.ask("update-disposition", complete)
    expect(status == 200, "200", status)
    status, condition, _ = node.ask("update-disposition", complete)
    expect((status, condition) == (410, "com.microsoft:message-lock-lost"), "410 message-lock-lost", (status, condition))
    ok("a message whose link is gone is completed by its lock token, once")

    ask = {"sequence-numbers": array(Data.LONG, number), "receiver-settle-mode": uint(1)}
    status, _, body = node.ask("receive-by-sequence-number", ask)
    expect(status == 200, "200", status)
    [item] = body["messages"]
    message = Message()
    message.decode(bytes(item["message"]))
    expect(message.id == "deferred" and message.body == "deferred", "the deferred message", message.id)
    expect(message.annotations["x-opt-message-state"] == 1, "x-opt-message-state 1", message.annotations)
    expect("x-opt-locked-until" in message.annotations, "its lock's end", message.annotations)
    lock = array(Data.UUID, item["lock-token"])
    expect(node.ask("renew-lock", {"lock-tokens": lock})[0] == 200, "its lock renewed")
    expect(node.ask("update-disposition", {"disposition-status": "completed", "lock-tokens": lock})[0] == 200, "it completed")
    expect(node.ask("receive-by-sequence-number", ask)[:2] == (404, "com.microsoft:message-not-found"), "it to be gone")
    ok("a deferred message is received by its sequence number, renewed and completed")

    sender.send_accepted(Message(id="seen", body="x"))
    status, _, body = node.ask("peek-message", {"from-sequence-number": 1, "message-count": int32(10)})
    expect(status == 200 and len(body["messages"]) == 1 and "lock-token" not in body["messages"][0], "one message", body)
    last = Receiver(connection, "plain")
    [(delivery, seen)] = last.take(1)
    expect((seen.id, seen.delivery_count) == ("seen", 0), "the message that was looked at, uncounted", seen.id)
    last.settle(delivery, Delivery.ACCEPTED)
    expect(last.empty(), "nothing left in the queue")
    ok("peeking shows what is there and locks nothing")
    last.close()
    sender.close()
    node.close()


def main():
    identity()
    connection = connect()
    for part in (addresses, outcomes, sizes, fidelity, credit, duplicates, sessions, management):
        part(connection)
    connection.close()


run(main)
