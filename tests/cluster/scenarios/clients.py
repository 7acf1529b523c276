"""Real mail clients, with STARTTLS and with TLS from the start: curl, swaks, mbsync, fetchmail, mutt and Python's libraries."""
import base64
import imaplib
import os
import poplib
import pty
import re
import select
import smtplib
import subprocess
import time

from support.cluster import PASSWORD, check
from support.ledger import ADDED
from support.mail import Imap

CRLF = "\r\n"


def message(subject, body="One line.\r\n.\r\n..two dots\r\nünïcödé\r\n"):
    return (f"Date: Mon, 23 Nov 2026 10:00:00 +0800\r\nFrom: Ann <ann@elsewhere.example>\r\nTo: someone@example.sg\r\nSubject: {subject}\r\n"
            f"Message-ID: <{subject.replace(' ', '-')}@clients.example>\r\nMIME-Version: 1.0\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}").encode()


def run(t):
    cluster = t.cluster()
    users = cluster.add_users(7)
    cluster.nodes[0].ctl("settings", "set", "queue.sender", "any")  # they send as Ann, who is none of them
    for user, test in zip(users, (with_curl, with_swaks, with_mbsync, with_fetchmail, with_mutt, with_smtplib, with_imaplib)):
        start = time.monotonic()
        test(t, cluster, user)
        t.say(f"{test.__name__.replace('with_', '')} is content ({time.monotonic() - start:.1f} s)")
    cluster.verify()


def tool(*words, text=None, status=0, env=None, wait=60):
    """Runs a client; its output."""
    data = text.encode() if isinstance(text, str) else text
    r = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=wait,
                       env=dict(os.environ, **env) if env else None)
    out = r.stdout.decode("utf-8", "surrogateescape")
    check(r.returncode == status, f"{' '.join(words)}: exit status {r.returncode}, not {status}\n{out[-3000:]}")
    return out


def stored(node, user, mailbox="INBOX"):
    """Messages as stored, without the headers that delivery adds."""
    c = Imap(node, user)
    _, rows = c.fetch_all(mailbox)
    c.logout()
    return [body[ADDED.match(body).end():] for _, body in rows]


def write(path, data, mode=0o600):
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, mode)
    return path


# ---- curl

def with_curl(t, cluster, user):
    where, a, b, c = t.folder("curl"), *cluster.nodes
    ca, login = ["--cacert", cluster.ca, "-sS", "-m", "30"], ["-u", f"{user}:{PASSWORD}"]
    imaps, imap = f"imaps://localhost:{a.port['imaps']}", f"imap://localhost:{b.port['imap']}"
    pop3s, pop3 = f"pop3s://localhost:{b.port['pop3s']}", f"pop3://localhost:{c.port['pop3']}"

    def curl(*words, **more):
        return tool("curl", *ca, *login, *words, **more)

    one, two, three = (message(f"curl {i}") for i in (1, 2, 3))
    send = ["--mail-from", user, "--mail-rcpt", user, "-T"]
    curl("--ssl-reqd", f"smtp://localhost:{a.port['submission']}/client.example", *send, write(f"{where}/1", one))
    curl(f"smtps://localhost:{b.port['submissions']}/client.example", *send, write(f"{where}/2", two))
    curl(f"{imaps}/INBOX", "-T", write(f"{where}/3", three))
    got = stored(c, user)
    check(got == [one, two, three], f"curl: stored messages differ: {got}")

    for url, extra in ((imaps, []), (imap, ["--ssl-reqd"])):
        got = curl(f"{url}/INBOX;UID=3", *extra, "-o", f"{where}/got") or open(f"{where}/got", "rb").read()
        check(got == three, f"curl {url}: FETCH")
        check("SEARCH 2" in curl(f"{url}/INBOX?SUBJECT%20%22curl%202%22", *extra), f"curl {url}: SEARCH")
        check("INBOX" in curl(f"{url}/", *extra), f"curl {url}: LIST")
        curl(f"{url}/INBOX", *extra, "-X", "UID STORE 3 +FLAGS (\\Flagged)")
        check("\\Flagged" in curl(f"{url}/INBOX", *extra, "-X", "UID FETCH 3 (FLAGS)"), f"curl {url}: FLAGS")
        check("MESSAGES 3" in curl(f"{url}/", *extra, "-X", "STATUS INBOX (MESSAGES)"), f"curl {url}: STATUS")
    curl(f"{imaps}/", "-X", "CREATE curl-box")
    curl(f"{imap}/INBOX", "--ssl-reqd", "-X", "UID COPY 1:2 curl-box")
    check(stored(c, user, "curl-box") == [one, two], "curl: COPY")

    for url, extra in ((pop3s, []), (pop3, ["--ssl-reqd"])):
        check(len(curl(f"{url}/", *extra).split(CRLF)) >= 3, f"curl {url}: LIST")
        curl(f"{url}/2", *extra, "-o", f"{where}/got")
        got = open(f"{where}/got", "rb").read()
        check(got[ADDED.match(got).end():] == two, f"curl {url}: RETR differs")
    curl(f"{pop3}/1", "--ssl-reqd", "-X", "DELE", "-I")
    check(stored(a, user) == [two, three], "curl: DELE through POP3")
    tool("curl", *ca, "-u", f"{user}:wrong", f"{imaps}/INBOX", status=67)
    tool("curl", "-sS", "-m", "30", *login, f"{imaps}/INBOX", status=60)  # without our CA: the certificate is checked


