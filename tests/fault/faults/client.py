"""A client that does one thing after the other to a mail account of its own, and knows exactly what the account must hold."""
import collections
import copy
import random
import re
import time

from support.cluster import Failure, check
from support.ledger import ADDED, make_message
from support.mail import Imap, ImapNo, Refused, Smtp, Uncertain

AWAY = (OSError, ConnectionError)
KEEP = 12  # messages a mailbox may hold before the client makes room
MADE = ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]  # every account has them
FLAGS = [r"\Seen", r"\Flagged", r"\Answered"]


class Message:
    def __init__(self, name, size, appended, uid=None, flags=()):
        self.name, self.size, self.appended, self.uid, self.flags = name, size, appended, uid, set(flags)

    def same(self, other):
        return (self.name == other.name and self.flags == other.flags and
                (self.uid is None or other.uid is None or self.uid == other.uid))

    def __repr__(self):
        return f"{self.name}(uid {self.uid} {' '.join(sorted(self.flags))})"


def same_state(a, b):
    return a.keys() == b.keys() and all(
        len(a[m]) == len(b[m]) and all(x.same(y) for x, y in zip(a[m], b[m])) for m in a)


def difference(a, b):
    out = [f"mailboxes {sorted(a)} and {sorted(b)}"] if a.keys() != b.keys() else []
    for m in a.keys() & b.keys():
        if not same_state({m: a[m]}, {m: b[m]}):
            out.append(f"{m}: {a[m]} and {b[m]}")
    return "; ".join(out)


