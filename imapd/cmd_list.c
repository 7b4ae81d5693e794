/* Names of mailboxes: LIST (with RFC 5258's options that SPECIAL-USE and clients need), LSUB, STATUS, CREATE,
 * DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. */
#include "session.h"
#include "names.h"

#define PATTERNS_MAX 32

struct list_request {
	struct span reference, pattern[PATTERNS_MAX];
	size_t patterns;
	bool extended, only_subscribed, only_special, recursive, remote;
	bool ret_subscribed, ret_children, ret_special;
	unsigned ret_status; /* bits of status_items[] */
};

enum { SI_MESSAGES, SI_RECENT, SI_UIDNEXT, SI_UIDVALIDITY, SI_UNSEEN, SI_HIGHESTMODSEQ, SI_SIZE, SI_END };
static const char *const status_items[SI_END] = { "MESSAGES", "RECENT",	       "UIDNEXT", "UIDVALIDITY",
						  "UNSEEN",   "HIGHESTMODSEQ", "SIZE" };

static bool parse_status_items(struct session *s, struct parse *p, unsigned *bits)
{
	struct span word;
	*bits = 0;
	if (!parse_char(p, '('))
		return false;
	do {
		size_t i = 0;
		if (!parse_atom(p, &word))
			return false;
		while (i < SI_END && !span_is_ci(word, status_items[i]))
			i++;
		if (i == SI_END)
			return parse_fail(p, "Unknown STATUS item");
		if (i == SI_HIGHESTMODSEQ)
			s->condstore = true;
		*bits |= 1u << i;
	} while (parse_is(p, ' '));
	return parse_char(p, ')');
}

static enum rc put_status(struct session *s, struct span name, unsigned bits, struct err *e)
{
	struct store_status st;
	const char *sep = "";
	enum rc rc = store_status(s->store, name, &st, e);
	if (rc != RC_OK)
		return rc;
	uint64_t value[SI_END] = { st.messages, st.recent,	   st.uidnext, st.uidvalidity,
				   st.unseen,	st.highest_modseq, st.size };
	buf_reset(&s->out);
	buf_puts(&s->out, "* STATUS ");
	put_mailbox(&s->out, name);
	buf_puts(&s->out, " (");
	for (size_t i = 0; i < SI_END; i++)
		if (bits & (1u << i)) {
			buf_printf(&s->out, "%s%s %llu", sep, status_items[i], (unsigned long long)value[i]);
			sep = " ";
		}
	buf_puts(&s->out, ")\r\n");
	stream_write(s->io, buf_span(&s->out));
	return RC_OK;
}

