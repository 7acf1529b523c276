"""Garbage, oversize input, smuggled mail and strangers at the peer port: refused, with every node alive and small."""
import os
import random
import re
import socket
import ssl
import subprocess
import time

from support.cluster import check, wait_for
from support.ledger import make_message
from support.mail import Imap, ImapNo, Pop3, Smtp, Wire

MESSAGE_MB = 4
GROWTH_KB = 200 * 1024  # what a node may grow by in all of this; sanitizers multiply it


def run(t):
    cluster = t.cluster(settings=[f"limits.message_size_mb={MESSAGE_MB}"])
    users = cluster.add_users(9)
    pids = [n.pid() for n in cluster.nodes]
    base = [n.rss_kb() for n in cluster.nodes]
    steps = (configuration, smuggling, smtp_limits, strange_mail, imap_limits, pop3_limits, garbage_everywhere, peer_port)
    for i, step in enumerate(steps):
        step(t, cluster, users[i])
        for n, pid in zip(cluster.nodes, pids):
            check(n.pid() == pid, f"{n.name} died of {step.__name__}: {n.log_tail()}")
            alive(n, users[8])
        grown = max(n.rss_kb() - b for n, b in zip(cluster.nodes, base))
        t.say(f"{step.__name__.replace('_', ' ')}: all nodes alive, grown by at most {grown // 1024} MiB")
        check(grown < GROWTH_KB * (5 if t.preset == "asan" else 1), f"{step.__name__}: a node grew by {grown} KiB")
    cluster.wait_well()
    cluster.verify()


def alive(node, user):
    """Still does what it is for, with its invariants whole."""
    c = Imap(node, user)
    have = c.select("INBOX")["exists"]
    lmtp = Smtp(node, "lmtp")
    lmtp.send("a@elsewhere.example", [user], b"Subject: alive\r\n\r\nyes\r\n")
    lmtp.quit()
    c.do("NOOP")
    check(c.status("INBOX")["MESSAGES"] == have + 1, f"{node.name} does not deliver any more")
    c.logout()


def talk(node, service, data, tls=False, idle=1.0, limit=1 << 20):
    """Sends data whether or not it is wanted; what came back until the server closed or was silent: (bytes, closed)."""
    sock = node.connect(service, timeout=20)
    if tls:
        sock = node.cluster.tls.wrap_socket(sock, server_hostname="localhost")
    got, closed = b"", False
    try:
        view = memoryview(data)
        sock.settimeout(10)
        for at in range(0, len(view), 65536):
            sock.sendall(view[at:at + 65536])
    except OSError:
        closed = True  # it may well hang up in the middle
    sock.settimeout(idle)
    try:
        while len(got) < limit:
            some = sock.recv(65536)
            if not some:
                closed = True
                break
            got += some
    except (ssl.SSLError, socket.timeout) as e:
        closed = closed or not isinstance(e, (socket.timeout, TimeoutError))
    except OSError:
        closed = True
    sock.close()
    return got, closed


# ---- a configuration file that is wrong

