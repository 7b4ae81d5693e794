/* local/forwardfile.c - .forward and :include: files, read by a child that is their reader. */
#include "local.h"
#include "log/log.h"
#include "root.h"
#include "service/service.h"
#include <errno.h>
#include <sys/stat.h>

#define READ_S	    60
#define PIECE	    65536
#define FORWARD_MAX (256 * 1024)
#define INCLUDE_MAX (8 * 1024 * 1024)

struct file {
	struct span text;
	uid_t uid;
	mode_t mode;
};

struct asuser_id local_id_of(const struct account *u)
{
	struct asuser_id id = { .tag = "local" };

	if (u == NULL || u->uid == 0)
		return local_conf.nobody;
	id.uid = u->uid;
	id.gid = u->gid;
	if (!worker_text(id.user, sizeof id.user, span_str(u->name)) ||
	    !worker_text(id.home, sizeof id.home, span_str(u->home)) || id.home[0] != '/')
		id.home[0] = '\0';
	return id;
}

/* All of the file in pieces. RC_NOTFOUND; RC_SYNTAX its owner may not read it; RC_LIMIT too large; RC_AGAIN with the story. */
static enum rc read_file(struct local *l, struct asuser_id *id, struct span path, size_t max, bool alone,
			 struct file *f, struct err *e)
{
	struct user_read q = { .path = path, .max_bytes = PIECE };
	struct user_read_reply r;
	struct buf b;
	enum rc rc;

	buf_init(&b, max);
	do {
		rc = alone ? worker_run_alone(id, IPC_USER_READ, &q, &r, l->a, READ_S, e)
			   : worker_ask(id, IPC_USER_READ, &q, &r, l->a, READ_S, e);
		if (rc == RC_OK && r.rc != RC_OK && r.sys == EACCES && r.uid == id->uid &&
		    !(r.mode & S_IRUSR))
			rc = err_set(e, RC_SYNTAX, SPAN_FMT, SPAN_ARG(r.text)); /* its owner wants it so */
		else if (rc == RC_OK && r.rc != RC_OK)
			rc = err_set(e, r.rc == RC_NOTFOUND ? RC_NOTFOUND : RC_AGAIN, SPAN_FMT,
				     SPAN_ARG(r.text));
		else if (rc == RC_OK && buf_append(&b, r.content) != RC_OK)
			rc = err_set(e, RC_LIMIT, SPAN_FMT " is too large", SPAN_ARG(path));
		else if (rc != RC_OK && rc != RC_DENIED && rc != RC_SYNTAX)
			rc = RC_AGAIN;
		q.off += r.content.n;
	} while (rc == RC_OK && r.content.n == PIECE);
	if (rc == RC_OK)
		*f = (struct file){ span_dup(l->a, buf_span(&b)), r.uid, (mode_t)r.mode };
	buf_release(&b);
	return rc;
}

/* ---- .forward ---- */
static bool trusted(const struct file *f, struct span path, const struct account *u)
{
	if (!S_ISREG(f->mode))
		log_warning("file " SPAN_FMT " is not a regular file", SPAN_ARG(path));
	else if (f->uid != 0 && f->uid != u->uid)
		log_warning("file " SPAN_FMT " has bad owner uid %ld", SPAN_ARG(path), (long)f->uid);
	else if (f->mode & 002)
		log_warning("file " SPAN_FMT " is world writable", SPAN_ARG(path));
	else
		return true;
	return false;
}

static bool inside(struct span path)
{
	return path.n > 1 && path.p[0] == '/' && span_find(path, SPAN("/../")) < 0 &&
	       !span_ends(path, SPAN("/.."));
}

static bool parent_of(struct span path, char *dir, size_t size)
{
	ptrdiff_t slash = span_rchr(path, '/');

	return worker_text(dir, size, slash > 0 ? span_head(path, (size_t)slash) : SPAN("/"));
}

/* Root's is one of those that the daemon knew when it started, read by a child that can read no others (root.h). */
static enum rc read_roots(struct local *l, const struct account *u, struct span path, struct file *f,
			  struct err *e)
{
	struct asuser_id id;

	return root_file_of(u, path, &id) ? read_file(l, &id, path, FORWARD_MAX, true, f, e) : RC_NOTFOUND;
}

/* In his home by the child that stays for that; elsewhere (forward_path = /var/forward/$user) by one that is confined
 * to that directory. */
static enum rc read_forward(struct local *l, const struct account *u, struct span path, struct file *f,
			    struct err *e)
{
	struct asuser_id id = local_id_of(u);
	struct span home = span_str(id.home);

	if (u->uid == 0)
		return read_roots(l, u, path, f, e);
	bool in_home = home.n > 0 && span_starts(path, home) && path.n > home.n && path.p[home.n] == '/';

	if (in_home)
		snprintf(id.dir, sizeof id.dir, "%s", id.home);
	else if (!parent_of(path, id.dir, sizeof id.dir))
		return err_set(e, RC_NOTFOUND, "path too long");
	return read_file(l, &id, path, FORWARD_MAX, !in_home, f, e);
}

