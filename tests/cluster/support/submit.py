"""Submission clients: authenticated, over TLS, one connection each, exact about what was acknowledged."""
import base64

from support.cluster import PASSWORD
from support.mail import Refused, Smtp, Uncertain, Wire  # noqa: F401


class Submit(Smtp):
    """Port 465 of a node, logged in."""

    def __init__(self, node, user, password=PASSWORD, timeout=60):
        self.lmtp = False
        sock = node.connect("submissions", timeout)
        self.wire = Wire(node.cluster.tls.wrap_socket(sock, server_hostname="localhost"))
        self.expect(220)
        self.command(b"EHLO client.example")
        self.expect(250)
        self.command(b"AUTH PLAIN ", base64.b64encode(f"\0{user}\0{password}".encode()))
        self.expect(235)


def message(name, sender, to, size=1000, head=""):
    body = (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {name}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0800\r\n"
            f"Message-ID: <{name}@submit>\r\n{head}\r\n").encode()
    line = b"The quick brown fox jumps over the lazy dog. 0123456789\r\n"
    return body + line * max(1, (size - len(body)) // len(line))
