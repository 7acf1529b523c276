"""A cluster of a scenario's own: dev/cluster in a temporary folder, and what tests ask of it."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PASSWORD = "a long enough password"


class Failure(Exception):
    """The product did not do what the scenario asks."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_for(condition, seconds, text, every=0.05):
    """Until condition() is true; returns its value. `text` may be a function."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{text() if callable(text) else text} (waited {seconds} s)")
        time.sleep(every)


taken = []  # sockets that hold a range of ports for this process


def range_take(base, room):
    """All ports behind base are free, and no other run has this range or a part of it. A range begins at a hundred, and no
    node uses those: who has a hundred bound, without listening, has the 99 behind it."""
    held = []
    try:
        for port in range(base, base + room):
            s = socket.socket()
            hundred = port % 100 == 0
            if hundred:
                held.append(s)
            else:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.nullcontext() if hundred else s:
                s.bind(("127.0.0.1", port))
    except OSError:
        for s in held:
            s.close()
        return False
    taken.extend(held)
    return True


def free_base(room):
    """A base port with so many ports behind it, for this process until it ends, below those that the system takes for outgoing
    connections."""
    bases = list(range(22000, 32700 - room, 100))
    random.shuffle(bases)
    for base in bases:
        if range_take(base, room):
            return base
    raise Failure("no free ports between 22000 and 32700")


class Node:
    def __init__(self, cluster, row):
        self.cluster, self.name, self.host = cluster, row["name"], row["host"]
        self.number = int(self.name[4:])
        self.port = {k: v for k, v in row.items() if isinstance(v, int) and k != "pid"}
        self.admin, self.data = row["admin"], row["data"]
        self.dir = os.path.dirname(self.data)
        self.log = os.path.join(self.dir, "log")
        self.conf = os.path.join(self.dir, "maild.conf")
        self.port["peer"] = self.port["http"] + 1

    def pid(self):
        """Of the running daemon, or None."""
        try:
            with open(os.path.join(self.dir, "pid")) as f:
                pid = int(f.read())
            proc = f"/proc/{pid}"
            with open(f"{proc}/cmdline", "rb") as f:
                line = f.read()
            with open(f"{proc}/stat", "rb") as f:
                over = f.read().rsplit(b")", 1)[1].split()[0] == b"Z" and len(os.listdir(f"{proc}/task")) == 1
            # One that ends has no command line any more, but still its files and their locks.
            return pid if self.conf.encode() in line or not (line or over) else None
        except (OSError, ValueError):
            return None

    def signal(self, number):
        pid = self.pid()
        check(pid, f"{self.name} does not run: {self.log_tail()}")
        os.kill(pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        wait_for(lambda: not self.pid(), 30, f"{self.name} survives SIGKILL", every=0.002)

    def stop(self):
        self.cluster.run("stop", str(self.number))

    def start(self):
        self.cluster.run("start", str(self.number))

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def ctl(self, *words, text=None, ok=True):
        r = subprocess.run([os.path.join(self.cluster.build, "mailctl"), "--socket", self.admin, *words], input=text,
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        check(r.returncode == 0 or not ok, f"mailctl {' '.join(words)} on {self.name}: {r.stdout}{r.stderr}")
        return r

    def rss_kb(self, kind="VmRSS"):
        """Or of its own memory, without pages of files: kind="RssAnon"."""
        with open(f"/proc/{self.pid()}/status") as f:
            return int(re.search(kind + r":\s*(\d+)", f.read()).group(1))

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port['http']}/readyz", timeout=2) as r:
                return r.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port['http']}/metrics", timeout=5) as r:
            for line in r.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise Failure(f"{self.name} has no metric {name}")

    def connect(self, service, timeout=60):
        return socket.create_connection((self.host, self.port[service]), timeout=timeout)

    def log_text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def log_tail(self):
        return "\n    ".join([""] + self.log_text().splitlines()[-12:])


class Cluster:
    """`prepare(dir)` runs before the nodes are made; `settings` are lines as dev/cluster --set takes them; env is the nodes' own."""

    def __init__(self, directory, base_port, preset, nodes=3, settings=(), prepare=None, env=None):
        self.dir, self.build = directory, os.path.join(TOP, "build", preset)
        self.users, self.env = [], dict(os.environ, **(env or {}))
        if prepare:
            prepare(directory)
        flag = {"dev": [], "release": ["--release"], "asan": ["--asan"]}[preset]
        sets = [word for s in settings for word in ("--set", s)]
        self.run("up", "--nodes", str(nodes), "--base-port", str(base_port), *flag, *sets)
        with open(os.path.join(self.dir, "endpoints.json")) as f:
            endpoints = json.load(f)
        self.ca = endpoints["ca"]
        self.tls = ssl.create_default_context(cafile=self.ca)
        self.nodes = [Node(self, row) for row in endpoints["nodes"]]

    def run(self, verb, *words):
        r = subprocess.run([os.path.join(TOP, "dev", "cluster"), verb, "--dir", self.dir, *words], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env)
        check(r.returncode == 0, f"dev/cluster {verb} {' '.join(words)}: {r.stdout}")

    def node(self, name):
        return next(n for n in self.nodes if n.name == name)

    def add_users(self, count, domain="example.sg"):
        self.nodes[0].ctl("domain", "add", domain)
        for i in range(count):
            user = f"user{i + 1}@{domain}"
            self.nodes[0].ctl("user", "add", user, "--password-stdin", text=PASSWORD + "\n")
            self.users.append(user)
        return self.users

    def status(self, asked=None):
        """What the first node that answers says, or {}."""
        for n in [asked] if asked else self.nodes:
            if n.pid():
                r = n.ctl("status", "--json", ok=False)
                if r.returncode == 0:
                    return json.loads(r.stdout)
        return {}

    def members(self, asked=None):
        return {m["name"]: m for m in self.status(asked).get("members", [])}

    def leader(self, seconds=30, asked=None):
        def known():
            name = self.status(asked).get("leader")
            return self.node(name) if name else None
        return wait_for(known, seconds, "there is no leader")

    def follower(self):
        leader = self.leader()
        return next(n for n in self.nodes if n is not leader)

    def well(self, asked=None):
        members = self.members(asked)
        return members and all(m["state"] == "ok" and m["missing"] == 0 for m in members.values())

    def wait_well(self, seconds=60, asked=None):
        wait_for(lambda: self.well(asked) and all(n.ready() for n in self.nodes if n.pid()), seconds,
                 lambda: "not all nodes are well: " + json.dumps(list(self.members(asked).values())), every=0.1)

    def verify(self):
        """mailctl verify agrees on all nodes; returns its index."""
        answer = {}

        def same():
            r = self.nodes[0].ctl("verify", "--json", ok=False)
            answer["text"] = r.stdout + r.stderr
            if r.returncode == 0:
                answer.update(json.loads(r.stdout))
            return r.returncode == 0 and answer["same"] and answer["complete"]
        wait_for(same, 30, lambda: "mailctl verify: " + answer["text"], every=0.5)
        check(len(answer["members"]) == len(self.nodes), f"verify names {len(answer['members'])} nodes")
        return answer["index"]

    def reports(self):
        """What sanitizers and broken invariants left in the logs."""
        bad = []
        for n in self.nodes:
            if os.path.exists(n.log):
                for line in n.log_text().splitlines():
                    if re.search(r"Sanitizer|runtime error:|broken invariant|SUMMARY:|Assertion", line):
                        bad.append(f"{n.name}: {line}")
        return bad

    def last_words(self, most=5, width=220):
        """What the nodes logged last: warnings and errors before anything else. For a failure whose logs nobody can look at."""
        out = []
        for n in self.nodes:
            lines = n.log_text().splitlines() if os.path.exists(n.log) else []
            bad = [i for i, line in enumerate(lines) if not re.search(r" level=(info|debug) ", line)][-most:]
            kept = sorted(set(bad + list(range(max(0, len(lines) - 2), len(lines)))))[-most:]
            out.append(f"{n.name} ({'runs' if n.pid() else 'does not run'}):")
            out += ["  " + lines[i][:width] for i in kept]
        return out

    @staticmethod
    def end(directory):
        subprocess.run([os.path.join(TOP, "dev", "cluster"), "down", "--dir", directory], check=True)
