"""A private Postfix: its own folders, address and certificate, the DNS server of the test, no system files touched."""
import glob
import grp
import os
import pwd
import re
import signal
import socket
import subprocess
import time

from support.cluster import Failure, wait_for

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/log
maillog_file_prefixes = {dir}
myhostname = {host}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_bind_address = {address}
alias_maps =
alias_database =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {dir}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
message_size_limit = 52428800
smtputf8_enable = yes
smtpd_tls_security_level = may
smtpd_tls_cert_file = {cert}
smtpd_tls_key_file = {key}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtp_tls_security_level = {out_tls}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
minimal_backoff_time = 2s
queue_run_delay = 2s
{extra}
"""
MASTER = """
{address}:{port} inet n - n - {processes} smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - {processes} smtp
relay unix - - n - {processes} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """resolver: an address that answers DNS on port 53; None: the system's. Wants root: as Postfix does."""

    def __init__(self, directory, address, port, host, domain, cert, resolver=None, extra="", out_tls="may", processes=100):
        if os.geteuid() != 0:
            raise Failure("Postfix wants root")
        self.dir, self.address, self.port, self.domain = directory, address, port, domain
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((address, port))  # somebody else there would be taken for ours
        self.conf = os.path.join(directory, "conf")
        owner = pwd.getpwnam("postfix")
        for part in ("conf", "spool", "data", "mail"):
            os.makedirs(os.path.join(directory, part), exist_ok=True)
        for part in ("data", "mail"):
            os.chown(os.path.join(directory, part), owner.pw_uid, owner.pw_gid)
        os.chmod(directory, 0o755)
        self.open_parents()
        with open(os.path.join(self.conf, "main.cf"), "w") as f:
            f.write(MAIN.format(dir=directory, address=address, host=host, domain=domain, uid=owner.pw_uid, gid=owner.pw_gid,
                                cert=cert[0], key=cert[1], out_tls=out_tls, extra=extra))
        with open(os.path.join(self.conf, "master.cf"), "w") as f:
            f.write(MASTER.format(address=address, port=port, processes=processes))
        script = "exec postfix -c \"$0\" start-fg"
        if resolver:
            with open(os.path.join(directory, "resolv.conf"), "w") as f:
                f.write(f"nameserver {resolver}\n")
            script = f"mount --bind '{directory}/resolv.conf' /etc/resolv.conf && " + script
        with open(os.path.join(directory, "stderr"), "wb") as err:
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, self.conf], stdin=subprocess.DEVNULL,
                                            stdout=err, stderr=err, start_new_session=True)
        wait_for(self.answers, 30, lambda: f"Postfix does not start: {self.log_tail()}")

    def open_parents(self):
        """Its daemons are other users: they must reach their folders."""
        at = self.dir
        while len(at) > 1:
            mode = os.stat(at).st_mode
            if not mode & 0o001:
                os.chmod(at, mode | 0o011)
            at = os.path.dirname(at)

    def answers(self):
        if self.process.poll() is not None:
            raise Failure(f"Postfix ended: {self.log_tail()}")
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return True
        except OSError:
            return False

    def log_tail(self):
        text = ""
        for name in ("stderr", "log"):
            try:
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    text += "".join([l for l in f if not re.search("connect from|removed$|message-id=|client=", l)][-20:])
            except OSError:
                pass
        return text

    def mail(self):
        """All messages that it delivered: bytes with CRLF line ends."""
        found = []
        for path in glob.glob(os.path.join(self.dir, "mail", "all", "new", "*")):
            with open(path, "rb") as f:
                found.append(re.sub(rb"\r?\n", b"\r\n", f.read()))
        return found

    def queued(self):
        out = subprocess.run(["postqueue", "-c", self.conf, "-j"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return len(out.stdout.splitlines())

    def end(self):
        subprocess.run(["postfix", "-c", self.conf, "abort"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        wait_for(self.silent, 10, "Postfix does not end")

    def silent(self):
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return False
        except OSError:
            return True
