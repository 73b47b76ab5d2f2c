#!/usr/bin/python3
"""Qpid Proton's reactor with reconnect over several endpoints: proton_load.py send|receive ENDPOINT,… USER PASSWORD QUEUE.

send: lines "id TAB session TAB body" on standard input, one JSON line per outcome. receive: one JSON line per message,
which is completed. Both until standard input ends and everything is answered, or SIGTERM.
"""
import collections
import json
import random
import sys
import threading

from proton import Delivery, Message
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector, AtLeastOnce

WHAT, ENDPOINTS, USER, PASSWORD, QUEUE = sys.argv[1:6]


class FullJitter:
    """Delays for Container.connect(reconnect=…). Never 0: a broker that is not live opens and closes each
    connection, which begins the sequence anew, so a first delay of 0 would be a busy loop."""

    def __iter__(self):
        step = 0.05
        while True:
            yield random.uniform(0.02, step)
            step = min(step * 2, 2.0)


def out(**line):
    print(json.dumps(line), flush=True)


class Client(MessagingHandler):
    def __init__(self):
        super().__init__(prefetch=0 if WHAT == "send" else 100, auto_accept=False, auto_settle=WHAT == "send")
        self.pending = collections.OrderedDict()  # id → message, in order, without outcome
        self.unsent = collections.deque()
        self.sent = {}  # delivery tag → id, on this connection
        self.ended = False
        self.sender = self.connection = None
        self.opened = False  # the link, and unsent begins with what has to go first
        self.tag = 0
        self.settling = set()

    def on_start(self, event):
        self.container = event.container
        self.container.selectable(events)
        self.urls = [f"amqp://{endpoint}" for endpoint in ENDPOINTS.split(",")]
        threading.Thread(target=read_lines, daemon=True).start()
        self.connect()

    def connect(self):
        self.connection = self.container.connect(
            urls=self.urls, user=USER, password=PASSWORD, allowed_mechs="PLAIN", allow_insecure_mechs=True,
            reconnect=FullJitter(), heartbeat=2)
        if WHAT == "send":
            self.sender = self.container.create_sender(self.connection, QUEUE, options=AtLeastOnce())
        else:
            self.container.create_receiver(self.connection, QUEUE)

    def on_connection_remote_close(self, event):
        """"amqp:connection:forced" means "not here". Left to itself Proton waits until the broker ends the TCP connection,
        and begins its list anew after each open, so what stands behind a standby in the list would never be tried."""
        condition = event.connection.remote_condition
        print(f"proton: connection: {condition}", file=sys.stderr, flush=True)
        if event.connection != self.connection or not condition or condition.name != "amqp:connection:forced":
            return
        at = next((n for n, url in enumerate(self.urls) if url.endswith(str(event.connection.url).split("@")[-1].split("//")[-1])), 0)
        self.urls = self.urls[at + 1:] + self.urls[:at + 1]
        self.connect_again(event.connection)

    def connect_again(self, connection):
        self.forget()
        connection.close()
        self.connection = None
        self.container.schedule(random.uniform(0.02, 0.3), Again(self))

    def forget(self):
        self.opened = False
        self.sent.clear()
        self.unsent.clear()

    # A lost connection takes everything without an outcome with it: it goes again, in order, before anything new.
    def on_link_opened(self, event):
        if event.link.is_sender and event.connection == self.connection:
            self.sent.clear()
            self.unsent = collections.deque(self.pending)
            self.opened = True

    def on_disconnected(self, event):
        if event.connection == self.connection:
            # Messages that still wait in the link would leave on the next connection before what left on this one goes
            # again, and a link cannot be emptied: then all is made anew. Else Proton connects again by itself.
            if self.sent:
                self.connect_again(event.connection)
            self.forget()

    def on_sendable(self, event):
        self.flush()

    def flush(self):
        # By what on_link_opened() was told, not by the link's state: a line that was waiting is told before it, when attach and
        # credit have come together, and would leave before what it has to follow.
        link = self.sender
        while link and self.connection and self.opened and self.unsent and link.credit > 0:
            id_ = self.unsent.popleft()
            if id_ not in self.pending:
                continue
            self.tag += 1
            self.sent[str(self.tag)] = id_
            link.send(self.pending[id_], tag=str(self.tag))
        self.end_if_done()

    def on_settled(self, event):
        delivery = event.delivery
        if not event.link.is_sender or event.connection != self.connection:
            return
        id_ = self.sent.pop(delivery.tag, None)
        if id_ is None or id_ not in self.pending:
            return
        if delivery.remote_state == Delivery.ACCEPTED:
            del self.pending[id_]
            out(id=id_, outcome="confirmed")
        elif delivery.remote_state == Delivery.REJECTED and "server-busy" not in str(delivery.remote.condition):
            del self.pending[id_]
            out(id=id_, outcome="rejected", condition=str(delivery.remote.condition))
        self.end_if_done()

    def on_link_error(self, event):
        # Refused for now ("server-busy" and what is behind it): a new link on the same connection, and all again.
        print(f"proton: link: {event.link.remote_condition}", file=sys.stderr, flush=True)
        if event.connection == self.connection:
            self.connect_again(event.connection)

    def on_transport_error(self, event):
        print(f"proton: {event.transport.condition}", file=sys.stderr, flush=True)
        if event.transport.condition and event.transport.condition.name == "amqp:unauthorized-access":
            out(outcome="over", condition=event.transport.condition.name)
            event.container.stop()

    def on_message(self, event):
        out(id=event.message.id, session=event.message.group_id, body=str(event.message.body))
        self.accept(event.delivery)

    def on_line(self, event):
        line = event.subject
        if line is None:
            self.ended = True
        elif WHAT == "send":
            id_, session, body = line.rstrip("\n").split("\t", 2)
            self.pending[id_] = Message(id=id_, group_id=session or None, body=body)
            self.unsent.append(id_)
            self.flush()
        self.end_if_done()

    def end_if_done(self):
        if self.ended and self.connection and (WHAT == "receive" or not self.pending):
            self.connection.close()


class Again:
    def __init__(self, client):
        self.client = client

    def on_timer_task(self, event):
        self.client.connect()


events = EventInjector()


def read_lines():
    for line in sys.stdin:
        events.trigger(ApplicationEvent("line", subject=line))
    events.trigger(ApplicationEvent("line", subject=None))
    events.close()


Container(Client()).run()
