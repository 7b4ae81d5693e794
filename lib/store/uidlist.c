/* dovecot-uidlist (version 3) and dovecot-keywords.
 *
 *   3 V<uidvalidity> N<next uid> [G<mailbox id>]
 *   <uid> [<letter><value> ...] :<file name without its flags>
 *
 * UIDs grow from line to line; lines are appended, and lines of messages that are gone stay until the file is
 * written anew, so that no UID is given twice. Every line is on the disk before its UID is told to anybody.
 */
#include "store/box.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define UIDLIST_MAX (256u << 20)

static bool parse_header(struct uidlist *u, struct span line)
{
	struct span w;
	uint64_t v;
	if (!span_next(&line, ' ', &w) || !span_is(w, "3"))
		return false;
	while (span_next(&line, ' ', &w)) {
		if (w.n < 2)
			continue;
		struct span value = span_skip(w, 1);
		if (w.p[0] == 'V' && span_to_u64(value, UINT32_MAX, &v) == RC_OK)
			u->uidvalidity = (uint32_t)v;
		if (w.p[0] == 'N' && span_to_u64(value, UINT32_MAX, &v) == RC_OK)
			u->uidnext = (uint32_t)v;
	}
	return u->uidvalidity != 0;
}

static bool parse_line(struct span line, struct uidlist_entry *out)
{
	uint64_t v;
	struct span w;
	ptrdiff_t colon = span_find(line, SPAN(" :"));
	if (colon < 0 || !span_next(&line, ' ', &w) || span_to_u64(w, UINT32_MAX - 1, &v) != RC_OK || !v)
		return false;
	out->uid = (uint32_t)v;
	out->base = span_skip(line, (size_t)colon + 2 - w.n - 1);
	return out->base.n > 0 && out->base.n < 256;
}

enum rc uidlist_read(struct box *b, struct uidlist *u, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct span rest, line;
	uint32_t last = 0;
	size_t cap = 0;
	memset(u, 0, sizeof(*u));
	buf_init(&u->text, UIDLIST_MAX);
	if (!path_join(path, b->control, "dovecot-uidlist"))
		return RC_NOTFOUND;
	enum rc rc = file_read_all(path, UIDLIST_MAX, &u->text, e);
	if (rc != RC_OK)
		return rc == RC_SYS ? rc : RC_NOTFOUND;
	rest = buf_span(&u->text);
	if (!span_next(&rest, '\n', &line) || !parse_header(u, line))
		return RC_NOTFOUND;
	while (span_next(&rest, '\n', &line)) {
		struct uidlist_entry en;
		b->uidlist_lines++;
		/* A last line without its end was torn by a crash: nobody was told that UID. */
		if (!parse_line(line, &en) || en.uid <= last || (!rest.n && u->text.p[u->text.n - 1] != '\n'))
			continue;
		last = en.uid;
		if (u->n == cap) {
			cap = cap ? cap * 2 : 256;
			u->v = xrealloc(u->v, cap * sizeof(*u->v));
		}
		u->v[u->n++] = en;
	}
	u->by_base = table_new();
	for (size_t i = 0; i < u->n; i++)
		table_set(u->by_base, u->v[i].base, &u->v[i]);
	if (last >= u->uidnext)
		u->uidnext = last + 1;
	return RC_OK;
}

void uidlist_free(struct uidlist *u)
{
	if (u->by_base)
		table_free(&u->by_base, NULL);
	free(u->v);
	buf_release(&u->text);
	memset(u, 0, sizeof(*u));
}

bool uidlist_changed(struct box *b)
{
	char path[STORE_FILE_MAX];
	struct stamp now;
	return path_join(path, b->control, "dovecot-uidlist") && stamp_get(path, &now) &&
	       !stamp_eq(&now, &b->uidlist);
}

static void put_line(struct buf *out, const struct box *b, const struct message *m)
{
	struct span base = maildir_base(box_file_name(b, m));
	buf_printf(out, "%u :" SPAN_FMT "\n", m->uid, SPAN_ARG(base));
}

enum rc uidlist_rewrite(struct box *b, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct buf out;
	if (!path_join(path, b->control, "dovecot-uidlist"))
		return err_set(e, RC_LIMIT, "path too long");
	buf_init(&out, UIDLIST_MAX);
	buf_printf(&out, "3 V%u N%u\n", b->uidvalidity, b->uidnext);
	for (size_t i = 0; i < b->n; i++)
		put_line(&out, b, &b->msg[i]);
	enum rc rc = buf_ok(&out) ? file_replace(path, buf_span(&out), true, e)
				  : err_set(e, RC_LIMIT, "too many messages");
	buf_release(&out);
	b->uidlist_lines = b->n;
	if (rc == RC_OK && !stamp_get(path, &b->uidlist))
		memset(&b->uidlist, 0, sizeof(b->uidlist));
	return rc;
}

enum rc uidlist_append(struct box *b, size_t from, struct err *e)
{
	char path[STORE_FILE_MAX];
	struct buf out;
	if (from >= b->n)
		return RC_OK;
	if (!path_join(path, b->control, "dovecot-uidlist"))
		return err_set(e, RC_LIMIT, "path too long");
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || b->uidlist_lines > 2 * b->n + 1000) {
		if (fd >= 0)
			close(fd);
		return uidlist_rewrite(b, e);
	}
	buf_init(&out, UIDLIST_MAX);
	for (size_t i = from; i < b->n; i++)
		put_line(&out, b, &b->msg[i]);
	enum rc rc = fd_write_all(fd, buf_span(&out), e);
	if (rc == RC_OK && fdatasync(fd) != 0)
		rc = err_sys(e, "sync %s", path);
	close(fd);
	buf_release(&out);
	b->uidlist_lines += b->n - from;
	if (!stamp_get(path, &b->uidlist))
		memset(&b->uidlist, 0, sizeof(b->uidlist));
	return rc;
}

/* "<number> <name>" a line; number 0 is letter a. */
void keywords_read(struct box *b)
{
	char path[STORE_FILE_MAX], name[256];
	struct buf text;
	struct span rest, line, num;
	uint64_t i;
	buf_init(&text, 65536);
	if (path_join(path, b->control, "dovecot-keywords") &&
	    file_read_all(path, 65536, &text, NULL) == RC_OK) {
		rest = buf_span(&text);
		while (span_next(&rest, '\n', &line)) {
			if (!span_next(&line, ' ', &num) || span_to_u64(num, 25, &i) != RC_OK ||
			    i != b->keywords || b->keywords >= STORE_KEYWORDS_MAX ||
			    span_cstr(line, name, sizeof(name)) != RC_OK || !name[0])
				continue;
			b->keyword[b->keywords++] = xstrdup(name);
		}
	}
	buf_release(&text);
}

void keywords_write(struct box *b)
{
	char path[STORE_FILE_MAX];
	struct buf out;
	struct err e;
	buf_init(&out, 65536);
	for (size_t i = 0; i < b->keywords && i < 26; i++)
		buf_printf(&out, "%zu %s\n", i, b->keyword[i]);
	if (b->store->loc.kind == STORE_MAILDIR && path_join(path, b->control, "dovecot-keywords") &&
	    file_replace(path, buf_span(&out), false, &e) != RC_OK)
		b->rewrite = true; /* the index still has them */
	buf_release(&out);
}
