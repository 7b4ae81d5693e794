/* Location strings as mail_location of dovecot.conf(5) has them. */
#include "store/store.h"

static bool append(char *out, size_t *n, struct span s)
{
	if (*n + s.n >= STORE_PATH_MAX || (s.n && memchr(s.p, '\0', s.n)))
		return false;
	if (s.n)
		memcpy(out + *n, s.p, s.n);
	*n += s.n;
	out[*n] = '\0';
	return true;
}

/* The value of %c; SPAN_NONE with *ok false for an unknown one. A user name may not name another directory.
 */
static struct span variable(char c, struct span home, struct span user, bool *ok)
{
	ptrdiff_t at = span_rchr(user, '@');
	switch (c) {
	case '%':
		return SPAN("%");
	case 'h':
		return home;
	case 'u':
		return user;
	case 'n':
		return at < 0 ? user : span_head(user, (size_t)at);
	case 'd':
		return at < 0 ? SPAN_NONE : span_skip(user, (size_t)at + 1);
	default:
		*ok = false;
		return SPAN_NONE;
	}
}

static bool has_dotdot(const char *path)
{
	struct span rest = span_str(path), part;
	while (span_next(&rest, '/', &part))
		if (span_is(part, ".."))
			return true;
	return false;
}

static enum rc expand(struct span text, struct span home, struct span user, char out[STORE_PATH_MAX],
		      struct err *e)
{
	size_t n = 0;
	bool ok = true;
	out[0] = '\0';
	if (span_is(text, "~") || span_starts(text, SPAN("~/"))) {
		if (!home.n)
			return err_set(e, RC_SYNTAX, "mail location \"" SPAN_FMT "\" needs a home directory",
				       SPAN_ARG(text));
		ok = append(out, &n, home);
		text = span_skip(text, 1);
	} else if (text.n && text.p[0] != '/' && text.p[0] != '%') {
		if (!home.n)
			return err_set(e, RC_SYNTAX, "mail location \"" SPAN_FMT "\" is relative",
				       SPAN_ARG(text));
		ok = append(out, &n, home) && append(out, &n, SPAN("/"));
	}
	for (size_t i = 0; i < text.n && ok; i++) {
		if (text.p[i] == '%' && i + 1 < text.n) {
			struct span v = variable(text.p[++i], home, user, &ok);
			if (v.n && text.p[i] != 'h' && (memchr(v.p, '/', v.n) || span_is(v, "..")))
				ok = false;
			ok = ok && append(out, &n, v);
		} else {
			ok = append(out, &n, span_make(text.p + i, 1));
		}
	}
	if (!ok || has_dotdot(out))
		return err_set(e, RC_SYNTAX, "bad path in mail location \"" SPAN_FMT "\"", SPAN_ARG(text));
	while (n > 1 && out[n - 1] == '/')
		out[--n] = '\0';
	return RC_OK;
}

static enum rc option(struct store_loc *l, struct span word, struct span home, struct span user,
		      struct err *e)
{
	static const struct {
		const char *name;
		size_t off;
	} paths[] = {
		{ "INBOX=", offsetof(struct store_loc, inbox) },
		{ "INDEX=", offsetof(struct store_loc, index) },
		{ "CONTROL=", offsetof(struct store_loc, control) },
	};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (span_starts(word, span_str(paths[i].name)))
			return expand(span_skip(word, strlen(paths[i].name)), home, user,
				      (char *)l + paths[i].off, e);
	if (span_is(word, l->kind == STORE_MAILDIR ? "LAYOUT=maildir++" : "LAYOUT=fs"))
		return RC_OK;
	return err_set(e, RC_SYNTAX, "unknown option \"" SPAN_FMT "\" in mail location", SPAN_ARG(word));
}

enum rc store_loc_parse(struct span text, const char *home, const char *user, struct store_loc *out,
			struct err *e)
{
	struct span h = span_str(home), u = span_str(user), word;
	bool schemed = true;
	enum rc rc;
	memset(out, 0, sizeof(*out));
	text = span_trim(text);
	if (span_starts_ci(text, SPAN("maildir:"))) {
		out->kind = STORE_MAILDIR;
		text = span_skip(text, 8);
	} else if (span_starts_ci(text, SPAN("mbox:"))) {
		out->kind = STORE_MBOX;
		text = span_skip(text, 5);
	} else {
		schemed = false;
		out->kind = span_ends(text, SPAN("/")) ? STORE_MAILDIR : STORE_MBOX;
	}
	if (!span_next(&text, ':', &word) || !word.n)
		return err_set(e, RC_SYNTAX, "empty mail location");
	if ((rc = expand(word, h, u, out->root, e)) != RC_OK)
		return rc;
	while (span_next(&text, ':', &word))
		if ((rc = option(out, word, h, u, e)) != RC_OK)
			return rc;
	if (out->kind == STORE_MAILDIR && !out->inbox[0]) {
		memcpy(out->inbox, out->root, sizeof(out->inbox));
	} else if (out->kind == STORE_MBOX && !schemed) {
		memcpy(out->inbox, out->root, sizeof(out->inbox));
		out->root[0] = '\0';
	} else if (!out->inbox[0]) {
		size_t n = strlen(out->root);
		memcpy(out->inbox, out->root, n);
		if (!append(out->inbox, &n, SPAN("/inbox")))
			return err_set(e, RC_SYNTAX, "mail location too long");
	}
	return RC_OK;
}