class Client:
    """`state` is what was acknowledged. `maybe` is that plus the one operation that got no answer, or None."""

    def __init__(self, user, seed):
        self.user, self.rnd, self.number = user, random.Random(f"{user}/{seed}"), 0
        self.state, self.maybe = {box: [] for box in MADE}, None
        self.validity, self.given = {}, {}  # UIDVALIDITY of mailboxes; which message a UID stands for
        self.imap = self.lmtp = None
        self.acked = self.refused = 0
        self.recent = collections.deque(maxlen=30)  # what was done last, and what came of it

    # ---- connections ----

    def connect(self, node, timeout=20):
        self.drop()
        self.node = node.name
        self.imap = Imap(node, self.user, timeout=timeout)
        self.lmtp = Smtp(node, "lmtp", timeout=timeout)
        self.selected = None

    def drop(self):
        for c in (self.imap, self.lmtp):
            if c:
                c.close()
        self.imap = self.lmtp = None

    def select(self, mailbox):
        if self.selected != mailbox:
            self.imap.select(mailbox)
            self.selected = mailbox

    # ---- operations: each returns what the state is if it took effect ----

    def fresh(self):
        self.number += 1
        return f"{self.user.split('@')[0]}-{self.number}"

    def op_deliver(self, after):
        name, size = self.fresh(), self.rnd.choice([700, 4096, 4096, 102400])
        after["INBOX"].append(Message(name, size, False))
        return lambda: self.lmtp.send("fault@elsewhere.example", [self.user], make_message(name, size))

    def op_append(self, after):
        name, size, box = self.fresh(), self.rnd.choice([700, 4096, 102400]), self.rnd.choice(sorted(after))
        flag = self.rnd.choice(FLAGS)
        m = Message(name, size, True, None, [flag])
        after[box].append(m)

        def run():
            self.imap.do(f'APPEND "{box}" ({flag}) {{}}', make_message(name, size))
            m.uid = int(re.search(r"\[APPENDUID \d+ (\d+)\]", self.imap.tagged).group(1))
        return run

    def full(self, after):
        return [b for b in sorted(after) if any(m.uid for m in after[b])]

    def pick(self, after):
        box = self.rnd.choice(self.full(after))
        return box, self.rnd.choice([m for m in after[box] if m.uid])

    def op_flag(self, after):
        box, m = self.pick(after)
        flag = self.rnd.choice(FLAGS)
        sign = "-" if flag in m.flags else "+"
        m.flags ^= {flag}

        def run():
            self.select(box)
            self.imap.do(f"UID STORE {m.uid} {sign}FLAGS.SILENT ({flag})")
        return run

    def op_expunge(self, after):
        box, m = self.pick(after)
        deleted = r"\Deleted" in m.flags
        if deleted:
            after[box].remove(m)
        else:
            m.flags.add(r"\Deleted")

        def run():
            self.select(box)
            self.imap.do(f"UID EXPUNGE {m.uid}" if deleted else rf"UID STORE {m.uid} +FLAGS.SILENT (\Deleted)")
        return run

    def op_clear(self, after):
        """Deletes all of a mailbox: with a flag on each first, in an operation of its own."""
        box = self.rnd.choice(self.full(after))
        marked = all(r"\Deleted" in m.flags for m in after[box])
        for m in after[box]:
            m.flags.add(r"\Deleted")
        if marked:
            after[box] = []

        def run():
            self.select(box)
            self.imap.do("NOOP")  # 1:* is what this session was told of; mail came by another
            self.imap.do("EXPUNGE" if marked else r"STORE 1:* +FLAGS.SILENT (\Deleted)")
        return run

    def op_copy(self, after):
        box, m = self.pick(after)
        to = self.rnd.choice(sorted(after))
        move = to != box and self.rnd.random() < 0.5
        twin = copy.copy(m)
        twin.flags, twin.uid = set(m.flags), None
        after[to].append(twin)
        if move:
            after[box].remove(m)

        def run():
            self.select(box)
            self.imap.do(f'UID {"MOVE" if move else "COPY"} {m.uid} "{to}"')
        return run

    def op_mailbox(self, after):
        others = [b for b in sorted(after) if b not in MADE]
        kind = self.rnd.choice(["create", "rename", "delete"]) if others else "create"
        if kind == "create" or len(others) < 2:
            box = "Box" + self.fresh().split("-")[1]
            after[box] = []
            return lambda: self.imap.do(f'CREATE "{box}"')
        box = self.rnd.choice(others)
        messages = after.pop(box)
        if kind == "delete":
            command = f'DELETE "{box}"'
        else:
            new = "New" + self.fresh().split("-")[1]
            after[new] = messages
            command = f'RENAME "{box}" "{new}"'

        def run():
            if self.selected == box:
                self.imap.do("UNSELECT")
                self.selected = None
            self.imap.do(command)
        return run

    def choose(self, after):
        if not self.full(after):
            return self.rnd.choice([self.op_append, self.op_deliver, self.op_mailbox])
        if any(len(m) > KEEP for m in after.values()) and self.rnd.random() < 0.4:
            return self.op_clear
        return self.rnd.choice([self.op_deliver] * 5 + [self.op_append] * 4 + [self.op_flag] * 2 + [self.op_expunge] * 2 +
                               [self.op_copy] * 2 + [self.op_mailbox])

    def step(self):
        """One operation. True: acknowledged. False: refused for now. Raises what a server that is away makes; then `maybe`
        says what may have happened."""
        after = copy.deepcopy(self.state)
        operation = self.choose(after)
        run = operation(after)
        self.maybe = after
        self.recent.append([time.strftime("%T", time.gmtime()) + f"{time.time() % 1:.3f}"[1:], self.node, operation.__name__[3:],
                            difference(self.state, after), "no answer"])
        try:
            run()
        except Refused as e:
            self.maybe = None
            check(str(e).startswith("4") or not str(e)[:1].isdigit(), f"refused for good: {e}")
            if not str(e)[:1].isdigit():
                raise ConnectionError(str(e)) from None
            self.refused += 1
            self.recent[-1][-1] = f"refused: {e}"
            return False
        except Uncertain as e:
            raise ConnectionError(str(e)) from None
        except ImapNo as e:
            check(str(e).startswith("NO"), f"{self.user}: {e}")
            self.refused += 1
            self.recent[-1][-1] = str(e)
            raise ConnectionError(f"no promise: {e}") from None
        self.state, self.maybe = after, None
        self.acked += 1
        self.recent[-1][-1] = f"{self.imap.tagged} ({self.imap.untagged} untagged)" if operation != self.op_deliver else "250"
        return True

    def run(self, node, steps, ending=lambda: False):
        """Up to so many operations; returns None, or what ended it."""
        try:
            if not self.imap:
                self.connect(node)
            for _ in range(steps):
                if ending():
                    return None
                if not self.step():
                    time.sleep(0.05)
        except AWAY as e:
            self.drop()
            return e
        return None

    # ---- checking ----

    def read(self, node):
        """What the node shows, whole."""
        c = Imap(node, self.user)
        out = {}
        for r in c.do('LIST "" "*"'):
            m = re.match(rb'\* LIST \([^)]*\) "?.*?"? "?([^"]+)"?$', r[0])
            if m:
                out[m.group(1).decode()] = None
        for box in out:
            found = c.select(box, "EXAMINE")
            check(self.validity.setdefault(box, found["uidvalidity"]) == found["uidvalidity"],
                  f"{node.name} {self.user} {box}: UIDVALIDITY changed")
            out[box] = self.messages(c, f"{node.name} {self.user} {box}") if found["exists"] else []
            check(len(out[box]) == found["exists"], f"{node.name} {self.user} {box}: EXISTS {found['exists']}, {len(out[box])} came")
        c.logout()
        return out

    def messages(self, c, where):
        out = []
        for r in c.do("UID FETCH 1:* (UID FLAGS BODY.PEEK[])"):
            line = b"".join(r[::2])
            uid, flags = re.search(rb"UID (\d+)", line), re.search(rb"FLAGS \(([^)]*)\)", line)
            check(len(r) > 1 and uid and flags, f"{where}: {line[:200]!r}")
            body = r[1]
            appended = not ADDED.match(body).end()
            body = body[ADDED.match(body).end():]
            name = re.search(rb"^Message-ID: <([^@>]+)@ledger>\r$", body, re.M)
            check(name, f"{where}: UID {uid.group(1)} is not a message of this test")
            name = name.group(1).decode()
            size = next((s for s in (700, 4096, 102400) if make_message(name, s) == body), None)
            check(size, f"{where}: the bytes of {name} are not those that were sent")
            out.append(Message(name, size, appended, int(uid.group(1)),
                               [f for f in flags.group(1).decode().split() if f != r"\Recent"]))
        uids = [m.uid for m in out]
        check(uids == sorted(set(uids)), f"{where}: UIDs do not ascend: {uids}")
        return out

    def compare(self, nodes, views):
        """What is wrong with what the nodes show, or None."""
        candidates = [self.state] + ([self.maybe] if self.maybe else [])
        if not any(same_state(views[0], s) for s in candidates):
            return (f"{nodes[0].name} {self.user}: not what was acknowledged: " +
                    " | ".join(difference(views[0], s) for s in candidates))
        for node, view in zip(nodes, views):
            if not same_state(views[0], view):
                return f"{self.user} differs between {nodes[0].name} and {node.name}: {difference(views[0], view)}"
        return None

    def settle(self, nodes):
        """All nodes show the acknowledged state, with the last unanswered operation either whole or not there. The state is
        then what they show."""
        deadline = time.monotonic() + 15
        while True:
            views = [self.read(node) for node in nodes]
            wrong = self.compare(nodes, views)
            if not wrong:
                break
            # A node that lives may still be at it: what got no answer can take effect between two looks.
            if not self.maybe or time.monotonic() > deadline:
                time.sleep(2)
                later = self.compare(nodes, [self.read(node) for node in nodes])
                done = "".join(f"\n    {self.user}: {', '.join(r)}" for r in self.recent)
                raise Failure(f"{wrong}; and 2 s later: {later or 'all is right'}{done}")
            time.sleep(0.2)
        first = views[0]
        for box, messages in first.items():
            for m in messages:
                key = (box, self.validity[box], m.uid)
                check(self.given.setdefault(key, m.name) == m.name, f"{self.user} {box}: UID {m.uid} was given twice")
        self.state, self.maybe = first, None
        for box in list(self.validity):
            if box not in first:
                del self.validity[box]