COMMAND(cmd_status)
{
	struct span name;
	unsigned bits;
	struct err e;
	if (!parse_sp(p) || !parse_mailbox(p, &name) || !parse_sp(p) || !parse_status_items(s, p, &bits) ||
	    !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (put_status(s, name, bits, &e) != RC_OK)
		tagged_failure(s, &e);
	else
		tagged_ok(s, "Status completed.");
}

/* ---- LIST ---- */
static bool selection_options(struct parse *p, struct list_request *r)
{
	struct span w;
	if (!parse_is(p, '('))
		return true;
	r->extended = true;
	if (parse_is(p, ')'))
		return parse_sp(p);
	do {
		if (!parse_atom(p, &w))
			return false;
		if (span_is_ci(w, "SUBSCRIBED"))
			r->only_subscribed = r->ret_subscribed = true;
		else if (span_is_ci(w, "SPECIAL-USE"))
			r->only_special = r->ret_special = true;
		else if (span_is_ci(w, "RECURSIVEMATCH"))
			r->recursive = true;
		else if (!span_is_ci(w, "REMOTE"))
			return parse_fail(p, "Unknown select options");
	} while (parse_is(p, ' '));
	if (r->recursive && !r->only_subscribed) /* RFC 5258 section 3.1 */
		return parse_fail(p, "RECURSIVEMATCH needs SUBSCRIBED");
	return parse_char(p, ')') && parse_sp(p);
}

static bool return_options(struct session *s, struct parse *p, struct list_request *r)
{
	struct span w;
	if (!p->rest.n)
		return true;
	if (!parse_sp(p) || !parse_word_ci(p, "RETURN") || !parse_sp(p) || !parse_char(p, '('))
		return parse_fail(p, "Unknown list option");
	r->extended = true;
	if (parse_is(p, ')'))
		return true;
	do {
		if (!parse_atom(p, &w))
			return false;
		if (span_is_ci(w, "SUBSCRIBED"))
			r->ret_subscribed = true;
		else if (span_is_ci(w, "CHILDREN"))
			r->ret_children = true;
		else if (span_is_ci(w, "SPECIAL-USE"))
			r->ret_special = true;
		else if (!span_is_ci(w, "STATUS"))
			return parse_fail(p, "Unknown return options");
		else if (!parse_sp(p) || !parse_status_items(s, p, &r->ret_status))
			return false;
	} while (parse_is(p, ' '));
	return parse_char(p, ')');
}

static bool patterns(struct parse *p, struct list_request *r)
{
	if (!parse_is(p, '('))
		return parse_list_mailbox(p, &r->pattern[r->patterns++]);
	r->extended = true;
	do {
		if (r->patterns == PATTERNS_MAX)
			return parse_fail(p, "Too many patterns");
		if (!parse_list_mailbox(p, &r->pattern[r->patterns++]))
			return false;
	} while (parse_is(p, ' '));
	return parse_char(p, ')');
}

/* Reference and pattern are joined, as RFC 3501 6.3.8 leaves it to servers of hierarchies without a current
 * directory. */
static void join_reference(struct session *s, struct list_request *r)
{
	for (size_t i = 0; i < r->patterns; i++) {
		struct span *t = &r->pattern[i];
		if (r->reference.n)
			*t = span_printf(&s->a, SPAN_FMT SPAN_FMT, SPAN_ARG(r->reference), SPAN_ARG(*t));
		if (t->n > 3 * STORE_NAME_MAX)
			*t = span_head(*t, 3 * STORE_NAME_MAX);
	}
}

static bool matches(const struct list_request *r, struct span name, char sep)
{
	for (size_t i = 0; i < r->patterns; i++)
		if (list_match(r->pattern[i], name, sep))
			return true;
	return false;
}

static void put_attributes(struct buf *b, const struct store_folder *f, const struct list_request *r,
			   bool lsub, bool children)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} uses[] = { { FOLDER_DRAFTS, "\\Drafts" },
		     { FOLDER_SENT, "\\Sent" },
		     { FOLDER_TRASH, "\\Trash" },
		     { FOLDER_JUNK, "\\Junk" },
		     { FOLDER_ARCHIVE, "\\Archive" } };
	const char *sep = "";
	buf_putc(b, '(');
	if (r->ret_subscribed && (f->flags & FOLDER_SUBSCRIBED)) {
		buf_puts(b, "\\Subscribed");
		sep = " ";
	}
	if (f->flags & FOLDER_NONEXISTENT && !lsub) {
		buf_printf(b, "%s\\NonExistent", sep);
		sep = " ";
	}
	if (f->flags & FOLDER_NOSELECT) {
		buf_printf(b, "%s\\Noselect", sep);
		sep = " ";
	}
	if (!lsub) {
		buf_printf(b, "%s\\Has%sChildren", sep, children ? "" : "No");
		for (size_t i = 0; i < ARRAY_LEN(uses); i++)
			if (f->flags & uses[i].flag)
				buf_printf(b, " %s", uses[i].name);
	}
	buf_putc(b, ')');
}

/* What is told of an entry besides its attributes. */
struct told {
	bool lsub, children;
	bool child_info; /* below it is one that was asked for, and that the pattern does not reach */
};

static void put_entry(struct session *s, const struct store_folder *f, const struct list_request *r,
		      struct told t)
{
	struct err e;
	buf_reset(&s->out);
	buf_puts(&s->out, t.lsub ? "* LSUB " : "* LIST ");
	put_attributes(&s->out, f, r, t.lsub, t.children);
	buf_printf(&s->out, " \"%c\" ", store_separator(s->store));
	put_mailbox(&s->out, f->name);
	if (t.child_info) /* RFC 5258 section 3.5 */
		buf_puts(&s->out, " (\"CHILDINFO\" (\"SUBSCRIBED\"))");
	buf_puts(&s->out, "\r\n");
	stream_write(s->io, buf_span(&s->out));
	if (r->ret_status && !(f->flags & (FOLDER_NOSELECT | FOLDER_NONEXISTENT)) &&
	    put_status(s, f->name, r->ret_status, &e) != RC_OK)
		reply(s, "NO STATUS failed: %s", e.rc == RC_SYS ? "internal error" : e.text);
}

static bool below(struct span name, struct span parent, char sep)
{
	return name.n > parent.n + 1 && span_starts(name, parent) && name.p[parent.n] == sep;
}

/* Sorted by name, what is below follows; names that sort between ("a-b" before "a.b") are stepped over. */
static bool has_children(const struct store_folder *v, size_t n, size_t i, char sep)
{
	for (size_t k = i + 1; k < n && (span_starts(v[k].name, v[i].name) || i == 0); k++)
		if (below(v[k].name, v[i].name, sep) && !(v[k].flags & FOLDER_NONEXISTENT))
			return true;
	return false;
}

/* LSUB "%": a name above subscribed ones, not subscribed itself, is shown as \Noselect when the pattern does
 * not reach those below (RFC 3501 6.3.9). */
static bool subscribed_below(const struct store_folder *v, size_t n, size_t i, char sep,
			     const struct list_request *r)
{
	for (size_t k = i + 1; k < n && span_starts(v[k].name, v[i].name); k++)
		if (below(v[k].name, v[i].name, sep) && (v[k].flags & FOLDER_SUBSCRIBED) &&
		    !matches(r, v[k].name, sep))
			return true;
	return false;
}

