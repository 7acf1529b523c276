"""200,000 items in the queue: memory bounded, list and stats quick, mail goes in and out as fast as with an empty one."""
import json
import statistics
import time

from support.cluster import check, wait_for
from support.flood import Flood
from support.sink import Sink


def timed(node, *words):
    start = time.monotonic()
    r = node.ctl(*words)
    return time.monotonic() - start, r


def rate(cluster, users, count, prefix):
    start = time.monotonic()
    Flood(cluster, users, count, None, threads=8, prefix=prefix, domains=["away.example"]).start().join()
    return count / (time.monotonic() - start)


def stats(cluster):
    return json.loads(cluster.nodes[0].ctl("queue", "stats", "--json").stdout)


def prepare(cluster, sink):
    """Mail for sink.example goes, that for away.example is held by its route."""
    n = cluster.nodes[0]
    n.ctl("settings", "set", "queue.hosts", f"sink.example 127.0.0.1:{sink.port}")
    n.ctl("settings", "set", "queue.routes", "away.example hold=yes\n.away.example hold=yes")
    n.ctl("settings", "set", "queue.rate", "0")
    return cluster.add_users(8)


def compare(full, full_users, empty, empty_users, rounds, count):
    """How fast mail comes in with a full queue, and its ratio to an empty one: in turn, as others use the machine, too."""
    pairs = []
    for i in range(rounds):
        first = rate(empty, empty_users, count, f"empty{i}-") if i % 2 else None
        busy = rate(full, full_users, count, f"full{i}-")
        pairs.append((busy, first or rate(empty, empty_users, count, f"empty{i}-")))
    return statistics.median(f for f, _ in pairs), statistics.median(f / e for f, e in pairs)


def run(t):
    items, rounds, sample = (10_000, 3, 300) if t.quick else (200_000, 7, 1500)
    sink = Sink("sink.example")
    t.cleanups.append(sink.end)
    cluster, other = t.cluster(), t.cluster()
    users, other_users = prepare(cluster, sink), prepare(other, sink)
    n = cluster.nodes[0]
    rate(cluster, users, sample, "first")
    before = {m.name: m.rss_kb("RssAnon") for m in cluster.nodes}
    domains = [f"d{i}.away.example" for i in range(997)]
    start = time.monotonic()
    Flood(cluster, users, items, None, threads=12, prefix="fill", domains=domains, size=600).start().join()
    t.say(f"{stats(cluster)['messages']} items after {time.monotonic() - start:.0f} s")
    full, ratio = compare(cluster, users, other, other_users, rounds, sample)
    grown = {m.name: (m.rss_kb("RssAnon") - before[m.name]) / 1024 for m in cluster.nodes}
    found = stats(cluster)
    check(found["messages"] >= items, f"{found['messages']} items are in the queue")
    list_s, listed = timed(n, "queue", "list", "--json")
    one_s, _ = timed(n, "queue", "list", "--domain", "d7.away.example", "--limit", "2000")
    stats_s, _ = timed(n, "queue", "stats")
    t.say(f"list {list_s:.2f} s, of one domain {one_s:.2f} s, stats {stats_s:.2f} s; enqueue rate {full:.0f}/s, {ratio:.2f} of an empty "
          f"queue's; memory grew by " + ", ".join(f"{k} {v:.0f} MiB" for k, v in grown.items()))
    # Mail for others passes by what waits.
    start = time.monotonic()
    flood = Flood(cluster, users, 200, "sink.example", threads=4, prefix="pass").start()
    wait_for(lambda: sink.count() == 200, 60, lambda: f"{sink.count()} of 200 pass the queue")
    flood.join()
    t.say(f"200 messages to a destination that takes them: {time.monotonic() - start:.1f} s")
    check(json.loads(listed.stdout)["matched"] >= items, "list does not see all")
    print(f"QUEUE-LARGE items={found['messages']} list={list_s:.2f}s domain={one_s:.2f}s stats={stats_s:.2f}s "
          f"enqueue_ratio={ratio:.2f} grown_mib={max(grown.values()):.0f}", flush=True)
    # LMDB's pages that are mapped are the system's to drop; what is bounded is our own memory, most of it the log's tail.
    if not t.quick:
        check(max(list_s, one_s, stats_s) < 1, f"list {list_s:.2f} s, of one domain {one_s:.2f} s, stats {stats_s:.2f} s")
        check(ratio >= 0.8, f"mail comes in at {ratio:.2f} of the rate with an empty queue")
    check(max(grown.values()) < 300, f"memory grew by {grown}")
    cluster.nodes[1].stop()
    cluster.nodes[2].stop()
    cluster.nodes[0].stop()
    for m in cluster.nodes:
        m.start()
    cluster.wait_well(120)
    check(stats(cluster)["messages"] >= items, "the queue does not survive a restart of all nodes")
    seconds, r = timed(n, "queue", "cancel", "--all", "--yes")
    t.say(f"the queue survived a restart of all nodes; cancel of all: {seconds:.1f} s, {r.stdout.strip()}")
    wait_for(lambda: stats(cluster)["messages"] == 0, 60, lambda: f"{stats(cluster)} after cancel")
    cluster.wait_well()
    cluster.verify()
