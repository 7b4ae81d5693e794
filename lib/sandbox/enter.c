/* sandbox/enter.c - the steps of sandbox_enter() in their order. */
#include "sandbox/sandbox.h"
#include "base/span.h"
#include "sandbox/caps.h"
#include "sandbox/landlock.h"
#include <sys/prctl.h>

bool sandbox_has(const char *rights, const char *word)
{
	struct span rest = span_str(rights), w;
	while (span_next_word(&rest, " ", &w))
		if (span_is(w, word))
			return true;
	return false;
}

enum rc sandbox_confine(const char *rights, const struct sandbox_path *paths, size_t n, const int *keep_caps,
			struct err *e)
{
	bool inet = sandbox_has(rights, "inet"), udp = sandbox_has(rights, "udp"),
	     confine = sandbox_has(rights, "confine");
	struct landlock_wish w = {
		.paths = paths,
		.n = n,
		.any_path = confine && n == 0,
		.tcp_connect = inet || udp,
		.tcp_bind = inet,
		.signals = sandbox_has(rights, "kill"),
		.abstract_sockets = sandbox_has(rights, "unix"),
	};
	enum rc rc = caps_keep(keep_caps, e);
	if (rc != RC_OK)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "PR_SET_DUMPABLE");
	return landlock_enter(&w, e);
}

enum rc sandbox_enter(const char *rights, const struct sandbox_path *paths, size_t n, const int *keep_caps,
		      struct err *e)
{
	enum rc rc = sandbox_confine(rights, paths, n, keep_caps, e);
	return rc == RC_OK ? sandbox_filter(rights, e) : rc;
}
