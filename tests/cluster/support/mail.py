"""Clients for scenarios: strict, small, and exact about what was acknowledged. No retries in here."""
import re
import socket
import time

from support.cluster import PASSWORD, Failure, check


class Refused(Exception):
    """The server said no (or the connection broke) when it could not have taken the message yet."""


class Uncertain(Exception):
    """The connection broke, or a temporary error came, after the message was sent: nobody was promised anything."""


class Wire:
    """Lines over a socket."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def line(self):
        while b"\n" not in self.rest:
            got = self.sock.recv(65536)
            if not got:
                raise ConnectionError("closed by the server")
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return line + b"\n"

    def exactly(self, n):
        parts, have = [self.rest[:n]], len(self.rest[:n])
        self.rest = self.rest[n:]
        while have < n:
            got = self.sock.recv(min(n - have, 1 << 20))
            if not got:
                raise ConnectionError("closed by the server")
            parts.append(got)
            have += len(got)
        return b"".join(parts)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()


def dot_stuff(message):
    check(message.endswith(b"\r\n"), "messages of tests end in CRLF")
    return re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"


class Smtp:
    """SMTP, or LMTP with service="lmtp"."""

    def __init__(self, node, service="smtp", timeout=60):
        self.lmtp = service == "lmtp"
        self.wire = Wire(node.connect(service, timeout))
        self.expect(220)
        self.command(b"LHLO" if self.lmtp else b"EHLO", b" client.example")
        self.expect(250)

    def reply(self):
        lines = []
        while True:
            line = self.wire.line().decode("utf-8", "replace").rstrip("\r\n")
            if not re.match(r"\d{3}[ -]", line):
                raise ConnectionError(f"not a reply: {line!r}")
            lines.append(line)
            if line[3] == " ":
                return int(line[:3]), "\n".join(lines)

    def expect(self, code):
        got, text = self.reply()
        if got != code:
            raise Refused(text)
        return text

    def command(self, *parts):
        self.wire.send(b"".join(parts) + b"\r\n")

    def send(self, sender, recipients, message):
        """Returns when it is acknowledged for all recipients; raises Refused or Uncertain."""
        try:
            self.command(b"MAIL FROM:<", sender.encode(), b">\r\n",
                         b"".join(b"RCPT TO:<" + r.encode() + b">\r\n" for r in recipients), b"DATA")
            codes = [self.reply() for _ in range(1 + len(recipients) + 1)]
        except (OSError, ConnectionError) as e:
            raise Refused(str(e)) from None
        bad = [text for code, text in codes if code not in (250, 354)]
        if bad:
            if codes[-1][0] == 354:
                self.close()  # goes on with nothing
            else:
                self.command(b"RSET")
                self.reply()
            raise Refused("; ".join(bad))
        try:
            self.wire.send(dot_stuff(message))
            answers = [self.reply() for _ in range(len(recipients) if self.lmtp else 1)]
        except (OSError, ConnectionError) as e:
            raise Uncertain(str(e)) from None
        bad = [text for code, text in answers if code != 250]
        if any(text.startswith("5") for text in bad):
            raise Failure(f"refused for good: {'; '.join(bad)}")
        if bad:
            raise Uncertain("; ".join(bad))

    def close(self):
        self.wire.close()

    def quit(self):
        try:
            self.command(b"QUIT")
            self.reply()
        except OSError:
            pass
        self.close()


class ImapNo(Exception):
    """A tagged NO or BAD."""


class Imap:
    """Over implicit TLS. Responses are lists: line pieces (bytes) with the literals between them."""

    def __init__(self, node, user=None, password=PASSWORD, timeout=60):
        sock = node.connect("imaps", timeout)
        self.wire = Wire(node.cluster.tls.wrap_socket(sock, server_hostname="localhost"))
        self.tags = 0
        self.greeting = self.response()
        if user:
            self.login(user, password)

    def login(self, user, password=PASSWORD):
        self.do(f'LOGIN "{user}" "{password}"')

    def response(self):
        parts = []
        while True:
            line = self.wire.line()
            parts.append(line.rstrip(b"\r\n"))
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if not literal:
                return parts
            parts.append(self.wire.exactly(int(literal.group(1))))

    def begin(self, text, *literals):
        """Sends; literals stand for {} in the text and are non-synchronizing."""
        self.tags += 1
        tag = b"t%d" % self.tags
        pieces = text.encode().split(b"{}")
        out = tag + b" " + pieces[0]
        for literal, piece in zip(literals, pieces[1:]):
            out += b"{%d+}\r\n" % len(literal) + literal + piece
        self.wire.send(out + b"\r\n")
        return tag

    def finish(self, tag):
        untagged = []
        while True:
            r = self.response()
            if r[0].startswith(tag + b" "):
                status = r[0][len(tag) + 1:]
                if not status.startswith(b"OK"):
                    raise ImapNo(status.decode("utf-8", "replace"))
                self.tagged, self.untagged = status.decode("utf-8", "replace"), len(untagged)
                return untagged
            if r[0].startswith(b"* BYE") and not tag:
                raise ConnectionError("BYE")
            untagged.append(r)

    def do(self, text, *literals):
        return self.finish(self.begin(text, *literals))

    def append(self, mailbox, message):
        """Returns (UIDVALIDITY, UID)."""
        self.do(f'APPEND "{mailbox}" {{}}', message)
        m = re.search(r"\[APPENDUID (\d+) (\d+)\]", self.tagged)
        check(m, f"no APPENDUID in {self.tagged}")
        return int(m.group(1)), int(m.group(2))

    def select(self, mailbox, verb="SELECT"):
        """Returns {"exists", "uidvalidity", "uidnext", "modseq"}."""
        found = {}
        for r in self.do(f'{verb} "{mailbox}"'):
            for key, pattern in (("exists", rb"\* (\d+) EXISTS"), ("uidvalidity", rb"\[UIDVALIDITY (\d+)\]"),
                                 ("uidnext", rb"\[UIDNEXT (\d+)\]"), ("modseq", rb"\[HIGHESTMODSEQ (\d+)\]")):
                m = re.search(pattern, r[0])
                if m:
                    found[key] = int(m.group(1))
        return found

    def status(self, mailbox, items="MESSAGES UIDNEXT UIDVALIDITY"):
        for r in self.do(f'STATUS "{mailbox}" ({items})'):
            if r[0].startswith(b"* STATUS"):
                return {k.decode(): int(v) for k, v in re.findall(rb"([A-Z]+) (\d+)", r[0].rsplit(b"(", 1)[1])}
        raise Failure("STATUS without an answer")

    def fetch_all(self, mailbox):
        """(UIDVALIDITY, [(uid, message)] in the server's order)."""
        found = self.select(mailbox, "EXAMINE")
        messages = []
        if found["exists"]:
            for r in self.do("UID FETCH 1:* (UID BODY.PEEK[])"):
                m = re.search(rb"FETCH \(.*?UID (\d+)", b"".join(r[::2]))
                if m and len(r) > 1:
                    messages.append((int(m.group(1)), r[1]))
        check(len(messages) == found["exists"], f"{mailbox}: EXISTS {found['exists']}, fetched {len(messages)}")
        return found["uidvalidity"], messages

    def idle(self):
        """Returns when the server waits; read pushes with response(), end with done()."""
        self.idle_tag = self.begin("IDLE")
        r = self.response()
        check(r[0].startswith(b"+"), f"IDLE: {r}")

    def done(self):
        self.wire.send(b"DONE\r\n")
        return self.finish(self.idle_tag)

    def close(self):
        self.wire.close()

    def logout(self):
        try:
            self.do("LOGOUT")
        except OSError:
            pass
        self.close()


class Pop3:
    def __init__(self, node, user=None, password=PASSWORD):
        sock = node.connect("pop3s")
        self.wire = Wire(node.cluster.tls.wrap_socket(sock, server_hostname="localhost"))
        self.ok()
        if user:
            self.do(f"USER {user}")
            self.do(f"PASS {password}")

    def ok(self):
        line = self.wire.line().decode("utf-8", "replace").rstrip()
        check(line.startswith("+OK"), f"POP3: {line}")
        return line

    def do(self, text):
        self.wire.send(text.encode() + b"\r\n")
        return self.ok()

    def lines(self, text):
        """A multi-line answer, unstuffed."""
        self.do(text)
        out = []
        while True:
            line = self.wire.line()
            if line == b".\r\n":
                return b"".join(out)
            out.append(line[1:] if line.startswith(b".") else line)

    def stat(self):
        return int(self.do("STAT").split()[1])

    def quit(self):
        self.do("QUIT")
        self.wire.close()


def until(action, seconds, errors=(OSError, ConnectionError, Refused, Uncertain, ImapNo, socket.timeout)):
    """Repeats action() while it fails like a server that is away; its value. For reads, never for sending mail."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except errors as e:
            if time.monotonic() > deadline:
                raise Failure(f"still failing after {seconds} s: {e!r}") from e
            time.sleep(0.1)