def configuration(t, cluster, user):
    with open(cluster.nodes[0].conf) as f:
        good = f.read()
    maild = os.path.join(cluster.build, "maild")
    path = os.path.join(t.folder("conf"), "maild.conf")
    lines = good.splitlines()
    first_listener = lines.index("[listener imap]") + 1

    def at(pattern):
        return next(i + 1 for i, line in enumerate(lines) if re.match(pattern, line))

    cases = (  # (text, line of the error or None, what it must say)
        (good + "[nonsense]\nx = 1\n", len(lines) + 2, "nonsense"),
        (good.replace("[peer]\n", "[peer]\nlisen = 1\n"), at(r"\[peer\]") + 1, "lisen"),
        (good.replace("disk_reserve_mb = 64", "disk_reserve_mb = lots"), at("disk_reserve_mb"), "lots"),
        (good.replace("protocol = imap", "protocol = gopher", 1), first_listener + 1, "gopher"),
        (good.replace("listen = 127.0.0.1:%d" % cluster.nodes[0].port["imap"], "listen = here", 1), first_listener + 2, "here"),
        (good.replace("[http]\n", "[http]\nwhat is this\n"), at(r"\[http\]") + 1, "NAME = VALUE"),
        (good.replace("tls = starttls", "tls = maybe", 1), first_listener + 3, "maybe"),
        ("[node]\nname = x\n", None, "data"),
        (good.replace("[store]\n", "[store]\nmap_size_mb = 99999999999999999999\n"), at(r"\[store\]") + 1, "map_size_mb"),
    )
    for text, line, says in cases:
        with open(path, "w") as f:
            f.write(text)
        for words in ([maild, "--config", path, "--check-config"], [maild, "--config", path]):
            r = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
            check(r.returncode != 0, f"a wrong configuration is taken ({says})")
            where = f"{path}:{line}: " if line else f"{path}: "
            check(where in r.stdout and says in r.stdout, f"wanted {where}…{says}…, got {r.stdout}")
    with open(path, "w") as f:
        f.write(good)
    check(subprocess.run([maild, "--config", path, "--check-config"], stdout=subprocess.DEVNULL).returncode == 0,
          "a right configuration is refused")
    for token in ("", "MLN1-", "MLN1-" + "A" * 5000, "garbage", "MLN1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"):
        r = subprocess.run([maild, "join", "--config", path.replace("maild", "other"), token], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=30)
        check(r.returncode not in (0, -6, -11), f"join with token {token[:20]}: {r.returncode}")


# ---- SMTP

