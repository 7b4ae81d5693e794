/* auth/verify.c - is this the password of this user? */
#include "auth.h"
#include "log/log.h"

/* Compared against when there is no such user: the answer takes as long. */
static const char dummy[] = "$6$saltsaltsaltsalt$bcXJ8qxwY5sQ4v8MTl."
			    "0B1jeZ0z0JlA9jjmYUzGEUGMP7lEMOvrJZT6Q4HQtJZvI5yHLwnGmcmrgdFMRzlNpi0";

struct hash_job {
	struct span stored, password;
	enum rc rc;
	struct err e;
};

static void hash_run(void *arg)
{
	struct hash_job *j = arg;

	j->rc = scheme_check(j->stored, j->password, &j->e);
}

bool verify_canonical(struct span user, char out[KEEPER_NAME_MAX])
{
	const char *realm = auth_conf.default_realm;
	bool add = *realm && span_chr(user, '@') < 0;

	if (user.n == 0 || user.n + strlen(realm) + 2 > KEEPER_NAME_MAX)
		return false;
	for (size_t i = 0; i < user.n; i++)
		if ((unsigned char)user.p[i] <= 0x20 || user.p[i] == 0x7f || strchr(":/", user.p[i]))
			return false;
	snprintf(out, KEEPER_NAME_MAX, SPAN_FMT "%s%s", SPAN_ARG(user), add ? "@" : "", add ? realm : "");
	for (char *p = out; *p; p++) /* auth_username_format %Lu, Dovecot's default */
		*p = ascii_lower(*p);
	return true;
}

static enum verdict_kind look_up(struct span user, struct keeper_answer *a)
{
	struct keeper_question q = { .op = KEEPER_FIND };
	struct err e;

	if (!verify_canonical(user, q.user)) {
		a->source = KEEPER_NOBODY;
		return V_NO_USER;
	}
	if (keeper_ask(&q, a, &e) != RC_OK) {
		log_warning("%s: %s", q.user, e.text);
		return V_TEMP;
	}
	return a->source == KEEPER_NOBODY ? V_NO_USER : V_OK;
}

/* Each check is a process of the keeper's: so many at a time, the others wait their turn. */
#define PAM_MAX	   32
#define PAM_WAIT_S 45
static unsigned pam_running;
static struct waitq pam_turn = { { &pam_turn.waiters, &pam_turn.waiters } };

static bool pam_begin(void)
{
	deadline_t d = deadline_s(PAM_WAIT_S);

	while (pam_running >= PAM_MAX)
		if (waitq_wait(&pam_turn, d) == RC_TIMEOUT)
			return false;
	pam_running++;
	return true;
}

static void pam_end_turn(void)
{
	pam_running--;
	waitq_wake_one(&pam_turn);
}

static enum verdict_kind ask_pam(struct span user, struct span password, const char *rip)
{
	struct keeper_question q = { .op = KEEPER_PAM };
	struct keeper_answer a;
	struct err e;
	enum rc rc;

	if (!verify_canonical(user, q.user) || span_cstr(password, q.password, sizeof(q.password)) != RC_OK)
		return V_WRONG;
	snprintf(q.rip, sizeof(q.rip), "%s", rip);
	if (!pam_begin()) {
		explicit_bzero(&q, sizeof(q));
		log_warning("PAM: too many checks at once");
		return V_TEMP;
	}
	rc = keeper_ask(&q, &a, &e);
	pam_end_turn();
	explicit_bzero(&q, sizeof(q));
	if (rc != RC_OK) {
		log_warning("PAM: %s", e.text);
		return V_TEMP;
	}
	return a.granted ? V_OK : V_WRONG;
}

enum verdict_kind verify_password(struct span user, struct span password, const char *service,
				  const char *rip)
{
	struct keeper_answer a = { .source = KEEPER_NOBODY };
	enum verdict_kind found = look_up(user, &a);
	struct hash_job j = { .password = password, .e = { .text = "" } };

	(void)service;
	if (found == V_TEMP)
		return V_TEMP;
	if (found == V_OK && a.source == KEEPER_SYSTEM && !*a.stored)
		return ask_pam(user, password, rip);
	j.stored = found == V_OK ? span_str(a.stored) : span_str(dummy);
	task_offload(hash_run, &j);
	explicit_bzero(&a, sizeof(a));
	if (found != V_OK)
		return V_NO_USER;
	if (j.rc == RC_SYNTAX)
		log_warning("user " SPAN_FMT ": %s", SPAN_ARG(user), j.e.text);
	return j.rc == RC_OK ? V_OK : V_WRONG;
}

enum verdict_kind verify_secret(struct span user, struct arena *arena, struct span *secret)
{
	struct keeper_answer a = { .source = KEEPER_NOBODY };
	enum verdict_kind found = look_up(user, &a);
	struct span plain;

	if (found != V_OK)
		return found;
	if (!scheme_plain(span_str(a.stored), &plain))
		return V_NO_USER;
	*secret = span_dup(arena, plain);
	explicit_bzero(&a, sizeof(a));
	return V_OK;
}
