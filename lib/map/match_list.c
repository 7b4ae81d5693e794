/* map/match_list.c - lists of domains, hosts and networks as mydestination, mynetworks and relay_domains hold
 * them: the first element that matches decides; "!" makes it an exclusion; "/file" stands for the words of
 * that file, "type:name" for a table's keys. */
#include "log/log.h"
#include "map/driver.h"
#include "net/addr.h"
#include <fcntl.h>
#include <unistd.h>

#define ELEMENTS_MAX   100000
#define FILE_DEPTH_MAX 10
#define FILE_BYTES_MAX (16u << 20)

enum kind {
	MATCH_NAME,
	MATCH_NET,
	MATCH_TABLE,
	MATCH_BAD,	/* no network: of addresses nothing can be said */
	MATCH_UNUSABLE, /* a file that cannot be read, no name of a table, or what comes behind a mistake: of nothing anything can be said */
};

struct element {
	enum kind kind;
	bool exclude;
	struct span text; /* lower case */
	struct inet_net net;
	struct map *table;
};

struct match_list {
	char *param;
	unsigned flags;
	struct arena arena;
	struct element *v;
	size_t n, cap;
};

static struct element *add(struct match_list *l, enum kind kind, bool exclude, struct span text)
{
	if (l->n == l->cap)
		l->v = arena_grow(&l->arena, l->v, l->n, &l->cap, sizeof *l->v);
	l->v[l->n] = (struct element){ .kind = kind,
				       .exclude = exclude,
				       .text = span_dup(&l->arena, map_fold(&l->arena, text)) };
	return &l->v[l->n++];
}

static void add_table(struct match_list *l, bool exclude, struct span word)
{
	struct element *el = add(l, MATCH_TABLE, exclude, word);
	unsigned empty = l->flags & MATCH_EMPTY ? MAP_EMPTY_KEY : 0;
	struct err e;

	if (map_open(word, MAP_FOLD_KEY | empty, &el->table, &e) != RC_OK)
		log_error("%s: %s", l->param, e.text);
	if (el->table == NULL) /* "hash:", "::1": no name of a table */
		el->kind = MATCH_UNUSABLE;
}

bool match_is_net(struct span word)
{
	bool digits = true;

	for (size_t i = 0; i < word.n; i++)
		digits = digits && (ascii_isdigit(word.p[i]) || word.p[i] == '.');
	return word.n && (*word.p == '[' || digits || span_chr(word, '/') > 0);
}

/* A wrong network is no reason to take the service down, nor to treat strangers as friends: it makes the
 * answer "cannot say". */
static void add_net(struct match_list *l, bool exclude, struct span word)
{
	struct element *el = add(l, MATCH_NET, exclude, word);
	struct err e;

	if (inet_net_parse(word, &el->net, &e) == RC_OK)
		return;
	log_warning("%s: %s", l->param, e.text);
	el->kind = MATCH_BAD;
}

static enum rc add_words(struct match_list *l, struct span list, bool exclude, unsigned depth, struct err *e);

static enum rc read_words(const char *path, struct buf *words, struct err *e)
{
	struct buf text;
	struct map_lines lines;
	struct span line;
	unsigned number;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum rc rc;

	if (fd < 0)
		return err_sys(e, "open file %s", path);
	buf_init(&text, FILE_BYTES_MAX);
	rc = map_read_all(fd, &text, e);
	close(fd);
	map_lines_init(&lines, buf_span(&text), path);
	while (rc == RC_OK && map_lines_next(&lines, &line, &number)) {
		buf_append(words, line);
		buf_putc(words, '\n');
	}
	map_lines_release(&lines);
	buf_release(&text);
	return rc;
}

static enum rc add_file(struct match_list *l, struct span path, bool exclude, unsigned depth, struct err *e)
{
	char name[4096];
	struct buf words;
	enum rc rc;

	if (depth == FILE_DEPTH_MAX)
		return err_set(e, RC_LIMIT, "%s: files nested too deeply at " SPAN_FMT, l->param,
			       SPAN_ARG(path));
	if (span_cstr(path, name, sizeof name) != RC_OK)
		return err_set(e, RC_SYNTAX, "%s: unusable file name", l->param);
	buf_init(&words, 2 * FILE_BYTES_MAX);
	if ((rc = read_words(name, &words, e)) == RC_OK)
		rc = add_words(l, buf_span(&words), exclude, depth + 1, e);
	else
		err_prefix(e, "%s", l->param);
	buf_release(&words);
	return rc;
}

static enum rc add_word(struct match_list *l, struct span word, bool exclude, unsigned depth, struct err *e)
{
	for (; word.n && *word.p == '!'; word = span_skip(word, 1))
		exclude = !exclude;
	if (!word.n)
		return err_set(e, RC_SYNTAX, "%s: no pattern after \"!\"", l->param);
	if (l->n >= ELEMENTS_MAX)
		return err_set(e, RC_LIMIT, "%s: more than %d elements", l->param, ELEMENTS_MAX);
	if (*word.p == '/')
		return add_file(l, word, exclude, depth, e);
	if (*word.p != '[' && span_chr(word, ':') >= 0)
		add_table(l, exclude, word);
	else if (match_is_net(word))
		add_net(l, exclude, word);
	else
		add(l, MATCH_NAME, exclude, word);
	return RC_OK;
}