# What some server somewhere takes for the end of a message, and must not be one here.
ENDS = [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\n\n.\r\n",
        b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\r\n. \r\n"]


def smuggling(t, cluster, user):
    """However the first message continues, it is one message or none, and what it hides is never a second."""
    before = Imap(cluster.nodes[0], user)
    for i, end in enumerate(ENDS):
        for service in ("smtp", "lmtp"):
            node = cluster.nodes[i % 3]
            have = before.status("INBOX")["MESSAGES"]
            c = Smtp(node, service, timeout=20)
            hidden = (b"MAIL FROM:<boss@elsewhere.example>\r\nRCPT TO:<%s>\r\nDATA\r\nSubject: smuggled\r\n\r\nhidden\r\n" % user.encode())
            c.command(b"MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<", user.encode(), b">\r\nDATA")
            check([c.reply()[0] for _ in range(3)] == [250, 250, 354], "smuggling: before the data")
            c.wire.send(b"Subject: outer\r\n\r\nfirst" + end + hidden + b".\r\nQUIT\r\n")
            code, text = c.reply()
            check(code == 250 or 500 <= code < 600, f"{end!r} by {service}: {text}")
            rest, last = [], None
            try:
                while last != 221:
                    last, line = c.reply()
                    rest.append(line)
            except OSError:
                pass
            check(not any(line.startswith(("250", "354")) for line in rest), f"{end!r} by {service}: {text}, then {rest}")
            c.close()
            now = before.status("INBOX")["MESSAGES"]
            check(now - have == (1 if code == 250 else 0), f"{end!r} by {service}: {now - have} messages of one with {text}")
    before.select("INBOX")
    found = before.do('SEARCH HEADER SUBJECT "smuggled"')
    check(not re.search(rb"\d", found[0][0].split(b"SEARCH")[1]), f"smuggled mail is a message: {found}")
    before.logout()


def smtp_limits(t, cluster, user):
    node = cluster.nodes[0]
    got, _ = talk(node, "smtp", b"EHLO x\r\n" + b"A" * 200000 + b"\r\nNOOP\r\n")
    check(re.search(rb"(?m)^5\d\d ", got), f"an oversize SMTP line is answered {got[-200:]!r}")
    talk(node, "smtp", b"B" * (32 << 20))  # never a line end
    got, _ = talk(node, "smtp", b"EHLO x\r\nMAIL FROM:<a\x00b@c.example>\r\nRCPT TO:<x>\r\n\x00\x00\x00\r\nDATA\r\n")
    check(b"354" not in got and re.search(rb"(?m)^50\d", got), f"NUL in SMTP commands: {got[-200:]!r}")
    got, closed = talk(node, "smtp", b"EHLO x\r\n" + b"WHAT\r\n" * 5000)
    check(closed, "5,000 unknown commands are all heard")

    c = Smtp(node, "smtp", timeout=30)
    c.command(b"MAIL FROM:<a@elsewhere.example> SIZE=%d" % (MESSAGE_MB * (1 << 20) + 1))
    code, text = c.reply()
    check(code == 552, f"SIZE over the limit: {text}")
    c.command(b"MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<", user.encode(), b">\r\nDATA")
    check([c.reply()[0] for _ in range(3)] == [250, 250, 354], "before too much data")
    for _ in range(MESSAGE_MB * 3):
        c.wire.send(b"oversize message line\r\n" * ((1 << 20) // 23))
    c.command(b".")
    code, text = c.reply()
    check(code == 552, f"too much data: {text}")
    c.send("a@elsewhere.example", [user], make_message("after-too-much", 500))
    c.command(b"MAIL FROM:<a@elsewhere.example>")
    c.reply()
    codes = []
    for i in range(1500):
        c.command(b"RCPT TO:<", user.encode(), b">")
        codes.append(c.reply()[0])
    check(452 in codes and codes[0] == 250, f"1,500 recipients: {sorted(set(codes))}")
    c.close()
    c = Smtp(node, "smtp")
    c.command(b"BDAT 99999999999999999999 LAST")
    code, text = c.reply()
    check(500 <= code < 600, f"BDAT of a wild size: {text}")
    c.close()


def nested(depth):
    """multipart in multipart in multipart."""
    head = b"Subject: nested\r\nMIME-Version: 1.0\r\n"
    for i in range(depth):
        head += b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i)
    return head + b"Content-Type: text/plain\r\n\r\ndeep\r\n"


STRANGE = {
    "nested multiparts": nested(3000),
    "nested messages": b"Content-Type: message/rfc822\r\n\r\n" * 3000 + b"\r\nx\r\n",
    "no header": b"\r\n\r\n",
    "only a header": b"Subject: x\r\n",
    "many fields": b"".join(b"X-%d: y\r\n" % i for i in range(60000)) + b"\r\nx\r\n",
    "long field": b"Subject: " + b"s" * 2000000 + b"\r\n\r\nx\r\n",
    "many addresses": b"To: " + b", ".join(b"u%d@x.example" % i for i in range(40000)) + b"\r\n\r\nx\r\n",
    "groups": b"To: " + b"a:" * 20000 + b";" * 20000 + b"\r\n\r\nx\r\n",
    "comments": b"From: " + b"(" * 50000 + b"\r\n\r\nx\r\n",
    "encoded words": b"Subject: " + b"=?utf-8?q?=ff=?=" * 20000 + b"\r\n\r\nx\r\n",
    "many parts": b'Content-Type: multipart/mixed; boundary=b\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 100000 + b"--b--\r\n",
    "long lines": b"Subject: x\r\n\r\n" + b"z" * 2000000 + b"\r\n",
    "control octets": b"Subject: \x01\x02\x7f\x80\xff\r\n\r\n" + bytes(b for b in range(1, 256) if b not in (10, 13)) * 50 + b"\r\n",
    "parameters": b"Content-Type: text/plain; " + b"; ".join(b"a*%d*=x" % i for i in range(20000)) + b"\r\n\r\nx\r\n",
}


def strange_mail(t, cluster, user):
    """Taken or refused; what is taken can be asked for everything there is to ask."""
    taken = []
    for i, (name, body) in enumerate(STRANGE.items()):
        c = Smtp(cluster.nodes[i % 3], "lmtp", timeout=60)
        c.command(b"MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<", user.encode(), b">\r\nDATA")
        check([c.reply()[0] for _ in range(3)] == [250, 250, 354], name)
        c.wire.send(re.sub(rb"(?m)^\.", b"..", body) + b".\r\n")
        code, text = c.reply()
        check(code == 250 or 500 <= code < 600, f"{name}: {text}")
        if code == 250:
            taken.append((name, body))
        c.close()
    for node in cluster.nodes:
        c = Imap(node, user)
        check(c.select("INBOX")["exists"] == len(taken), f"{node.name} has not all strange mail that was taken")
        for i, (name, body) in enumerate(taken):
            got = next(r for r in c.do(f"FETCH {i + 1} BODY.PEEK[]") if len(r) > 1)[1]
            check(got.endswith(body), f"{name}: other bytes came back")
            c.do(f"FETCH {i + 1} (ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT TO)] BODY.PEEK[1] "
                 "BODY.PEEK[1.1.1.1.1.MIME] BODY.PEEK[TEXT]<10.20>)")
        c.do('SEARCH OR TEXT "zzzz" OR BODY "deep" OR SUBJECT "x" HEADER X-59999 "y"')
        c.logout()


# ---- IMAP and POP3

def imap_limits(t, cluster, user):
    node = cluster.nodes[1]
    for data in (b"a LOGIN " + b"x" * 3000000 + b"\r\n", b"a " + b"(" * 100000 + b"\r\n",
                 b"a LOGIN {4294967295}\r\n", b"a LOGIN {99999999999999999999}\r\n", b"a LOGIN {-1}\r\n", b"a LOGIN {10000000+}\r\n",
                 b"a LOGIN \"a\x00b\" c\r\n", b"\x00" * 4096 + b"\r\n", b"a AUTHENTICATE PLAIN " + b"A" * 500000 + b"\r\n",
                 b"a " * 100000 + b"\r\n"):
        got, closed = talk(node, "imaps", data, tls=True)
        check(closed or re.search(rb"(?m)^(a|\*) (BAD|NO|BYE)", got), f"IMAP {data[:30]!r}…: {got[-200:]!r}")
    talk(node, "imaps", b"C" * (32 << 20), tls=True)  # never a line end
    got, closed = talk(node, "imaps", b"x y\r\n" * 5000, tls=True)
    check(closed, "5,000 wrong commands are all heard")

    c = Imap(node, user)
    c.append("INBOX", make_message("imap-limits", 1000))
    c.select("INBOX")

    def refused(text, *literals):
        try:
            c.do(text, *literals)
        except ImapNo:
            return
        check(False, f"taken: {text[:60]}…")

    refused("SEARCH " + "NOT " * 3000 + "ALL")
    refused("SEARCH " + "(" * 3000 + "ALL" + ")" * 3000)
    refused("FETCH 1 (" + "FLAGS " * 5000 + ")")
    refused("FETCH 1 BODY[" + "1." * 5000 + "1]")
    refused("FETCH 99999999999999 (FLAGS)")
    refused("STORE 1 +FLAGS (" + " ".join(f"k{i}" for i in range(5000)) + ")")
    refused('CREATE "' + "n" * 5000 + '"')
    refused('CREATE "' + "a/" * 2000 + 'b"')
    refused("FETCH 1 BODY[]<18446744073709551616.1>")
    c.do("NOOP")
    # A literal over the limit is refused before it is asked for, or read away when it comes unasked.
    c.wire.send(b'big1 APPEND INBOX {%d}\r\n' % (MESSAGE_MB * (1 << 20) + 1))
    r = c.response()
    check(r[0].startswith(b"big1 NO [TOOBIG]"), f"a literal over the limit: {r}")
    got, closed = talk_logged_in(node, user, b'big2 APPEND INBOX {%d+}\r\n' % (6 << 20) + b"x" * (6 << 20) + b"\r\nn NOOP\r\n")
    check(closed or b"big2 NO" in got or b"big2 BAD" in got, f"an unasked literal over the limit: {got[-200:]!r}")
    c.do("NOOP")
    check(c.status("INBOX")["MESSAGES"] == 1, "something refused was stored")
    c.logout()


def talk_logged_in(node, user, data):
    c = Imap(node, user)
    try:
        c.wire.send(data)
        c.wire.sock.settimeout(5)
        got = b""
        while b"n OK" not in got:
            some = c.wire.sock.recv(65536)
            if not some:
                return got, True
            got += some
        return got, False
    except OSError:
        return b"", True
    finally:
        c.close()


def pop3_limits(t, cluster, user):
    node = cluster.nodes[2]
    for data in (b"USER " + b"x" * 1000000 + b"\r\n", b"\x00\x00\r\n", b"AUTH PLAIN " + b"A" * 500000 + b"\r\n"):
        got, closed = talk(node, "pop3s", data, tls=True)
        check(closed or b"-ERR" in got, f"POP3 {data[:20]!r}…: {got[-200:]!r}")
    Imap(node, user).append("INBOX", make_message("pop3-limits", 1000))
    p = Pop3(node, user)
    for text in (b"RETR 99999999999999999999", b"RETR -1", b"RETR 0", b"TOP 1 99999999999999999999", b"DELE 4294967297", b"LIST x", b"UIDL 2"):
        p.wire.send(text + b"\r\n")
        line = p.wire.line()
        check(line.startswith(b"-ERR"), f"{text}: {line}")
    check(p.stat() == 1, "POP3 after wrong commands")
    p.quit()


# ---- every port

def garbage_everywhere(t, cluster, user):
    rnd = random.Random(7)
    for node in cluster.nodes:
        for service in ("imap", "imaps", "pop3", "pop3s", "smtp", "submission", "submissions", "lmtp", "http", "peer", "bulk"):
            if service == "bulk":
                node.port["bulk"] = node.port["peer"] + 1
            for data in (rnd.randbytes(70000), b"\x16\x03\x01" + rnd.randbytes(3000), b"GET / HTTP/1.1\r\n" * 3000, b"\r\n" * 5000,
                         b"\x16\x03\x01\xff\xff" + b"\x00" * 70000):
                talk(node, service, data, idle=0.2)
        for data in (rnd.randbytes(70000), b'{"verb":' * 20000, b"[" * 100000 + b"\n", b'{"verb": "user add", "args": 7}\n', b"\xff\xff\xff\xff"):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(0.5)
            try:
                s.connect(node.admin)
                s.sendall(data)
                s.recv(65536)
            except OSError:
                pass
            s.close()
    wait_for(lambda: all(n.ready() for n in cluster.nodes), 20, "a node is not ready after garbage")


# ---- strangers at the peer port

def stranger(node, port, context, name, first=b"MLNK" + b"\x00" * 300):
    """A TLS client that is no member: it gets no byte of an answer beyond the handshake."""
    got = b""
    try:
        with socket.create_connection((node.host, port), timeout=10) as raw:
            with context.wrap_socket(raw, server_hostname="localhost") as s:
                s.settimeout(10)
                s.sendall(first)
                got = s.recv(65536)
    except socket.timeout:
        check(False, f"{name}: {node.name} port {port} neither answers nor hangs up")
    except OSError:
        pass
    check(got == b"", f"{name}: {node.name} port {port} answered {got[:50]!r}")


def peer_port(t, cluster, user):
    where, node = t.folder("strangers"), cluster.nodes[0]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=node2", "-keyout", f"{where}/key", "-out", f"{where}/cert"], check=True, stderr=subprocess.DEVNULL)
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    forged = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    forged.check_hostname, forged.verify_mode = False, ssl.CERT_NONE
    forged.load_cert_chain(f"{where}/cert", f"{where}/key")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for port in (node.port["peer"], node.port["peer"] + 1):
        stranger(node, port, anyone, "without a certificate")
        stranger(node, port, anyone, "without a certificate, a large frame", os.urandom(1 << 20))
        stranger(node, port, forged, "with a certificate of one's own making")
        stranger(node, port, old, "with TLS 1.2")
    # Many that connect and say nothing do not keep the members from each other.
    silent = []
    for i in range(300):
        try:
            silent.append(socket.create_connection((node.host, node.port["peer"] + i % 2), timeout=5))
        except OSError:
            break
    other = cluster.follower() if cluster.leader() is node else cluster.leader()
    pid = other.pid()
    other.pause()
    time.sleep(1.5)
    other.resume()
    cluster.wait_well(60)
    check(other.pid() == pid, f"{other.name} ended while paused")
    for s in silent:
        s.close()
    t.say(f"strangers are refused at the peer ports; {len(silent)} silent connections do not keep members apart")
