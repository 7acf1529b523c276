"""What bench/run measures: a Merlion cluster and a private Dovecot, both with the same users and the same certificate."""
import json
import os
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build", "release")
DOMAIN, PASSWORD = "example.sg", "pw"


def run(command, text=None):
    r = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode:
        raise SystemExit(f"bench: {' '.join(command)}\n{r.stdout}{r.stderr}")
    return r.stdout


def memory(pids, key):
    """Bytes of all these processes: key is Rss, or Pss, which shares what they share."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith(key + ":"))
        except OSError:
            pass  # ended meanwhile
    return total * 1024


class Server:
    """Targets are lists of HOST:PORT; expect counts what every user was sent, for mload verify."""

    def __init__(self):
        self.expect = {}

    def count(self, prefix, counts):
        have = self.expect.setdefault(prefix, [0] * len(counts))
        self.expect[prefix] = [a + b for a, b in zip(have, counts)]


class Fixed(Server):
    """One that somebody else runs, at one address whatever the protocol."""

    def __init__(self, name, address):
        super().__init__()
        self.name, self.address = name, address

    def target(self, port):
        return self.address


class Merlion(Server):
    name = "merlion"

    def __init__(self, directory, base_port, settings):
        super().__init__()
        self.dir = os.path.join(directory, "merlion")
        command = [os.path.join(TOP, "dev", "cluster"), "up", "--dir", self.dir, "--base-port", str(base_port), "--release"]
        for s in settings:
            command += ["--set", s]
        run(command)
        self.read_endpoints()
        self.ca = os.path.join(self.dir, "tls")
        self.ctl(0, "domain", "add", DOMAIN)

    def read_endpoints(self):
        with open(os.path.join(self.dir, "endpoints.json")) as f:
            self.nodes = json.load(f)["nodes"]

    def ctl(self, node, *words, text=None):
        return run([os.path.join(BUILD, "mailctl"), "--socket", self.nodes[node]["admin"], *words], text)

    def status(self, node=0):
        """Also without a leader, when mailctl exits with an error."""
        command = [os.path.join(BUILD, "mailctl"), "--socket", self.nodes[node]["admin"], "status", "--json"]
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return json.loads(out) if out.startswith("{") else {"leader": None, "members": []}

    def cluster(self, *words):
        run([os.path.join(TOP, "dev", "cluster"), words[0], "--dir", self.dir, *words[1:]])
        self.read_endpoints()

    def users(self, prefix, count):
        for i in range(1, count + 1):
            self.ctl(0, "user", "add", f"{prefix}{i}@{DOMAIN}", "--password-stdin", text=PASSWORD)

    def target(self, port):
        return ",".join(f"{n['host']}:{n[port]}" for n in self.nodes)

    def pids(self):
        return [n["pid"] for n in self.nodes if n["pid"]]

    def version(self):
        return run([os.path.join(BUILD, "maild"), "--version"]).strip()

    def close(self):
        self.cluster("down")


# Limits are far above what is measured, so that none of them throttles. Workers for 64 LMTP sessions wait ready, and
# logins run in the high-performance mode of Dovecot's documentation (many connections a login process).
DOVECOT = """
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = bench
log_path = {dir}/log
listen = 127.0.0.1
protocols = imap lmtp
mail_location = sdbox:~/sdbox
mail_fsync = always
mail_max_userip_connections = 100000
first_valid_uid = 1
ssl = yes
ssl_cert = <{tls}/cert.pem
ssl_key = <{tls}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
default_process_limit = 4000
default_client_limit = 8000
default_vsz_limit = 0
lmtp_user_concurrency_limit = 0
postmaster_address = postmaster@{domain}
hostname = dovecot.example
{extra}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={dir}/mail/%u
}}
namespace inbox {{
  inbox = yes
}}
service lmtp {{
  process_min_avail = 64
  process_limit = 256
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 4000
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service imap {{
  process_min_avail = 16
  process_limit = 4000
}}
service imap-hibernate {{
  unix_listener imap-hibernate {{
    mode = 0666
  }}
}}
service auth {{
  client_limit = 20000
}}
service anvil {{
  client_limit = 20000
}}
"""


class Dovecot(Server):
    name = "dovecot"

    def __init__(self, directory, base_port, tls, extra=""):
        super().__init__()
        self.dir = os.path.join(directory, "dovecot")
        self.port = {"lmtp": base_port, "imap": base_port + 1, "imaps": base_port + 2}
        for part in ("run", "state", "mail"):
            os.makedirs(os.path.join(self.dir, part), exist_ok=True)
        # Its login and mail processes are other users: they must reach their folders.
        os.chmod(self.dir, 0o755)
        run(["chown", "mail:mail", os.path.join(self.dir, "mail")])
        self.conf = os.path.join(self.dir, "dovecot.conf")
        with open(self.conf, "w") as f:
            f.write(DOVECOT.format(dir=self.dir, tls=tls, domain=DOMAIN, extra=extra, **self.port))
        open(os.path.join(self.dir, "users"), "w").close()
        with open(os.path.join(self.dir, "stderr"), "wb") as err:
            self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL,
                                            stdout=err, stderr=err, start_new_session=True)
        self.master = self.process.pid
        for port in self.port.values():
            self.wait_open(port)

    def wait_open(self, port):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(os.path.join(self.dir, "stderr")) as f:
                        raise SystemExit(f"bench: Dovecot does not start with {self.conf}: {f.read()}")
                time.sleep(0.05)

    def users(self, prefix, count):
        with open(os.path.join(self.dir, "users"), "a") as f:
            f.writelines(f"{prefix}{i}@{DOMAIN}:{PASSWORD}\n" for i in range(1, count + 1))

    def target(self, port):
        return f"127.0.0.1:{self.port[port]}"

    def pids(self):
        """The master and all that it started."""
        found, parents = [self.master], {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as f:
                        parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
                except OSError:
                    pass
        return found + [pid for pid, parent in parents.items() if parent == self.master]

    def version(self):
        return "dovecot " + run(["dovecot", "--version"]).strip()

    def close(self):
        """The master ends its children before itself."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
