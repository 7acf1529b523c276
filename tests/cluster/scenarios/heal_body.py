"""Bodies damaged on one node's disk are served whole from that node all the same, and healed on its disk."""
import glob
import hashlib
import os
import struct

from support.cluster import check, wait_for
from support.mail import Imap, Pop3
from support.ledger import make_message

HEADER = 72  # store/blob_record.h
MAGIC = b"MBLR"
SIZES = [200, 3000, 9000, 60000, 400000, 3000000]


def records(node):
    """{SHA-256: [(file, offset of the payload, payload)]} of the node's segments."""
    found = {}
    for path in sorted(glob.glob(os.path.join(node.data, "bodies", "*.seg"))):
        with open(path, "rb") as f:
            data = f.read()
        at = data.find(MAGIC)
        while at >= 0 and at + HEADER <= len(data):
            size, = struct.unpack_from("<I", data, at + 28)
            name, payload = data[at + 40:at + HEADER], data[at + HEADER:at + HEADER + size]
            if at % 8 == 0 and data[at + 24] == 1 and len(payload) == size:
                found.setdefault(name, []).append((path, at + HEADER, payload))
                at += HEADER + size - 1
            at = data.find(MAGIC, at + 1)
    return found


def damage(place, payload, where):
    """Flips a bit of the payload: at its start, middle or end."""
    path, offset, _ = place
    at = {"start": 0, "middle": len(payload) // 2, "end": len(payload) - 1}[where]
    with open(path, "r+b") as f:
        f.seek(offset + at)
        f.write(bytes([payload[at] ^ 0x40]))
        f.flush()
        os.fsync(f.fileno())


def healed(node, name, payload):
    """A whole record of the body is on the node's disk again."""
    return any(p == payload for _, _, p in records(node).get(name, []))


def read_all(node, user, messages):
    c = Imap(node, user)
    _, got = c.fetch_all("INBOX")
    c.logout()
    check([body for _, body in got] == messages, f"{node.name} serves other bytes than were stored")


def run(t):
    cluster = t.cluster()
    user = cluster.add_users(1)[0]
    messages = [make_message(f"heal-{where}-{i}", size) for where in ("start", "middle", "end") for i, size in enumerate(SIZES)]
    c = Imap(cluster.nodes[0], user)
    for m in messages:
        c.append("INBOX", m)
    c.logout()
    names = [hashlib.sha256(m).digest() for m in messages]
    for victim in (cluster.leader(), cluster.follower()):
        wait_for(lambda: all(n in records(victim) for n in names), 20, f"{victim.name} does not have all bodies on disk")
        before = records(victim)
        originals = {n: before[n][-1][2] for n in names}
        for i, n in enumerate(names):
            for place in before[n]:
                damage(place, originals[n], ("start", "middle", "end")[i // len(SIZES)])
        check(not any(healed(victim, n, originals[n]) for n in names), "the damage is not on disk")
        known = victim.metric("merlion_blob_corrupt_total")
        read_all(victim, user, messages)
        check(victim.metric("merlion_blob_corrupt_total") > known, f"{victim.name} did not notice: it did not read its disk")
        wait_for(lambda: all(healed(victim, n, originals[n]) for n in names), 30, f"{victim.name} does not heal its disk")
        t.say(f"{victim.name}: {len(names)} damaged bodies of up to {max(SIZES)} bytes served whole and healed")
        others = [n for n in cluster.nodes if n is not victim]
        for n in others:
            n.stop()
        victim.stop()
        for n in others + [victim]:
            n.start()
        cluster.wait_well()
        check(victim.metric("merlion_blob_corrupt_total") == 0, "counted again after a restart")
        read_all(victim, user, messages)
        check(victim.metric("merlion_blob_corrupt_total") == 0, f"{victim.name} goes back to a damaged copy after a restart")
        t.say(f"{victim.name}: after a restart all are read from its own disk")

    gone = cluster.nodes[2]
    gone.stop()
    for path in glob.glob(os.path.join(gone.data, "bodies", "*.seg")):
        os.unlink(path)
    gone.start()
    wait_for(gone.ready, 30, f"{gone.name} does not serve without its bodies")
    pop = Pop3(gone, user)
    for i, m in enumerate(messages):
        check(pop.lines(f"RETR {i + 1}") == m, f"message {i + 1} from a node that lost its bodies")
    pop.quit()
    cluster.wait_well()
    wait_for(lambda: all(n in records(gone) for n in names), 60, f"{gone.name} does not fetch what it lost")
    read_all(gone, user, messages)
    t.say(f"{gone.name}: all segment files removed, all {len(names)} bodies served and fetched again")
    cluster.verify()
