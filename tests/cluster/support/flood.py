"""Many submissions at once, over all nodes, that go on when nodes die; every message under a name of its own."""
import threading
import time

from support.mail import Refused, Uncertain
from support.submit import Submit, message


class Flood:
    """names: what was acknowledged, and when. maybe: what was sent without an answer."""

    def __init__(self, cluster, users, count, domain, threads=8, size=1000, prefix="f", domains=None):
        self.cluster, self.users, self.count, self.size = cluster, users, count, size
        self.domain, self.domains, self.prefix = domain, domains, prefix
        self.lock = threading.Lock()
        self.next, self.names, self.maybe, self.failed = 0, {}, set(), None
        self.threads = [threading.Thread(target=self.guarded, args=(i,), daemon=True) for i in range(threads)]

    def start(self):
        for t in self.threads:
            t.start()
        return self

    def guarded(self, number):
        try:
            self.run(number)
        except Exception as e:
            self.failed = e

    def take(self):
        with self.lock:
            if self.next >= self.count:
                return None
            self.next += 1
            return self.next

    def run(self, number):
        client, at = None, number
        while True:
            i = self.take()
            if i is None:
                break
            done = False
            while not done and not self.failed:
                node = self.cluster.nodes[at % len(self.cluster.nodes)]
                user = self.users[i % len(self.users)]
                name = f"{self.prefix}{i}"
                domain = self.domains[i % len(self.domains)] if self.domains else self.domain
                to = f"rcpt{i}@{domain}"
                try:
                    if not client:
                        client, owner = Submit(node, self.users[number % len(self.users)], timeout=40), self.users[number % len(self.users)]
                    user = owner
                    client.send(user, [to], message(name, user, to, self.size))
                    with self.lock:
                        self.names[name] = time.time()
                    done = True
                except Uncertain:
                    with self.lock:
                        self.maybe.add(name)
                    client, at, done = self.drop(client), at + 1, True
                except (Refused, OSError, ConnectionError):
                    client, at = self.drop(client), at + 1
                    time.sleep(0.05)
        if client:
            client.quit()

    @staticmethod
    def drop(client):
        if client:
            try:
                client.close()
            except OSError:
                pass
        return None

    def running(self):
        if self.failed:
            raise self.failed
        return any(t.is_alive() for t in self.threads)

    def join(self):
        for t in self.threads:
            t.join()
        if self.failed:
            raise self.failed
