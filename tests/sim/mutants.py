#!/usr/bin/env python3
"""Plants one fault after the other into a copy of the production code and runs the simulation on it: each must turn it
red. mutants.py BUILD_FOLDER [--seeds N] [--jobs J] [NAME...]

A fault is a list of (file, exact text, new text); a text that is not there is a failure, as the mutant is stale then.
Last line: MUTANTS killed=N of=M."""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

CLOCK = "extern int64_t clock_wall_ms(void);"
MUTANTS = {
    "acknowledge-before-commit": [("replication/propose.c", """            x->sent_to = r->identity.node_id;
            state_set(r, x, PROPOSAL_SENT);
""", """            struct bytes *none = bytes_new(0);
            proposal_done(r, x, 0, none, raft_last_index(&r->raft));
            bytes_unref(&none);
""")],
    "uid-counter-per-node": [("store/message.c", """    msg->uid = m->r.uidnext++;
""", """    s->options.readers_max++; /* not replicated */
    msg->uid = m->r.uidnext > s->options.readers_max ? m->r.uidnext : s->options.readers_max;
    m->r.uidnext = msg->uid + 1;
""")],
    "wall-clock-in-apply": [("store/op_mail.c", """.save_ms = s->st.time_ms, .size""",
                             """.save_ms = ({ """ + CLOCK + """ clock_wall_ms(); }), .size""")],
    "hash-order": [("store/op_copy.c", """        struct store_message msg = list->at[i];
""", """        struct store_message msg = list->at[(i + ((uintptr_t)list->at >> 5)) % list->n];
""")],
    "retry-runs-again": [("store/request.c", """        return REQUEST_REPEAT;
""", """        return REQUEST_NEW;
"""), ("store/request.c", """    batch_insert(s, TABLE_REQUEST, key_request(&k, id), buf_slice(b));
""", """    batch_put(s, TABLE_REQUEST, key_request(&k, id), buf_slice(b));
""")],
    "snapshot-lacks-a-table": [("store/export.c", """        x->table++;
        if (x->cursor)
""", """        x->table++;
        if (x->table == TABLE_RUNS)
            continue;
        if (x->cursor)
"""), ("store/key.c", """struct sum128 record_sum(struct buf *scratch, enum table t, struct slice key, struct slice value)
{
""", """struct sum128 record_sum(struct buf *scratch, enum table t, struct slice key, struct slice value)
{
    if (t == TABLE_RUNS)
        return (struct sum128){0, 0};
""")],
    "body-quorum-of-one": [("replication/bulk_put.c", """votes >= voters / 2 + 1)""", """votes >= 1)""")],
    "freed-while-pinned": [("store/blob_collect.c", """    return c->now - p->time_ms < c->b->o.lease_ms;
""", """    return c->now - p->time_ms < 0;
""")],
    "read-without-majority": [("replication/readindex.c", """    s->votes_needed = core_voters(r) / 2 + 1;
""", """    s->votes_needed = 1;
""")],
    "uidvalidity-from-clock": [("store/mailbox.c", """    int64_t now = s->st.time_ms / 1000;
""", "    " + CLOCK + """
    int64_t now = clock_wall_ms() / 1000;
""")],
    "requests-lost-in-transfer": [("store/export.c", """        x->table++;
        if (x->cursor)
""", """        x->table++;
        if (x->table == TABLE_REQUEST)
            continue;
        if (x->cursor)
""")],
    "lease-not-voided": [("store/op_queue_lease.c", """        lease_void(s, &leases[i]);
""", """        continue;
""")],
    # Beyond the twelve.
    "start-not-kept": [("replication/identity_boot.c", """        rv = identity_dir_overwrite(dir, names[at], buf_slice(&b), e);
""", """        rv = boot > have[other].boot + 1 ? 0 : rv;
""")],
    "time-stands-still": [("replication/cluster_time.c", """    return (most < ahead ? ahead : most) + steady_ms / 2;
""", """    return state_ms;
""")],
    # The guards around libraft.
    "stale-members-in-snapshot": [("replication/core_sync.c", """if (noted != 0 && noted <= raft_commit_index(&r->raft))
        return RAFT_BUSY;
""", """if (noted > UINT64_MAX / 2)
        return RAFT_BUSY;
""")],
    "mark-ignored": [("replication/core_raft.c", """    if (last < r->mark.index)
""", """    if (last + 1000000 < r->mark.index)
"""), ("replication/core_raft.c", """    if (p.index > last)
""", """    if (p.index > last + 1000000)
""")],
    "read-before-own-term": [("replication/readindex.c", """        if (committed_in_term(r))
            round_start(r, now);
""", """        round_start(r, now);
""")],
    "applied-before-persisted": [("replication/applier.c", "(*end)->index <= a->persisted && n <", "n <")],
}


