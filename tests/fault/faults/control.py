"""The shim's side of the driver: the shared page (struct control in shim.h) and daemons that run under it."""
import errno
import mmap
import os
import signal
import struct
import subprocess
import time

CALLS = ["write", "submit", "sync", "rename", "unlink", "truncate", "allocate", "create", "mkdir", "rmdir", "open", "accept", "memory"]
CHANGES = CALLS[:10]  # what alters or syncs files: where a crash can matter
ACTIONS = {"before": 1, "after": 2, "torn": 3, "fail": 4, "power": 5}
LAYOUT = "<QQQQ6I128s256s"
OFFSET = {"count": 0, "at": 8, "hits": 16}


class Control:
    def __init__(self, path):
        self.path = path
        with open(path, "wb") as f:
            f.write(bytes(4096))
        with open(path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), 4096)
        self.record = self.lie = False

    def get(self, name):
        return struct.unpack_from("<Q", self.page, OFFSET[name])[0]

    def put(self, name, value):
        struct.pack_into("<Q", self.page, OFFSET[name], value)

    def arm(self, at, action="before", error=errno.EIO, sticky=False, calls=CHANGES, path="", seed=0):
        """`at` 0 only counts. Works on a running daemon too."""
        self.put("at", 0)
        mask = sum(1 << CALLS.index(c) for c in calls)
        struct.pack_into(LAYOUT, self.page, 0, 0, 0, 0, seed, ACTIONS[action], error, sticky, mask, self.record, self.lie,
                         path.encode(), b"")
        self.put("at", at)

    def disarm(self):
        self.put("at", 0)

    @property
    def hits(self):
        return self.get("hits")

    @property
    def count(self):
        return self.get("count")

    @property
    def last(self):
        return struct.unpack_from(LAYOUT, self.page)[-1].split(b"\0")[0].decode()


def spawn(control, build, node_dir, data, *words, log=None):
    """maild under the shim (control None: without)."""
    env = dict(os.environ)
    if control:
        attic = os.path.join(node_dir, "attic")
        os.makedirs(attic, exist_ok=True)
        env.update(LD_PRELOAD=os.path.join(build, "fault_shim.so"), FAULT_CONTROL=control.path, FAULT_ROOT=data,
                   FAULT_ATTIC=attic)
    with open(log or os.path.join(node_dir, "log"), "ab") as out:
        p = subprocess.Popen([os.path.join(build, "maild"), *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                             start_new_session=True, env=env)
    return p


def wait_end(p, seconds):
    """The exit code (negative: a signal), or None while it lives."""
    try:
        return p.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def end(p):
    if p and p.poll() is None:
        p.send_signal(signal.SIGKILL)
        p.wait()


def until(condition, seconds, every=0.01):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())
