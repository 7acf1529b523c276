"""An SMTP server that takes mail and writes down what arrived, or behaves badly in a way that it is told to."""
import asyncio
import base64
import re
import ssl
import subprocess
import threading
import time

MESSAGE_ID = re.compile(rb"^Message-ID: <([^@>]+)@", re.M | re.I)


def certificate(folder, name):
    """A self-signed one; returns (certificate, key)."""
    cert, key = f"{folder}/{name}.pem", f"{folder}/{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


class Behaviour:
    """What a sink does; may be changed while it runs."""

    def __init__(self, tarpit=0.0, rcpt=None, data=None, drop_data=False, drop_after=0.0, broken_tls=False):
        self.tarpit = tarpit          # seconds before each reply
        self.rcpt = rcpt              # reply to RCPT, as "451 4.7.1 later"; or a function of the address
        self.data = data              # reply to the final dot
        self.drop_data = drop_data    # hangs up in the middle of DATA
        self.drop_after = drop_after  # part of the messages that are taken, and the connection cut before the 250
        self.broken_tls = broken_tls  # says 220 to STARTTLS, and then nonsense


class Arrival:
    __slots__ = ("when", "sender", "recipients", "name", "data", "tls", "parameters", "peer", "user")

    def __init__(self, when, sender, recipients, name, data, tls, parameters, peer=None, user=None):
        self.when, self.sender, self.recipients, self.name = when, sender, recipients, name
        self.data, self.tls, self.parameters = data, tls, parameters  # parameters: of MAIL, then of each RCPT
        self.peer, self.user = peer, user


