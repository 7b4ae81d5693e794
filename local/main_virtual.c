/* local/main_virtual.c - virtual(8): mailboxes whose path and owner stand in tables; no user accounts,
 * aliases or commands. */
#include "log/log.h"
#include "mailbox.h"
#include "mime/address.h"
#include "service/service.h"
#include "setup.h"

#define FORMS (MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_AT_DOMAIN)

static struct {
	struct maps *mailboxes, *uids, *gids;
	struct store_lock lock;
	const char *base;
	struct address_extensions extensions;
	uint64_t limit;
	uint64_t min_uid;
} conf;

/* ---- start ---- */
static void prepare(void)
{
	const struct conf *c = service_conf();

	conf.base = conf_str(c, "virtual_mailbox_base");
	conf.extensions = address_extensions_of(c);
	conf.limit = setup_limit("virtual_mailbox_limit");
	conf.min_uid = (uint64_t)conf_int(c, "virtual_minimum_uid");
	if (conf.base[0] != '\0' && conf.base[0] != '/')
		die("do not specify relative pathname: virtual_mailbox_base = %s", conf.base);
	dlog_settings(c);
	setup_lock("virtual_mailbox_lock", &conf.lock);
	map_set_remote(true);
	agent_filter_open("virtual_delivery_status_filter");
	conf.mailboxes = setup_maps("virtual_mailbox_maps");
	conf.uids = setup_maps("virtual_uid_maps");
	conf.gids = setup_maps("virtual_gid_maps");
	workers_prepare("virtual", (uint32_t)conf.min_uid, NULL, 0, NULL);
}

/* ---- one recipient ---- */
struct job {
	struct agent *m;
	size_t i;
	struct outcome o;
};

static void not_found_or_later(struct job *j, enum rc rc, const char *param, const struct err *e)
{
	struct agent *m = j->m;
	struct span addr = agent_rcpt(m, j->i)->addr;

	if (rc == RC_NOTFOUND) {
		log_warning("recipient " SPAN_FMT ": not found in %s", SPAN_ARG(addr), param);
		outcome_set(&j->o, DS_DEFERRED, "4.3.5", m->a, "mail system configuration error");
	} else {
		log_warning("table %s: lookup " SPAN_FMT ": %s", param, SPAN_ARG(addr), e->text);
		outcome_set(&j->o, DS_DEFERRED, "4.3.5", m->a, "mail system configuration error");
	}
}

/* A number from virtual_uid_maps or virtual_gid_maps. */
static bool find_id(struct job *j, struct maps *maps, const char *param, const char *what, uint64_t least,
		    uint32_t *id)
{
	struct span value, ext, addr = agent_rcpt(j->m, j->i)->addr;
	struct err e = { .text = "" };
	enum rc rc =
	    maps_find_addr(maps, addr, FORMS, conf.extensions, false, false, j->m->a, &value, &ext, &e);

	if (rc != RC_OK) {
		not_found_or_later(j, rc, param, &e);
		return false;
	}
	if (account_id_parse(value, least, id) != RC_OK) {
		log_warning("recipient " SPAN_FMT ": bad %s " SPAN_FMT " in %s", SPAN_ARG(addr), what,
			    SPAN_ARG(value), param);
		outcome_set(&j->o, DS_DEFERRED, "4.3.5", j->m->a, "mail system configuration error");
		return false;
	}
	return true;
}

/* virtual_mailbox_base/value; never out of the base by "..". */
static bool mailbox_path(struct job *j, struct span value, struct span *path)
{
	struct span rest = value, part;
	bool ok = value.n > 0 && (conf.base[0] != '\0' || value.p[0] == '/');

	while (span_next(&rest, '/', &part))
		ok = ok && !span_is(part, "..");
	*path =
	    conf.base[0] != '\0' ? span_printf(j->m->a, "%s/" SPAN_FMT, conf.base, SPAN_ARG(value)) : value;
	if (ok && path->n < STORE_PATH_MAX)
		return true;
	log_warning("recipient " SPAN_FMT ": bad path " SPAN_FMT " in virtual_mailbox_maps",
		    SPAN_ARG(agent_rcpt(j->m, j->i)->addr), SPAN_ARG(value));
	outcome_set(&j->o, DS_DEFERRED, "4.3.5", j->m->a, "mail system configuration error");
	return false;
}

