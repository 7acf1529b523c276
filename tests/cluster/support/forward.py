"""A TCP load balancer: takes connections at an address and hands each to the next of some backends."""
import socket
import threading


class Forward(threading.Thread):
    def __init__(self, address, backends):
        super().__init__(daemon=True)
        self.backends, self.at = list(backends), 0
        self.listener = socket.create_server(address, backlog=256)
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def connect(self):
        for _ in self.backends:
            self.at += 1
            try:
                return socket.create_connection(self.backends[self.at % len(self.backends)], 5)
            except OSError:
                continue
        return None

    def carry(self, client):
        server = self.connect()
        if not server:
            client.close()
            return
        server.settimeout(None)
        back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
        back.start()
        self.pump(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def pump(source, target):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        except OSError:
            pass
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def end(self):
        self.listener.close()
