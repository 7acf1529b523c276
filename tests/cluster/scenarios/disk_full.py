"""A node whose disk is full refuses mail for now, gives leadership away, loses nothing, and recovers when there is space."""
import os
import subprocess
import time

from support.cluster import Failure, check, wait_for
from support.ledger import Ledger
from support.load import Load
from support.mail import Imap, ImapNo, Refused, Smtp, Uncertain

SIZE_MB, RESERVE_MB = 400, 64
VICTIM = 2


def sudo(*words):
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    r = subprocess.run(prefix + list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(r.returncode == 0, f"{' '.join(words)}: {r.stdout.strip()} (this scenario mounts a small file system: it needs root)")


def small_disk(t):
    def prepare(directory):
        where = os.path.join(directory, f"node{VICTIM}", "data")
        os.makedirs(where)
        sudo("mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=0700,uid={os.geteuid()}", "merlion-test", where)
        t.cleanups.insert(0, lambda: sudo("umount", "-l", where))
    return prepare


def fill(path, leave):
    """Writes a file that leaves so many bytes of the file system."""
    s = os.statvfs(path)
    with open(os.path.join(path, "filler"), "wb", buffering=0) as f:  # closing has nothing left to write
        left = s.f_bavail * s.f_frsize - leave
        while left > 0:
            try:
                left -= f.write(b"\0" * min(left, 1 << 20))
            except OSError:
                break


def attempt(ledger, node, user, name, size=9000):
    """One delivery by LMTP; None when acknowledged, else the refusal."""
    places = [(user, "INBOX")]
    message = ledger.sending(name, size, places)
    c = None
    try:
        c = Smtp(node, "lmtp", timeout=45)
        c.send("full@elsewhere.example", [user], message)
        ledger.acknowledged(name, places, time.monotonic())
        return None
    except Refused as e:
        ledger.refused(name)
        return str(e)
    except Uncertain as e:
        return str(e)
    finally:
        if c:
            c.close()


def refuses(ledger, node, user, name):
    """Mail by LMTP and by APPEND gets a temporary error that says why."""
    text = attempt(ledger, node, user, name) or ""
    check(text.startswith("4"), f"{node.name} with a full disk answered {text or '250'}")
    check(text.startswith("452 4.3.1"), f"{node.name} with a full disk answered {text}, not 452 4.3.1")
    c = Imap(node, user)  # reading still works
    c.select("INBOX")
    try:
        c.append("INBOX", ledger.sending(name + "-append", 9000, [(user, "INBOX")], append=True))
        raise Failure(f"{node.name} took an APPEND with a full disk")
    except ImapNo as e:
        check("NO" in str(e), f"APPEND: {e}")
    c.logout()
    return text


def run(t):
    cluster = t.cluster(prepare=small_disk(t), settings=[f"store.disk_reserve_mb={RESERVE_MB}", "store.map_size_mb=1024"])
    users = cluster.add_users(3)
    ledger, victim = Ledger(), cluster.nodes[VICTIM - 1]
    rest = [n for n in cluster.nodes if n is not victim]
    filler = os.path.join(victim.data, "filler")
    for leave_mb, what in ((RESERVE_MB // 2, "below its reserve"), (0, "to the last byte")):
        if cluster.leader() is not victim:
            cluster.leader().ctl("leader", "transfer", victim.name)
            wait_for(lambda: cluster.leader() is victim, 30, f"{victim.name} does not become leader")
        with Load(cluster, ledger, smtp=2, append=1, pause=0.05) as load:
            load.run_for(1)
            fill(victim.data, leave_mb << 20)
            start = time.monotonic()
            wait_for(lambda: cluster.leader(asked=rest[0]) is not victim, 30, f"{victim.name} keeps leading with a full disk")
            t.say(f"disk of the leader filled {what}: leadership went on after {time.monotonic() - start:.1f} s")
            load.run_for(2)
            load.nodes = rest
            load.end()
            load.check()
        if victim.pid():
            wait_for(lambda: victim.metric("merlion_disk_full") == 1, 20, f"{victim.name} does not see that its disk is full")
            said = refuses(ledger, victim, users[0], f"full-{leave_mb}")
            t.say(f"{victim.name} refuses: {said}")
        for i, n in enumerate(rest * 5):
            said = attempt(ledger, n, users[i % 3], f"others-{leave_mb}-{i}")
            check(said is None, f"{n.name} refuses mail while only {victim.name} is full: {said}")
        os.unlink(filler)
        start = time.monotonic()
        if not victim.pid():
            t.say(f"{victim.name} had ended; starting it")
            victim.start()
        cluster.wait_well(90)
        wait_for(lambda: attempt(ledger, victim, users[1], f"again-{leave_mb}-{time.monotonic()}") is None, 30,
                 f"{victim.name} still refuses mail with space on its disk", every=0.5)
        t.say(f"space again: {victim.name} takes mail after {time.monotonic() - start:.1f} s")
    cluster.wait_well()
    ledger.check_all(cluster.nodes, t.say)
    cluster.verify()
