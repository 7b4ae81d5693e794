/* postlogd/postlogd.c - postlogd(8): writes the lines of those who may not open maillog_file. Daemons and master write theirs
 * themselves.
 *
 * Everybody may send here, so nothing is believed but what the kernel says: the time is that of the arrival, process id and uid are the
 * sender's real ones. A line of an ordinary user says so ("[uid=1000] "), wears no daemon's name (relay_user_tag), and there are not
 * more of them than a disk can bear. */
#include "log/relay.h"
#include "sandbox/sandbox.h"
#include "service/service.h"
#include <unistd.h>

#define BURST	   1000 /* lines of a user at once */
#define A_SECOND   20	/* and then so many */
#define USERS_KEPT 1024 /* users whose uid modulo this is the same share their lines */

struct allowance {
	mono_t filled;
	int64_t lines; /* 0 ... BURST, in thousandths */
	uint64_t dropped;
};
static struct allowance users[USERS_KEPT];
static uid_t owner; /* mail_owner: the suite itself */
static const char *suite;
static unsigned watchdog_s;

static void prepare(void)
{
	gid_t gid;
	struct err e;

	owner = geteuid(); /* of a suite without root */
	if (!service_one_uid() &&
	    sandbox_user(conf_str(service_conf(), "mail_owner"), &owner, &gid, &e) != RC_OK)
		die("mail_owner: %s", e.text);
	suite = conf_str(service_conf(), "syslog_name");
	watchdog_s = (unsigned)conf_int(service_conf(), "postlogd_watchdog_timeout");
	for (size_t i = 0; i < USERS_KEPT; i++)
		users[i] = (struct allowance){ .filled = mono_now(), .lines = BURST * 1000 };
}

/* One more line of that user. False: he has to wait. */
static bool allow(struct allowance *u, uid_t uid)
{
	mono_t now = mono_now();
	int64_t more = mono_diff_ms(now, u->filled) * A_SECOND;

	if (more > 0) {
		u->lines = u->lines + more < BURST * 1000 ? u->lines + more : BURST * 1000;
		u->filled = now;
	}
	if (u->lines < 1000) {
		if (u->dropped++ == 0)
			log_warning("uid %lu writes more lines than are taken: some are dropped",
				    (unsigned long)uid);
		return false;
	}
	u->lines -= 1000;
	if (u->dropped > 0 && u->lines >= A_SECOND * 1000) { /* told once he has calmed down */
		log_warning("%llu lines of uid %lu were dropped", (unsigned long long)u->dropped,
			    (unsigned long)uid);
		u->dropped = 0;
	}
	return true;
}

static void write_users(struct relay_line *l, const struct ucred *from)
{
	char claim[RELAY_TAG_MAX + 1], own[RELAY_TAG_MAX], note[RELAY_TAG_MAX + 64];

	if (relay_user_tag(&l->tag, suite, claim, own))
		snprintf(note, sizeof note, "[uid=%lu] ", (unsigned long)from->uid);
	else
		snprintf(note, sizeof note, "[uid=%lu as %s] ", (unsigned long)from->uid, claim);
	log_relayed(l, (long)from->pid, note);
}

static void take(struct span bytes, const struct ucred *from)
{
	bool trusted = from->uid == 0 || from->uid == owner;
	struct relay_line l;

	alarm(watchdog_s); /* a file system that does not answer: let another process try */
	if (trusted || allow(&users[from->uid % USERS_KEPT], from->uid)) {
		if (relay_decode(bytes, &l) != RC_OK)
			log_warning("pid %ld of uid %lu sent what is no log line", (long)from->pid,
				    (unsigned long)from->uid);
		else if (trusted)
			log_relayed(&l, (long)from->pid, "");
		else
			write_users(&l, from);
	}
	alarm(0);
}

static const struct service postlogd = {
	.name = "postlogd",
	.kind = SV_DGRAM,
	.user = "aux_owner",
	.rights = "stdio", /* the socket and the log are open; there is nothing else to do */
	.chroot_empty = true,
	.prepare = prepare,
	.datagram = take,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &postlogd);
}
