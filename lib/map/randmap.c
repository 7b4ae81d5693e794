/* map/randmap.c - randmap: one of the given answers by chance: "randmap:{ a, b, b }". */
#include "base/codec.h"
#include "map/driver.h"

struct randmap {
	struct arena arena;
	struct span *answers;
	size_t n, cap;
};

static void close_randmap(struct map *m)
{
	struct randmap *r = m->state;

	if (!r)
		return;
	arena_release(&r->arena);
	free(r);
	m->state = NULL;
}

static enum rc open_randmap(struct map *m, struct err *e)
{
	struct randmap *r;
	struct span list, word;
	enum rc rc;

	if (!map_braces(m->arg, &list))
		return err_set(e, RC_SYNTAX, "bad randmap: map syntax: \"%s\"; need \"randmap:{text...}\"",
			       m->name);
	m->state = r = xcalloc(1, sizeof *r);
	arena_init(&r->arena);
	while ((rc = map_word_next(&list, &word, e)) == RC_OK) {
		map_braces(word, &word);
		if (r->n == r->cap)
			r->answers = arena_grow(&r->arena, r->answers, r->n, &r->cap, sizeof *r->answers);
		r->answers[r->n++] = span_dup(&r->arena, word);
	}
	if (rc == RC_NOTFOUND && r->n)
		return RC_OK;
	if (rc == RC_NOTFOUND)
		rc = err_set(e, RC_SYNTAX, "%s: no answers to choose from", m->name);
	close_randmap(m);
	return rc;
}

static enum rc lookup(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
		      struct err *e)
{
	struct randmap *r = m->state;
	uint32_t chance;

	(void)flags, (void)key, (void)e;
	random_bytes(&chance, sizeof chance);
	*value = span_dup(a, r->answers[chance % r->n]);
	return RC_OK;
}

const struct map_driver map_randmap = {
	.name = "randmap",
	.flags = MD_LIGHT | MD_EMPTY_KEY,
	.open = open_randmap,
	.lookup = lookup,
	.close = close_randmap,
};