# ---- swaks

def with_swaks(t, cluster, user):
    a, b, c = cluster.nodes
    base = ["swaks", "--server", "127.0.0.1", "--timeout", "30", "--ehlo", "client.example", "--tls-ca-path", cluster.ca,
            "--tls-verify", "--to", user, "--from", user, "--suppress-data"]
    login = ["--auth-user", user, "--auth-password", PASSWORD]
    for i, (node, port, more) in enumerate((
            (a, "smtp", []), (b, "smtp", ["-tls"]), (c, "lmtp", ["--protocol", "LMTP"]),
            (a, "submission", ["-tls", "--auth", "PLAIN", *login]), (b, "submission", ["-tls", "--auth", "LOGIN", *login]),
            (c, "submissions", ["-tlsc", "--auth", "PLAIN", *login]), (a, "smtp", ["--pipeline"]))):
        out = tool(*base, "--port", str(node.port[port]), "--header", f"Subject: swaks {i}", *more)
        check("<~  250" in out or "<-  250" in out, f"swaks {port}: {out}")
    subjects = [re.search(rb"Subject: (.*?)\r\n", m).group(1).decode() for m in stored(b, user)]
    check(subjects == [f"swaks {i}" for i in range(7)], f"swaks: delivered {subjects}")

    refused = ["swaks", "--server", "127.0.0.1", "--timeout", "30", "--from", user]
    out = tool(*base, "--port", str(a.port["submission"]), "-tls", "--auth", "PLAIN", "--auth-user", user, "--auth-password", "no",
               status=28)
    check(" 535 5.7.8" in out, f"swaks: a wrong password is answered {out}")
    out = tool(*refused, "--port", str(b.port["smtp"]), "--to", "someone@foreign.example", status=24)
    check(re.search(r" 55[04] 5\.7\.1", out), f"swaks: relaying is answered {out}")
    out = tool(*refused, "--port", str(b.port["smtp"]), "--to", "nobody@example.sg", status=24)
    check(" 550 5.1.1" in out, f"swaks: an unknown user is answered {out}")
    out = tool(*refused, "--port", str(c.port["submission"]), "--to", user, status=23)
    check(" 530 5.7.0" in out, f"swaks: submission without login is answered {out}")
    check(len(stored(c, user)) == 7, "swaks: something refused was delivered")


