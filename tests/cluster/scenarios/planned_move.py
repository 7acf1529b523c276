"""Under load leadership is handed over and every node is restarted in turn: only clients of the stopping node notice."""
import time

from support.cluster import Failure, check, wait_for
from support.ledger import Ledger
from support.load import Load

GRACE = 0.3  # seconds between what happened and what a client noted of it


def excused(when, name, stops):
    """An interruption belongs to a node that was stopping or away (or had just not come back)."""
    return any(name == stopped and begin <= when <= end + GRACE for stopped, begin, end in stops)


def run(t):
    cluster = t.cluster()
    cluster.add_users(4)
    ledger, stops, moves = Ledger(), [], []
    with Load(cluster, ledger) as load:
        load.run_for(1)
        for i in range(2 if t.quick else 6):
            leader = cluster.leader()
            start = time.monotonic()
            if i % 2:
                leader.ctl("leader", "transfer")
            else:
                target = cluster.follower()
                leader.ctl("leader", "transfer", target.name)
                wait_for(lambda: cluster.leader() is target, 10, f"{target.name} does not become leader")
            wait_for(lambda: cluster.leader() is not leader, 10, f"{leader.name} still leads")
            load.run_for(1)
            moves.append(ledger.stall_ms(start, start + 1))
        t.say(f"{len(moves)} transfers, the longest stall of writes {max(moves):.0f} ms")
        early = load.interruptions()
        check(not early, f"clients noticed a transfer of leadership: {early[:5]}")

        for n in cluster.nodes + [cluster.leader()]:
            was = "leader" if cluster.leader() is n else "follower"
            start = time.monotonic()
            n.stop()
            gone = time.monotonic()
            load.run_for(1)
            n.start()
            wait_for(n.ready, 30, f"{n.name} does not serve")
            stops.append((n.name, start, time.monotonic()))
            cluster.wait_well()
            load.run_for(0.5)
            t.say(f"restarted {n.name} ({was}): it ended in {(gone - start) * 1000:.0f} ms, "
                  f"writes stalled {ledger.stall_ms(start, start + 1):.0f} ms")
        load.end()
        load.check()
        unexcused = [i for i in load.interruptions() if not excused(i[0], i[1], stops)]
        if unexcused:
            raise Failure(f"{len(unexcused)} operations failed on nodes that were not stopping: {unexcused[:5]}")
        t.say(f"{len(load.interruptions())} interruptions, all at connections of the stopping node")
    ledger.check_all(cluster.nodes, t.say)
    cluster.verify()
