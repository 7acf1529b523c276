"""A node that missed 20,000 messages, more than the log still holds, catches up while mail goes on, though killed half way."""
import os
import threading
import time

from support.cluster import Failure, check, wait_for
from support.ledger import Ledger
from support.load import Load
from support.mail import Refused, Smtp, Uncertain

CONNECTIONS = 16
RECIPIENTS = 4
# Most are small and ride in the log; every tenth is a body of its own that the node must fetch.
SIZES = [400, 700, 1500, 400, 2500, 900, 400, 5000, 600, 30000]


def deliver_many(cluster, ledger, nodes, total, prefix):
    """`total` messages into mailboxes: LMTP transactions of four recipients over many connections."""
    users, errors = cluster.users, []

    def one(number):
        try:
            c = Smtp(nodes[number % len(nodes)], "lmtp")
            for i in range(number, total // RECIPIENTS, CONNECTIONS):
                to = [users[(i + k) % len(users)] for k in range(RECIPIENTS)]
                places = [(user, "INBOX") for user in to]
                name = f"{prefix}-{i}"
                message = ledger.sending(name, SIZES[i // CONNECTIONS % len(SIZES)], places)
                c.send("many@elsewhere.example", to, message)
                ledger.acknowledged(name, places, time.monotonic())
            c.quit()
        except (OSError, Refused, Uncertain) as e:
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not errors, f"delivery with two of three nodes: {errors[:3]}")


def log_since(node, offset):
    with open(node.log, errors="replace") as f:
        f.seek(offset)
        return f.read()


def kill_when(t, node, condition, what):
    """Starts the node and kills it the moment that condition() holds."""
    starter = threading.Thread(target=start_quietly, args=(node,))
    starter.start()
    wait_for(lambda: node.pid() and condition(), 60, f"{node.name} never comes to: {what}", every=0.001)
    node.kill()
    starter.join()
    t.say(f"killed {node.name}: {what}")


def start_quietly(node):
    """dev/cluster start complains of a node that dies meanwhile."""
    try:
        node.start()
    except Failure:
        pass


def kill_in_transfer(t, cluster, ledger, away, rest, total):
    """Leaves the node killed in the middle of its first transfer of state; returns where its log went on after that."""
    for attempt in range(1, 6):
        start = time.monotonic()
        deliver_many(cluster, ledger, rest, total, f"away{attempt}")
        t.say(f"{total} messages with {away.name} away, {total / (time.monotonic() - start):.0f} a second")
        have = os.path.getsize(away.log)
        kill_when(t, away, lambda: 'event="state transfer begins"' in log_since(away, have), "its transfer of state had begun")
        check('event="state is behind' in log_since(away, have), "no transfer of state was needed: this shows nothing")
        if 'event="state copied"' not in log_since(away, have):
            return os.path.getsize(away.log)
        t.say("it was too late for the middle of the transfer: once more")
    raise Failure("the transfer of state is always faster than the kill")


def run(t):
    total = 4000 if t.quick else 20000
    cluster = t.cluster(settings=["store.snapshot_threshold=128", "store.snapshot_trailing=64"])
    cluster.add_users(8)
    ledger, away = Ledger(), cluster.follower()
    rest = [n for n in cluster.nodes if n is not away]
    deliver_many(cluster, ledger, rest, 200, "before")
    cluster.wait_well()
    away.stop()
    again = kill_in_transfer(t, cluster, ledger, away, rest, total)
    with Load(cluster, ledger, smtp=2, append=1, pause=0.05) as load:
        load.nodes = rest
        kill_when(t, away, lambda: 'event="state copied"' in log_since(away, again),
                  "it had started over and had the state, bodies were missing")
        load.run_for(1)
        start = time.monotonic()
        away.start()
        wait_for(lambda: cluster.well(rest[0]), 300, lambda: f"{away.name} does not get there: {cluster.members(rest[0])}")
        t.say(f"{away.name} has caught up {time.monotonic() - start:.1f} s after its last start, while mail went on")
        load.run_for(1)
        load.end()
        load.check()
    cluster.wait_well()
    cluster.verify()
    ledger.check_all([away, rest[0]], t.say)