static void deliver(struct job *j, struct span path, const struct asuser_id *id)
{
	struct agent *m = j->m;
	const struct deliver_rcpt *r = agent_rcpt(m, j->i);
	bool maildir = path.p[path.n - 1] == '/';
	struct mailbox_target t = { .id = id,
				    .path = path,
				    .limit = conf.limit,
				    .lock = &conf.lock,
				    .recipient = r->addr,
				    .sender = m->env.sender,
				    .done = maildir ? "delivered to maildir" : "delivered to mailbox" };

	t.prefix = agent_head(m, HEAD_RETURN | HEAD_ORIGINAL | HEAD_DELIVERED, m->env.sender,
			      r->orig.n ? r->orig : r->addr, r->addr);
	t.failure = maildir ? "maildir delivery failed: "
			    : arena_printf(m->a, "delivery failed to mailbox " SPAN_FMT ": ", SPAN_ARG(path));
	mailbox_deliver(m, &t, &j->o);
}

static void recipient(struct job *j)
{
	struct agent *m = j->m;
	struct span value, ext, path, addr = agent_rcpt(m, j->i)->addr;
	struct asuser_id id = { .user = "virtual", .tag = "virtual" };
	struct err e = { .text = "" };
	enum rc rc = maps_find_addr(conf.mailboxes, addr, FORMS, conf.extensions, false, false, m->a, &value,
				    &ext, &e);

	if (rc == RC_NOTFOUND) {
		outcome_set(&j->o, DS_BOUNCED, "5.1.1", m->a, "unknown user: \"" SPAN_FMT "\"",
			    SPAN_ARG(addr));
		return;
	}
	if (rc != RC_OK) {
		not_found_or_later(j, rc, "virtual_mailbox_maps", &e);
		return;
	}
	if (!mailbox_path(j, span_trim(value), &path) ||
	    !find_id(j, conf.uids, "virtual_uid_maps", "uid", conf.min_uid > 1 ? conf.min_uid : 1, &id.uid) ||
	    !find_id(j, conf.gids, "virtual_gid_maps", "gid", 1, &id.gid))
		return;
	if (!worker_text(id.dir, sizeof id.dir, span_str(conf.base[0] != '\0' ? conf.base : "/"))) {
		outcome_set(&j->o, DS_DEFERRED, "4.3.5", m->a, "mail system configuration error");
		return;
	}
	if (agent_probe(m))
		outcome_set(&j->o, DS_SENT, "2.0.0", m->a, "delivers to %s",
			    path.p[path.n - 1] == '/' ? "maildir" : "mailbox");
	else
		deliver(j, path, &id);
}

static void recipient_task(void *arg)
{
	struct job *j = arg;

	recipient(j);
	agent_result(j->m, j->i, &j->o); /* the last one frees the request, and j with it */
}

/* Each in a task of its own: the mailboxes are synced at the same time. */
static void answer_deliver(struct ipc_call *call, const void *request)
{
	struct agent *m;

	if (agent_begin(call, request, &m) != RC_OK)
		return;
	struct job *jobs = arena_array(m->a, m->open, sizeof *jobs);
	size_t n = m->open;
	for (size_t i = 0; i < n; i++)
		jobs[i] = (struct job){ .m = m, .i = i };
	for (size_t i = 1; i < n; i++)
		task_spawn(recipient_task, &jobs[i]);
	recipient_task(&jobs[0]);
}

static void start(void)
{
	map_watch(true);
}

static const struct ipc_handler handlers[] = {
	{ IPC_DELIVER, "qmgr local", answer_deliver },
	{ 0, NULL, NULL },
};

static const struct service virtual = {
	.name = "virtual",
	.kind = SV_IPC,
	.user = "mail_owner",
	.rights =
	    "stdio accept recvfd rpath" /* files are only looked at, to see tables change: no path is open */,
	.prepare = prepare,
	.start = start,
	.handlers = handlers,
};

int main(int argc, char **argv)
{
	return service_main(argc, argv, &virtual);
}
