"""The talking part of dev/demo: sends and reads mail through different nodes, around the death of a leader."""
import imaplib
import json
import os
import poplib
import smtplib
import ssl
import subprocess
import sys
import time

DIR = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(DIR, "endpoints.json")) as f:
    E = json.load(f)
TLS = ssl.create_default_context(cafile=E["ca"])
PASSWORD = {"ann@example.sg": "demo-ann", "bob@example.sg": "demo-bob"}


def say(text):
    print(f"\n\033[1m== {text}\033[0m", flush=True)


def node(number):
    return E["nodes"][number - 1]


def send(number, subject):
    n = node(number)
    message = f"From: Bob <bob@example.sg>\r\nTo: Ann <ann@example.sg>\r\nSubject: {subject}\r\n\r\nHello from {n['name']}.\r\n"
    with smtplib.SMTP(n["host"], n["submission"]) as s:
        s.starttls(context=TLS)
        s.login("bob@example.sg", PASSWORD["bob@example.sg"])
        s.sendmail("bob@example.sg", ["ann@example.sg"], message)
    print(f"  {n['name']}: submission with STARTTLS took \"{subject}\" (250: on a majority of disks)")


def read_imap(number, expect):
    n = node(number)
    with imaplib.IMAP4_SSL(n["host"], n["imaps"], ssl_context=TLS) as c:
        c.login("ann@example.sg", PASSWORD["ann@example.sg"])
        c.select("INBOX", readonly=True)
        _, data = c.search(None, "SUBJECT", f'"{expect}"')
        uid = data[0].split()
        assert len(uid) == 1, f"{n['name']} shows {len(uid)} messages with subject {expect}"
        _, parts = c.fetch(uid[0], "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        print(f"  {n['name']}: IMAP shows {parts[0][1].decode().strip()}")


def read_pop(number, expect):
    n = node(number)
    c = poplib.POP3_SSL(n["host"], n["pop3s"], context=TLS)
    c.user("ann@example.sg")
    c.pass_(PASSWORD["ann@example.sg"])
    count = c.stat()[0]
    lines = c.top(count, 0)[1]
    subject = next(line.decode() for line in lines if line.lower().startswith(b"subject:"))
    assert subject == f"Subject: {expect}", subject
    print(f"  {n['name']}: POP3 shows {count} message(s), the last with {subject}")
    c.quit()


def mailctl(number, *words):
    r = subprocess.run(["mailctl", "--socket", node(number)["admin"], *words], stdout=subprocess.PIPE, text=True, check=True)
    return r.stdout


def cluster(*words):
    print(f"\033[2m$ dev/cluster {' '.join(words)}\033[0m", flush=True)
    subprocess.run([os.path.join(HERE, "cluster"), *words], check=True)


def leader():
    name = json.loads(mailctl(1, "status", "--json"))["leader"]
    return int(name[4:])


def main():
    say("In through node 1, read through node 2 (IMAP) and node 3 (POP3)")
    send(1, "first message")
    read_imap(2, "first message")
    read_pop(3, "first message")

    dead = leader()
    alive = [i for i in (1, 2, 3) if i != dead]
    say(f"SIGKILL to the leader, node{dead}; mail goes on at once through the others")
    cluster("kill", str(dead))
    start = time.monotonic()
    send(alive[0], "second message")
    print(f"  acknowledged {time.monotonic() - start:.2f} s after the kill")
    read_imap(alive[1], "second message")
    read_pop(alive[0], "second message")

    say(f"Bringing node{dead} back")
    cluster("start", str(dead))
    deadline = time.monotonic() + 60
    while True:
        members = json.loads(mailctl(alive[0], "status", "--json"))["members"]
        if all(m["state"] == "ok" and m["missing"] == 0 for m in members):
            break
        assert time.monotonic() < deadline, members
        time.sleep(0.2)
    read_imap(dead, "second message")
    print(mailctl(alive[0], "status"), end="")

    n = node(alive[0])
    say("The cluster is running. Connect a mail client:")
    print(f"""  IMAP        {n['host']}:{n['imaps']} (TLS) or {n['host']}:{n['imap']} (STARTTLS)
  POP3        {n['host']}:{n['pop3s']} (TLS) or {n['host']}:{n['pop3']} (STARTTLS)
  submission  {n['host']}:{n['submissions']} (TLS) or {n['host']}:{n['submission']} (STARTTLS)
  user        ann@example.sg, password demo-ann; bob@example.sg, password demo-bob
  trust       {E['ca']}
  operate     . {DIR}/env; mailctl status
  end         dev/cluster down""")


main()