static void run_list(struct session *s, const struct list_request *r, bool lsub)
{
	struct store_folder *v;
	size_t n;
	struct err e;
	char sep = store_separator(s->store);
	const uint32_t special = FOLDER_DRAFTS | FOLDER_SENT | FOLDER_TRASH | FOLDER_JUNK | FOLDER_ARCHIVE;
	if (store_folders(s->store, &s->a, &v, &n, &e) != RC_OK) {
		tagged_failure(s, &e);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct store_folder f = v[i];
		if (!matches(r, f.name, sep))
			continue;
		if (r->only_special && !(f.flags & special))
			continue;
		if ((lsub || r->only_subscribed) && !(f.flags & FOLDER_SUBSCRIBED)) {
			bool parent = subscribed_below(v, n, i, sep, r);
			if (!parent || (!lsub && !r->recursive))
				continue;
			if (lsub)
				f.flags |= FOLDER_NOSELECT;
		} else if (lsub) {
			f.flags &= ~FOLDER_NOSELECT;
		}
		if (!lsub && !r->only_subscribed && (f.flags & FOLDER_NONEXISTENT))
			continue;
		put_entry(s, &f, r,
			  (struct told){ .lsub = lsub,
					 .children = !lsub && has_children(v, n, i, sep),
					 .child_info =
					     !lsub && r->recursive && subscribed_below(v, n, i, sep, r) });
	}
	tagged_ok(s, "%s completed.", lsub ? "Lsub" : "List");
}

COMMAND(cmd_list)
{
	struct list_request r = { .patterns = 0 };
	if (!parse_sp(p) || !selection_options(p, &r) || !parse_mailbox(p, &r.reference) || !parse_sp(p) ||
	    !patterns(p, &r) || !return_options(s, p, &r) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (!r.extended && !r.pattern[0].n) { /* asks for the separator */
		reply(s, "LIST (\\Noselect) \"%c\" \"\"", store_separator(s->store));
		tagged_ok(s, "List completed.");
		return;
	}
	join_reference(s, &r);
	run_list(s, &r, false);
}

COMMAND(cmd_lsub)
{
	struct list_request r = { .patterns = 1 };
	if (!parse_sp(p) || !parse_mailbox(p, &r.reference) || !parse_sp(p) ||
	    !parse_list_mailbox(p, &r.pattern[0]) || !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	join_reference(s, &r);
	run_list(s, &r, true);
}

/* ---- changes ---- */

/* A name that is to be made. */
static bool new_name_ok(struct session *s, struct span name)
{
	if (name_is_utf7(name))
		return true;
	tagged_no(s, "[CANNOT] Mailbox name is not valid modified UTF-7.");
	return false;
}

static bool one_name(struct session *s, struct parse *p, struct span *name)
{
	if (parse_sp(p) && parse_mailbox(p, name) && parse_end(p))
		return true;
	tagged_bad(s, p);
	return false;
}

static void outcome(struct session *s, enum rc rc, const struct err *e, const char *what)
{
	if (rc == RC_OK)
		tagged_ok(s, "%s completed.", what);
	else
		tagged_failure(s, e);
}

COMMAND(cmd_create)
{
	struct span name;
	struct err e;
	if (one_name(s, p, &name) && new_name_ok(s, name)) {
		enum rc rc = store_create(s->store, name, &e);
		outcome(s, rc, &e, "Create");
	}
}

COMMAND(cmd_delete)
{
	struct span name;
	struct err e;
	if (!one_name(s, p, &name))
		return;
	if (s->mb && span_is(name, mailbox_name(s->mb))) { /* our own: no news of it any more */
		mailbox_close(&s->mb);
		s->state = ST_AUTHENTICATED;
	}
	enum rc rc = store_delete(s->store, name, &e);
	outcome(s, rc, &e, "Delete");
}

COMMAND(cmd_rename)
{
	struct span from, to;
	struct err e;
	if (!parse_sp(p) || !parse_mailbox(p, &from) || !parse_sp(p) || !parse_mailbox(p, &to) ||
	    !parse_end(p)) {
		tagged_bad(s, p);
		return;
	}
	if (!new_name_ok(s, to))
		return;
	enum rc rc = store_rename(s->store, from, to, &e);
	outcome(s, rc, &e, "Rename");
}

COMMAND(cmd_subscribe)
{
	struct span name;
	struct err e;
	if (one_name(s, p, &name) && new_name_ok(s, name)) {
		enum rc rc = store_subscribe(s->store, name, true, &e);
		outcome(s, rc, &e, "Subscribe");
	}
}

COMMAND(cmd_unsubscribe)
{
	struct span name;
	struct err e;
	if (one_name(s, p, &name)) {
		enum rc rc = store_subscribe(s->store, name, false, &e);
		outcome(s, rc, &e, "Unsubscribe");
	}
}