# ---- mbsync

def mbsync_config(where, cluster, node, port, user, tls):
    return f"""IMAPAccount merlion
Host localhost
Port {node.port[port]}
User {user}
Pass "{PASSWORD}"
SSLType {tls}
CertificateFile {cluster.ca}
AuthMechs *

IMAPStore far
Account merlion

MaildirStore near
Path {where}/mail/
Inbox {where}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
"""


def maildir(path):
    """{name: message} of a Maildir, lines as on the wire, without mbsync's own mark."""
    found = {}
    for sub in ("cur", "new"):
        for name in os.listdir(os.path.join(path, sub)):
            with open(os.path.join(path, sub, name), "rb") as f:
                data = f.read().replace(b"\n", b"\r\n")
            found[os.path.join(sub, name)] = re.sub(rb"X-TUID: [^\r]*\r\n", b"", data)
    return found


def with_mbsync(t, cluster, user):
    where, (a, b, c) = t.folder("mbsync"), cluster.nodes
    os.makedirs(f"{where}/mail")
    c1 = Imap(a, user)
    kept = [message(f"mbsync {i}", "text\r\n" * (1 + 900 * i)) for i in range(12)]
    for m in kept:
        c1.append("INBOX", m)
    c1.do("CREATE Work")
    c1.append("Work", message("at work"))

    def sync(node, port, tls):
        tool("mbsync", "-c", write(f"{where}/rc", mbsync_config(where, cluster, node, port, user, tls)), "-q", "all")

    sync(b, "imaps", "IMAPS")
    inbox = f"{where}/mail/INBOX"
    check(sorted(maildir(inbox).values()) == sorted(kept), "mbsync: pulled messages differ")
    check(list(maildir(f"{where}/mail/Work").values()) == [message("at work")], "mbsync: the folder Work")

    # One new message, one flagged, one deleted and a new folder on the near side; one new message on the far side.
    new = message("pushed by mbsync")
    write(f"{inbox}/new/1.merlion.test", new.replace(b"\r\n", b"\n"))
    by_subject = {re.search(rb"Subject: (.*?)\r\n", m).group(1): n for n, m in maildir(inbox).items() if "test" not in n}
    flagged, gone = by_subject[b"mbsync 3"], by_subject[b"mbsync 4"]
    os.rename(f"{inbox}/{flagged}", f"{inbox}/cur/" + re.sub(r":2,.*", "", os.path.basename(flagged)) + ":2,F")
    os.unlink(f"{inbox}/{gone}")
    for sub in ("cur", "new", "tmp"):
        os.makedirs(f"{where}/mail/Made near/{sub}")
    write(f"{where}/mail/Made near/new/2.merlion.test", message("in a new folder").replace(b"\r\n", b"\n"))
    c1.append("INBOX", message("far side"))
    sync(c, "imap", "STARTTLS")

    expected = [m for i, m in enumerate(kept) if i != 4] + [message("far side"), new]
    far = [re.sub(rb"X-TUID: [^\r]*\r\n", b"", m) for m in stored(a, user)]
    check(sorted(far) == sorted(expected), f"mbsync: {len(far)} on the server, {len(expected)} expected")
    c1.select("INBOX")
    r = c1.do('SEARCH FLAGGED SUBJECT "mbsync 3"')
    check(re.search(rb"SEARCH \d", r[0][0]), f"mbsync: the flag did not arrive: {r}")
    check(len(stored(b, user, "Made near")) == 1, "mbsync: the new folder")
    sync(a, "imaps", "IMAPS")
    check(sorted(maildir(inbox).values()) == sorted(expected), "mbsync: both sides differ after the third run")
    c1.logout()


# ---- fetchmail

