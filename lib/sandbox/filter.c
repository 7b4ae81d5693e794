/* sandbox/filter.c - from the words of `rights` to a seccomp filter.
 *
 * Usual form: what the words grant is allowed; everything else is denied, told by SIGSYS (denied.c). With the
 * word "exec" the filter is inherited by programs we did not write, so it turns around: all is allowed but
 * sandbox_never[] and what a word that is missing would grant among the calls of guarded[]. A build with
 * sanitizers takes the second form as well, since their run-time needs more than we want to list. */
#include "sandbox/filter.h"
#include "base/span.h"
#include "sandbox/denied.h"
#include "sandbox/sandbox.h"
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <unistd.h>

#ifdef POSTERN_SAN
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Checked in the second form: denied unless some word among the rights grants them, whatever the arguments.
 */
static const struct {
	const char *words;
	int call;
} guarded[] = {
	{ "exec", SCMP_SYS(execve) },
	{ "exec", SCMP_SYS(execveat) },
	{ "inet udp unix exec", SCMP_SYS(socket) },
	{ "inet udp unix exec", SCMP_SYS(connect) },
	{ "inet udp unix exec", SCMP_SYS(bind) },
	{ "exec", SCMP_SYS(listen) },
	{ "kill exec", SCMP_SYS(kill) },
	{ "kill exec", SCMP_SYS(tkill) },
	{ "kill exec", SCMP_SYS(pidfd_send_signal) },
	{ "fork exec", SCMP_SYS(fork) },
	{ "fork exec", SCMP_SYS(vfork) },
	{ "id exec", SCMP_SYS(setuid) },
	{ "id exec", SCMP_SYS(setgid) },
	{ "id exec", SCMP_SYS(setgroups) },
	{ "id exec", SCMP_SYS(setresuid) },
	{ "id exec", SCMP_SYS(setresgid) },
	{ "id exec", SCMP_SYS(chroot) },
	{ "watch exec", SCMP_SYS(inotify_init1) },
};

static bool granted(const char *rights, const char *words)
{
	struct span rest = span_str(words), w;
	char word[16];
	while (span_next_word(&rest, " ", &w))
		if (span_cstr(w, word, sizeof word) == RC_OK && sandbox_has(rights, word))
			return true;
	return false;
}

/* A call that this processor does not have is no error. */
static int add(scmp_filter_ctx f, uint32_t action, int call)
{
	int r = seccomp_rule_add(f, action, call, 0);
	return r == -EEXIST || r == -EDOM ? 0 : r;
}

static int add_grant(scmp_filter_ctx f, const struct grant *g)
{
	if (g->arg == 0)
		return add(f, SCMP_ACT_ALLOW, g->call);
	int r = seccomp_rule_add(f, SCMP_ACT_ALLOW, g->call, 1,
				 SCMP_CMP(g->arg - 1, SCMP_CMP_MASKED_EQ, g->mask, g->value));
	return r == -EEXIST || r == -EDOM ? 0 : r;
}

/* glibc makes this call with all signals blocked, and a blocked SIGSYS kills: what is denied of it fails
 * without a word. */
static int deny_clone(scmp_filter_ctx f, const char *rights)
{
	bool forks = sandbox_has(rights, "fork"), threads = sandbox_has(rights, "thread");
	if (forks && threads)
		return 0;
	if (!forks && !threads)
		return add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone));
	return seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, forks ? CLONE_THREAD : 0));
}

static int rules_of_list(scmp_filter_ctx f, const char *rights)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < sandbox_grants_n; i++) {
		const struct grant *g = &sandbox_grants[i];
		if (g->word[0] == 's' ? span_is(span_str(g->word), "stdio") : sandbox_has(rights, g->word))
			r = add_grant(f, g);
	}
	/* signals to oneself: abort(3), pthread_kill(3). A forked child has "fork", which allows any tgkill.
	 */
	if (r == 0 && !sandbox_has(rights, "fork") && !sandbox_has(rights, "kill"))
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
	if (r == 0)
		r = deny_clone(f, rights);
	/* glibc then takes clone, whose flags a filter can see */
	return r == 0 ? add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3)) : r;
}

/* Namespaces come by clone as well as by unshare, which is among sandbox_never. glibc makes do without
 * clone3, whose flags a filter cannot see. */
static int deny_namespaces(scmp_filter_ctx f)
{
	static const unsigned flags[] = { CLONE_NEWNS,	 CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
					  CLONE_NEWUSER, CLONE_NEWPID,	  CLONE_NEWNET };
	int r = add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
	for (unsigned i = 0; r == 0 && i < ARRAY_LEN(flags); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
	return r;
}

static int rules_of_exceptions(scmp_filter_ctx f, const char *rights)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < sandbox_never_n; i++)
		if (!SANITIZED || sandbox_never[i] != SCMP_SYS(ptrace))
			r = add(f, SCMP_ACT_ERRNO(EPERM), sandbox_never[i]);
	for (unsigned i = 0; r == 0 && i < ARRAY_LEN(guarded); i++)
		if (!granted(rights, guarded[i].words))
			r = add(f, SCMP_ACT_TRAP, guarded[i].call);
	return r == 0 ? deny_namespaces(f) : r;
}

static enum rc failed(scmp_filter_ctx f, int r, const char *what, struct err *e)
{
	seccomp_release(f);
	errno = -r;
	return err_sys(e, "seccomp: %s", what);
}

enum rc sandbox_filter(const char *rights, struct err *e)
{
	bool list = !SANITIZED && !sandbox_has(rights, "exec");
	enum rc rc = denied_install(e);
	if (rc != RC_OK)
		return rc;
	scmp_filter_ctx f = seccomp_init(list ? SCMP_ACT_TRAP : SCMP_ACT_ALLOW);
	if (f == NULL)
		return err_set(e, RC_SYS, "seccomp_init failed");
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	int r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = list ? rules_of_list(f, rights) : rules_of_exceptions(f, rights);
	if (r < 0)
		return failed(f, r, "rules", e);
	if ((r = seccomp_load(f)) < 0)
		return failed(f, r, "load", e);
	seccomp_release(f);
	return RC_OK;
}
