"""A DNS server on loopback that knows what a test tells it: A, AAAA, MX and CNAME records over UDP."""
import ipaddress
import socket
import struct
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "MX": 15, "AAAA": 28}


def name_pack(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            out += bytes([len(label)]) + label.encode("idna" if not label.isascii() else "ascii")
    return out + b"\0"


def name_unpack(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode("ascii", "replace"))
        at += data[at] + 1
    return ".".join(labels).lower(), at + 1


class Dns(threading.Thread):
    """records: {"example.com": [("MX", 10, "mx.example.com"), ("A", "127.0.0.1")]}; names in `silent` get no answer, those in
    `failing` SERVFAIL."""

    def __init__(self, records=None, port=0, address="127.0.0.1"):
        super().__init__(daemon=True)
        self.records, self.silent, self.failing = dict(records or {}), set(), set()
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.address = "%s:%d" % self.socket.getsockname()
        self.start()

    def rdata(self, record):
        if record[0] in ("A", "AAAA"):
            return ipaddress.ip_address(record[1]).packed
        if record[0] == "MX":
            return struct.pack(">H", record[1]) + name_pack(record[2])
        return name_pack(record[1])

    def answers(self, name, kind, depth=0):
        found = []
        for record in self.records.get(name, []):
            if record[0] == "CNAME" and kind != "CNAME" and depth < 8:
                found += [(name, record)] + self.answers(record[1], kind, depth + 1)
            elif record[0] == kind:
                found.append((name, record))
        return found

    def answer(self, query):
        name, at = name_unpack(query, 12)
        number = struct.unpack(">H", query[at:at + 2])[0]
        kind = next((k for k, v in TYPES.items() if v == number), str(number))
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        found = self.answers(name, kind)
        code = 2 if name in self.failing else 0 if name in self.records else 3
        if code == 2:
            found = []
        out = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(found), 0, 0) + query[12:at + 4]
        for owner, record in found:
            data = self.rdata(record)
            out += name_pack(owner) + struct.pack(">HHIH", TYPES[record[0]], 1, 60, len(data)) + data
        return out

    def run(self):
        while True:
            try:
                query, client = self.socket.recvfrom(4096)
                out = self.answer(query)
                if out:
                    self.socket.sendto(out, client)
            except OSError:
                return
            except (IndexError, struct.error):
                continue

    def end(self):
        self.socket.close()