static enum rc add_words(struct match_list *l, struct span list, bool exclude, unsigned depth, struct err *e)
{
	struct span word;
	enum rc rc, added;

	while ((rc = map_word_next(&list, &word, e)) == RC_OK)
		if ((added = add_word(l, word, exclude, depth, e)) != RC_OK)
			return added;
	return rc == RC_NOTFOUND ? RC_OK : err_prefix(e, "%s", l->param);
}

enum rc match_list_open(const char *param, struct span list, unsigned flags, struct match_list **out,
			struct err *e)
{
	struct match_list *l = xcalloc(1, sizeof *l);
	struct err story;

	(void)e;
	arena_init(&l->arena);
	l->param = xstrdup(param);
	l->flags = flags;
	*out = l;
	if (add_words(l, list, false, 0, &story) != RC_OK) {
		log_error("%s", story.text);
		(void)add(l, MATCH_UNUSABLE, false, span_head(list, 100));
	}
	return RC_OK;
}

void match_list_close(struct match_list **l)
{
	if (!*l)
		return;
	for (size_t i = 0; i < (*l)->n; i++)
		map_close(&(*l)->v[i].table);
	arena_release(&(*l)->arena);
	free((*l)->param);
	free(*l);
	*l = NULL;
}

bool match_list_changed(const struct match_list *l)
{
	for (size_t i = 0; l && i < l->n; i++)
		if (l->v[i].table && map_changed(l->v[i].table))
			return true;
	return false;
}

bool match_list_empty(const struct match_list *l)
{
	return !l || l->n == 0;
}

static enum rc cannot_say(const struct match_list *l, const struct element *el, struct err *e)
{
	return err_set(e, RC_AGAIN, "%s: unusable element \"" SPAN_FMT "\"", l->param, SPAN_ARG(el->text));
}

/* The name, then its parents: "parent" or ".parent". Tables of patterns see the name alone. */
static enum rc ask_names(const struct match_list *l, struct map *table, struct span name, struct err *e)
{
	struct span key = name, value;
	struct arena a;
	enum rc rc = RC_NOTFOUND;

	arena_init(&a);
	do {
		rc = map_lookup(table, key, &a, &value, e);
		if (map_is_pattern(table) || (l->flags & MATCH_EXACT) || !key.n)
			break;
		ptrdiff_t dot = span_chr(span_skip(key, 1), '.');
		if (dot < 0)
			break;
		key = span_skip(key, (size_t)dot + (l->flags & MATCH_PARENT ? 2 : 1));
	} while (rc == RC_NOTFOUND && key.n);
	arena_release(&a);
	return rc;
}

static bool same_name(const struct match_list *l, struct span pattern, struct span name)
{
	if (span_eq_ci(pattern, name))
		return true;
	if ((l->flags & MATCH_EXACT) || name.n <= pattern.n || !pattern.n || !span_ends_ci(name, pattern))
		return false;
	return l->flags & MATCH_PARENT ? name.p[name.n - pattern.n - 1] == '.' : *pattern.p == '.';
}

static enum rc verdict(const struct element *el)
{
	return el->exclude ? RC_NOTFOUND : RC_OK;
}

enum rc match_domain(struct match_list *l, struct span domain, struct err *e)
{
	for (size_t i = 0; l && i < l->n; i++) {
		const struct element *el = &l->v[i];
		enum rc rc = RC_NOTFOUND;
		if (el->kind == MATCH_TABLE)
			rc = ask_names(l, el->table, domain, e);
		else if (el->kind == MATCH_UNUSABLE)
			rc = cannot_say(l, el, e);
		else if (same_name(l, el->text, domain))
			rc = RC_OK;
		if (rc == RC_OK)
			return verdict(el);
		if (rc != RC_NOTFOUND)
			return rc;
	}
	return RC_NOTFOUND;
}

static enum rc ask_host(const struct match_list *l, struct map *table, struct span name, struct span addr,
			struct err *e)
{
	struct arena a;
	struct span value;
	enum rc rc = ask_names(l, table, name, e);

	if (rc != RC_NOTFOUND || !addr.n)
		return rc;
	arena_init(&a);
	rc = map_lookup(table, addr, &a, &value, e);
	arena_release(&a);
	return rc;
}

enum rc match_host(struct match_list *l, struct span name, struct span addr, struct err *e)
{
	struct inet_addr ip;
	bool have_ip = addr.n && inet_addr_parse(addr, &ip) == RC_OK;

	for (size_t i = 0; l && i < l->n; i++) {
		const struct element *el = &l->v[i];
		enum rc rc = RC_NOTFOUND;
		if (el->kind == MATCH_TABLE)
			rc = ask_host(l, el->table, name, addr, e);
		else if (el->kind == MATCH_NET)
			rc = have_ip && inet_net_has(&el->net, &ip) ? RC_OK : RC_NOTFOUND;
		else if (el->kind == MATCH_BAD || el->kind == MATCH_UNUSABLE)
			rc = cannot_say(l, el, e);
		else if (name.n && same_name(l, el->text, name))
			rc = RC_OK;
		if (rc == RC_OK)
			return verdict(el);
		if (rc != RC_NOTFOUND)
			return rc;
	}
	return RC_NOTFOUND;
}
