"""Two Merlion clusters and a Postfix exchange mail by MX: STARTTLS, 8-bit, UTF-8 addresses, 10 MB, byte for byte."""
import os
import random
import re
import smtplib

from support.cluster import check, wait_for
from support.dns import Dns
from support.forward import Forward
from support.ledger import ADDED
from support.mail import Imap
from support.postfix import Postfix
from support.sink import certificate
from support.submit import Submit

HOPS = re.compile(rb"(?:(?:Return-Path|Received|Delivered-To|X-Original-To):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*", re.I)


def bodies(sender, to, number, big):
    """(name, message) pairs of each kind."""
    rnd = random.Random(number)
    plain = "".join("line %d of plain text\r\n" % i + "." * (i % 4) + "\r\n" for i in range(40)).encode()
    eight = "Grüße aus Singapur – 新加坡 – செந்தமிழ்\r\n".encode() * 20
    large = b"\r\n".join(b"%0150x" % rnd.getrandbits(600) for _ in range((big + 151) // 152)) + b"\r\n"
    for kind, extra, body in (("plain", "", plain), ("eight", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                               "Content-Transfer-Encoding: 8bit\r\n", eight), ("large", "", large)):
        name = f"x{number}-{kind}"
        yield name, (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {name}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0800\r\n"
                     f"Message-ID: <{name}@exchange>\r\n{extra}\r\n").encode() + body


def name_of(message):
    m = re.search(rb"^Message-ID: <([^@>]+)@exchange>", message, re.M)
    return m.group(1).decode() if m else None


def received(cluster, user, nodes=None):
    """[(name, message)] of a mailbox, the same on all nodes; for a look while mail still comes, ask one."""
    views = []
    for node in nodes or cluster.nodes:
        c = Imap(node, user)
        _, messages = c.fetch_all("INBOX")
        c.logout()
        views.append(sorted((name_of(body) or "?", body) for _, body in messages))
    check(all(v == views[0] for v in views), f"{user}'s mailbox is not the same on all nodes")
    return views[0]


def check_mail(where, found, expected):
    """Each expected message once, byte for byte after what the hops put in front."""
    by_name = {}
    for body in found:
        by_name.setdefault(name_of(body), []).append(body)
    for name, (message, hops) in expected.items():
        copies = by_name.get(name, [])
        check(len(copies) == 1, f"{where}: {name} arrived {len(copies)} times")
        end = HOPS.match(copies[0]).end()
        check(copies[0][end:] == message, f"{where}: {name} has other bytes after the headers of the hops")
        head = copies[0][:end]
        for hop in hops:
            check(re.search(hop, head), f"{where}: no {hop!r} in the trace of {name}:\n{head.decode('utf-8', 'replace')}")


def run(t):
    big = 300_000 if t.quick else 10_000_000
    net = f"127.{random.randrange(1, 255)}"  # runs at the same time keep out of each other's way
    dns = Dns(port=53, address=f"{net}.4.1")
    t.cleanups.append(dns.end)
    settings = [f"queue.resolvers={net}.4.1:53"]
    a, b = t.cluster(settings=settings), t.cluster(settings=settings)
    a.add_users(1, "a.example")
    b.add_users(1, "b.example")
    users = {"a": "user1@a.example", "b": "user1@b.example", "p": "someone@p.example"}
    cert = certificate(t.folder("tls"), "mx.p.example")
    postfix = Postfix(t.folder("postfix"), f"{net}.3.1", 25, "mx.p.example", "p.example", cert, resolver=f"{net}.4.1")
    t.cleanups.append(postfix.end)
    for name, cluster, address in (("a", a, f"{net}.2.1"), ("b", b, f"{net}.2.2")):
        balancer = Forward((address, 25), [(n.host, n.port["smtp"]) for n in cluster.nodes])
        t.cleanups.append(balancer.end)
        dns.records[f"{name}.example"] = [("MX", 10, f"mx.{name}.example"), ("MX", 20, f"down.{name}.example")]
        dns.records[f"mx.{name}.example"] = [("CNAME", f"lb.{name}.example")] if name == "b" else [("A", address)]
        dns.records[f"lb.{name}.example"] = [("A", address)]
        dns.records[f"down.{name}.example"] = [("A", f"{net}.2.250")]
    dns.records["p.example"] = [("MX", 5, "down.p.example"), ("MX", 10, "mx.p.example")]
    dns.records["down.p.example"] = [("A", f"{net}.2.250")]
    dns.records["mx.p.example"] = [("A", f"{net}.3.1")]

    expected = {"a": {}, "b": {}, "p": {}}
    number = 0
    for source, cluster in (("a", a), ("b", b)):
        for target in "abp":
            if target == source:
                continue
            number += 1
            for i, (name, message) in enumerate(bodies(users[source], users[target], number, big)):
                client = Submit(cluster.nodes[i % 3], users[source])
                client.send(users[source], [users[target]], message)
                client.quit()
                expected[target][name] = (message, [rb"with (UTF8)?SMTPSA|with ESMTPSA", rb"with ESMTPS"])
    for target in "ab":
        number += 1
        for name, message in bodies(users["p"], users[target], number, big):
            with smtplib.SMTP(f"{net}.3.1", 25, timeout=60) as s:
                s.sendmail(users["p"], [users[target]], message)
            expected[target][name] = (message, [rb"with ESMTPS"])
    t.say(f"{sum(map(len, expected.values()))} messages on their way between two clusters and Postfix, the largest {big} octets")

    # SMTPUTF8 (RFC 6531): a recipient whose local part is no ASCII, at Postfix, and back to one of ours.
    number += 1
    utf8 = f"x{number}-utf8"
    message = (f"From: <{users['a']}>\r\nTo: <grüße@p.example>\r\nSubject: Grüße\r\n"
               f"Date: Mon, 23 Nov 2026 10:00:00 +0800\r\nMessage-ID: <{utf8}@exchange>\r\n\r\nöä\r\n").encode()
    client = Submit(a.nodes[0], users["a"])
    client.command(f"MAIL FROM:<{users['a']}> SMTPUTF8 BODY=8BITMIME".encode())
    client.expect(250)
    client.command("RCPT TO:<grüße@p.example>".encode())
    client.expect(250)
    client.command(b"DATA")
    client.expect(354)
    client.wire.send(message + b".\r\n")
    client.expect(250)
    client.quit()
    expected["p"][utf8] = (message, [rb"with UTF8SMTPS"])

    def arrived():
        return (len(received(a, users["a"], a.nodes[:1])) >= len(expected["a"]) and
                len(received(b, users["b"], b.nodes[:1])) >= len(expected["b"]) and len(postfix.mail()) >= len(expected["p"]))
    wait_for(arrived, 120, lambda: f"not all mail arrives: {len(postfix.mail())} of {len(expected['p'])} at Postfix; "
             f"{a.nodes[0].ctl('queue', 'list').stdout} {b.nodes[0].ctl('queue', 'list').stdout} {postfix.log_tail()}", every=1)
    check_mail("a.example", [m for _, m in received(a, users["a"])], expected["a"])
    check_mail("b.example", [m for _, m in received(b, users["b"])], expected["b"])
    check_mail("p.example", postfix.mail(), expected["p"])
    t.say("all arrived once, over TLS, byte for byte after the headers of the hops")

    # What cannot be delivered comes back, once.
    client = Submit(b.nodes[1], users["b"])
    client.send(users["b"], ["nobody@nowhere.example"], next(bodies(users["b"], "nobody@nowhere.example", 99, 10))[1])
    client.send(users["b"], ["user77@a.example"], next(bodies(users["b"], "user77@a.example", 100, 10))[1])
    client.quit()

    def notices():
        return [m for _, m in received(b, users["b"], b.nodes[:1]) if b"multipart/report" in m]
    wait_for(lambda: len(notices()) >= 2, 60, lambda: f"{len(notices())} notices: {b.nodes[0].ctl('queue', 'list').stdout}", every=0.5)
    found = notices()
    check(len(found) == 2, f"{len(found)} notices instead of 2")
    check(any(b"5.1.1" in m and b"user77@a.example" in m for m in found), "no notice says 5.1.1 for user77")
    check(any(b"nowhere.example" in m and b"Action: failed" in m for m in found), "no notice for the domain that is none")
    for m in found:
        check(m.startswith(b"Return-Path: <>\r\n"), "a notice has a return path")
        check(b"Auto-Submitted: auto-replied" in m or b"Auto-Submitted: auto-generated" in m, "a notice without Auto-Submitted")
    for cluster in (a, b):
        wait_for(lambda: '"messages": 0' in cluster.nodes[2].ctl("queue", "stats", "--json").stdout, 30, "the queue is not empty")
        for n in cluster.nodes:
            wait_for(lambda: n.metric("merlion_queue_body_bytes") == 0, 30, f"{n.name} still holds messages of an empty queue")
        cluster.wait_well()
        cluster.verify()
    t.say("what nobody takes came back as one notice each; queues are empty, digests the same")