def plant(name, folder, build, commands):
    """The changed files, compiled with their own flags."""
    texts, objects = {}, []
    for path, old, new in MUTANTS[name]:
        text = texts.get(path) or open(path).read()
        if text.count(old) != 1:
            raise LookupError(f"{path} has the text {text.count(old)} times, not once: {old.strip().splitlines()[0]}")
        texts[path] = text.replace(old, new)
    for path, text in texts.items():
        copy = os.path.join(folder, f"{name}-{os.path.basename(path)}")
        with open(copy, "w") as f:
            f.write(text)
        command = commands[os.path.abspath(path)]
        out = copy + ".o"
        command = re.sub(r" -o \S+", f" -o {shlex.quote(out)} -Wno-error", command)
        command = re.sub(r" -MF \S+", f" -MF {shlex.quote(out)}.d", command)
        command = re.sub(r" -c \S+$", f" -c {shlex.quote(copy)}", command)
        subprocess.run(command, shell=True, check=True, cwd=build, stderr=subprocess.DEVNULL)
        objects.append(out)
    return objects


def link(name, folder, build, objects):
    """The simulation, with the changed objects before the archives that hold the right ones."""
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", "sim"], check=True, capture_output=True, text=True)
    command = [line for line in lines.stdout.splitlines() if " -o tests/sim/sim " in line][-1]
    binary = os.path.join(folder, "sim-" + name)
    command = command.replace(" -o tests/sim/sim ", f" -o {shlex.quote(binary)} {' '.join(map(shlex.quote, objects))} ")
    subprocess.run(command, shell=True, check=True, cwd=build)
    return binary


def passes(build, seed):
    """Without a fault."""
    return subprocess.run([os.path.join(build, "tests/sim/sim"), seed], capture_output=True).returncode == 0


def main():
    arguments, names, seeds, jobs = sys.argv[2:], [], "2000", "2"
    build = os.path.abspath(sys.argv[1])
    while arguments:
        word = arguments.pop(0)
        if word == "--seeds":
            seeds = arguments.pop(0)
        elif word == "--jobs":
            jobs = arguments.pop(0)
        else:
            names.append(word)
    with open(os.path.join(build, "compile_commands.json")) as f:
        commands = {c["file"]: c["command"] for c in json.load(f)}
    names, killed = names or list(MUTANTS), 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for name in names:
            try:
                binary = link(name, folder, build, plant(name, folder, build, commands))
            except (LookupError, subprocess.CalledProcessError) as e:
                print(f"STALE    {name}: {e}", flush=True)
                continue
            run = subprocess.run([binary, "--stop", "--seeds", seeds, "--jobs", jobs], capture_output=True, text=True)
            os.remove(binary)
            found = re.search(r"FAILED seed (\d+)", run.stdout)
            why = next((line for line in run.stderr.splitlines() if line.startswith("seed ")), "")
            if found and not passes(build, found.group(1)):
                print(f"UNPROVEN {name}: seed {found.group(1)} fails without the fault, too", flush=True)
            elif run.returncode == 1 and found:
                killed += 1
                print(f"killed   {name}: seed {found.group(1)}: {re.sub('^seed .*? s: ', '', why)[:150]}", flush=True)
            else:
                print(f"SURVIVED {name}: {seeds} seeds, exit {run.returncode}", flush=True)
    print(f"MUTANTS killed={killed} of={len(names)}")
    return 0 if killed == len(names) else 1


sys.exit(main())
