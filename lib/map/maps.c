/* map/maps.c - a list of tables; the address forms that are asked one after the other. */
#include "log/log.h"
#include "map/driver.h"
#include "mime/address.h"

#define MAPS_MAX 1000

struct maps {
	char *param;
	struct map **list;
	size_t n;
};

static void hold(struct maps *m, struct map *table)
{
	m->list = xrealloc(m->list, (m->n + 1) * sizeof *m->list);
	m->list[m->n++] = table;
}

/* What is no name of a table keeps no process from starting: it stays in its place, as one that cannot answer. */
static enum rc hold_unusable(struct maps *m, struct span word, unsigned flags, const char *why, struct err *e)
{
	struct map *table;
	struct arena a;
	enum rc rc;

	log_error("%s: %s", m->param, why);
	arena_init(&a);
	word = span_head(span_trim(word), 200);
	if ((rc = map_open(span_printf(&a, "fail:" SPAN_FMT, SPAN_ARG(word)), flags, &table, e)) == RC_OK)
		hold(m, table);
	arena_release(&a);
	return rc;
}

static enum rc add(struct maps *m, struct span word, unsigned flags, struct err *e)
{
	struct map *table;
	struct err story;
	enum rc rc;

	if (m->n == MAPS_MAX)
		return err_set(e, RC_LIMIT, "%s: more than %d tables", m->param, MAPS_MAX);
	rc = map_open(word, flags, &table, &story);
	if (!table)
		return hold_unusable(m, word, flags, story.text, e);
	if (rc != RC_OK) /* it stays in its place and answers that it cannot answer */
		log_error("%s", story.text);
	hold(m, table);
	return RC_OK;
}

enum rc maps_open(const char *param, struct span list, unsigned flags, struct maps **out, struct err *e)
{
	struct maps *m = xcalloc(1, sizeof *m);
	struct span word;
	struct err story;
	enum rc rc, added = RC_OK;

	m->param = xstrdup(param);
	*out = m;
	while ((rc = map_word_next(&list, &word, &story)) == RC_OK &&
	       (added = add(m, word, flags, e)) == RC_OK)
		;
	if (rc == RC_SYNTAX)
		added = hold_unusable(m, list, flags, story.text, e);
	if (added != RC_OK)
		maps_close(out);
	return added;
}

void maps_close(struct maps **m)
{
	if (!*m)
		return;
	for (size_t i = 0; i < (*m)->n; i++)
		map_close(&(*m)->list[i]);
	free((*m)->list);
	free((*m)->param);
	free(*m);
	*m = NULL;
}

bool maps_empty(const struct maps *m)
{
	return !m || m->n == 0;
}

size_t maps_count(const struct maps *m)
{
	return m ? m->n : 0;
}

struct map *maps_at(struct maps *m, size_t i)
{
	return m->list[i];
}

bool maps_changed(const struct maps *m)
{
	for (size_t i = 0; m && i < m->n; i++)
		if (map_changed(m->list[i]))
			return true;
	return false;
}

/* `partial`: a part of a key, which patterns are not asked. */
static enum rc ask(struct maps *m, struct span key, bool partial, struct arena *a, struct span *value,
		   struct err *e)
{
	*value = SPAN_NONE;
	for (size_t i = 0; key.n && m && i < m->n; i++) {
		if (partial && map_is_pattern(m->list[i]))
			continue;
		enum rc rc = map_lookup(m->list[i], key, a, value, e);
		if (rc == RC_OK && !value->n) {
			log_warning("%s lookup of " SPAN_FMT " returns an empty string result", m->param,
				    SPAN_ARG(key));
			log_warning("%s should return NO RESULT in case of NOT FOUND", map_name(m->list[i]));
			rc = err_set(e, RC_AGAIN, "%s: empty result", map_name(m->list[i]));
		} else if (rc != RC_OK && rc != RC_NOTFOUND) {
			log_warning("%s lookup error for \"" SPAN_FMT "\"", map_name(m->list[i]),
				    SPAN_ARG(key));
		}
		if (rc != RC_NOTFOUND)
			return rc;
	}
	return RC_NOTFOUND;
}

enum rc maps_lookup(struct maps *m, struct span key, struct arena *a, struct span *value, struct err *e)
{
	return ask(m, key, false, a, value, e);
}

enum rc maps_lookup_partial(struct maps *m, struct span key, struct arena *a, struct span *value,
			    struct err *e)
{
	return ask(m, key, true, a, value, e);
}

/* ---- the forms of an address ---- */
struct search {
	struct maps *m;
	struct arena *a;
	struct span *value;
	struct err *e;
	struct span local, domain, user, ext; /* ext with its delimiter, or "" */
};

static struct span join(struct arena *a, struct span x, const char *mid, struct span y)
{
	struct buf b;
	struct span s;