class Session:
    def __init__(self, sink, reader, writer):
        self.sink, self.reader, self.writer = sink, reader, writer
        self.tls, self.user = sink.wrapped, None
        self.peer = writer.get_extra_info("peername")[0]

    async def reply(self, text):
        if self.sink.behaviour.tarpit:
            await asyncio.sleep(self.sink.behaviour.tarpit)
        self.writer.write((text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        await self.writer.drain()

    def reset(self):
        self.sender, self.recipients, self.parameters, self.chunks = None, [], [], []

    async def run(self):
        await self.reply(f"220 {self.sink.name} ESMTP")
        self.reset()
        while True:
            line = await self.reader.readline()
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            verb = text.split(" ")[0].upper()
            handler = getattr(self, "on_" + verb.lower(), None)
            if not handler:
                await self.reply("502 5.5.1 no such command")
            elif await handler(text) is False:
                return

    async def on_ehlo(self, text):
        self.reset()
        extensions = [e for e in self.sink.extensions if e != "STARTTLS" or not self.tls]
        lines = [self.sink.name] + extensions
        await self.reply("\r\n".join(f"250{' ' if i == len(lines) - 1 else '-'}{l}" for i, l in enumerate(lines)))

    async def on_helo(self, text):
        self.reset()
        await self.reply("250 " + self.sink.name)

    async def on_starttls(self, text):
        await self.reply("220 2.0.0 go on")
        if self.sink.behaviour.broken_tls:
            self.writer.write(b"this is not TLS\r\n" * 4)
            await self.writer.drain()
            return False
        await self.writer.start_tls(self.sink.tls)
        self.tls = True
        self.reset()

    async def on_auth(self, text):
        words = text.split()
        if words[1].upper() != "PLAIN" or len(words) < 3:
            return await self.reply("504 5.5.4 PLAIN with an initial response")
        _, user, password = base64.b64decode(words[2]).decode().split("\0")
        if self.sink.login != (user, password):
            return await self.reply("535 5.7.8 who are you?")
        self.user = user
        await self.reply("235 2.7.0 welcome")

    async def on_mail(self, text):
        if self.sink.login and not self.user:
            return await self.reply("530 5.7.0 log in")
        self.sender = re.search(r"<([^>]*)>", text).group(1)
        self.parameters = [text.split(">", 1)[1].strip()]
        await self.reply("250 2.1.0 ok")

    async def on_rcpt(self, text):
        address = re.search(r"<([^>]*)>", text).group(1)
        refusal = self.sink.behaviour.rcpt
        if callable(refusal):
            refusal = refusal(address)
        self.sink.asked.append((time.time(), address))
        if refusal:
            await self.reply(refusal)
            return
        self.recipients.append(address)
        self.parameters.append(text.split(">", 1)[1].strip())
        await self.reply("250 2.1.5 ok")

    async def on_data(self, text):
        if not self.recipients:
            await self.reply("554 5.5.1 no recipients")
            return
        await self.reply("354 go on")
        if self.sink.behaviour.drop_data:
            await self.reader.readline()
            return False
        lines = []
        while True:
            line = await self.reader.readline()
            if not line:
                return False
            if line == b".\r\n":
                break
            lines.append(line[1:] if line[:1] == b"." else line)
        return await self.take(b"".join(lines))

    async def on_bdat(self, text):
        words = text.split()
        chunk = await self.reader.readexactly(int(words[1]))
        self.chunks.append(chunk)
        if self.sink.behaviour.drop_data:
            return False
        if len(words) < 3:
            await self.reply("250 2.0.0 ok")
            return
        return await self.take(b"".join(self.chunks))

    async def take(self, data):
        refusal = self.sink.behaviour.data
        if refusal:
            await self.reply(refusal)
            self.reset()
            return
        m = MESSAGE_ID.search(data)
        self.sink.add(Arrival(time.time(), self.sender, self.recipients, m.group(1).decode() if m else None,
                              data if self.sink.keep else None, self.tls, self.parameters, self.peer, self.user))
        self.reset()
        cut = self.sink.behaviour.drop_after
        if cut and self.sink.random() < cut:
            self.sink.cut.add(m.group(1).decode() if m else None)
            return False
        await self.reply("250 2.0.0 taken")

    async def on_rset(self, text):
        self.reset()
        await self.reply("250 2.0.0 ok")

    async def on_noop(self, text):
        await self.reply("250 2.0.0 ok")

    async def on_quit(self, text):
        await self.reply("221 2.0.0 bye")
        return False


class Sink(threading.Thread):
    """Listens on address:port (0: any), with TLS from the first byte if wrapped. arrivals are in the order of arriving."""

    EXTENSIONS = ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES"]

    def __init__(self, name="sink.example", port=0, behaviour=None, cert=None, keep=False, extensions=None, login=None, address="127.0.0.1", wrapped=False):
        super().__init__(daemon=True)
        self.name, self.port, self.keep, self.address, self.wrapped = name, port, keep, address, wrapped
        self.behaviour = behaviour or Behaviour()
        self.extensions = list(extensions if extensions is not None else self.EXTENSIONS)
        self.tls, self.login = None, login
        if login:
            self.extensions.append("AUTH PLAIN")
        if (cert and not wrapped) or self.behaviour.broken_tls:
            self.extensions.append("STARTTLS")
        if cert:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*cert)
        self.arrivals, self.by_name, self.asked, self.cut = [], {}, [], set()
        self.sessions, self.lock, self.ready = 0, threading.Lock(), threading.Event()
        self.start()
        if not self.ready.wait(10):
            raise RuntimeError("the sink does not start")

    def random(self):
        import random
        return random.random()

    def add(self, arrival):
        with self.lock:
            self.arrivals.append(arrival)
            self.by_name.setdefault(arrival.name, []).append(arrival)

    def names(self):
        with self.lock:
            return dict((k, len(v)) for k, v in self.by_name.items())

    def count(self):
        with self.lock:
            return len(self.by_name)

    async def serve(self, reader, writer):
        self.sessions += 1
        try:
            await Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, OSError, ValueError):
            pass
        finally:
            self.sessions -= 1
            writer.close()

    def run(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, self.address, self.port, limit=1 << 26, backlog=512, ssl=self.tls if self.wrapped else None))
        self.port = self.server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()
        self.server.close()
        sessions = asyncio.all_tasks(self.loop)
        for s in sessions:
            s.cancel()
        self.loop.run_until_complete(asyncio.gather(*sessions, return_exceptions=True))
        self.loop.close()

    def end(self):
        """Nobody listens any more, and what is open is closed."""
        if self.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.join(5)
