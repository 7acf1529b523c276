"""What was sent, what was acknowledged, and whether every node shows exactly that."""
import random
import re
import threading

from support.cluster import Failure, check
from support.mail import Imap

ID = re.compile(rb"^Message-ID: <([^@>]+)@ledger>\r$", re.M)
ADDED = re.compile(rb"(?:(?:Return-Path|Received|Delivered-To):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*")


def make_message(name, size):
    """The same bytes for the same name and size: dots, 8-bit octets, long and empty lines among them."""
    rnd = random.Random(f"{name}/{size}")
    head = (f"From: Sender <sender@elsewhere.example>\r\nTo: someone@example.sg\r\nSubject: {name}\r\n"
            f"Date: Mon, 23 Nov 2026 10:00:00 +0800\r\nMessage-ID: <{name}@ledger>\r\n\r\n").encode()
    lines, have = [head], len(head)
    while have < size:
        kind = rnd.randrange(8)
        if kind == 0:
            line = b"." * rnd.randrange(1, 4)
        elif kind == 1:
            line = b""
        elif kind == 2:
            line = "ünï¢ödé ".encode() * 4
        elif kind == 3:
            line = b"%x" % rnd.getrandbits(min(3600, 8 * (size - have) + 8))
        else:
            line = b"the quick brown fox %d jumps" % rnd.randrange(1 << 30)
        lines.append(line + b"\r\n")
        have += len(line) + 2
    return b"".join(lines)


class Ledger:
    """Thread-safe. Every message is tried once, under a name of its own."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sizes = {}      # name: size asked for
        self.acked = {}      # (user, mailbox, name): UID or None
        self.maybe = set()   # (user, mailbox, name): sent, and no answer that promises anything
        self.ack_times = []  # monotonic
        self.appended = set()  # names that must be byte for byte, with no header before

    def sending(self, name, size, places, append=False):
        with self.lock:
            self.sizes[name] = size
            self.maybe.update((user, mailbox, name) for user, mailbox in places)
            if append:
                self.appended.add(name)
        return make_message(name, size)

    def refused(self, name):
        """It was not sent at all."""
        with self.lock:
            self.maybe = {p for p in self.maybe if p[2] != name}

    def acknowledged(self, name, places, when, uid=None):
        with self.lock:
            for user, mailbox in places:
                self.maybe.discard((user, mailbox, name))
                self.acked[user, mailbox, name] = uid
            self.ack_times.append(when)

    def stall_ms(self, start, end):
        """The longest time without any acknowledgement that overlaps start..end."""
        with self.lock:
            times = sorted(self.ack_times)
        gaps = [b - a for a, b in zip(times, times[1:]) if b >= start and a <= end]
        return max(gaps, default=0) * 1000

    def mailboxes(self):
        with self.lock:
            return sorted({p[:2] for p in self.acked} | {p[:2] for p in self.maybe})

    def check_body(self, name, body, where):
        expected = make_message(name, self.sizes[name])
        if name not in self.appended:
            body = body[ADDED.match(body).end():]
        check(body == expected, f"{where}: {name} has {len(body)} other bytes than the {len(expected)} that were sent")

    def read(self, node, user, mailbox, lost, duplicated):
        """Checks a mailbox on a node; returns (UIDVALIDITY, [(uid, name)])."""
        where = f"{node.name} {user} {mailbox}"
        c = Imap(node, user)
        uidvalidity, messages = c.fetch_all(mailbox)
        c.logout()
        seen, rows = {}, []
        for uid, body in messages:
            m = ID.search(body)
            check(m, f"{where}: UID {uid} is not a message of this test: {body[:200]!r}")
            name = m.group(1).decode()
            key = (user, mailbox, name)
            check(key in self.acked or key in self.maybe, f"{where}: {name} was never sent here")
            self.check_body(name, body, where)
            if name in seen:
                duplicated.append((node.name,) + key)
            wanted = self.acked.get(key)
            check(wanted is None or wanted == uid, f"{where}: {name} was given UID {wanted} and has {uid}")
            seen[name] = uid
            rows.append((uid, name))
        uids = [uid for uid, _ in rows]
        check(uids == sorted(set(uids)), f"{where}: UIDs do not ascend: {uids}")
        lost += [(node.name,) + key for key in self.acked if key[:2] == (user, mailbox) and key[2] not in seen]
        return uidvalidity, rows

    def check_all(self, nodes, say):
        """Every acknowledged message is exactly once on every node, the others at most once, the same on all."""
        lost, duplicated = [], []
        for user, mailbox in self.mailboxes():
            views = {n.name: self.read(n, user, mailbox, lost, duplicated) for n in nodes}
            first = views[nodes[0].name]
            for name, view in views.items():
                check(view == first, f"{user} {mailbox} is not the same on {nodes[0].name} and {name}")
        say(f"messages acknowledged {len(self.acked)}, lost {len(lost)}, duplicated {len(duplicated)}, "
            f"without an answer {len(self.maybe)}")
        if lost or duplicated:
            raise Failure(f"lost {lost[:5]}, duplicated {duplicated[:5]}")
