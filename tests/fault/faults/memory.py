"""Allocations that fail: a node may end for it, and never lies. After the next start everything is there."""
import errno
import os
import re

from faults.campaigns import load
from faults.errors import ENDED, restarted
from support.cluster import check, wait_for


def ended(rig, node, seconds, what):
    """How it ended, or None. A library that fails may end it by an invariant of ours or its own; a heap that is damaged, or a
    wild pointer, is another matter."""
    code = rig.death(node, seconds)
    check(code in (None, ENDED, -6), f"{node.name} ended with {code} after {what}: {node.log_tail()}")
    if code == -6:
        log_keep(node, what)
    return code


def log_keep(node, what):
    """Moves the log with the broken invariant away: the next one is looked at anew. Some libraries abort without a word."""
    said = node.log_text().splitlines()[-1:]
    check(not re.search(r"corruption|free\(\)|malloc\(\)|realloc\(\)", "".join(said)), f"{node.name}'s heap after {what}: {said}")
    k = 1
    while os.path.exists(f"{node.log}.{k}"):
        k += 1
    os.rename(node.log, f"{node.log}.{k}")


def arm(run, control):
    """Few allocations are of a kind, so the points are spread: as many among the next ten as among the next ten thousand."""
    at = int(10 ** (run.rnd.random() * 4))
    sticky = run.rnd.random() < 0.3
    control.arm(at, "fail", errno.ENOMEM, sticky=sticky, calls=["memory"])
    return f"allocation {at}{' and all after it' if sticky else ''}"


def memory(run):
    """An allocation of a node under load fails, once or from then on: it ends or goes on, and all it acknowledged is there."""
    for nodes, rounds in ((1, run.scale(6, 150)), (3, run.scale(3, 60))):
        # A node that lives on may still be at a write that a client gave up (20 s): it gives up first.
        rig = run.rig(nodes, settings=["limits.write_wait_ms=8000"]).up().make_clients()
        for _ in range(rounds):
            victim = run.rnd.choice(rig.nodes)
            control = rig.control[victim.name]
            what = arm(run, control)
            for _ in range(4):
                load(rig, rig.nodes, 10, lambda: control.hits > 0)
                if control.hits:
                    break
            if not control.hits:
                control.disarm()
                continue
            what = f"{what} failed ({control.last})"
            code = ended(rig, victim, 0.3, what)
            if code is None:  # what was begun without memory is used
                load(rig, [victim], 3)
                code = ended(rig, victim, 0.1, what)
            control.disarm()
            if code is None:
                load(rig, [victim], 3)
                code = ended(rig, victim, 0.1, what)
            run.died(f"{what}, {'lives on' if code is None else f'exit {code}'}")
            if not rig.alive(victim):
                rig.start(victim)
            run.checked(lambda: restarted(rig, victim), run.trail[-1])
        ends = [t for t in run.trail if "exit" in t]
        check(ends, f"nothing ended it: {run.trail}")


def memory_start(run):
    """An allocation of the start fails: the node ends and says why, or starts. The next start is well."""
    rig = run.rig(1).up().make_clients()
    node, control = rig.nodes[0], rig.control["node1"]
    for _ in range(run.scale(5, 120)):
        load(rig, rig.nodes, 3)
        rig.process[node.name].kill()
        rig.death(node, 10)
        what = arm(run, control)
        p = rig.begin(node)
        wait_for(lambda: p.poll() is not None or rig.answers(node), 30, f"hangs at start after {what}")
        code = rig.death(node, 0.2)
        # 2: the configuration could not be read
        check(code in (None, 1, 2, ENDED, -6), f"ended with {code} at start after {what}: {node.log_tail()}")
        hit = control.hits > 0
        control.disarm()
        if code is not None:
            if code == -6:
                log_keep(node, what)
            else:
                check(node.log_tail().strip(), "it does not say why")
            rig.start(node)
        if hit:
            run.died(f"{what} failed at start, {'lives on' if code is None else f'exit {code}'}")
            run.checked(lambda: restarted(rig, node), run.trail[-1])


ALL = [memory, memory_start]
