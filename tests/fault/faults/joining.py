"""Deaths while a cluster is made and while a node joins it: the same command, given again, gets there."""
from faults.campaigns import load
from faults.control import end, spawn
from support.cluster import check, wait_for


def member(node):
    r = node.ctl("status", "--json", ok=False)
    return r.returncode == 0 and '"role"' in r.stdout


def cluster_init(run):
    """A node dies in `mailctl cluster init`: after the restart it is a member, or takes the command again."""
    for power in (False, True):
        for i in range(run.scale(3, 45)):
            rig = run.rig(1, record=power)
            node, control = rig.nodes[0], rig.control["node1"]
            rig.start(node)
            at = i + 1 if run.full else run.rnd.randint(1, 45)
            control.arm(at, "power" if power else run.rnd.choice(["before", "after", "torn"]), seed=run.rnd.choice([0, at]))
            told = node.ctl("cluster", "init", ok=False).returncode == 0
            if rig.death(node, 0.5) is None:
                control.disarm()
            else:
                run.died(f"in cluster init, call {at}: {control.last}")
                rig.start(node)
            run.checked(lambda: finish_init(rig, node, told), f"init, call {at}: {control.last}")


def finish_init(rig, node, told):
    r = node.ctl("cluster", "init", ok=False)
    check(r.returncode == 0 or "belongs to a cluster already" in r.stderr, f"cluster init: {r.stderr}")
    check(not (told and r.returncode == 0), f"init was acknowledged and is gone: {node.log_tail()}")
    rig.wait_well(20)
    rig.make_clients()
    load(rig, rig.nodes, 5)
    rig.settle()


def join(run):
    """A node dies in `maild join` or in its first starts: join again with a new token, or a start, makes it a member."""
    for power in (False, True):
        for i in range(run.scale(1, 16)):
            rig = run.rig(2, record=power)
            first, second = rig.nodes
            rig.start(first)
            first.ctl("cluster", "init")
            wait_for(lambda: member(first), 20, "no cluster")
            rig.make_clients()
            load(rig, [first], 10)
            run.checked(lambda: join_dying(run, rig, second, power), f"join, round {i}")


def join_dying(run, rig, node, power):
    control = rig.control[node.name]
    words = rig.join_words(node)
    last = run.scale(4, 24)
    for n in range(1, last + 1):
        at = n if run.full else run.rnd.randint(1, 20)
        control.arm(at if n < last else 0, "power" if power else run.rnd.choice(["before", "after", "torn"]), seed=run.rnd.choice([0, at]))
        p = spawn(control, rig.build, node.dir, node.data, *words)
        code = p.wait(30)
        control.disarm()
        if code == -9:
            run.died(f"in join, call {at}: {control.last}")
        check(code in (0, 1, -9), f"maild join ended with {code}: {node.log_tail()}")
        if code == 0:
            break
        if code == 1:  # the first try went far enough to be a member already, or the token was used
            text = node.log_tail()
            if "already" in text:
                break
            words = rig.join_words(node)
    for at in (run.rnd.randint(1, 40), run.rnd.randint(1, 80), run.rnd.randint(1, 150)):
        control.arm(at, "power" if power else run.rnd.choice(["before", "after", "torn"]), seed=run.rnd.choice([0, at]))
        rig.begin(node)
        if rig.death(node, 1) is None:
            control.disarm()
            end(rig.process[node.name])
        else:
            check(rig.process[node.name].poll() == -9, f"ended with {rig.process[node.name].poll()}: {node.log_tail()}")
            run.died(f"in the first starts: {control.last}")
    rig.start(node)
    rig.wait_voter(node)
    rig.settle()


ALL = [cluster_init, join]
