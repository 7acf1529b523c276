"""Nodes that always run under the shim, one control page each, made and started step by step."""
import importlib.machinery
import importlib.util
import json
import os
import socket
import ssl
import subprocess

from faults.client import Client
from faults.control import Control, end, spawn, until, wait_end
from support.cluster import PASSWORD, TOP, Cluster, Failure, Node, check, wait_for

SETTINGS = ["store.snapshot_threshold=48", "store.snapshot_trailing=24", "store.map_size_mb=1024", "peer.heartbeat_ms=60",
            "peer.election_ms=300"]


def devcluster():
    """dev/cluster as a module: it knows ports, configuration and certificates."""
    loader = importlib.machinery.SourceFileLoader("devcluster", os.path.join(TOP, "dev", "cluster"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("devcluster", loader))
    loader.exec_module(module)
    return module


class Rig(Cluster):
    def __init__(self, directory, base_port, build, count, seed, settings=()):
        os.makedirs(directory)
        self.dir, self.build, self.seed = directory, build, seed
        made = devcluster().Cluster(directory)
        with open(made.state, "w") as f:
            json.dump({"nodes": count, "base_port": base_port, "build": build, "set": list(settings)}, f)
        made.load()
        made.make_tls()
        for n in made.nodes:
            n.write_conf(SETTINGS + list(settings))
        made.endpoints()
        with open(os.path.join(directory, "endpoints.json")) as f:
            endpoints = json.load(f)
        self.ca = endpoints["ca"]
        self.tls = ssl.create_default_context(cafile=self.ca)
        self.nodes = [Node(self, row) for row in endpoints["nodes"]]
        self.users, self.clients = [], []
        self.process = {}
        self.control = {n.name: Control(os.path.join(directory, n.name + ".control")) for n in self.nodes}

    # ---- processes ----

    def alive(self, node):
        p = self.process.get(node.name)
        return p is not None and p.poll() is None

    def begin(self, node):
        """Starts it without waiting."""
        check(not self.alive(node), f"{node.name} runs already")
        p = spawn(self.control[node.name], self.build, node.dir, node.data, "--config", node.conf)
        self.process[node.name] = p
        with open(os.path.join(node.dir, "pid"), "w") as f:
            f.write(str(p.pid))
        return p

    def answers(self, node):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            try:
                s.connect(node.admin)
                return True
            except OSError:
                return False

    def start(self, node, seconds=30):
        """Starts it unarmed; it must come up."""
        self.control[node.name].disarm()
        p = self.begin(node)
        until(lambda: p.poll() is not None or self.answers(node), seconds)
        check(p.poll() is None, f"{node.name} ended with {p.poll()} at start: {node.log_tail()}")
        check(self.answers(node), f"{node.name} does not come up in {seconds} s: {node.log_tail()}")

    def death(self, node, seconds):
        """How it ended, or None."""
        return wait_end(self.process[node.name], seconds)

    def end_all(self):
        for p in self.process.values():
            end(p)

    # ---- membership ----

    def join_words(self, node):
        r = self.nodes[0].ctl("member", "add", node.name, f"127.0.0.1:{node.port['peer']}", "--json")
        return ["join", "--config", node.conf, json.loads(r.stdout)["token"]]

    def up(self):
        first = self.nodes[0]
        self.start(first)
        first.ctl("cluster", "init")
        for node in self.nodes[1:]:
            r = subprocess.run([os.path.join(self.build, "maild"), *self.join_words(node)], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
            check(r.returncode == 0, f"maild join of {node.name}: {r.stdout}")
            self.start(node)
            self.wait_voter(node)
        self.wait_well(60)
        return self

    def wait_voter(self, node):
        wait_for(lambda: self.members().get(node.name, {}).get("role") == "voter", 60,
                 lambda: f"{node.name} does not become voter: {self.members()}; {node.log_tail()}")

    def make_clients(self):
        self.nodes[0].ctl("domain", "add", "example.sg")
        for i, node in enumerate(self.nodes):
            user = f"user{i + 1}@example.sg"
            self.nodes[0].ctl("user", "add", user, "--password-stdin", text=PASSWORD + "\n")
            self.clients.append(Client(user, self.seed))
        return self

    def settle(self, verify=True):
        """Everything acknowledged is on every node, exactly once and the same."""
        self.wait_well(60)
        for c in self.clients:
            c.settle(self.nodes)
        if verify and len(self.nodes) > 1:
            self.verify()
        bad = self.reports()
        check(not bad, "in the logs: " + "\n".join(bad[:10]))


__all__ = ["Rig", "Failure"]
