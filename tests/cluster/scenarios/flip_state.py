"""Flipped bits in a node's state and in its index of bodies: found before they are believed, and healed from the others."""
import glob
import os
import random
import re
import subprocess
import threading
import time

from support.cluster import check, wait_for
from support.ledger import Ledger
from support.load import Load
from support.mail import Imap, ImapNo, Refused, Uncertain

PAGE = 4096
FILES = {"state": (3, "state: damaged: "), "local": (4, "index of bodies: damaged: ")}  # as `maild check` has it
HEAL_S = 60


def data_file(node, which):
    return os.path.join(node.data, which, "data.mdb")


def maild_check(node):
    r = subprocess.run([os.path.join(node.cluster.build, "maild"), "check", "--config", node.conf], text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    return r.returncode, r.stdout


def flip(path, places):
    with open(path, "r+b") as f:
        for at in places:
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1 << random.randrange(8)]))
        f.flush()
        os.fsync(f.fileno())


def flip_at_random(node, which):
    """Bits anywhere, until it matters: most pages of a small file are free."""
    path = data_file(node, which)
    for _ in range(200):
        pages = os.path.getsize(path) // PAGE
        flip(path, [random.randrange(pages) * PAGE + random.choice([random.randrange(64), random.randrange(PAGE)])
                    for _ in range(random.choice([1, 1, 4]))])
        code, said = maild_check(node)
        wanted, words = FILES[which]
        if words in said:
            check(code in (wanted, 3), f"maild check ends with {code}: {said}")
            return said.strip().replace("\n", "; ")
    check(False, f"200 rounds of flipped bits in {path}, and none matters")


class Reader(threading.Thread):
    """Asks a node for a mailbox over and over: it may refuse, but never show less than was acknowledged before."""

    def __init__(self, node, user, at_least):
        super().__init__(daemon=True)
        self.node, self.user, self.at_least = node, user, at_least
        self.ending, self.answers, self.lies = threading.Event(), 0, []

    def run(self):
        while not self.ending.is_set():
            try:
                c = Imap(self.node, self.user, timeout=20)
                have = c.status("INBOX")["MESSAGES"]
                self.answers += 1
                if have < self.at_least:
                    self.lies.append(have)
                c.close()
            except (OSError, ConnectionError, Refused, Uncertain, ImapNo):
                pass
            time.sleep(0.01)

    def end(self):
        self.ending.set()
        self.join(60)
        check(not self.lies, f"{self.node.name} shows {self.lies[:5]} messages where {self.at_least} were acknowledged")
        check(self.answers, f"{self.node.name} never answered")


def acknowledged(ledger, user):
    with ledger.lock:
        return sum(1 for u, mailbox, _ in ledger.acked if (u, mailbox) == (user, "INBOX"))


def heals(t, cluster, node, kinds, since, how):
    start = time.monotonic()
    wait_for(lambda: node.ready() and cluster.well(), HEAL_S, lambda: f"{node.name} does not heal: {node.log_tail()}")
    log = node.log_text()[since:]
    if "state" in kinds:
        check("the state is damaged: it is set aside" in log, f"{node.name} does not say what it did")
        wait_for(lambda: not os.path.exists(os.path.join(node.data, "state.damaged")), 30, "state.damaged is kept for ever")
    if "local" in kinds:
        check("index of bodies damaged, is built anew" in log, f"{node.name} does not say what it did")
    code, said = maild_check(node)  # of a node that runs, while mail comes in
    check(code == 0, f"maild check of {node.name}, healed: {said}")
    t.say(f"{node.name}: {how}; well after {time.monotonic() - start:.1f} s")


def damaged_while_down(t, cluster, ledger, load, node, kinds, clean):
    user = cluster.users[0]
    load.nodes = [n for n in cluster.nodes if n is not node]
    load.run_for(1)
    (node.stop if clean else node.kill)()
    how = [flip_at_random(node, which) for which in kinds][-1]
    since = len(node.log_text())
    reader = Reader(node, user, acknowledged(ledger, user))
    reader.start()
    node.start()
    heals(t, cluster, node, kinds, since, how)
    reader.end()
    load.nodes = cluster.nodes


def damaged_while_it_runs(t, cluster, node, which, pattern, offset):
    """The file is read once in two seconds here. Bits that LMDB itself does not stumble over."""
    path = data_file(node, which)
    with open(path, "rb") as f:
        data = f.read()
    places = [m.start() + offset for m in re.finditer(pattern, data)]
    check(places, f"nothing to damage in {path}")
    since, pid = len(node.log_text()), node.pid()
    flip(path, places)
    wait_for(lambda: node.pid() != pid, 30, f"{node.name} goes on with damage in {path}")
    check("ending the process" in node.log_text()[since:], f"{node.name} does not say why it ended: {node.log_tail()}")
    node.start()
    heals(t, cluster, node, [which], since, f"damaged while it ran: {which}")


def run(t):
    cluster = t.cluster(settings=["store.snapshot_threshold=128", "store.snapshot_trailing=64", "store.check_interval_s=2"])
    users = cluster.add_users(4)
    ledger = Ledger()
    random.seed(time.time_ns())
    with Load(cluster, ledger, smtp=2, append=2, pause=0.01) as load:
        load.run_for(3 if t.quick else 8)
        for n, kinds in enumerate([["state"], ["local"], ["state", "local"], ["state"]]):
            cluster.wait_well()
            node = cluster.leader() if n % 2 else cluster.follower()
            damaged_while_down(t, cluster, ledger, load, node, kinds, clean=n % 2 == 0)
        load.end()
        load.check()
    cluster.wait_well()
    cluster.verify()
    check(all("read for damage: none" in n.log_text() for n in cluster.nodes), "the daily check does not run")
    damaged_while_it_runs(t, cluster, cluster.follower(), "state", rb"@ledger>", 2)
    damaged_while_it_runs(t, cluster, cluster.leader(), "local", rb"\x02\0\0\0[\x01-\x09]\0\0\0", 4)
    cluster.wait_well()
    cluster.verify()
    ledger.check_all(cluster.nodes, t.say)
    c = Imap(cluster.nodes[0], users[0])
    c.append("INBOX", b"Subject: last\r\n\r\nit goes on\r\n")
    c.logout()
    cluster.verify()
    check(not glob.glob(os.path.join(cluster.dir, "node*", "data", "state.damaged")), "state.damaged is kept")
