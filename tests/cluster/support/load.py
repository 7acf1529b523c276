"""A steady load from several threads, spread over users and nodes, that goes on when nodes go away."""
import threading
import time

from support.cluster import Failure
from support.mail import Imap, ImapNo, Refused, Smtp, Uncertain

SIZES = [300, 900, 2000, 5000, 20000, 90000]


class Writer(threading.Thread):
    """One client that sends message after message. A connection that breaks is opened anew at the next node."""

    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number, self.client, self.at = load, number, None, number
        self.failed = None      # what should never happen
        self.interrupted = []   # (when, node name, text)

    def run(self):
        count = 0
        while not self.load.ending.is_set():
            count += 1
            node = self.load.nodes[self.at % len(self.load.nodes)]
            try:
                if not self.client:
                    self.client = self.open(node)
                self.send(f"{self.kind}{self.load.number}-{self.number}-{count}", SIZES[(count + self.number) % len(SIZES)], count)
            except (OSError, ConnectionError, Refused, Uncertain, ImapNo) as e:
                self.interrupted.append((time.monotonic(), node.name, repr(e)))
                self.drop()
                time.sleep(0.02)
            except Exception as e:  # a broken promise of the server, or a bug here
                self.failed = e
                self.load.ending.set()
            time.sleep(self.load.pause)
        self.drop()

    def drop(self):
        if self.client:
            try:
                self.client.close()
            except OSError:
                pass
        self.client, self.at = None, self.at + 1


class SmtpWriter(Writer):
    kind = "smtp"

    def open(self, node):
        return Smtp(node, "smtp", timeout=40)

    def send(self, name, size, count):
        users = self.load.users
        to = [users[(count + self.number) % len(users)]]
        if count % 3 == 0:
            to.append(users[(count + self.number + 1) % len(users)])
        places = [(user, "INBOX") for user in to]
        message = self.load.ledger.sending(name, size, places)
        try:
            self.client.send("sender@elsewhere.example", to, message)
        except Refused:
            self.load.ledger.refused(name)
            raise
        self.load.ledger.acknowledged(name, places, time.monotonic())


class AppendWriter(Writer):
    kind = "append"

    def __init__(self, load, number):
        super().__init__(load, number)
        self.last_uid = 0

    def open(self, node):
        return Imap(node, self.user(), timeout=40)

    def user(self):
        return self.load.users[self.number % len(self.load.users)]

    def send(self, name, size, count):
        places = [(self.user(), "INBOX")]
        message = self.load.ledger.sending(name, size, places, append=True)
        _, uid = self.client.append("INBOX", message)
        self.load.ledger.acknowledged(name, places, time.monotonic(), uid)
        if uid <= self.last_uid:
            raise Failure(f"UID {uid} was given after {self.last_uid}")
        self.last_uid = uid


class Load:
    made = 0  # loads so far: names of messages differ between them

    def __init__(self, cluster, ledger, smtp=3, append=3, pause=0.02):
        self.nodes, self.users, self.ledger, self.pause = cluster.nodes, cluster.users, ledger, pause
        self.ending = threading.Event()
        Load.made += 1
        self.number = Load.made
        self.writers = [SmtpWriter(self, i) for i in range(smtp)] + [AppendWriter(self, i) for i in range(append)]

    def __enter__(self):
        for w in self.writers:
            w.start()
        return self

    def __exit__(self, kind, value, trace):
        self.end()

    def end(self):
        self.ending.set()
        for w in self.writers:
            w.join(60)
            if w.is_alive():
                raise Failure(f"{w.kind} {w.number} hangs")

    def check(self):
        for w in self.writers:
            if w.failed:
                raise w.failed

    def run_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            time.sleep(0.05)

    def interruptions(self):
        return sorted(i for w in self.writers for i in w.interrupted)
