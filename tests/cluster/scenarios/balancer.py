"""Behind HAProxy, as deploy/haproxy.cfg has it: every node is restarted, and whoever comes is served, whoever is amid
something ends it."""
import os
import re
import shutil
import socket
import subprocess
import threading
import time

from support.cluster import TOP, check, free_base, wait_for
from support.mail import Imap, Refused, Smtp

AMID = 6       # clients in the middle of DATA: some on every node
SLOW_S = 4     # longer than the balancer takes to see that a node is not ready
NAMES = {"imaps": 993, "smtp": 25}


class Balancer:
    """Like a node, for clients."""

    def __init__(self, t, cluster):
        self.cluster, self.host, self.name = cluster, "127.0.0.1", "balancer"
        base = free_base(len(NAMES))
        self.port = {name: base + 1 + i for i, name in enumerate(NAMES)}
        path = os.path.join(t.folder("haproxy"), "haproxy.cfg")
        with open(path, "w") as f:
            f.write(self.config())
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.process = subprocess.Popen([program, "-db", "-f", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        t.cleanups.append(self.end)
        wait_for(self.serves, 20, "HAProxy does not serve")

    def config(self):
        """The example, with this cluster's addresses and ports, and without services that are not tried here."""
        with open(os.path.join(TOP, "deploy", "haproxy.cfg")) as f:
            head, *blocks = re.split(r"(?m)^listen ", f.read())
        text = head
        for block in blocks:
            name = block.split()[0]
            if name not in NAMES:
                continue
            block = block.replace(f"bind :{NAMES[name]}\n", f"bind 127.0.0.1:{self.port[name]}\n")
            for i, node in enumerate(self.cluster.nodes):
                there = f"192.0.2.{11 + i}:{NAMES[name]}"
                check(there in block, f"deploy/haproxy.cfg has no {there}")
                block = block.replace(there, f"127.0.0.1:{node.port[name]} check port {node.port['http']}")
            text += "listen " + block
        return text.replace("maxconn 40000", "maxconn 1000")  # without a right to so many files

    def connect(self, service, timeout=60):
        return socket.create_connection((self.host, self.port[service]), timeout=timeout)

    def serves(self):
        try:
            Smtp(self).quit()
            return True
        except (OSError, Refused):
            return False

    def end(self):
        self.process.kill()
        self.process.wait()


class Client(threading.Thread):
    """Works until it is ended; a server may say goodbye between two commands, and nothing else may happen."""

    def __init__(self, balancer, user, number):
        super().__init__(daemon=True)
        self.balancer, self.user, self.number = balancer, user, number
        self.ending, self.failed, self.goodbyes, self.done = threading.Event(), None, 0, []

    def run(self):
        try:
            while not self.ending.is_set():
                self.session()
        except Exception as e:  # told by the scenario
            self.failed = f"{type(self).__name__} {self.number}, after {len(self.done)}: {e!r}"


class Sender(Client):
    def session(self):
        c = Smtp(self.balancer)
        while not self.ending.is_set():
            subject = f"balanced {self.number} {len(self.done)}"
            try:
                c.send("sender@elsewhere.example", [self.user], f"Subject: {subject}\r\n\r\ntext\r\n".encode())
            except Refused as e:
                check("421" in str(e) or "closed" in str(e) or "reset" in str(e) or "pipe" in str(e), f"refused: {e}")
                self.goodbyes += 1
                break
            self.done.append(subject)
            time.sleep(0.02)
        c.close()


class Reader(Client):
    def session(self):
        c = Imap(self.balancer, self.user)
        bye = False
        while not self.ending.is_set() and not bye:
            c.wire.send(b"n NOOP\r\n")
            line = b""
            while not bye and not line.startswith(b"n "):
                line = c.wire.line()
                bye = line.startswith(b"* BYE")
            check(bye or line.startswith(b"n OK"), f"NOOP: {line}")
            self.done.append(time.monotonic())
            time.sleep(0.02)
        self.goodbyes += bye
        c.wire.close()


def amid_begin(balancer, user):
    c = Smtp(balancer)
    c.command(b"MAIL FROM:<sender@elsewhere.example>\r\nRCPT TO:<", user.encode(), b">\r\nDATA")
    for code in (250, 250, 354):
        c.expect(code)
    c.wire.send(b"Subject: amid\r\n\r\nbegun ")
    return c


def restart(t, cluster, balancer, node, user):
    clients = [amid_begin(balancer, user) for _ in range(AMID)]
    stopping = threading.Thread(target=node.stop)
    start = time.monotonic()
    stopping.start()
    while time.monotonic() < start + SLOW_S:  # who says nothing for long is not waited for
        for c in clients:
            c.wire.send(b"going on ")
        time.sleep(0.2)
    for c in clients:
        c.wire.send(b"and ended\r\n.\r\n")
    for c in clients:
        c.expect(250)
        c.close()
    stopping.join()
    gone = time.monotonic() - start
    node.start()
    cluster.wait_well()
    time.sleep(SLOW_S)  # the balancer sees it
    t.say(f"restarted {node.name}: {AMID} clients amid DATA ended it; the node was there for {gone:.1f} s more")
    return AMID


def run(t):
    settings = [f"listener {name}.{line}" for name in NAMES
                for line in ("proxy_protocol=yes", "proxy_trusted=127.0.0.0/8")]
    cluster = t.cluster(settings=settings)
    users = cluster.add_users(4)
    balancer = Balancer(t, cluster)
    clients = [Sender(balancer, users[i % 2], i) for i in range(4)] + [Reader(balancer, users[2], i) for i in range(4)]
    for c in clients:
        c.start()
    amid = sum(restart(t, cluster, balancer, node, users[3]) for node in cluster.nodes)
    for c in clients:
        c.ending.set()
    for c in clients:
        c.join(60)
    check(not any(c.is_alive() for c in clients), "a client hangs")
    failed = [c.failed for c in clients if c.failed]
    check(not failed, f"{len(failed)} clients met more than a goodbye: {failed[:4]}")
    mail = sum(len(c.done) for c in clients if isinstance(c, Sender))
    for user in users[:2] + users[3:]:
        rows = Imap(balancer, user).fetch_all("INBOX")[1]
        found = b"".join(body for _, body in rows)
        for c in clients:
            if c.user == user and isinstance(c, Sender):
                lost = [s for s in c.done if f"Subject: {s}\r\n".encode() not in found]
                check(not lost, f"acknowledged and lost: {lost[:5]}")
        check(user != users[3] or len(rows) == amid, f"{len(rows)} of {amid} messages of clients amid DATA")
    t.say(f"{mail} messages through HAProxy, all there; {sum(c.goodbyes for c in clients)} goodbyes, nothing else")
    cluster.verify()
