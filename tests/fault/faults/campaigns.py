"""What is broken, how, and what must hold after it. Each campaign takes a Run (tests/fault/run) and counts into it."""
import os
import threading

from faults.control import CHANGES
from support.cluster import Failure, check, wait_for

# (calls, part of the path): so that rare points are met as often as frequent ones.
KINDS = [(CHANGES, ""), (["submit"], "raft/"), (["write"], "raft/metadata"), (["sync"], "raft/"),
         (["create", "allocate"], "raft/"), (["rename", "truncate"], "raft/"), (["unlink"], "raft/"),
         (["write", "sync", "create", "rename"], "raft/snapshot"), (["write"], "raft.mark"), (["sync"], "raft.mark"),
         (["write"], "bodies/"), (["sync"], "bodies/"), (["write"], "state/"), (["sync"], "state/"), (["write"], "local/"),
         (["sync"], "local/")]


def arm_random(rnd, control, action, seed=0):
    """Somewhere; half of the time anywhere, else at a kind of point."""
    calls, path = KINDS[0] if rnd.random() < 0.5 else rnd.choice(KINDS)
    at = rnd.randint(1, 300 if not path else 40 if path in ("raft/", "raft.mark", "state/") else 5)
    control.arm(at, action, calls=calls, path=path, seed=seed)
    return f"{action} {'/'.join(calls) if path else 'any'} {path} {at}"


def load(rig, nodes, steps, ending=lambda: False):
    """All clients at once, each at its own node (or the first that is given). Failures of the product come through."""
    failures = []

    def one(client, node):
        try:
            client.run(node, steps, ending)
        except Exception as e:  # goes up from the main thread
            failures.append(e)
        finally:
            client.drop()

    threads = [threading.Thread(target=one, args=(c, rig.nodes[i] if rig.nodes[i] in nodes else nodes[0]))
               for i, c in enumerate(rig.clients) if not c.maybe]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


def come_back(run, rig, node, what):
    """Starts a node that died, possibly dying at start a few times more first."""
    control = rig.control[node.name]
    try:
        while run.rnd.random() < 0.3:
            action = "power" if control.record and run.rnd.random() < 0.5 else "before"
            control.arm(run.rnd.randint(1, 60), action, seed=run.rnd.getrandbits(32))
            p = rig.begin(node)
            wait_for(lambda: p.poll() is not None or rig.answers(node), 30, f"{node.name} hangs at start")
            if rig.death(node, 0.3) is None:
                control.disarm()
                return
            check(p.poll() == -9, f"{node.name} ended with {p.poll()} at start: {node.log_tail()}")
            run.died(f"at start: {control.last}")
        rig.start(node)
    except Failure as e:
        raise Failure(f"after {what}: {e}") from e


def crash_rounds(run, rig, rounds, power):
    """Dies somewhere in the load, comes back, and everything is there."""
    rnd = run.rnd
    for i in range(rounds):
        victim = rnd.choice(rig.nodes)
        control = rig.control[victim.name]
        action = "power" if power else rnd.choice(["before", "after", "torn"])
        asked = arm_random(rnd, control, action, seed=rnd.choice([0, rnd.getrandbits(32)]) if power else 0)
        for _ in range(4):
            load(rig, rig.nodes, 10, lambda: control.hits > 0)
            if control.hits:
                break
        if not control.hits:
            control.disarm()
        else:
            check(rig.death(victim, 10) == -9, f"{victim.name} lives on after {control.last}")
            run.died(f"{asked}: {control.last}")
            rest = [n for n in rig.nodes if n is not victim]
            if rest and rnd.random() < 0.5:
                load(rig, rest, 3)
            come_back(run, rig, victim, f"round {i}: {asked}: {control.last}")
        run.checked(lambda: rig.settle(verify=i % 4 == 0), f"round {i}: {asked}: {control.last}")


def single(run):
    """One node, killed at a write, sync, rename ... and restarted: all that it acknowledged is on its disk."""
    rig = run.rig(1).up().make_clients()
    crash_rounds(run, rig, run.scale(8, 250), False)


def every(run):
    """One node, killed before every single call of a short load, in turn."""
    rig = run.rig(1).up().make_clients()
    node, control = rig.nodes[0], rig.control["node1"]
    last = run.scale(8, 240)
    for k in range(1, last + 1):
        at = k if run.full else run.rnd.randint(1, 120)
        control.arm(at, "before")
        for _ in range(6):
            load(rig, rig.nodes, 8, lambda: control.hits > 0)
            if control.hits:
                break
        check(rig.death(node, 10) == -9, f"call {at} was never made: {control.count}")
        run.died(f"before call {at}: {control.last}")
        rig.start(node)
        run.checked(rig.settle, f"call {at}: {control.last}")


def start_up(run):
    """Killed at each call of the start after a crash, one further each time, until it comes up."""
    for power in (False, True):
        rig = run.rig(1, record=power).up().make_clients()
        node, control = rig.nodes[0], rig.control["node1"]
        for n in range(run.scale(1, 4)):
            control.arm(run.rnd.randint(20, 120), "power" if power else "torn")
            load(rig, rig.nodes, 40, lambda: control.hits > 0)
            check(rig.death(node, 10) == -9, "it does not die")
            run.died(control.last)
            at = 0
            while True:
                at += run.scale(3, 1)
                control.arm(at, "power" if power else ["before", "torn"][at % 2], seed=run.rnd.choice([0, at]))
                p = rig.begin(node)
                wait_for(lambda: p.poll() is not None or rig.answers(node), 30, "hangs at start")
                if p.poll() is None and rig.death(node, 0.5) is None:
                    break
                check(p.poll() == -9, f"ended with {p.poll()} at start, after dying at its call {at - 1}: {node.log_tail()}")
                run.died(f"at start, call {at}: {control.last}")
            control.disarm()
            run.checked(rig.settle, f"start died {at - 1} times")


