"""Database servers of the system tests: Debian's own programs, each started privately in a scratch directory on a UNIX socket (and a port of
127.0.0.1), as an ordinary user. A server whose package is not installed makes the test skip."""
import os
import pwd
import shutil
import signal
import smtplib
import socket
import subprocess
import time

import pytest

from instance import Instance, free_ports, scratch


def rcpt(inst, address, sender="a@sender.test"):
    """What the instance says of a recipient: code, text."""
    with smtplib.SMTP("127.0.0.1", inst.port["smtp"], timeout=90) as s:
        s.ehlo()
        s.mail(sender)
        return s.rcpt(address)


def need(program, package):
    for p in (program, *(os.path.join(d, program) for d in ("/usr/sbin", "/usr/bin"))):
        found = shutil.which(p)
        if found:
            return found
    pytest.skip(f"{program} is not here: install the Debian package {package}")


class Server:
    """A child in its own session; `user` runs it when we are root."""
    user = "nobody"

    def __init__(self, base):
        self.base = base
        os.makedirs(base)
        os.chmod(base, 0o755)
        if os.getuid() == 0:
            os.chown(base, pwd.getpwnam(self.user).pw_uid, -1)
        self.proc = None
        self.port = free_ports(1)[0]

    def as_user(self, argv):
        return ["setpriv", f"--reuid={self.user}", "--regid=65534", "--clear-groups", *argv] if os.getuid() == 0 else argv

    def run(self, argv, **kw):
        r = subprocess.run(self.as_user(argv), check=False, cwd=self.base, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           env=dict(os.environ, HOME=self.base, LC_ALL="C"), **kw)
        assert r.returncode == 0, r.stdout.decode(errors="replace")[-3000:]

    def log(self):
        with open(os.path.join(self.base, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def spawn(self, argv, ready):
        with open(os.path.join(self.base, "log"), "wb") as log:
            self.proc = subprocess.Popen(self.as_user(argv), cwd=self.base, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         start_new_session=True, env=dict(os.environ, HOME=self.base, LC_ALL="C"))
        end = time.monotonic() + 60
        while not ready():
            if self.proc.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{argv[0]} does not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def write(self, name, text):
        path = os.path.join(self.base, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def stop(self, sig=signal.SIGTERM):
        if self.proc:
            self.proc.send_signal(sig)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc = None

    def listens(self, path=None):
        s = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        try:
            s.connect(path or ("127.0.0.1", self.port))
            return True
        except OSError:
            return False
        finally:
            s.close()


class MariaDb(Server):
    """`sql` runs as root of the database before the first connection is taken."""

    def __init__(self, base, sql):
        self.program = need("mariadbd", "mariadb-server-core")
        super().__init__(base)
        self.data, self.socket = os.path.join(base, "data"), os.path.join(base, "s")
        os.mkdir(self.data)
        if os.getuid() == 0:
            os.chown(self.data, pwd.getpwnam(self.user).pw_uid, -1)
        self.small = ["--no-defaults", f"--datadir={self.data}", f"--tmpdir={base}", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M",
                      "--innodb-flush-method=nosync", "--skip-log-bin", "--performance-schema=off"]
        boot = "create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n"
        for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql"):
            with open("/usr/share/mysql/" + name, encoding="utf-8") as f:
                boot += f.read() + "\n"
        self.run([self.program, *self.small, "--bootstrap"], input=boot.encode())
        self.init = self.write("init.sql", sql)
        self.args = []

    def start(self, *more):
        self.args = list(more) or self.args
        self.spawn([self.program, *self.small, f"--socket={self.socket}", "--bind-address=127.0.0.1", f"--port={self.port}",
                    f"--init-file={self.init}", *self.args], lambda: "ready for connections" in self.log())
        return self


class Postgres(Server):
    def __init__(self, base, sql):
        import glob
        where = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not where:
            pytest.skip("no PostgreSQL server here: install the Debian package postgresql-15")
        self.bin = where[-1]
        super().__init__(base)
        self.data = os.path.join(base, "data")
        self.socket = os.path.join(base, f".s.PGSQL.{self.port}")
        self.run([f"{self.bin}/initdb", "-D", self.data, "-A", "scram-sha-256", "-U", "admin", "-N", "-E", "UTF8", "--locale=C",
                  "--pwfile=" + self.write("pw", "adminpw\n")])
        # one statement a line
        self.run([f"{self.bin}/postgres", "--single", "-j", "-F", "-D", self.data, "postgres"], input=(sql.strip() + "\n\n").encode())

    def start(self):
        self.spawn([f"{self.bin}/postgres", "-D", self.data, "-F", "-k", self.base, "-h", "127.0.0.1", "-p", str(self.port)],
                   lambda: "ready to accept" in self.log())
        return self

    def stop(self, sig=signal.SIGINT):  # fast: connections are ended
        super().stop(sig)


class Slapd(Server):
    """`ldif` is loaded below `suffix` (its root entry included); `tls` (CA, certificate, key) makes STARTTLS and ldaps:// possible."""

    def __init__(self, base, suffix, ldif, conf="", tls=None):
        self.program = need("slapd", "slapd")
        super().__init__(base)
        os.mkdir(os.path.join(base, "db"))
        if os.getuid() == 0:
            os.chown(os.path.join(base, "db"), pwd.getpwnam(self.user).pw_uid, -1)
        self.ports = free_ports(2)
        self.url = "ldap://127.0.0.1:%d" % self.ports[0]
        self.tls = tls
        schema = "".join(f"include /etc/ldap/schema/{s}.schema\n" for s in ("core", "cosine", "nis", "inetorgperson"))
        secure = "TLSCACertificateFile %s\nTLSCertificateFile %s\nTLSCertificateKeyFile %s\n" % tls if tls else ""
        self.conf = self.write("slapd.conf", f"""{schema}{conf}
pidfile {base}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
{secure}
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
rootpw adminpw
directory {base}/db
maxsize 10485760
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,{suffix}" read by * none
""")
        self.run(["/usr/sbin/slapadd", "-f", self.conf, "-l", self.write("data.ldif", ldif)])

    def start(self):
        self.local = "ldapi://" + os.path.join(self.base, "s").replace("/", "%2F")
        urls = f"{self.url}/ {self.local}/" + (f" ldaps://127.0.0.1:{self.ports[1]}/" if self.tls else "")
        self.port = self.ports[0]
        self.spawn([self.program, "-f", self.conf, "-h", urls, "-d", "0"], self.listens)
        return self


class Place:
    """An instance whose tables ask a database: `kind`: is the type of tables, `settings` what each of them has. A subclass sets both and
    self.db (None: a file), then calls configure()."""
    kind, settings, db = None, {}, None

    def __init__(self):
        self.base = scratch(f"postern-{self.kind}-")

    def configure(self, main):
        self.inst = Instance(os.path.join(self.base, "i"), main={
            "mydestination": "", "virtual_alias_domains": "example.com", "virtual_mailbox_domains": "example.test", "virtual_minimum_uid": "100",
            "virtual_alias_maps": f"{self.kind}:{self.base}/i/etc/alias.cf", **main})
        self.inst.main.update({"virtual_mailbox_base": self.inst.mail, "virtual_uid_maps": f"static:{self.inst.uid}",
                               "virtual_gid_maps": f"static:{self.inst.gid}"})
        self.inst.write_config()

    def table(self, name="t.cf", mode=0o644, raw="", **settings):
        """Writes the file of a table; None takes a setting away."""
        s = self.settings | settings
        return self.inst.write(name, "# comment\n" + "".join(f"{k} = {v}\n" for k, v in s.items() if v is not None) + raw, mode)

    def ask(self, key, **settings):
        """The answer, None for no such key, or what postmap complains of."""
        self.table(**settings)
        r = self.inst.command("postmap", "-q", key, f"{self.kind}:{self.inst.config}/t.cf")
        return (r.stdout.decode().rstrip("\n") or None) if not r.stderr else r.stdout.decode() + r.stderr.decode()

    def end(self):
        self.inst.stop()
        if self.db:
            self.db.stop()
        self.inst.remove()
