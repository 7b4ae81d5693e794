/* local/final.c - final delivery: the user's mailbox, wherever the configuration puts it, and /file/name of
 * an alias. */
#include "local.h"
#include "log/log.h"
#include "service/service.h"
#include <sys/stat.h>

static struct span mailbox_head(struct local *l, const struct place *p, bool delivered)
{
	unsigned what = HEAD_RETURN | HEAD_ORIGINAL | (delivered ? HEAD_DELIVERED : 0);

	return agent_head(l->m, what, p->sender, p->rcpt.orig.n ? p->rcpt.orig : p->rcpt.addr, p->delivered);
}

static void deliver(struct local *l, const struct place *p, const struct asuser_id *id, struct span path,
		    struct span failure, const char *done, bool alone)
{
	struct mailbox_target t = { .id = id,
				    .path = path,
				    .limit = local_conf.limit,
				    .lock = id->root ? root_mailbox_lock() : &local_conf.lock,
				    .recipient = p->rcpt.addr,
				    .sender = p->sender,
				    .failure = arena_cstr(l->a, failure),
				    .done = done,
				    .alone = alone };
	struct outcome o;

	t.prefix = mailbox_head(l, p, local_conf.delivered_file);
	if (agent_probe(l->m))
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "delivers to mailbox");
	else
		mailbox_deliver(l->m, &t, &o);
	local_report(l, p, &o);
}

/* A spool directory that its group may write to is entered with that group, so that mailboxes and dotlocks
 * can be made there. */
static void spool_group(const char *dir, struct asuser_id *id)
{
	struct stat st;

	if (!service_one_uid() && stat(dir, &st) == 0 && (st.st_mode & 02) == 0 && (st.st_mode & 020) != 0 &&
	    st.st_gid != 0)
		id->gid = st.st_gid;
}

/* home_mailbox, mail_location, mail_spool_directory: the first that is set. */
bool local_mailbox_path(struct arena *a, const struct account *u, struct asuser_id *id, struct span *path)
{
	const struct conf *c = service_conf();
	const char *home_mailbox = conf_str(c, "home_mailbox"), *location = conf_str(c, "mail_location"),
		   *spool = conf_str(c, "mail_spool_directory");
	struct store_loc loc;
	struct err e;

	if (home_mailbox[0] != '\0') {
		*path = span_printf(a, "%s/%s", u->home, home_mailbox);
		snprintf(id->dir, sizeof id->dir, "%s", id->home);
		return id->home[0] == '/';
	}
	if (location[0] != '\0') {
		if (store_loc_parse(span_str(location), u->home, u->name, &loc, &e) != RC_OK) {
			log_warning("mail_location: %s", e.text);
			return false;
		}
		*path = loc.kind == STORE_MAILDIR ? span_printf(a, "%s/", loc.inbox)
						  : span_str(arena_strdup(a, loc.inbox));
		snprintf(id->dir, sizeof id->dir, "%s", id->home);
		return true;
	}
	*path = span_printf(a, "%s%s%s%s", spool, spool[strlen(spool) - 1] == '/' ? "" : "/", u->name,
			    spool[strlen(spool) - 1] == '/' ? "/" : "");
	spool_group(spool, id);
	return worker_text(id->dir, sizeof id->dir, span_str(spool)) && strchr(u->name, '/') == NULL;
}

static bool home_missing(struct local *l, const struct place *p, const struct account *u)
{
	struct stat st;
	struct outcome o;

	if (!conf_bool(service_conf(), "require_home_directory") || stat(u->home, &st) == 0)
		return false;
	outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "cannot access home directory %s", u->home);
	local_report(l, p, &o);
	return true;
}

/* True: the mailbox is a command. */
static bool by_command(struct local *l, const struct place *p)
{
	struct span command = SPAN_NONE;
	struct err e = { .text = "" };
	struct outcome o;
	enum rc rc = maps_lookup(local_conf.commands, p->user, l->a, &command, &e);

	if (rc == RC_AGAIN) {
		outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "table lookup failure");
		local_report(l, p, &o);
		return true;
	}
	if (rc != RC_OK)
		command =
		    span_str(conf_raw(service_conf(), "mailbox_command")); /* its $names are the shell's */
	if (command.n == 0)
		return false;
	local_command(l, p, command, p->as);
	return true;
}

void local_mailbox(struct local *l, const struct place *p)
{
	const struct account *u = p->as;
	struct asuser_id id = local_id_of(u);
	struct span path;
	struct outcome o;
	bool root = u->uid == 0;
	const char *why = "mail system configuration error";

	if (local_seen(l, "mailbox", p->user) || home_missing(l, p, u) || by_command(l, p))
		return;
	if (!(root ? root_mailbox_of(u, &id, &path, &why) : local_mailbox_path(l->a, u, &id, &path))) {
		outcome_set(&o, DS_DEFERRED, "4.3.5", l->a, "%s", why);
		local_report(l, p, &o);
		return;
	}
	if (path.p[path.n - 1] == '/')
		deliver(l, p, &id, path, SPAN("maildir delivery failed: "), "delivered to maildir", root);
	else
		deliver(l, p, &id, path,
			span_printf(l->a, "cannot update mailbox " SPAN_FMT " for user %s. ", SPAN_ARG(path),
				    u->name),
			"delivered to mailbox", root);
}

/* ---- /file/name ---- */
void local_file(struct local *l, const struct place *p, struct span path)
{
	struct asuser_id id = local_id_of(p->as);
	struct span full = path;
	struct outcome o;

	if (span_starts(path, SPAN("~/")))
		full = p->as != NULL
			   ? span_printf(l->a, "%s" SPAN_FMT, p->as->home, SPAN_ARG(span_skip(path, 1)))
			   : SPAN_NONE;
	if (local_seen(l, "file", full))
		return;
	if (span_is(full, "/dev/null")) {
		outcome_set(&o, DS_SENT, "2.0.0", l->a, "delivered to file: /dev/null");
		local_report(l, p, &o);
		return;
	}
	struct span parent = full;
	while (parent.n > 1 && parent.p[parent.n - 1] == '/')
		parent.n--;
	ptrdiff_t slash = span_rchr(parent, '/');
	parent = slash > 0 ? span_head(parent, (size_t)slash) : SPAN("/");
	if (full.n < 2 || full.p[0] != '/' || span_find(full, SPAN("/../")) >= 0 ||
	    !worker_text(id.dir, sizeof id.dir, parent)) {
		outcome_set(&o, DS_BOUNCED, "5.3.5", l->a, "mail system configuration error");
		local_report(l, p, &o);
		return;
	}
	if (full.p[full.n - 1] == '/')
		deliver(l, p, &id, full, SPAN("maildir delivery failed: "), "delivered to maildir", true);
	else
		deliver(l, p, &id, full,
			span_printf(l->a, "cannot append message to file " SPAN_FMT ": ", SPAN_ARG(full)),
			arena_printf(l->a, "delivered to file: " SPAN_FMT, SPAN_ARG(full)), true);
}
