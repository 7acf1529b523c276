"""The nodes' wall clock, moved by a test: a library preloaded into them reads it from a file. Steady clocks are left alone."""
import mmap
import os
import struct

from support.cluster import TOP, check

LAYOUT = "<QqqqQQ"  # version, offset ns, base ns, drift ppm, sync faults (jepsen-like/shim.h)


class Clock:
    def __init__(self, folder, preset):
        library = os.path.join(TOP, "build", preset, "jepsen-like", "libjepsen-shim.so")
        check(os.path.exists(library), f"{library} is not built: ninja -C build/{preset} jepsen-shim")
        path = os.path.join(folder, "clock")
        with open(path, "wb") as f:
            f.write(bytes(4096))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)
        self.offset = self.version = 0
        self.env = {"LD_PRELOAD": library, "JEPSEN_SHIM": path}
        if preset == "asan":
            self.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "abort_on_error=1") + ":verify_asan_link_order=0"

    def advance(self, seconds):
        self.offset += int(seconds * 1e9)
        self.version += 2
        struct.pack_into("<Q", self.map, 0, self.version - 1)
        struct.pack_into("<q", self.map, 8, self.offset)
        struct.pack_into("<Q", self.map, 0, self.version)