def with_fetchmail(t, cluster, user):
    where, (a, b, c) = t.folder("fetchmail"), cluster.nodes
    out = f"{where}/out"
    mda = write(f"{where}/mda", f"#!/bin/sh\ncat >>{out}; echo =====END===== >>{out}\n", 0o700)
    for protocol, node, port, tls in (("POP3", a, "pop3s", "ssl"), ("POP3", b, "pop3", 'sslproto "auto"'),
                                      ("IMAP", c, "imaps", "ssl"), ("IMAP", a, "imap", 'sslproto "auto"')):
        c1 = Imap(b, user)
        sent = [message(f"fetchmail {port} {i}", "line\r\n.dot\r\n" * (1 + 500 * i)) for i in range(5)]
        for m in sent:
            c1.append("INBOX", m)
        c1.logout()
        rc = write(f"{where}/rc", f'set no bouncemail\npoll localhost service {node.port[port]} protocol {protocol} '
                   f'user "{user}" password "{PASSWORD}" {tls} sslcertck sslcertfile {cluster.ca} fetchall nokeep mda "{mda}"\n')
        tool("fetchmail", "-f", rc, "--pidfile", f"{where}/pid", "-i", f"{where}/ids", "--nosyslog", "-v",
             env={"FETCHMAILHOME": where, "HOME": where})
        with open(out, "rb") as f:
            got = f.read().split(b"=====END=====\n")[:-1]
        os.unlink(out)
        check(len(got) == 5, f"fetchmail {port}: {len(got)} of 5 messages")
        for m, g in zip(sent, got):
            g = g.replace(b"\r\n", b"\n")
            check(g.endswith(m.replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]), f"fetchmail {port}: a body differs")
        check(stored(b, user) == [], f"fetchmail {port}: messages are left on the server")
        tool("fetchmail", "-f", rc, "--pidfile", f"{where}/pid", "-i", f"{where}/ids", "--nosyslog", status=1,
             env={"FETCHMAILHOME": where, "HOME": where})  # 1: no mail


# ---- mutt

def mutt_rc(where, cluster, user, smtp, folder):
    """`smtp` and `folder` are URLs without user and password."""
    scheme, rest = smtp.split("://")
    fscheme, frest = folder.split("://")
    name = user.replace("@", "%40")
    return write(f"{where}/rc", f"""set from="{user}" realname="Mutt" use_envelope_from=yes
set smtp_url="{scheme}://{name}@{rest}" smtp_pass="{PASSWORD}"
set imap_user="{user}" imap_pass="{PASSWORD}" folder="{fscheme}://{frest}" spoolfile="+INBOX" record="+Sent"
set ssl_force_tls=yes ssl_starttls=yes ssl_ca_certificates_file="{cluster.ca}" certificate_file="{where}/certs"
set header_cache="" message_cachedir="" confirmappend=no confirmcreate=no delete=yes quit=yes move=no wait_key=no
set copy=yes mbox_type=mbox sort=mailbox-order beep=no timeout=5 imap_keepalive=5
""")


