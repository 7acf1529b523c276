"""What one node acknowledged, the next command through any other node sees, 1,000 times; IDLE is pushed across nodes."""
import re
import time

from support.cluster import check
from support.ledger import make_message
from support.mail import Imap, Pop3, Smtp


def deliver_and_look(t, cluster, user, count):
    """Delivery through node i is seen at once by STATUS, SELECT and NOOP through the others, POP3 now and then."""
    nodes = cluster.nodes
    lmtp = [Smtp(n, "lmtp") for n in nodes]
    imap = [Imap(n, user) for n in nodes]
    for i in range(count):
        a, b, c = i % 3, (i + 1) % 3, (i + 2) % 3
        lmtp[a].send("a@elsewhere.example", [user], make_message(f"look-{i}", 400 if i % 50 else 60000))
        seen = imap[b].status("INBOX")
        check(seen["MESSAGES"] == i + 1, f"message {i + 1} through {nodes[a].name}: {nodes[b].name} says {seen}")
        found = imap[c].select("INBOX")
        check(found["exists"] == i + 1, f"message {i + 1} through {nodes[a].name}: {nodes[c].name} selects {found}")
        check(found["uidnext"] == seen["UIDNEXT"], f"UIDNEXT {found['uidnext']} and {seen['UIDNEXT']}")
        if i % 20 == 0:
            rows = imap[c].do("FETCH * (BODY.PEEK[])")
            check(f"look-{i}".encode() in rows[0][1], f"{nodes[c].name} shows another message than the newest")
            pop = Pop3(nodes[b], user)
            check(pop.stat() == i + 1, f"POP3 through {nodes[b].name} does not count message {i + 1}")
            pop.quit()
    for c in lmtp + imap:
        c.close()
    t.say(f"{count} deliveries, each seen at once through the two other nodes")


def flags_across(t, cluster, user, count):
    """A flag set through one node is there for the next command through another; a session with a mailbox open sees it at NOOP."""
    writers = [Imap(n, user) for n in cluster.nodes]
    readers = [Imap(n, user) for n in cluster.nodes]
    for c in writers + readers:
        c.select("INBOX")
    for i in range(count):
        a, b = i % 3, (i + 1) % 3
        sign = "+" if i % 2 == 0 else "-"
        writers[a].do(f"UID STORE 1 {sign}FLAGS.SILENT (\\Flagged)")
        readers[b].do("NOOP")
        flags = readers[b].do("UID FETCH 1 (FLAGS)")[-1][0]
        check((b"\\Flagged" in flags) == (sign == "+"), f"round {i}: {flags}")
    for c in writers + readers:
        c.close()
    t.say(f"{count} changes of a flag, each seen through another node")


def idle_across(t, cluster, user, count):
    """IDLE on node C is told of a delivery through node A and of a flag set through node B."""
    nodes, waits = cluster.nodes, []
    for i in range(count):
        a, b, c = (nodes[(i + k) % 3] for k in range(3))
        idler = Imap(c, user)
        have = idler.select("INBOX")["exists"]
        idler.idle()
        idler.wire.sock.settimeout(20)
        lmtp = Smtp(a, "lmtp")
        lmtp.send("a@elsewhere.example", [user], make_message(f"idle-{i}", 300))
        start = time.monotonic()
        while True:
            m = re.match(rb"\* (\d+) EXISTS", idler.response()[0])
            if m:
                break
        waits.append((time.monotonic() - start) * 1000)
        check(int(m.group(1)) == have + 1, f"IDLE was told {m.group(0)} after {have}")
        other = Imap(b, user)
        other.select("INBOX")
        other.do(f"STORE {have + 1} +FLAGS (\\Answered)")
        while b"\\Answered" not in idler.response()[0]:
            pass
        idler.done()
        for x in (idler, other, lmtp):
            x.close()
    t.say(f"IDLE pushed {count} deliveries and flags of other nodes, the longest {max(waits):.0f} ms after the acknowledgement")


def run(t):
    cluster = t.cluster()
    user = cluster.add_users(1)[0]
    deliver_and_look(t, cluster, user, 200 if t.quick else 1000)
    flags_across(t, cluster, user, 60 if t.quick else 300)
    idle_across(t, cluster, user, 6 if t.quick else 30)
    cluster.verify()
