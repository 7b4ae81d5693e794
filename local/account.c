/* local/account.c - getpwnam(3) and getpwuid(3). */
#include "account.h"
#include "task/task.h"
#include <errno.h>
#include <pwd.h>

#define BUFFER_BYTES 65536
#define NAME_BYTES   256

struct job {
	const char *name; /* NULL: by uid */
	uid_t uid;
	struct passwd pw, *found;
	char *buffer;
	int failed;
};

static void ask(void *arg)
{
	struct job *j = arg;

	j->failed = j->name != NULL ? getpwnam_r(j->name, &j->pw, j->buffer, BUFFER_BYTES, &j->found)
				    : getpwuid_r(j->uid, &j->pw, j->buffer, BUFFER_BYTES, &j->found);
}

static enum rc account_ask(struct job *j, struct arena *a, struct account **out, struct err *e)
{
	enum rc rc = RC_OK;

	j->buffer = xmalloc(BUFFER_BYTES);
	task_offload(ask, j);
	if (j->found != NULL) {
		*out = arena_alloc(a, sizeof **out);
		**out = (struct account){ .uid = j->pw.pw_uid,
					  .gid = j->pw.pw_gid,
					  .name = arena_strdup(a, j->pw.pw_name),
					  .home = arena_strdup(a, j->pw.pw_dir != NULL ? j->pw.pw_dir : ""),
					  .shell =
					      arena_strdup(a, j->pw.pw_shell != NULL ? j->pw.pw_shell : "") };
	} else if (j->failed == 0 || j->failed == ENOENT || j->failed == ESRCH) {
		rc = err_set(e, RC_NOTFOUND, "no such user");
	} else {
		rc = err_set(e, RC_AGAIN, "user lookup error: %s", strerror(j->failed));
	}
	free(j->buffer);
	return rc;
}

enum rc account_by_name(struct span name, struct arena *a, struct account **out, struct err *e)
{
	char text[NAME_BYTES];
	struct job j = { .name = text };

	if (name.n == 0 || span_cstr(name, text, sizeof text) != RC_OK || strpbrk(text, ":\n/") != NULL)
		return err_set(e, RC_NOTFOUND, "no such user");
	return account_ask(&j, a, out, e);
}

enum rc account_by_uid(uid_t uid, struct arena *a, struct account **out, struct err *e)
{
	struct job j = { .uid = uid };

	return account_ask(&j, a, out, e);
}
