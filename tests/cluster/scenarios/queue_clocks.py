"""One node's clock is days off, ahead or behind: no mail is bounced, told to be late, or kept waiting by it. Nor when all
clocks were ahead together and are right again."""
import json
import time

from support.clock import Clock
from support.cluster import check, wait_for
from support.mail import Imap
from support.sink import Behaviour, Sink
from support.submit import Submit, message

DAY = 24 * 3600
AHEAD = 2 * 3600
TRIES = 6  # of each message, by whichever node has room


def queue(node):
    return json.loads(node.ctl("queue", "list", "--json").stdout)["queue"]


def inbox(node, user):
    c = Imap(node, user)
    _, rows = c.fetch_all("INBOX")
    c.logout()
    return [body for _, body in rows]


def clocks_give(t, cluster):
    """Each node gets a clock of its own, that the test can move; right so far."""
    clocks = {}
    for n in cluster.nodes:
        clocks[n.name] = Clock(t.folder(n.name), t.preset)
        ours = cluster.env
        cluster.env = dict(ours, **clocks[n.name].env)
        n.stop()
        n.start()
        cluster.env = ours
        cluster.wait_well()
    return clocks


def all_were_ahead(t, cluster, clocks, user, later):
    """The state's time is hours ahead of the clocks from then on: mail leaves, and is tried again, all the same."""
    for c in clocks.values():
        c.advance(AHEAD)
    time.sleep(1.5)
    s = Submit(cluster.nodes[0], user)
    s.send(user, [user], message("ahead", user, user))  # the state's time is that of the clocks
    s.close()
    for c in clocks.values():
        c.advance(-AHEAD)
    time.sleep(1.5)
    names = [f"again-{i}" for i in range(9)]
    for i, name in enumerate(names):
        s = Submit(cluster.nodes[i % 3], user)
        s.send(user, [f"{name}@later.example"], message(name, user, "them"))
        s.close()
    at = cluster.nodes[0]
    wait_for(lambda: len(queue(at)) == 9 and all(row["attempts"] >= TRIES for row in queue(at)), 90,
             lambda: f"the clocks were ahead, and not all is tried {TRIES} times: {queue(at)}", every=0.3)
    later.behaviour.rcpt = None
    wait_for(lambda: not queue(at), 30, lambda: f"left: {queue(at)}", every=0.2)
    check(sorted(later.by_name) == sorted(names), f"arrived: {sorted(later.by_name)}")
    check(max(later.names().values()) == 1, "some arrived twice")
    t.say(f"all were {AHEAD // 3600} hours ahead: 9 messages tried {TRIES} times, all arrived")


def run(t):
    later = Sink("later.example", behaviour=Behaviour(rcpt="451 4.7.1 later"))
    t.cleanups.append(later.end)
    cluster = t.cluster()
    user = cluster.add_users(1)[0]
    for name, value in (("hosts", f"later.example 127.0.0.1:{later.port}"), ("schedule", "1s")):
        cluster.nodes[0].ctl("settings", "set", "queue." + name, value)
    clocks = clocks_give(t, cluster)
    for role in ("follower", "leader"):
        for days in (6, -6):
            wrong = cluster.leader() if role == "leader" else cluster.follower()
            clocks[wrong.name].advance(days * DAY)
            time.sleep(1.5)  # the leader has asked the others for their clocks, and told them
            names = [f"{role}{days}-{i}" for i in range(9)]
            for i, name in enumerate(names):
                s = Submit(cluster.nodes[i % 3], user)
                s.send(user, [f"{name}@later.example"], message(name, user, "them"))
                s.close()
            wait_for(lambda: len(queue(wrong)) == 9 and all(row["attempts"] >= TRIES for row in queue(wrong)), 60,
                     lambda: f"{wrong.name} is {days} days off, and not all is tried {TRIES} times: {queue(wrong)}", every=0.3)
            tried = {a["node"] for row in queue(wrong)
                     for a in json.loads(wrong.ctl("queue", "show", str(row["id"]), "--json").stdout)["attempts"]}
            told = inbox(cluster.follower(), user)
            check(not told, f"{wrong.name} is {days} days off, and the sender is told:\n{b''.join(told).decode()[:3000]}")
            age = json.loads(wrong.ctl("queue", "stats", "--json").stdout)["oldest_ms"]
            check(age < 600000, f"{wrong.name} is {days} days off and says that the oldest message waits for {age} ms")
            later.behaviour.rcpt = None
            wait_for(lambda: not queue(wrong), 30, lambda: f"left: {queue(wrong)}", every=0.2)
            check(sorted(later.by_name) == sorted(names), f"arrived: {sorted(later.by_name)}")
            check(max(later.names().values()) == 1, "some arrived twice")
            later.by_name.clear()
            later.behaviour.rcpt = "451 4.7.1 later"
            clocks[wrong.name].advance(-days * DAY)
            t.say(f"a {role} {days} days off: 9 messages tried {TRIES} times by {len(tried)} nodes, no notices")
    all_were_ahead(t, cluster, clocks, user, later)
    cluster.verify()