def mutt_keys(where, rc, keys, seconds=60):
    """Runs mutt on a terminal and lets it do `keys`, which end in quitting."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", LINES="40", COLUMNS="120", HOME=where, LC_ALL="C.UTF-8")
        os.execvp("mutt", ["mutt", "-n", "-F", rc, "-e", f"push '{keys}'"])
    screen, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    screen += os.read(fd, 65536)
                except OSError:
                    break
        else:
            os.kill(pid, 9)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(fd)
    check(status == 0, f"mutt: status {status}\n{screen[-2000:].decode('utf-8', 'replace')}")


def with_mutt(t, cluster, user):
    where, (a, b, c) = t.folder("mutt"), cluster.nodes
    attached = os.urandom(50000)
    write(f"{where}/data.bin", attached)
    c1 = Imap(b, user)
    setups = ((f"smtp://localhost:{a.port['submission']}/", f"imap://localhost:{b.port['imap']}/"),
              (f"smtps://localhost:{b.port['submissions']}/", f"imaps://localhost:{c.port['imaps']}/"))
    for i, (smtp, folder) in enumerate(setups):
        rc = mutt_rc(where, cluster, user, smtp, folder)
        tool("mutt", "-n", "-F", rc, "-s", f"from mutt {i}", "-a", f"{where}/data.bin", "--", user, text="Hello.\n.\nA dot above.\n",
             env={"HOME": where, "LC_ALL": "C.UTF-8"})
        got = stored(c, user)
        check(len(got) == i + 1, f"mutt: {len(got)} messages delivered")
        encoded = got[i].split(b"base64", 1)[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n\r\n", 1)[0].split(b"--")[0]
        check(base64.b64decode(encoded) == attached, "mutt: the attachment differs")
        check(b"\r\n.\r\nA dot above." in got[i], "mutt: the text differs")
        check(len(stored(a, user, "Sent")) == i + 1, "mutt: no copy in Sent")
    for i, (smtp, folder) in enumerate(setups):
        rc, box = mutt_rc(where, cluster, user, smtp, folder), f"{where}/box{i}"
        # Copies all to a local mbox, flags the first, deletes the last, and quits.
        mutt_keys(where, rc, f"<tag-pattern>~A<enter><tag-prefix><copy-message>{box}<enter><tag-pattern>~A<enter>"
                  "<first-entry><set-flag>!<last-entry><delete-message><sync-mailbox><quit>")
        with open(box, "rb") as f:
            text = f.read()
        check(len(re.findall(rb"(?m)^Subject: from mutt", text)) == 2 - i, "mutt: the copies in its mbox")
        c1.select("INBOX")
        flags = c1.do("FETCH 1:* (FLAGS)") if i == 0 else []
        check(i or (len([f for f in flags if b"FETCH" in f[0]]) == 1 and b"\\Flagged" in flags[-1][0]), f"mutt: flags {flags}")
    check(stored(a, user) == [], "mutt: the messages are not deleted")
    c1.logout()


# ---- Python's smtplib and poplib

def with_smtplib(t, cluster, user):
    a, b, c = cluster.nodes
    sent = [message(f"smtplib {i}", "text\r\n" * (1 + 20000 * i)) for i in range(4)]
    with smtplib.SMTP("localhost", a.port["submission"], timeout=30) as s:
        s.starttls(context=cluster.tls)
        s.login(user, PASSWORD)
        check(s.sendmail(user, [user], sent[0]) == {}, "smtplib: refused")
        check(s.sendmail(user, [user], sent[1], mail_options=["BODY=8BITMIME"]) == {}, "smtplib: refused")
    with smtplib.SMTP_SSL("localhost", b.port["submissions"], context=cluster.tls, timeout=30) as s:
        s.login(user, PASSWORD)
        s.sendmail(user, [user], sent[2])
    with smtplib.LMTP("localhost", c.port["lmtp"], timeout=30) as s:
        check(s.sendmail("x@elsewhere.example", [user], sent[3]) == {}, "LMTP: refused")
        try:
            s.sendmail("x@elsewhere.example", ["nobody@example.sg"], sent[3])
            check(False, "LMTP took mail for an unknown user")
        except smtplib.SMTPRecipientsRefused as e:
            check(e.recipients["nobody@example.sg"][0] == 550, f"LMTP: {e}")
    check(stored(a, user) == sent, "smtplib: stored messages differ")

    p = poplib.POP3("localhost", b.port["pop3"], timeout=30)
    p.stls(context=cluster.tls)
    p.user(user)
    p.pass_(PASSWORD)
    check(p.stat()[0] == 4, "poplib: STAT")
    ids = [line.split()[1] for line in p.uidl()[1]]
    check(len(set(ids)) == 4, "poplib: UIDL")
    for i, m in enumerate(sent):
        got = b"".join(line + b"\r\n" for line in p.retr(i + 1)[1])
        check(got[ADDED.match(got).end():] == m, f"poplib: message {i + 1} differs")
    top = b"\r\n".join(p.top(4, 2)[1])
    check(top.endswith(b"\r\n\r\ntext\r\ntext"), f"poplib: TOP: {top[-60:]}")
    p.dele(1)
    p.rset()
    p.dele(2)
    p.quit()
    p = poplib.POP3_SSL("localhost", c.port["pop3s"], context=cluster.tls, timeout=30)
    p.user(user)
    p.pass_(PASSWORD)
    left = [line.split()[1] for line in p.uidl()[1]]
    check(left == [ids[0], ids[2], ids[3]], f"poplib: {left} after deleting the second of {ids}")
    p.quit()


# ---- Python's imaplib

def with_imaplib(t, cluster, user):
    a, b, c = cluster.nodes
    plain = imaplib.IMAP4("localhost", a.port["imap"])
    check("LOGINDISABLED" in plain.capabilities or "AUTH=PLAIN" not in plain.capabilities, "imaplib: login without TLS is offered")
    try:
        plain.login(user, PASSWORD)
        check(False, "imaplib: login without TLS")
    except imaplib.IMAP4.error:
        pass
    plain.starttls(ssl_context=cluster.tls)
    plain.login(user, PASSWORD)
    tls = imaplib.IMAP4_SSL("localhost", b.port["imaps"], ssl_context=cluster.tls)
    tls.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())

    def ok(answer):
        check(answer[0] == "OK", f"imaplib: {answer}")
        return answer[1]

    ok(plain.create('"Projects/2026 &- more"'))
    check(any(b"2026 &- more" in row for row in ok(tls.list())), "imaplib: LIST across nodes")
    for i in range(6):
        ok((plain, tls)[i % 2].append('"Projects/2026 &- more"', r"(\Seen)" if i % 2 else None, None, message(f"imaplib {i}")))
    check(ok(tls.select('"Projects/2026 &- more"')) == [b"6"], "imaplib: SELECT")
    check(ok(tls.search(None, "UNSEEN")) == [b"1 3 5"], "imaplib: SEARCH UNSEEN")
    check(ok(tls.search(None, "SUBJECT", '"imaplib 4"', "NOT", "SEEN")) == [b"5"], "imaplib: SEARCH SUBJECT")
    check(ok(tls.uid("SEARCH", None, "TEXT", "one"))[0].split() == [b"%d" % i for i in range(1, 7)], "imaplib: SEARCH TEXT")
    data = ok(tls.fetch("2", "(ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
    check(b"imaplib 1" in data[0][1] and b"RFC822.SIZE %d" % len(message("imaplib 1")) in data[0][0], f"imaplib: FETCH {data}")
    check(ok(tls.fetch("2", "(BODY.PEEK[]<0.20>)"))[0][1] == message("imaplib 1")[:20], "imaplib: partial FETCH")
    ok(tls.store("1:2", "+FLAGS", r"(\Deleted $Label1)"))
    ok(tls.copy("3", "INBOX"))
    gone = ok(tls.expunge())
    check(gone in ([b"1", b"1"], [b"2", b"1"]), f"imaplib: EXPUNGE: {gone}")
    ok(plain.select("INBOX"))
    check(ok(plain.fetch("1", "(BODY[])"))[0][1] == message("imaplib 2"), "imaplib: COPY")
    ok(tls.close())
    ok(tls.rename('"Projects/2026 &- more"', "Archive-2026"))
    ok(plain.subscribe("Archive-2026"))
    rows = ok(tls.lsub())
    check(any(row and b"Archive-2026" in row for row in rows), f"imaplib: LSUB across nodes: {rows}")
    check(b"MESSAGES 4" in ok(plain.status("Archive-2026", "(MESSAGES UIDNEXT)"))[0], "imaplib: STATUS")
    ok(tls.delete("Archive-2026"))
    check(plain.select("Archive-2026")[0] == "NO", "imaplib: a deleted mailbox can be selected")
    plain.logout()
    tls.logout()