def cluster(run):
    """Three nodes under load, one killed at some call: it rejoins by itself, and all show the same."""
    rig = run.rig(3).up().make_clients()
    crash_rounds(run, rig, run.scale(5, 120), False)


def power_single(run):
    """One node whose power goes: what was not synced is lost, what was acknowledged is not."""
    rig = run.rig(1, record=True).up().make_clients()
    crash_rounds(run, rig, run.scale(8, 250), True)
    gone = [t for t in run.trail if " changes gone" in t and ", 0 changes" not in t]
    check(len(gone) * 4 > len(run.trail), f"the cuts cut nothing: {run.trail}")


def power_cluster(run):
    """One of three nodes loses power, or all three at the same moment."""
    rig = run.rig(3, record=True).up().make_clients()
    crash_rounds(run, rig, run.scale(3, 60), True)
    for i in range(run.scale(2, 40)):
        seeds = [run.rnd.choice([0, run.rnd.getrandbits(32)]) for _ in rig.nodes]
        first = run.rnd.choice(rig.nodes)
        asked = arm_random(run.rnd, rig.control[first.name], "power", seeds[0])
        load(rig, rig.nodes, 30, lambda: rig.control[first.name].hits > 0)
        for node, seed in zip(rig.nodes, seeds):
            if node is not first or not rig.control[node.name].hits:
                rig.control[node.name].arm(1, "power", seed=seed)
        for node in rig.nodes:
            code = rig.death(node, 3)
            if code is None:  # alone, and without clients, it may have nothing to write any more
                rig.process[node.name].kill()
                code = rig.death(node, 10)
            check(code == -9, f"{node.name} ended with {code}: {node.log_tail()}")
        run.died(f"all nodes: {asked}: {rig.control[first.name].last}")
        for node in run.rnd.sample(rig.nodes, 3):
            rig.start(node)
        run.checked(rig.settle, f"power of all, round {i}: {asked}")


def transfer(run):
    """A node that was away for longer than the log is killed at calls of taking over a peer's state."""
    for power in (False, True):
        rig = run.rig(3, record=power).up().make_clients()
        for i in range(run.scale(1, 8)):
            away = run.rnd.choice(rig.nodes)
            rest = [n for n in rig.nodes if n is not away]
            rig.process[away.name].kill()
            rig.death(away, 10)
            have = len(away.log_text())
            run.checked(lambda: wait_for(lambda: rig.leader(asked=rest[0]) is not away, 20, "no leader"), "a node is away")
            for _ in range(4):
                load(rig, rest, 30)
            control = rig.control[away.name]
            for died in range(run.scale(4, 12)):
                surest = ("state.incoming", 8)
                path, most = surest if died == 0 else run.rnd.choice([surest, ("state", 25), ("raft/snapshot", 8), ("", 150)])
                control.arm(run.rnd.randint(1, most), run.rnd.choice(["before", "after", "torn"]) if not power else "power",
                            path=path, seed=run.rnd.choice([0, run.rnd.getrandbits(32)]))
                p = rig.begin(away)
                if rig.death(away, 1.0) is None:
                    control.disarm()
                    break
                check(p.poll() == -9, f"{away.name} ended with {p.poll()}: {away.log_tail()}")
                run.died(f"in transfer: {control.last}")
            if not rig.alive(away):
                rig.start(away)
            run.checked(rig.settle, f"transfer, round {i}: {control.last}")
            check('event="state transfer begins"' in away.log_text()[have:], "no state was transferred: this shows nothing")


def damage(node):
    """The beginning of each page of the state and of the index of bodies, but for LMDB's own two."""
    for folder in ("state", "local"):
        path = os.path.join(node.data, folder, "data.mdb")
        with open(path, "r+b") as f:
            for page in range(2, os.path.getsize(path) // 4096):
                f.seek(page * 4096 + 10)
                f.write(b"\xff\xff\xff\xff")


def heal(run):
    """A node with damaged metadata is killed at each call of the start that makes them anew, one further each time."""
    for power in (False, True):
        rig = run.rig(3, record=power).up().make_clients()
        for i in range(run.scale(1, 3)):
            load(rig, rig.nodes, 30)
            victim = run.rnd.choice(rig.nodes)
            rig.process[victim.name].kill()
            rig.death(victim, 10)
            have, control, at = len(victim.log_text()), rig.control[victim.name], 0
            damage(victim)
            while True:
                at += run.rnd.randint(1, run.scale(20, 3))
                control.arm(at, run.rnd.choice(["before", "after", "torn"]) if not power else "power",
                            seed=run.rnd.choice([0, run.rnd.getrandbits(32)]))
                p = rig.begin(victim)
                if rig.death(victim, 1.0) is None:
                    control.disarm()
                    break
                check(p.poll() == -9, f"{victim.name} ended with {p.poll()}: {victim.log_tail()}")
                run.died(f"healing, call {at}: {control.last}")
            run.checked(rig.settle, f"healing, round {i}: {control.last}")
            log = victim.log_text()[have:]
            check("the state is damaged: it is set aside" in log, "no state was set aside: this shows nothing")
            check("index of bodies damaged, is built anew" in log, "no index was made anew: this shows nothing")
            check(not os.path.exists(os.path.join(victim.data, "state.damaged")), "state.damaged is kept")


ALL = [single, every, start_up, cluster, power_single, power_cluster, transfer, heal]