	buf_init(&b, x.n + y.n + 8);
	buf_append(&b, x);
	buf_puts(&b, mid);
	buf_append(&b, y);
	s = span_dup(a, buf_span(&b));
	buf_release(&b);
	return s;
}

/* As mail has it on the wire (with quotes where they are needed), then, when nothing is found, without; but a
 * local part that stands alone must not be taken for the address that it looks like: "a@b"@here. */
static enum rc ask_local(const struct search *s, struct span local, const char *mid, struct span domain,
			 bool partial)
{
	struct span quoted = local.n && *local.p != '"' ? address_quote_local(s->a, local) : local;
	struct span bare = local.n && *local.p == '"' ? address_unquote(s->a, local) : local;
	enum rc rc;

	if (!quoted.n)
		quoted = bare;
	rc = ask(s->m, join(s->a, quoted, mid, domain), partial, s->a, s->value, s->e);
	if (rc != RC_NOTFOUND || !bare.n || span_eq(bare, quoted) || (!*mid && span_chr(bare, '@') >= 0))
		return rc;
	return ask(s->m, join(s->a, bare, mid, domain), partial, s->a, s->value, s->e);
}

/* domain, then its parents: as "parent", or as ".parent" when dots are asked for. */
static enum rc ask_domains(const struct search *s, unsigned forms, bool dots)
{
	struct span d = s->domain;
	enum rc rc = forms & MAPS_FIND_DOMAIN ? ask(s->m, d, true, s->a, s->value, s->e) : RC_NOTFOUND;
	ptrdiff_t dot;

	if (!(forms & MAPS_FIND_PARENT_DOMAINS) || (d.n && *d.p == '['))
		return rc;
	while (rc == RC_NOTFOUND && (dot = span_chr(span_skip(d, 1), '.')) >= 0) {
		d = span_skip(d, (size_t)dot + 2);
		if (!d.n)
			break;
		rc = ask(s->m, dots ? span_make(d.p - 1, d.n + 1) : d, true, s->a, s->value, s->e);
	}
	return rc;
}

static struct search make_search(struct maps *m, struct span addr, struct address_extensions x,
				 struct arena *a, struct span *value, struct err *e)
{
	struct address parts = address_split(addr);
	struct search s = { .m = m,
			    .a = a,
			    .value = value,
			    .e = e,
			    .local = parts.local,
			    .domain = parts.domain,
			    .user = parts.local };
	struct span ext;

	if (parts.local.n && *parts.local.p != '"' && address_split_extension(parts.local, x, &s.user, &ext))
		s.ext = span_skip(parts.local, s.user.n);
	return s;
}

enum rc maps_find_addr(struct maps *m, struct span addr, unsigned forms, struct address_extensions x,
		       bool ours, bool dot_parents, struct arena *a, struct span *value, struct span *ext,
		       struct err *e)
{
	struct search s = make_search(m, addr, x, a, value, e);
	const char *at = s.domain.n ? "@" : "";
	bool local_ok = ours || !s.domain.n;
	enum rc rc = RC_NOTFOUND;

	*value = *ext = SPAN_NONE;
	if (maps_empty(m))
		return RC_NOTFOUND;
	if (forms & MAPS_FIND_FULL)
		rc = ask_local(&s, s.local, at, s.domain, false);
	if (rc != RC_NOTFOUND)
		return rc;
	/* What is found from here on was found without the extension, unless the key says so. */
	if (s.ext.n && (forms & MAPS_FIND_NOEXT) &&
	    (rc = ask_local(&s, s.user, at, s.domain, true)) != RC_NOTFOUND)
		return *ext = s.ext, rc;
	if (local_ok && s.domain.n && (forms & MAPS_FIND_LOCALPART_EXT) && s.ext.n &&
	    (rc = ask_local(&s, s.local, "", SPAN_NONE, true)) != RC_NOTFOUND)
		return rc;
	if (local_ok && s.domain.n && (forms & MAPS_FIND_LOCALPART) &&
	    (rc = ask_local(&s, s.user, "", SPAN_NONE, true)) != RC_NOTFOUND)
		return *ext = s.ext, rc;
	if (s.domain.n && (forms & MAPS_FIND_AT_DOMAIN) &&
	    (rc = ask(m, join(a, SPAN_NONE, "@", s.domain), true, a, value, e)) != RC_NOTFOUND)
		return rc; /* a whole domain goes there: extensions end */
	if (s.domain.n && (rc = ask_domains(&s, forms, dot_parents)) != RC_NOTFOUND)
		return rc;
	if (forms & MAPS_FIND_LOCALPART_AT) {
		rc = ask_local(&s, s.local, "@", SPAN_NONE, true);
		if (rc == RC_NOTFOUND && s.ext.n &&
		    (rc = ask_local(&s, s.user, "@", SPAN_NONE, true)) != RC_NOTFOUND)
			*ext = s.ext;
	}
	return rc;
}
