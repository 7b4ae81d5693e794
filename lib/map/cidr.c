/* map/cidr.c - cidr: networks (cidr_table(5)). Keys that are not addresses match nothing. */
#include "log/log.h"
#include "map/driver.h"
#include "net/addr.h"

#define NEST_MAX 100

enum rule_kind { RULE_MATCH, RULE_IF, RULE_ENDIF };

struct rule {
	enum rule_kind kind;
	bool negate;
	unsigned line;
	struct inet_net net;
	struct span value;
	size_t end; /* RULE_IF: index of its endif, or of what follows the last rule */
};

struct cidr {
	struct arena arena;
	const char *name;
	struct rule *rules;
	size_t n, cap;
	struct map_file file;
	size_t open[NEST_MAX], nopen;
};

static bool complain(const struct cidr *c, unsigned line, const char *what)
{
	log_warning("cidr map %s, line %u: %s: skipping this rule", c->name, line, what);
	return false;
}

static struct rule *add_rule(struct cidr *c, enum rule_kind kind, unsigned line)
{
	if (c->n == c->cap)
		c->rules = arena_grow(&c->arena, c->rules, c->n, &c->cap, sizeof *c->rules);
	c->rules[c->n] = (struct rule){ .kind = kind, .line = line };
	return &c->rules[c->n++];
}

static void skip_blanks(struct span *s)
{
	while (s->n && ascii_isspace(*s->p))
		*s = span_skip(*s, 1);
}

static struct span take_word(struct span *text)
{
	struct span word;
	size_t n = 0;

	while (n < text->n && !ascii_isspace(text->p[n]))
		n++;
	word = span_head(*text, n);
	*text = span_trim(span_skip(*text, n));
	return word;
}

/* The "!"s before a network off *text. */
static bool take_negation(struct span *text)
{
	bool negate = false;

	for (; text->n && *text->p == '!'; skip_blanks(text)) {
		negate = !negate;
		*text = span_skip(*text, 1);
	}
	return negate;
}

static bool parse_network(const struct cidr *c, struct span word, unsigned line, struct rule *r)
{
	struct err e;

	if (!word.n)
		return complain(c, line, "no address pattern");
	return inet_net_parse(word, &r->net, &e) == RC_OK || complain(c, line, e.text);
}

static void parse_match(struct cidr *c, struct span text, unsigned line)
{
	struct rule r = { .kind = RULE_MATCH, .line = line, .negate = take_negation(&text) };

	if (!parse_network(c, take_word(&text), line, &r))
		return;
	if (!text.n) {
		complain(c, line, "no lookup result");
		return;
	}
	r.value = span_dup(&c->arena, text);
	*add_rule(c, RULE_MATCH, line) = r;
}

/* All that follows is the network. */
static void parse_if(struct cidr *c, struct span text, unsigned line)
{
	struct rule r = { .kind = RULE_IF, .line = line };

	skip_blanks(&text);
	r.negate = take_negation(&text);
	if (c->nopen == NEST_MAX) {
		complain(c, line, "IF nested too deeply");
		return;
	}
	if (!parse_network(c, span_trim(text), line, &r))
		return;
	*add_rule(c, RULE_IF, line) = r;
	c->open[c->nopen++] = c->n - 1;
}

static void parse_endif(struct cidr *c, struct span text, unsigned line)
{
	if (span_trim(text).n) {
		complain(c, line, "garbage after ENDIF");
	} else if (!c->nopen) {
		complain(c, line, "ENDIF without IF");
	} else {
		add_rule(c, RULE_ENDIF, line);
		c->rules[c->open[--c->nopen]].end = c->n - 1;
	}
}

static bool keyword(struct span text, const char *word)
{
	size_t n = strlen(word);
	return text.n >= n && span_is_ci(span_head(text, n), word) &&
	       (text.n == n || !ascii_isalnum(text.p[n]));
}

static void parse_all(struct cidr *c, struct span text)
{
	struct map_lines lines;
	struct span line;
	unsigned number;

	map_lines_init(&lines, text, c->name);
	while (map_lines_next(&lines, &line, &number)) {
		if (memchr(line.p, 0, line.n))
			complain(c, number, "null byte");
		else if ((line = span_trim(line)), keyword(line, "if"))
			parse_if(c, span_skip(line, 2), number);
		else if (keyword(line, "endif"))
			parse_endif(c, span_skip(line, 5), number);
		else
			parse_match(c, line, number);
	}
	while (c->nopen) {
		struct rule *r = &c->rules[c->open[--c->nopen]];
		log_warning("cidr map %s, line %u: IF has no matching ENDIF", c->name, r->line);
		r->end = c->n;
	}
	map_lines_release(&lines);
}

static enum rc open_cidr(struct map *m, struct err *e)
{
	struct cidr *c = xcalloc(1, sizeof *c);
	struct buf text;
	enum rc rc;

	buf_init(&text, MAP_SOURCE_MAX);
	arena_init(&c->arena);
	if ((rc = map_source_read(m, &c->file, &text, e)) != RC_OK) {
		free(c);
	} else {
		c->name = arena_cstr(&c->arena, m->arg);
		parse_all(c, buf_span(&text));
		m->state = c;
	}
	buf_release(&text);
	return rc;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct cidr *c = m->state;
	struct inet_addr addr;

	(void)flags, (void)a, (void)e;
	if (!ascii_isalnum(*key.p) && *key.p != ':') /* brackets belong to patterns */
		return RC_NOTFOUND;
	if (inet_addr_parse(key, &addr) != RC_OK)
		return RC_NOTFOUND;
	for (size_t i = 0; i < c->n; i++) {
		const struct rule *r = &c->rules[i];
		if (r->kind == RULE_ENDIF)
			continue;
		/* A network of the other family says nothing, negated or not. */
		if (r->net.addr.family != addr.family || inet_net_has(&r->net, &addr) == r->negate) {
			i = r->kind == RULE_IF ? r->end : i;
		} else if (r->kind == RULE_MATCH) {
			*value = span_dup(a, r->value);
			return RC_OK;
		}
	}
	return RC_NOTFOUND;
}

static void close_cidr(struct map *m)
{
	struct cidr *c = m->state;

	if (!c)
		return;
	map_file_close(&c->file);
	arena_release(&c->arena);
	free(c);
}

static bool changed(const struct map *m)
{
	const struct cidr *c = m->state;
	return map_file_changed(&c->file);
}

const struct map_driver map_cidr = {
	.name = "cidr",
	.flags = MD_PATTERN | MD_NOFOLD,
	.open = open_cidr,
	.lookup = lookup,
	.close = close_cidr,
	.changed = changed,
};
