"""kill -9 of the leader under writes, and how long until writes are acknowledged again."""
import imaplib
import os
import signal
import socket
import ssl
import threading
import time

import servers

SESSIONS = 4
USER = "f1@" + servers.DOMAIN


class Writer(threading.Thread):
    """One LMTP session after the other to one node; a refusal for now is tried again at once, as a new write."""

    def __init__(self, host, port, name):
        super().__init__(daemon=True)
        self.address, self.name = (host, port), name
        self.stop = False
        self.acknowledged = []  # (begun, acknowledged, subject), monotonic seconds
        self.uncertain = 0      # refused for now or no answer: it may be there or not

    def say(self, text, code):
        self.socket.sendall(text)
        while True:
            line = self.file.readline()
            if not line:
                raise OSError("closed")
            if line[3:4] != b"-":
                return line[:1] == code

    def connect(self):
        self.socket = socket.create_connection(self.address, timeout=30)
        self.file = self.socket.makefile("rb")
        if not (self.say(b"", b"2") and self.say(b"LHLO bench.example\r\n", b"2")):
            raise OSError("greeting refused")

    def write(self, subject):
        if not self.say(b"MAIL FROM:<s@example.org>\r\n", b"2"):
            return False
        if not self.say(f"RCPT TO:<{USER}>\r\n".encode(), b"2") or not self.say(b"DATA\r\n", b"3"):
            self.say(b"RSET\r\n", b"2")
            return False
        return self.say(f"Subject: {subject}\r\n\r\nDuring a failover.\r\n.\r\n".encode(), b"2")

    def run(self):
        serial, connected = 0, False
        while not self.stop:
            serial += 1
            subject = f"{self.name}-{serial}"
            begin = time.monotonic()
            try:
                if not connected:
                    self.connect()
                    connected = True
                if self.write(subject):
                    self.acknowledged.append((begin, time.monotonic(), subject))
                else:
                    self.uncertain += 1
                    time.sleep(0.005)
            except OSError:
                self.uncertain += 1
                connected = False
                time.sleep(0.005)


def wait_well(merlion, seconds=60):
    """Until all members are voters in good state; returns the leader's number, from 1."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        s = merlion.status(0)
        if s["leader"] and all(m["state"] == "ok" and m["role"] == "voter" and m["missing"] == 0 for m in s["members"]):
            return int(s["leader"].removeprefix("node"))
        time.sleep(0.1)
    raise SystemExit(f"bench: the cluster is not well {seconds} s after a kill: {s}")


def await_write(writers, after, what):
    """Until a write that began after that time is acknowledged."""
    deadline = time.monotonic() + 60
    while not any(w.acknowledged and w.acknowledged[-1][0] > after for w in writers):
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: no write is acknowledged 60 s after {what}")
        time.sleep(0.002)


def kill_once(merlion, turn):
    """Returns (seconds until acknowledged again, subjects acknowledged, how many more may be there)."""
    leader = wait_well(merlion)
    survivors = [n for i, n in enumerate(merlion.nodes, 1) if i != leader]
    through = survivors[turn % len(survivors)]
    writers = [Writer(through["host"], through["lmtp"], f"{turn}-{i}") for i in range(SESSIONS)]
    for w in writers:
        w.start()
    await_write(writers, time.monotonic(), "the start")
    time.sleep(0.3 + 0.03 * turn)  # another moment between two heartbeats each turn
    killed = time.monotonic()
    os.kill(merlion.nodes[leader - 1]["pid"], signal.SIGKILL)
    await_write(writers, killed, f"the death of node{leader}")
    for w in writers:
        w.stop = True
    for w in writers:
        w.join(60)
    merlion.cluster("start", str(leader))
    first = min(end for w in writers for begin, end, _ in w.acknowledged if begin > killed)
    return first - killed, [row[2] for w in writers for row in w.acknowledged], sum(w.uncertain for w in writers)


def subjects(node, ca):
    """Of the INBOX, as one node shows it."""
    context = ssl.create_default_context(cafile=ca)
    with imaplib.IMAP4_SSL(node["host"], node["imaps"], ssl_context=context) as c:
        c.login(USER, servers.PASSWORD)
        c.select("INBOX", readonly=True)
        _, rows = c.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [r[1].decode().split(":", 1)[1].strip() for r in rows if isinstance(r, tuple)]


def measure(merlion, kills):
    """Returns (seconds of each kill, messages acknowledged); every one of them is on every node, once."""
    merlion.users("f", 1)
    times, acknowledged, uncertain = [], [], 0
    for turn in range(kills):
        seconds, names, more = kill_once(merlion, turn)
        times.append(seconds)
        acknowledged += names
        uncertain += more
    wait_well(merlion)
    for n in merlion.nodes:
        there = subjects(n, os.path.join(merlion.ca, "ca.pem"))
        lost = set(acknowledged) - set(there)
        if lost or len(set(there)) != len(there) or len(there) > len(acknowledged) + uncertain:
            raise SystemExit(f"bench: {n['name']} shows {len(there)} messages, {len(set(there))} different; {len(acknowledged)} "
                             f"were acknowledged, {len(lost)} of them are lost: {sorted(lost)[:5]}")
    return times, len(acknowledged)