/* The first path that names a file. RC_NOTFOUND: none. */
static enum rc find_forward(struct local *l, const struct place *p, const struct account *u, struct file *f,
			    struct span *path, struct err *e)
{
	const char *raw = conf_raw(service_conf(), "forward_path");
	struct span rest = span_str(raw), word;

	while (span_next_word(&rest, ", \t\r\n", &word)) {
		if (local_expand(l, p, u, word, conf_str(service_conf(), "forward_expansion_filter"), path,
				 e) != RC_OK) {
			log_warning("forward_path: %s", e->text);
			continue;
		}
		if (!inside(*path))
			continue;
		enum rc rc = read_forward(l, u, *path, f, e);
		if (rc == RC_OK && trusted(f, *path, u))
			return RC_OK;
		if (rc == RC_SYNTAX)
			log_warning("cannot open file " SPAN_FMT ": %s", SPAN_ARG(*path), e->text);
		else if (rc != RC_NOTFOUND && rc != RC_OK)
			return rc;
	}
	return RC_NOTFOUND;
}

bool local_forward_file(struct local *l, const struct place *p, const struct account *u)
{
	struct dest_list list = { .n = 0 };
	struct span path = SPAN_NONE;
	struct file f;
	struct err e = { .text = "" };
	struct outcome o;
	enum rc rc;

	rc = find_forward(l, p, u, &f, &path, &e);
	if (rc == RC_NOTFOUND || (rc == RC_OK && local_seen(l, "dotforward", path)))
		return false; /* a file that led here: who it names are mailboxes */
	if (rc == RC_DENIED) {
		mailbox_no_child(&o, rc, l->a, e.text);
		local_report(l, p, &o);
		return true;
	}
	if (rc != RC_OK) {
		log_warning("cannot open file " SPAN_FMT ": %s", SPAN_ARG(path), e.text);
		outcome_set(&o, DS_DEFERRED, "4.3.0", l->a, "error reading forwarding file: %s", e.text);
		local_report(l, p, &o);
		return true;
	}
	if (dest_file_parse(f.text, l->a, LOCAL_ITEMS_MAX, &list) != RC_OK || list.bad > 0)
		log_warning("file " SPAN_FMT ": %u addresses are not understood", SPAN_ARG(path), list.bad);
	if (list.n == 0)
		return false; /* says nothing: the mailbox */
	struct place *q = local_place(l, p);
	q->alias = SPAN(".forward");
	q->from = FROM_FORWARD;
	q->as = u;
	if (p->ext.n && span_find(path, p->ext) >= 0)
		q->ext_left = SPAN_NONE; /* it chose the file */
	local_expanded(l, q);
	local_add_all(l, q, &list);
	return true;
}

/* ---- :include: ---- */
static void include_failed(struct local *l, const struct place *p, enum deliver_status status,
			   const char *dsn)
{
	struct outcome o;

	outcome_set(&o, status, dsn, l->a, "mail system configuration error");
	local_report(l, p, &o);
}

void local_include(struct local *l, const struct place *p, struct span path)
{
	struct dest_list list = { .n = 0 };
	struct asuser_id id = local_id_of(p->as);
	struct account *owner = NULL;
	struct file f;
	struct err e = { .text = "" };
	enum rc rc;

	if (local_seen(l, "include", path))
		return;
	if (p->depth > LOCAL_DEPTH_MAX || !inside(path) || !parent_of(path, id.dir, sizeof id.dir)) {
		log_warning(":include:" SPAN_FMT " uses a relative path", SPAN_ARG(path));
		include_failed(l, p, DS_BOUNCED, "5.3.5");
		return;
	}
	rc = read_file(l, &id, path, INCLUDE_MAX, true, &f, &e);
	if (rc == RC_OK && !S_ISREG(f.mode))
		rc = err_set(&e, RC_DENIED, ":include: file " SPAN_FMT " is not a regular file",
			     SPAN_ARG(path));
	else if (rc == RC_OK && (f.mode & 002))
		rc = err_set(&e, RC_DENIED, ":include: file " SPAN_FMT " is world writable", SPAN_ARG(path));
	if (rc == RC_OK && f.uid != 0) /* commands and files named there: with the rights of who wrote it */
		rc = account_by_uid(f.uid, l->a, &owner, &e);
	if (rc != RC_OK) {
		log_warning("cannot open include file " SPAN_FMT ": %s", SPAN_ARG(path), e.text);
		include_failed(l, p, DS_DEFERRED, "4.3.5");
		return;
	}
	if (dest_file_parse(f.text, l->a, LOCAL_ITEMS_MAX, &list) != RC_OK || list.bad > 0)
		log_warning(":include: file " SPAN_FMT ": %u addresses are not understood", SPAN_ARG(path),
			    list.bad);
	struct place *q = local_place(l, p);
	q->from = FROM_INCLUDE;
	if (owner != NULL)
		q->as = owner;
	local_add_all(l, q, &list);
	if (list.n == 0)
		include_failed(l, p, DS_DEFERRED, "4.3.5");
}
