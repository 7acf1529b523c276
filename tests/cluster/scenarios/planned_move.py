"""Leadership is handed over, every node restarted: only clients of the stopping node notice, and who is amid something ends it."""
import poplib
import threading
import time

from support.cluster import PASSWORD, Failure, check, wait_for
from support.ledger import Ledger
from support.load import Load
from support.mail import Imap, Smtp, Wire

GRACE = 0.3  # seconds between what happened and what a client noted of it


def excused(when, name, stops):
    """An interruption belongs to a node that was stopping or away (or had just not come back)."""
    return any(name == stopped and begin <= when <= end + GRACE for stopped, begin, end in stops)


class Amid:
    """Clients in the middle of something at the moment when a node begins to stop. None of them must be refused, or cut."""

    def __init__(self, node, user):
        self.node, self.user, self.box = node, user, f"amid-{node.name}-{time.monotonic_ns()}"
        self.pop3 = self.maildrop()
        self.count = len(self.pop3.list()[1])
        self.smtp = Smtp(node)
        self.smtp.command(b"MAIL FROM:<sender@elsewhere.example>\r\nRCPT TO:<", user.encode(), b">")
        self.smtp.expect(250)
        self.smtp.expect(250)
        self.greeted = Smtp(node)
        self.connected = node.connect("lmtp")
        self.tls = node.connect("pop3s")
        self.imap = Imap(node, user)
        self.imap.do("CREATE " + self.box)
        self.imap.wire.send(b"a APPEND %s {%d+}\r\nSubject: " % (self.box.encode(), len(self.message("half"))))

    def maildrop(self):
        p = poplib.POP3("localhost", self.node.port["pop3"], timeout=30)
        p.stls(context=self.node.cluster.tls)
        p.user(self.user)
        p.pass_(PASSWORD)
        return p

    def message(self, text):
        return f"Subject: {text} {self.box}\r\n\r\ntext\r\n".encode()

    def go_on(self):
        """While the node stops."""
        self.smtp.command(b"DATA")
        self.smtp.expect(354)
        self.smtp.wire.send(self.message("smtp") + b".\r\n")
        self.smtp.expect(250)
        self.smtp.expect(421)
        self.greeted.send("sender@elsewhere.example", [self.user], self.message("greeted"))
        self.greeted.expect(421)
        self.lmtp()
        self.imap.wire.send(self.message("half")[len("Subject: "):] + b"\r\n")
        line = self.imap.wire.line()
        check(line.startswith(b"a OK"), f"APPEND that had begun: {line}")
        check(self.imap.wire.line().startswith(b"* BYE"), "IMAP: no goodbye")
        check(len(self.pop3.list()[1]) == self.count, "POP3 LIST")
        self.pop3.retr(1)
        self.pop3.dele(1)
        check(self.pop3.quit().startswith(b"+OK"), "POP3 QUIT")
        self.late()

    def lmtp(self):
        c = Smtp.__new__(Smtp)
        c.lmtp, c.wire = True, Wire(self.connected)
        c.expect(220)
        c.command(b"LHLO client.example")
        c.expect(250)
        c.send("sender@elsewhere.example", [self.user], self.message("lmtp"))
        c.expect(421)

    def late(self):
        """Its handshake begins only now."""
        w = Wire(self.node.cluster.tls.wrap_socket(self.tls, server_hostname="localhost"))
        for command in (None, f"USER {self.user}", f"PASS {PASSWORD}", "STAT", "QUIT"):
            if command:
                w.send(command.encode() + b"\r\n")
            line = w.line()
            check(line.startswith(b"+OK"), f"POP3 from the handshake on: {command}: {line}")

    def check(self, other):
        """What was acknowledged is there."""
        c = Imap(other, self.user)
        _, rows = c.fetch_all("INBOX")
        found = b"".join(body for _, body in rows)
        for text in ("smtp", "greeted", "lmtp"):
            check(f"{text} {self.box}".encode() in found, f"{text}: acknowledged by {self.node.name} and lost")
        _, rows = c.fetch_all(self.box)
        check(len(rows) == 1, "APPEND: acknowledged and lost")
        c.logout()


def stop_amid(t, cluster, node):
    user = cluster.users[-1]
    was = "leader" if cluster.leader() is node else "follower"
    other = next(n for n in cluster.nodes if n is not node)
    first = Smtp(other)
    first.send("sender@elsewhere.example", [user], b"Subject: to be deleted\r\n\r\ntext\r\n")
    first.quit()
    wait_for(lambda: len(Imap(node, user).fetch_all("INBOX")[1]) > 0, 30, "nothing in the maildrop")
    amid = Amid(node, user)
    stopping = threading.Thread(target=node.stop)
    start = time.monotonic()
    stopping.start()
    try:
        wait_for(lambda: "event=draining" in node.log_text().rsplit("event=started", 1)[1], 30, f"{node.name} does not drain")
        amid.go_on()
    finally:
        stopping.join()
    t.say(f"stopped {node.name} ({was}) with clients amid POP3, SMTP, LMTP, IMAP: all finished; it ended after "
          f"{(time.monotonic() - start) * 1000:.0f} ms")
    node.start()
    cluster.wait_well()
    amid.check(other)


def run(t):
    cluster = t.cluster()
    cluster.add_users(5)
    stop_amid(t, cluster, cluster.leader())
    stop_amid(t, cluster, cluster.follower())
    del cluster.users[4:]  # the load has the others to itself
    ledger, stops, moves = Ledger(), [], []
    with Load(cluster, ledger) as load:
        load.run_for(1)
        for i in range(2 if t.quick else 6):
            leader = cluster.leader()
            start = time.monotonic()
            if i % 2:
                leader.ctl("leader", "transfer")
            else:
                target = cluster.follower()
                leader.ctl("leader", "transfer", target.name)
                wait_for(lambda: cluster.leader() is target, 30, f"{target.name} does not become leader")
            wait_for(lambda: cluster.leader() is not leader, 30, f"{leader.name} still leads")
            load.run_for(1)
            moves.append(ledger.stall_ms(start, start + 1))
        t.say(f"{len(moves)} transfers, the longest stall of writes {max(moves):.0f} ms")
        early = load.interruptions()
        check(not early, f"clients noticed a transfer of leadership: {early[:5]}")

        for n in cluster.nodes + [cluster.leader()]:
            was = "leader" if cluster.leader() is n else "follower"
            start = time.monotonic()
            n.stop()
            gone = time.monotonic()
            load.run_for(1)
            n.start()
            wait_for(n.ready, 30, f"{n.name} does not serve")
            stops.append((n.name, start, time.monotonic()))
            cluster.wait_well()
            load.run_for(0.5)
            t.say(f"restarted {n.name} ({was}): it ended in {(gone - start) * 1000:.0f} ms, "
                  f"writes stalled {ledger.stall_ms(start, start + 1):.0f} ms")
        load.end()
        load.check()
        unexcused = [i for i in load.interruptions() if not excused(i[0], i[1], stops)]
        if unexcused:
            raise Failure(f"{len(unexcused)} operations failed on nodes that were not stopping: {unexcused[:5]}")
        t.say(f"{len(load.interruptions())} interruptions, all at connections of the stopping node")
    ledger.check_all(cluster.nodes, t.say)
    cluster.verify()
