"""Destinations that are down, slow, refuse for an hour, hang up or break TLS: others keep their rate, the schedule is kept."""
import json
import statistics
import time

from support.clock import Clock
from support.cluster import check, wait_for
from support.flood import Flood
from support.sink import Behaviour, Sink, certificate

SCHEDULE = [300, 600, 1800, 1800, 1800]


def rate(t, cluster, users, sink, count, prefix):
    """Messages a second that arrive at a sink that behaves."""
    start, before = time.monotonic(), sink.count()
    flood = Flood(cluster, users, count, "good.example", threads=4, prefix=prefix).start()
    wait_for(lambda: sink.count() - before >= count, 180, lambda: f"{sink.count() - before} of {count} arrive")
    flood.join()
    return count / (time.monotonic() - start)


def attempts(sink, address):
    return [when for when, asked in sink.asked if asked == address]


def show(cluster, recipient):
    rows = json.loads(cluster.nodes[0].ctl("queue", "list", "--recipient", recipient, "--json").stdout)["queue"]
    check(len(rows) == 1, f"{recipient} is in the queue {len(rows)} times")
    return json.loads(cluster.nodes[0].ctl("queue", "show", str(rows[0]["id"]), "--json").stdout)


def waits(cluster, recipient, tries):
    """Its attempt is over: the outcome is in the queue. Before that time must not jump."""
    leg = show(cluster, recipient)["legs"][0]
    return leg["state"] == "waiting" and leg["attempts"] == tries


def run(t):
    count = 300 if t.quick else 2000
    cert = certificate(t.folder("tls"), "good.example")
    good = Sink("good.example", cert=cert)
    tarpit = Sink("slow.example", behaviour=Behaviour(tarpit=5))
    later = Sink("later.example", behaviour=Behaviour(rcpt="451 4.7.1 come again in an hour"))
    drops = Sink("drops.example", behaviour=Behaviour(drop_data=True))
    broken = Sink("broken.example", behaviour=Behaviour(broken_tls=True))
    strict = Sink("strict.example", behaviour=Behaviour(broken_tls=True))
    clock = Clock(t.folder("clock"), t.preset)
    cluster = t.cluster(env=clock.env)
    users = cluster.add_users(4)
    n = cluster.nodes[0]
    hosts = [f"{s.name} 127.0.0.1:{s.port}" for s in (good, tarpit, later, drops, broken, strict)] + ["down.example 127.0.0.1:9"]
    n.ctl("settings", "set", "queue.hosts", "\n".join(hosts))
    n.ctl("settings", "set", "queue.schedule", " ".join(f"{s}s" for s in SCHEDULE))
    n.ctl("settings", "set", "queue.routes", "strict.example tls=require")
    n.ctl("settings", "set", "queue.rate", "0")

    alone = rate(t, cluster, users, good, count, "alone")
    bad = ["slow.example", "down.example", "drops.example", "later.example", "strict.example"]
    Flood(cluster, users, 40 * len(bad), None, threads=4, prefix="bad", domains=bad).start().join()
    for i in range(3):  # once more when something else had the machine
        beside = rate(t, cluster, users, good, count, f"beside{i}")
        if beside > alone / 3:
            break
    t.say(f"a destination that behaves: {alone:.0f}/s alone, {beside:.0f}/s beside five that do not")
    check(beside > alone / 3, f"other destinations hold up one that behaves: {alone:.0f}/s alone, {beside:.0f}/s beside them")

    # Opportunistic TLS that breaks is done without; a route that requires it waits.
    Flood(cluster, users, 5, "broken.example", threads=1, prefix="broken").start().join()
    wait_for(lambda: broken.count() == 5, 60, lambda: f"broken TLS: {broken.count()} of 5 arrive")
    check(not any(a.tls for a in broken.arrivals), "broken TLS worked")
    check(strict.count() == 0, "a route that requires TLS did without")

    # What is with the slow one ends first: leases do not outlive hours that pass in a moment.
    tarpit.behaviour.tarpit = 0
    wait_for(lambda: tarpit.count() >= 40, 90, lambda: f"slow: {tarpit.count()} of 40 arrive")

    # A refusal for an hour, in simulated time: the schedule holds although the leader changes and nodes restart.
    Flood(cluster, users, 1, "later.example", threads=1, prefix="hour").start().join()
    address = "rcpt1@later.example"
    wait_for(lambda: waits(cluster, address, 1), 20, "no first attempt")
    for i, wait in enumerate(SCHEDULE[:3]):
        done = len(attempts(later, address))
        clock.advance(wait * 0.85)
        time.sleep(1.5)
        check(len(attempts(later, address)) == done, f"attempt {done + 1} comes before its time")
        if i == 1:
            cluster.leader().kill()
            wait_for(lambda: cluster.leader(), 20, "no leader")
            for node in cluster.nodes:
                if not node.pid():
                    node.start()
            cluster.wait_well()
            check(len(attempts(later, address)) == done, "a new leader does not keep the schedule")
        clock.advance(wait * 0.3)
        wait_for(lambda: waits(cluster, address, done + 1), 20, f"attempt {done + 1} does not come")
        check(len(attempts(later, address)) == done + 1, f"{len(attempts(later, address))} attempts at the host")
    later.behaviour.rcpt = None
    clock.advance(SCHEDULE[3] * 1.15)
    wait_for(lambda: "hour1" in later.by_name, 30, "it does not arrive when the host takes it")
    t.say(f"4xx for an hour: {len(attempts(later, address))} attempts at their times over a change of leader, then delivered")

    # Why is it still here?
    item = show(cluster, next(f"rcpt{i}@down.example" for i in range(1, 300) if bad[i % len(bad)] == "down.example"))
    check(item["attempts"] and item["attempts"][0]["address"].endswith(":9"), f"queue show says {item}")
    check("refused" in item["attempts"][0]["reply"].lower(), f"queue show says {item['attempts'][0]}")
    # The rest goes as soon as it can.
    drops.behaviour.drop_data = tarpit.behaviour.tarpit = 0
    n.ctl("settings", "set", "queue.hosts", "\n".join(h for h in hosts if "down" not in h) + f"\ndown.example 127.0.0.1:{good.port}")
    n.ctl("settings", "set", "queue.routes", "")
    def empty():
        n.ctl("queue", "flush")  # what was being tried just then, as it was before, waits again
        return json.loads(n.ctl("queue", "stats", "--json").stdout)["messages"] == 0
    wait_for(empty, 120,
             lambda: "the queue does not empty: " + n.ctl("queue", "list").stdout, every=1)
    for sink, name in ((drops, "drops"), (tarpit, "slow"), (later, "later"), (strict, "strict")):
        check(sink.count() >= 40, f"{name}: {sink.count()} arrived")
        check(max(sink.names().values()) == 1, f"{name}: some arrived twice")
    cluster.wait_well()
    cluster.verify()
    t.say("all of it arrived once when the destinations behaved")
