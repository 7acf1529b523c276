"""Calls that fail: EIO, ENOSPC, EMFILE. The process ends with 70 or goes on; it never crashes, and loses nothing."""
import errno

from faults.campaigns import KINDS, load
from support.cluster import Failure, check, wait_for
from support.mail import Imap

ENDED = 70  # sysexits' EX_SOFTWARE: storage failed, restart and check (DESIGN 3)


def ended_well(rig, node, seconds, what):
    """True when it ended by itself; a crash is a failure."""
    code = rig.death(node, seconds)
    check(code in (None, ENDED), f"{node.name} ended with {code} after {what}: {node.log_tail()}")
    return code == ENDED


def eio(run):
    """A call fails with EIO, once or from then on: the node ends with 70 or goes on, and what it acknowledged is there."""
    for nodes, rounds in ((1, run.scale(6, 120)), (3, run.scale(2, 30))):
        rig = run.rig(nodes).up().make_clients()
        for i in range(rounds):
            calls, path = KINDS[i % len(KINDS)] if i % 2 else run.rnd.choice(KINDS)
            victim = run.rnd.choice(rig.nodes)
            control = rig.control[victim.name]
            control.arm(run.rnd.randint(1, 40 if not path else 5), "fail", errno.EIO, sticky=run.rnd.random() < 0.5, calls=calls,
                        path=path)
            for _ in range(3):
                load(rig, rig.nodes, 10, lambda: control.hits > 0)
                if control.hits:
                    break
            if not control.hits:
                control.disarm()
                continue
            what = f"EIO at {control.last}"
            must = control.last.startswith("sync") and any(p in control.last for p in ("bodies/0", "state/data", "local/"))
            must = must or control.last.startswith(("write local/data.mdb", "truncate raft/open", "rename raft/open"))
            if must and rig.death(victim, 1.5) is None:
                load(rig, [victim], 5)  # the next thing to be acknowledged must not be
            if not ended_well(rig, victim, 5 if must else 0.5, what):
                check(not must, f"{victim.name} goes on after {what}: {victim.log_tail()}")
                control.disarm()
                load(rig, [victim], 3)
                ended_well(rig, victim, 0.1, what)
            run.died(what)
            if not rig.alive(victim):
                rig.start(victim)
            run.checked(rig.settle, what)


def eio_start(run):
    """A call of the start fails with EIO or EMFILE: the node says so and ends, or starts. The next start is well."""
    rig = run.rig(1).up().make_clients()
    node, control = rig.nodes[0], rig.control["node1"]
    for i in range(run.scale(7, 150)):
        load(rig, rig.nodes, 5)
        rig.process[node.name].kill()
        rig.death(node, 10)
        error = [errno.EIO, errno.EMFILE, errno.ENOSPC][i % 3]
        calls = ["open", "create"] if error == errno.EMFILE else ["write", "submit", "sync", "rename", "truncate", "allocate", "create"]
        control.arm(run.rnd.randint(1, 30), "fail", error, sticky=i % 2 == 0, calls=calls)
        p = rig.begin(node)
        wait_for(lambda: p.poll() is not None or rig.answers(node), 30, "hangs at start")
        code = rig.death(node, 0.2)
        check(code is None or code > 0, f"ended with {code} at start after {errno.errorcode[error]} at {control.last}: {node.log_tail()}")
        hit = control.hits > 0
        control.disarm()
        if code is not None:
            check("maild: " in node.log_tail() or "ending the process" in node.log_tail(), f"it does not say why: {node.log_tail()}")
            rig.start(node)
        if hit:
            run.died(f"{errno.errorcode[error]} at start: {control.last}, exit {code}")
            run.checked(lambda: restarted(rig, node), run.trail[-1])


def restarted(rig, node):
    """Comes back well, or after one more restart when what failed ended it later."""
    try:
        rig.settle()
    except (Failure, OSError):
        if rig.alive(node):
            raise
        check(rig.death(node, 1) == ENDED, f"{node.name} ended: {node.log_tail()}")
        rig.start(node)
        rig.settle()


def enospc(run):
    """No space for bodies: refused for now, no restart needed. No space anywhere: 70 or refusals, and all is there after."""
    rig = run.rig(1).up().make_clients()
    node, control = rig.nodes[0], rig.control["node1"]
    for i in range(run.scale(4, 40)):
        only_bodies = i % 2 == 0
        control.arm(run.rnd.randint(1, 4 if only_bodies else 60), "fail", errno.ENOSPC, sticky=True,
                    calls=["write", "submit", "allocate", "create"], path="bodies/" if only_bodies else "")
        for _ in range(4):
            load(rig, rig.nodes, 10, lambda: control.hits > 0)
            if control.hits:
                break
        if not control.hits:
            control.disarm()
            continue
        load(rig, rig.nodes, 3)
        what = f"ENOSPC at {control.last}"
        ended = ended_well(rig, node, 0.5, what)
        check(not (ended and only_bodies), f"it ended after {what}: {node.log_tail()}")
        run.died(what)
        control.disarm()
        if ended:
            rig.start(node)
        run.checked(lambda: restarted(rig, node), what)


def emfile(run):
    """No file descriptors left for connections and files, for a while: no crash, and it goes on by itself."""
    rig = run.rig(1).up().make_clients()
    node, control = rig.nodes[0], rig.control["node1"]
    for i in range(run.scale(3, 20)):
        calls = [["accept"], ["open"], ["accept", "open", "create"]][i % 3]
        control.arm(1, "fail", errno.EMFILE, sticky=True, calls=calls)
        for _ in range(4):
            try:
                Imap(node, timeout=0.3).close()
            except OSError:
                pass
        load_open(rig)
        ended = ended_well(rig, node, 0.2, f"EMFILE at {control.last}")
        check(not ended or i % 3 == 2, f"it ended after EMFILE at {control.last}: {node.log_tail()}")
        control.disarm()
        run.died(f"EMFILE at {control.last}" if control.hits else "EMFILE, not met")
        if ended:
            rig.start(node)
        run.checked(lambda: wait_for(lambda: connects(node), 10, "takes no connections any more"), "EMFILE")
        load(rig, rig.nodes, 5)
        run.checked(lambda: restarted(rig, node), "EMFILE")


def connects(node):
    try:
        Imap(node, timeout=2).logout()
        return True
    except OSError:
        return False


def load_open(rig):
    """What it can: connections may be refused."""
    for c in rig.clients:
        if not c.maybe:
            try:
                c.connect(rig.nodes[0], timeout=0.5)
                c.run(rig.nodes[0], 3)
            except OSError:
                c.drop()


def lying_disk(run):
    """The test of the test: on a disk that only claims to have synced, a power cut must be seen to lose mail."""
    for _ in range(3):
        rig = run.rig(1, record=True, lie=True).up().make_clients()
        node, control = rig.nodes[0], rig.control["node1"]
        load(rig, rig.nodes, 20)
        control.arm(3, "power")
        load(rig, rig.nodes, 10, lambda: control.hits > 0)
        check(rig.death(node, 10) == -9, "it does not die")
        run.died("on a lying disk: " + control.last)
        try:
            rig.start(node)
            wait_for(lambda: connects(node), 3, "does not serve")
            rig.clients[0].settle(rig.nodes)
        except (Failure, OSError) as e:
            run.trail.append(str(e))
            run.recovered = run.points
            return
    raise Failure("a power cut on a disk that never synced loses nothing: the cut cuts nothing")


ALL = [eio, eio_start, enospc, emfile, lying_disk]
