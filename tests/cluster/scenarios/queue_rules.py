"""The queue's rules: who may send as whom and how much, routes, DSN parameters, what operators can do, settings that are refused."""
import json
import os
import re
import threading
import time

from support.cluster import check, wait_for
from support.dns import Dns
from support.mail import Imap, Refused, Smtp
from support.sink import Behaviour, Sink, certificate
from support.submit import Submit, message

EXTENSIONS = ["PIPELINING", "SIZE 52428800", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES"]  # neither DSN nor SMTPUTF8


class Part:
    """What all parts share."""

    def __init__(self, t):
        cert, wrapped = certificate(t.folder("tls"), "smart.example"), certificate(t.folder("tls"), "wrapped.example")
        trusted = os.path.join(t.folder("tls"), "trusted.pem")
        with open(trusted, "w") as out:
            for path in (cert[0], wrapped[0]):
                with open(path) as f:
                    out.write(f.read())
        self.dns = Dns()
        t.cleanups.append(self.dns.end)
        self.cluster = t.cluster(settings=[f"queue.resolvers={self.dns.address}", f"queue.ca_file={trusted}"])
        self.users = self.cluster.add_users(3)
        self.a, self.b, self.c = self.cluster.nodes
        self.good = Sink("good.example", keep=True)
        self.plain = Sink("plain.example", keep=True, extensions=EXTENSIONS)
        self.later = Sink("later.example", behaviour=Behaviour(rcpt=b"451 4.7.1 sp\xe4ter"))  # not UTF-8
        self.never = Sink("never.example", behaviour=Behaviour(rcpt="550 5.1.1 nobody of that name"))
        self.smart = Sink("smart.example", cert=cert, login=("us", "secret"), keep=True)
        self.wrapped = Sink("wrapped.example", cert=wrapped, address="::1", wrapped=True)
        self.other = Sink("other.example", cert=certificate(t.folder("tls"), "another.example"))
        sinks = self.good, self.plain, self.later, self.never, self.smart, self.other, self.wrapped
        self.hosts = [f"{s.name} {'[::1]' if s.address == '::1' else s.address}:{s.port}" for s in sinks]
        for s in sinks:
            t.cleanups.append(s.end)
        self.set("queue.hosts", "\n".join(self.hosts))
        self.set("queue.schedule", "1h")

    def set(self, name, value):
        self.a.ctl("settings", "set", name, value)

    def listed(self, *filters):
        return json.loads(self.b.ctl("queue", "list", "--json", *filters).stdout)["queue"]

    def shown(self, recipient):
        rows = self.listed("--recipient", recipient)
        check(len(rows) == 1, f"{recipient} is in the queue {len(rows)} times")
        return json.loads(self.c.ctl("queue", "show", str(rows[0]["id"]), "--json").stdout)

    def tried(self, recipient):
        """The only attempt of what waits for its next one."""
        wait_for(lambda: [r for r in self.listed("--recipient", recipient) if r["state"] == "waiting" and r["attempts"]], 30,
                 lambda: f"{recipient} is not tried: {self.listed()}", every=0.2)
        return self.shown(recipient)["attempts"][-1]

    def send(self, name, to, sender=None, node=None, mail="", rcpt="", text=None):
        """One message; the last reply is expected to be 250."""
        sender = sender or self.users[0]
        s = Submit(node or self.a, self.users[0])
        try:
            s.command(f"MAIL FROM:<{sender}>{mail}".encode())
            s.expect(250)
            for address in to if isinstance(to, list) else [to]:
                s.command(f"RCPT TO:<{address}>{rcpt}".encode())
                s.expect(250)
            s.command(b"DATA")
            s.expect(354)
            s.wire.send((text or message(name, sender, "them")) + b".\r\n")
            return s.expect(250)
        finally:
            s.close()

    def refused(self, pattern, *args, **more):
        try:
            self.send(*args, **more)
        except Refused as e:
            check(re.search(pattern, str(e)), f"{args[0]}: refused with {e}, not {pattern}")
            return
        check(False, f"{args[0]}: taken")

    def arrives(self, sink, name):
        wait_for(lambda: name in sink.by_name, 30, lambda: f"{name} does not arrive at {sink.name}: {self.listed()}")
        return sink.by_name[name][0]

    def inbox(self, user):
        c = Imap(self.b, user)
        _, rows = c.fetch_all("INBOX")
        c.logout()
        return [body for _, body in rows]

    def notice(self, name, user=None):
        """The notice about the message of that name."""
        def found():
            return [m for m in self.inbox(user or self.users[0]) if b"multipart/report" in m and f"<{name}@submit>".encode() in m]
        wait_for(found, 30, lambda: f"no notice about {name}: {self.listed()}", every=0.2)
        check(len(found()) == 1, f"{len(found())} notices about {name}")
        return found()[0]

    def fails(self, node, *words, like):
        r = node.ctl(*words, ok=False)
        check(r.returncode != 0, f"mailctl {' '.join(words)} works")
        check(re.search(like, r.stderr + r.stdout), f"mailctl {' '.join(words)} says {r.stderr}{r.stdout}")


def senders(p):
    u1, u2 = p.users[:2]
    p.refused(r"^553 5\.7\.1 ", "as-another", "x@good.example", sender=u2)
    p.refused(r"^550 5\.7\.1 ", "header-of-another", "x@good.example", text=message("header-of-another", u2, "them"))
    p.a.ctl("alias", "add", "me@example.sg", u1)
    p.send("as-alias", "x@good.example", sender="me@example.sg")
    check(p.arrives(p.good, "as-alias").sender == "me@example.sg", "an alias of one's own is not the sender")
    p.set("queue.sender", "any")
    p.send("as-anybody", "x@good.example", sender="ann@elsewhere.example")
    p.arrives(p.good, "as-anybody")
    p.set("queue.sender", "own")
    p.refused(r"^553 5\.7\.1 ", "as-another", "x@good.example", sender=u2)

    # From outside: an alias may lead elsewhere; other relaying is refused.
    p.a.ctl("alias", "add", "team@example.sg", u2, "them@good.example")
    s = Smtp(p.b)
    s.send("out@side.example", ["team@example.sg"], message("for-team", "out@side.example", "team@example.sg"))
    try:
        s.send("out@side.example", ["them@good.example"], message("relay", "out@side.example", "them@good.example"))
        check(False, "a stranger may relay")
    except Refused as e:
        check("550 5.7.1" in str(e), f"relaying is refused with {e}")
    s.quit()
    check(p.arrives(p.good, "for-team").recipients == ["them@good.example"], "the alias leads to somebody else")
    wait_for(lambda: [m for m in p.inbox(u2) if b"<for-team@submit>" in m], 30, "the alias' own user gets nothing")

    # A limit of recipients an hour holds on all nodes together; an hour may end once while this runs.
    p.set("queue.rate", "2")
    answers = []
    for i in range(6):
        try:
            answers.append(p.send(f"rate{i}", "x@good.example", node=p.cluster.nodes[i % 3])[:3])
        except Refused as e:
            answers.append(str(e))
    check([a for a in answers if a.startswith("450 4.7.1 ")] and answers.count("250") <= 4, f"rate: {answers}")
    p.set("queue.rate", "0")
    p.send("rate-none", "x@good.example")
    loop = b"".join(b"Received: from a by b; Mon, 23 Nov 2026 10:00:00 +0800\r\n" for _ in range(120))
    p.refused(r"^554 5\.4\.6 ", "loop", "x@good.example", text=loop + message("loop", u1, "them"))


def settings(p):
    for name, value, like in (("schedule", "nonsense", "5m 10m 1h"), ("schedule", "0s", "5m 10m 1h"), ("lifetime", "5", "5d"),
                              ("notice_after", "soon", "4h"), ("destination_max", "few", "number"), ("rate", "many", "recipients"),
                              ("sender", "all", "own or any"), ("routes", "a.example tls=perhaps", "line 1: tls=perhaps"),
                              ("routes", "a.example\nb.example user=x", "line 2: user= and password="),
                              ("routes", "a.example\na.example", "twice"), ("sources", "example.sg 1.2.3.4", "@domain ADDRESS"),
                              ("hosts", "a.example somewhere", "addresses"), ("nonsense", "1", "queue.nonsense")):
        p.fails(p.b, "settings", "set", "queue." + name, value, like=like)
        p.fails(p.b, "settings", "set", "queue." + name, value, "--json", like=like)


def routes(p):
    p.set("queue.routes", "relayed.example host=smart.example tls=verify user=us password=secret\n"
          ".relayed.example host=smart.example tls=require user=us password=wrong\n"
          "misnamed.example host=other.example tls=verify\n"
          "first.example host=wrapped.example tls=wrapped\nnotls.example host=good.example tls=require\nheld.example hold=yes\n")
    p.set("queue.sources", "@example.sg 127.0.0.9")
    p.send("routed", "x@relayed.example")
    arrival = p.arrives(p.smart, "routed")
    check(arrival.tls and arrival.user == "us", f"smarthost: TLS {arrival.tls}, user {arrival.user}")
    check(arrival.peer == "127.0.0.9", f"the source address is {arrival.peer}")
    p.set("queue.sources", "")
    p.send("wrapped", "x@first.example")
    check(p.arrives(p.wrapped, "wrapped").peer == "::1", "TLS from the first byte, over IPv6")
    for name, to, like in (("password", "x@sub.relayed.example", "535"), ("misnamed", "x@misnamed.example", "(?i)certificate|tls|verif"),
                           ("notls", "x@notls.example", "TLS is required")):
        p.send(name, to)
        attempt = p.tried(to)
        check(attempt["outcome"] == "deferred" and re.search(like, attempt["reply"]), f"{name}: {attempt}")
    p.send("held", "x@held.example")
    time.sleep(0.5)
    row = p.listed("--domain", "held.example")[0]
    check(row["state"] == "waiting" and row["attempts"] == 0, f"a held route: {row}")
    check("notls" not in p.good.by_name, "sent without TLS where it is required")
    # Settings change under way: what waits goes by the new route, at the operator's word.
    p.set("queue.routes", "notls.example host=good.example\nheld.example host=good.example\n"
          "sub.relayed.example host=smart.example user=us password=secret\nmisnamed.example host=good.example")
    check(json.loads(p.c.ctl("queue", "flush", "--json").stdout)["messages"] == 3, "flush does not try all that waits")
    for name, sink in (("notls", p.good), ("held", p.good), ("misnamed", p.good), ("password", p.smart)):
        p.arrives(sink, name)
    p.set("queue.routes", "")


def dns(p):
    """MX records that say no, or lead back to us."""
    mine = [f"node{i}.example" for i in (1, 2, 3)]
    p.dns.records["null.example"] = [("MX", 0, ".")]
    p.dns.records["loop.example"] = [("MX", 10, host) for host in mine] + [("MX", 20, "good.example")]
    p.dns.records["backup.example"] = [("MX", 5, "good.example")] + [("MX", 10, host) for host in mine]
    p.dns.failing.add("broken.example")
    p.send("null", "x@null.example")
    check(b"5.1.10" in p.notice("null"), "null MX")
    p.send("circle", "x@loop.example")
    check(b"5.4.6" in p.notice("circle"), "MX that lead to us")
    p.send("backup", "x@backup.example")
    p.arrives(p.good, "backup")
    p.send("servfail", "x@broken.example")
    attempt = p.tried("x@broken.example")
    check(attempt["outcome"] == "deferred" and "4.4.3" in attempt["reply"], f"DNS that fails: {attempt}")
    p.a.ctl("queue", "cancel", "--domain", "broken.example", "--yes")


def notices(p):
    p.send("relayed", "x@plain.example", mail=" ENVID=e+3D1 RET=HDRS", rcpt=" NOTIFY=SUCCESS ORCPT=rfc822;first@plain.example")
    text = p.notice("relayed")
    for part in (b"Action: relayed", b"Original-Envelope-Id: e=1", b"Original-Recipient: rfc822;first@plain.example", b"Auto-Submitted: auto-"):
        check(part in text, f"no {part} in the notice of success:\n{text.decode()}")
    p.send("passed-on", "x@good.example", mail=" ENVID=e2 RET=FULL", rcpt=" NOTIFY=SUCCESS,FAILURE")
    parameters = p.arrives(p.good, "passed-on").parameters
    check("ENVID=e2" in parameters[0] and "RET=FULL" in parameters[0] and "NOTIFY=SUCCESS,FAILURE" in parameters[1],
          f"a host with DSN is told {parameters}")
    p.send("quiet", "x@never.example", rcpt=" NOTIFY=NEVER")
    p.send("loud", "y@never.example", mail=" RET=FULL")
    text = p.notice("loud")
    check(b"5.1.1" in text and b"The quick brown fox" in text, f"RET=FULL:\n{text.decode()}")
    p.send("short", "z@never.example", mail=" RET=HDRS")
    check(b"The quick brown fox" not in p.notice("short"), "RET=HDRS sends the text back")
    # Downgrade is refused, clearly.
    p.send("utf8", "grüße@plain.example", mail=" SMTPUTF8 BODY=8BITMIME")
    check(b"5.6.7" in p.notice("utf8"), "an address in UTF-8 for a host without SMTPUTF8")
    # Never a bounce to a bounce: postmaster is told instead.
    p.set("postmaster", p.users[2])
    p.a.ctl("alias", "add", "gone@example.sg", "z@never.example")
    s = Smtp(p.c)
    s.send("", ["gone@example.sg"], message("double", "out@side.example", "gone@example.sg"))
    s.quit()
    p.notice("double", p.users[2])
    wait_for(lambda: not p.listed("--recipient", "x@never.example"), 30, "NOTIFY=NEVER: it stays in the queue")
    check(not [m for user in p.users for m in p.inbox(user) if b"quiet@submit" in m], "NOTIFY=NEVER: a notice")
    check(not [m for user in p.users for m in p.inbox(user) if b"passed-on@submit" in m], "two hosts tell of one success")


def many(p):
    """One message to 700 recipients at 301 destinations, some of which refuse some."""
    mixed = Sink("mixed.example", behaviour=Behaviour(rcpt=lambda a: "550 5.1.1 no" if a.startswith("no") else None))
    p.set("queue.hosts", "\n".join(p.hosts + [f"mixed.example 127.0.0.1:{mixed.port}"]))
    p.set("queue.routes", ".many.example host=mixed.example")
    to = [f"{'no' if i % 4 == 0 else 'yes'}{i}@mixed.example" for i in range(400)] + \
         [f"{'no' if i % 10 == 0 else 'yes'}{i}@d{i}.many.example" for i in range(300)]
    p.send("many", to)
    wait_for(lambda: not p.listed(), 60, lambda: f"{len(p.listed())} are left", every=0.3)
    got = [r for a in mixed.by_name["many"] for r in a.recipients]
    check(sorted(got) == sorted(r for r in to if r.startswith("yes")), f"{len(got)} recipients get it, {len(set(got))} different ones")
    told = b"".join(m for m in p.inbox(p.users[0]) if b"<many@submit>" in m)
    failed = re.findall(rb"Final-Recipient: rfc822; ?(\S+)\r\n", told)
    check(sorted(f.decode() for f in failed) == sorted(r for r in to if r.startswith("no")), f"{len(failed)} recipients are told of")
    # Operators' commands over more destinations than one command may have.
    p.set("queue.routes", ".many.example hold=yes")
    for i in range(35):
        p.send(f"wide{i}", to[400:], node=p.cluster.nodes[i % 3])
    rows = json.loads(p.c.ctl("queue", "list", "--json").stdout)
    check(rows["matched"] == 35 * 300 and rows["shown"] == 100, f"list: {rows['matched']} match")
    for words in (["hold"], ["release"], ["cancel", "--yes"]):
        r = p.c.ctl("queue", words[0], "--all", "--json", *words[1:])
        check(json.loads(r.stdout)["messages"] == 35, f"{words}: {r.stdout}")
    p.set("queue.routes", "")
    mixed.end()


def operating(p):
    u1 = p.users[0]
    p.a.ctl("alias", "add", "second@example.sg", u1)
    for i in range(4):
        p.send(f"op{i}", [f"op{i}@later.example"], sender=u1 if i < 3 else "second@example.sg")
    for i in range(4):
        check("sp?ter" in p.tried(f"op{i}@later.example")["reply"], "a reply that is not UTF-8")
    rows = p.listed()
    check(len(rows) == 4 and all(r["state"] == "waiting" for r in rows), f"list: {rows}")
    ids = [str(r["id"]) for r in rows]
    for filters, expected in ((["--sender", "second@example.sg"], ids[3:]), (["--recipient", "OP1@later.example"], ids[1:2]),
                              (["--domain", "later.example", "--limit", "2"], ids[:2]), (["--domain", "good.example"], []),
                              (["--state", "held"], []), (["--older-than", "1h"], []), (["--older-than", "0"], ids),
                              (["--sender", "<>"], [])):
        found = [str(r["id"]) for r in p.listed(*filters)]
        check(found == expected, f"list {filters}: {found}, not {expected}")
    for words, like in ((["list", "--state", "lost"], "waiting"), (["list", "--older-than", "old"], "90s"),
                        (["list", "--limit", "9999"], "2000"), (["show", "abc"], "id"), (["show", "99999"], "not in the queue"),
                        (["hold"], "which messages"), (["hold", "x"], "no id"), (["retry", "99999"], "none of these"),
                        (["cancel", ids[0]], "--yes"), (["release", "--sender"], "sender")):
        p.fails(p.b, "queue", *words, like=like)

    def control(*words):
        return json.loads(p.c.ctl("queue", *words, "--json").stdout)["messages"]

    def attempts():
        """Of what is not under way: an attempt counts from its beginning."""
        return {str(r["id"]): r["attempts"] for r in p.listed() if r["state"] != "delivering"}
    check(control("hold", ids[0], ids[1]) == 2 and control("hold", ids[0]) == 0, "hold")
    check([str(r["id"]) for r in p.listed("--state", "held")] == ids[:2], "what is held is not listed as held")
    check(control("flush", "later.example") == 2, "flush tries what is held, or not what waits")
    wait_for(lambda: attempts() == {ids[0]: 1, ids[1]: 1, ids[2]: 2, ids[3]: 2}, 20, lambda: f"after flush: {attempts()}", every=0.2)
    check(control("release", ids[1]) == 1, "release")
    check(control("cancel", ids[2], "--yes") == 1, "cancel")
    for node in p.cluster.nodes:  # what was acknowledged shows everywhere
        rows = json.loads(node.ctl("queue", "list", "--json").stdout)["queue"]
        check(ids[2] not in [str(r["id"]) for r in rows], f"what is canceled stays, {node.name} says: {rows}")
    # The host that was away is back: nobody waits until it is asked again on its own.
    p.set("queue.hosts", "\n".join(p.hosts) + "\ngone.example 127.0.0.1:9")
    p.send("gone1", "x@gone.example")
    check("efused" in p.tried("x@gone.example")["reply"], "nobody listens there")
    back = Sink("gone.example")
    p.set("queue.hosts", "\n".join(p.hosts) + f"\ngone.example 127.0.0.1:{back.port}")
    control("retry", "--recipient", "x@gone.example")
    p.arrives(back, "gone1")
    back.end()
    for i, node in enumerate(p.cluster.nodes):  # each marks the host as one that does not answer
        p.send(f"gone{i}-again", f"y{i}@gone.example", node=node)
        check("efused" in p.tried(f"y{i}@gone.example")["reply"], "nobody listens there any more")
    back = Sink("gone.example", port=back.port)
    check(control("flush", "gone.example") == 3, "flush of a domain")
    for i in range(3):
        p.arrives(back, f"gone{i}-again")
    back.end()
    p.later.behaviour.rcpt = None
    check(control("retry", "--all") == 2, "retry of all")
    for i in (1, 3):
        p.arrives(p.later, f"op{i}")
    wait_for(lambda: len(p.listed()) == 1, 20, lambda: f"left: {p.listed()}")
    check(control("release", "--all") == 1 and control("retry", ids[0]) == 1, "release and retry")
    p.arrives(p.later, "op0")
    check("op2" not in p.later.by_name, "what was canceled arrives")


def canceling(p):
    """What is canceled in the middle of an attempt goes with its end, whichever it is, and is not tried again."""
    answer, asked = threading.Event(), []

    def think(address):
        asked.append(address)
        answer.wait(60)
        return "451 4.7.1 later" if address.startswith("no") else None
    host = Sink("pensive.example", behaviour=Behaviour(rcpt=think))
    p.set("queue.hosts", "\n".join(p.hosts + [f"pensive.example 127.0.0.1:{host.port}"]))

    def messages(*words):
        return json.loads(p.c.ctl("queue", *words, "--json").stdout)["messages"]
    for to in ("no@pensive.example", "yes@pensive.example"):
        answer.clear()
        p.send("amid-" + to[:2], to)
        wait_for(lambda: to in asked, 30, lambda: f"not tried: {p.listed()}")
        check(messages("cancel", "--recipient", to, "--yes") == 1, "cancel of what is being delivered")
        item = p.shown(to)
        check(item["canceled"] and item["legs"][0]["state"] == "delivering", f"canceled amid its attempt: {item}")
        for verb in (["cancel", "--yes"], ["hold"], ["retry"]):
            check(messages(*verb, "--recipient", to) == 0, f"{verb[0]} of what is canceled")
        answer.set()
        wait_for(lambda: not p.listed("--recipient", to), 30, lambda: f"what is canceled stays: {p.listed()}")
        check(asked.count(to) == 1, f"what is canceled is tried again: {asked}")
    check("amid-ye" in host.by_name and "amid-no" not in host.by_name, f"arrived: {host.names()}")
    check(not [m for m in p.inbox(p.users[0]) if b"<amid-" in m], "a notice about what was canceled")
    p.set("queue.hosts", "\n".join(p.hosts))
    host.end()


def draining(p):
    """A node that is drained, or stopped, gives back what it has not begun; nothing arrives twice."""
    slow = Sink("slow.example", behaviour=Behaviour(tarpit=0.3))
    p.set("queue.hosts", "\n".join(p.hosts + [f"slow.example 127.0.0.1:{slow.port}"]))
    for i in range(30):
        p.send(f"drain{i}", f"x{i}@slow.example", node=p.a)
    p.a.ctl("node", "drain")
    p.b.ctl("queue", "stats")
    for i in range(30):
        p.send(f"stop{i}", f"y{i}@slow.example", node=p.c)
    p.c.stop()
    wait_for(lambda: slow.count() == 60 and not p.listed(), 60, lambda: f"{slow.count()} of 60 arrive; {len(p.listed())} are left", every=0.3)
    check(max(slow.names().values()) == 1, f"some arrive more than once: {slow.names()}")
    nodes = {n.name: len(re.findall(r"event=delivery .*slow.example status=delivered", n.log_text())) for n in p.cluster.nodes}
    check(nodes["node2"] > 0 and sum(nodes.values()) == 60, f"delivered by {nodes}")
    p.a.stop()
    p.a.start()
    p.c.start()
    p.cluster.wait_well()
    slow.end()


def run(t):
    p = Part(t)
    for part in (senders, settings, routes, dns, notices, many, operating, canceling, draining):
        part(p)
        t.say(f"{part.__name__} as they should be")
    wait_for(lambda: not p.listed(), 20, lambda: f"left: {p.listed()}")
    p.cluster.wait_well()
    p.cluster.verify()
