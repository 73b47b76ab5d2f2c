"""The nodes of one group on loopback: `mainstay serve` processes that keep one log under a register in a file."""
import time
import uuid

from broker import Broker, free_port


class Group:
    """Nodes n1, n2, … of region a. Keyword arguments override tables of every node's configuration."""

    def __init__(self, binary, directory, nodes=2, queues=None, group=None, **tables):
        self.cluster = str(uuid.uuid4())
        self.binary, self.directory = binary, directory
        self.queues, self.group, self.tables = queues, group or {}, tables
        self.nodes, self.ports = {}, {}
        for i in range(nodes):
            self.add(f"n{i + 1}")
        for name in self.nodes:
            self.list_nodes(name)

    def add(self, name):
        """One node more, which lists all that are there; none of them lists it yet."""
        self.ports[name] = free_port()
        node = Broker(self.binary, self.directory / name, name=name, region="a", queues=self.queues,
                      register=self.directory / "register.db", **self.tables)
        del node.config["replication"]
        del node.config["register"]["initial_region"]
        node.config["node"]["cluster"] = self.cluster
        node.config["group"] = {"listen": f"127.0.0.1:{self.ports[name]}", "create": True, "min_copies": 1,
                                "allow_unsafe_layout": "a test on one machine", **self.group}
        self.nodes[name] = node
        self.list_nodes(name)
        return node

    def list_nodes(self, name, but=()):
        """Writes the node's file, which lists every other node there is but some."""
        others = [other for other in self.nodes if other != name and other not in but]
        node = self.nodes[name]
        node.arrays = {"group.node": [{"name": other, "address": f"127.0.0.1:{self.ports[other]}"} for other in others]}
        node.write_config()
        return node

    def start(self):
        for node in list(self.nodes.values()):
            node.start(ready=False)
        return self

    def leader(self, timeout_s=20, but=()):
        """The node that serves, when one does."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for node in list(self.nodes.values()):
                if node.name not in but and node.process is not None and node.process.poll() is None and node.get("/readyz")[0] == 200:
                    return node
            time.sleep(0.01)
        raise AssertionError(f"no node of the group serves after {timeout_s} s\n" + "\n".join(n.log_tail(25) for n in self.nodes.values()))

    def others(self, leader):
        return [node for node in self.nodes.values() if node is not leader]

    def wait_in_sync(self, count=None, timeout_s=30):
        """Until the leader counts so many nodes (all) as in sync."""
        wanted = len(self.nodes) if count is None else count
        until = time.monotonic() + timeout_s
        found = None
        while time.monotonic() < until:
            leader = self.leader(max(0.1, until - time.monotonic()))
            found = leader.status().get("group", {}).get("in_sync", [])
            if len(found) == wanted:
                return leader
            time.sleep(0.02)
        told = "\n".join(str(n.status().get("group")) for n in self.nodes.values() if n.process.poll() is None)
        raise AssertionError(f"{found} are in sync after {timeout_s} s, {wanted} should be\n{told}\n" + "\n".join(n.log_tail(25) for n in self.nodes.values()))

    def wait_equal(self, timeout_s=20):
        """Until every node has the same log and the same state of it."""
        until = time.monotonic() + timeout_s
        while True:
            told = [node.status() for node in self.nodes.values()]
            if len({(s["durable_lsn"], s["applied_lsn"], s["log_hash"], s["state_hash"]) for s in told}) == 1:
                return told[0]
            if time.monotonic() > until:
                raise AssertionError(f"logs and states differ after {timeout_s} s: " +
                                     str([(s["node"], s["durable_lsn"], s["applied_lsn"], s["log_hash"], s["state_hash"]) for s in told]))
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for node in list(self.nodes.values()):
            node.kill()
            if kind is not None:
                print(node.log_tail(40), flush=True)
