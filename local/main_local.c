/* local/main_local.c - local(8): recipients of this host. The front looks up, decides and asks; what touches
 * a user's files is done by a child that is the user. */
#include "local.h"
#include "log/log.h"
#include "queue/qid.h"
#include "service/service.h"
#include <pwd.h>

/* Directories besides the home that a recipient's child reads: those of forward_path, when they stand in it
 * as they are. */
static size_t forward_dirs(const char **out, size_t max)
{
	static struct arena a;
	struct span rest = span_str(conf_raw(service_conf(), "forward_path")), w;
	size_t n = 0;

	while (n < max && span_next_word(&rest, ", \t\r\n", &w)) {
		ptrdiff_t dollar = span_chr(w, '$');
		struct span fixed = dollar < 0 ? w : span_head(w, (size_t)dollar);
		ptrdiff_t slash = span_rchr(fixed, '/');
		if (w.p[0] == '/' && slash > 0)
			out[n++] = arena_cstr(&a, span_head(fixed, (size_t)slash));
	}
	return n;
}

static void prepare(void)
{
	const char *extra[8];
	size_t n = forward_dirs(extra, ARRAY_LEN(extra));

	dlog_settings(service_conf());
	qid_configure(service_conf());
	local_conf_read();
	workers_prepare("local", 1, extra, n, root_prepare());
	(void)getpwnam("no such user"); /* loads what the user database needs, while that is allowed */
}

/* The user database: its files, and the sockets of those that are no files. */
static size_t paths(struct arena *a, struct sandbox_path **out)
{
	static const char *const dirs[] = { "/etc", "/var/lib/sss", "/run/systemd/userdb", "/run/nslcd",
					    "/var/lib/extrausers" };
	struct sandbox_path *v = arena_array(a, ARRAY_LEN(dirs), sizeof *v);

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		v[i] = (struct sandbox_path){ dirs[i], SB_READ };
	*out = v;
	return ARRAY_LEN(dirs);
}

struct job {
	struct agent *m;
	size_t i;
};

static void recipient_task(void *arg)
{
	const struct job *j = arg;

	local_deliver_recipient(j->m, j->i);
}

static void answer_deliver(struct ipc_call *call, const void *request)
{
	struct agent *m;

	if (agent_begin(call, request, &m) != RC_OK)
		return;
	struct job *jobs = arena_array(m->a, m->open, sizeof *jobs);
	size_t n = m->open;
	for (size_t i = 0; i < n; i++)
		jobs[i] = (struct job){ m, i };
	for (size_t i = 1; i < n; i++)
		task_spawn(recipient_task, &jobs[i]);
	recipient_task(&jobs[0]);
}

static void start(void)
{
	map_watch(true);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr", answer_deliver },
	{ 0, NULL, NULL },
};

static const struct service local = {
	.name = "local",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights = "stdio accept recvfd rpath unix",
	.paths = paths,
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &local);
}
