"""Under load the leader is killed ten times and a follower paused ten times: nothing acknowledged is lost or doubled."""
import statistics
import time

from support.ledger import Ledger
from support.load import Load


def run(t):
    rounds = 3 if t.quick else 10
    cluster = t.cluster()
    cluster.add_users(4)
    ledger, stalls = Ledger(), []
    with Load(cluster, ledger) as load:
        load.run_for(2)
        for i in range(rounds):
            leader = cluster.leader()
            others = [n for n in cluster.nodes if n is not leader]
            start = time.monotonic()
            leader.kill()
            load.run_for(3)
            cluster.leader(asked=others[0])
            leader.start()
            cluster.wait_well()
            stalls.append(ledger.stall_ms(start, start + 3))
            paused = cluster.follower()
            paused.pause()
            load.run_for(1.5)
            paused.resume()
            load.run_for(1)
            cluster.wait_well()
            t.say(f"round {i + 1}: killed {leader.name}, writes stalled {stalls[-1]:.0f} ms; paused {paused.name}")
        load.end()
        load.check()
    cluster.wait_well()
    ledger.check_all(cluster.nodes, t.say)
    index = cluster.verify()
    t.say(f"digests are the same on all nodes at {index}; write stall at a kill: median {statistics.median(stalls):.0f} ms, "
          f"longest {max(stalls):.0f} ms")
