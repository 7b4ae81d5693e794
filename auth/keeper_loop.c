/* auth/keeper_loop.c - the root part of auth(8): looks users up. It reads nothing but struct keeper_question,
 * the credential stores, and what the system's user database says. */
#include "keeper_loop.h"
#include "asuser/asuser.h"
#include "log/log.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct keeper_conf conf;

static enum keeper_source system_find(const char *user, struct keeper_answer *out)
{
	struct passwd *pw;

	errno = 0;
	pw = getpwnam(user);
	if (!pw)
		return errno == 0 || errno == ENOENT ? KEEPER_NOBODY : KEEPER_TROUBLE;
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	snprintf(out->home, sizeof(out->home), "%s", pw->pw_dir);
	return KEEPER_SYSTEM;
}

/* Where the user is listed first decides; sasldb holds only secrets, so ids may come from the system. */
static void find(const struct keeper_question *q, struct keeper_answer *out)
{
	enum keeper_source s = KEEPER_NOBODY;

	out->uid = out->gid = (uint32_t)-1;
	if (*conf.passwd_file)
		s = passwdfile_find(conf.passwd_file, q->user, out);
	if (s == KEEPER_NOBODY && *conf.sasldb_file &&
	    (s = sasldb_find(conf.sasldb_file, conf.sasldb_realm, q->user, out)) == KEEPER_SASLDB &&
	    !strchr(q->user, '@'))
		(void)system_find(q->user, out);
	if (s == KEEPER_NOBODY && *conf.pam_service)
		s = system_find(q->user, out);
	out->source = (uint32_t)s;
}

static bool text_ok(const char *s, size_t size)
{
	return memchr(s, '\0', size) != NULL;
}

static bool question_ok(const struct keeper_question *q)
{
	if (!text_ok(q->user, sizeof(q->user)) || !text_ok(q->password, sizeof(q->password)) ||
	    !text_ok(q->rip, sizeof(q->rip)))
		return false;
	for (const char *p = q->user; *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == 0x7f || *p == ':' || *p == '/')
			return false;
	return q->user[0] != '\0';
}

/* PAM's modules are programs of others, loaded here: what they open and run cannot be listed, so the calls
 * and capabilities that none of them needs go, and TCP with them. Without PAM the stores are read, and
 * nothing else. ("confine" is for the modules of the user database, which are code to be mapped, and any file
 * system path.) */
static void confine(void)
{
	static const int reading[] = { CAP_DAC_READ_SEARCH, -1 };
	static const int pam[] = { CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE, CAP_CHOWN,	   CAP_FOWNER,
				   CAP_SETUID,		CAP_SETGID,	  CAP_AUDIT_WRITE, -1 };
	bool uses_pam = *conf.pam_service != '\0';
	struct err e;

	if (sandbox_enter(uses_pam ? "stdio exec confine" : "stdio rpath flock unix confine", NULL, 0,
			  geteuid() != 0 ? NULL
			  : uses_pam	 ? pam
					 : reading,
			  &e) != RC_OK)
		die("sandbox: %s", e.text);
}

int keeper_loop(int fd, const struct keeper_conf *c)
{
	struct keeper_question q;
	struct keeper_answer a;

	conf = *c;
	prctl(PR_SET_NAME, "auth-keeper");
	asuser_close_others(fd);
	confine();
	signal(SIGTERM, SIG_IGN); /* ends when auth does */
	signal(SIGHUP, SIG_IGN);
	for (;;) {
		ssize_t n = recv(fd, &q, sizeof(q), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(q) || !question_ok(&q))
			return n == 0 ? 0 : 1;
		while (*conf.pam_service && waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (q.op == KEEPER_PAM && *conf.pam_service && pam_answer(fd, &q, conf.pam_service)) {
			explicit_bzero(&q, sizeof(q));
			continue;
		}
		memset(&a, 0, sizeof(a));
		a.serial = q.serial;
		if (q.op == KEEPER_FIND)
			find(&q, &a);
		else
			a.source = KEEPER_TROUBLE;
		explicit_bzero(&q, sizeof(q));
		if (send(fd, &a, sizeof(a), MSG_NOSIGNAL) < 0)
			return 0;
		explicit_bzero(&a, sizeof(a));
	}
}
