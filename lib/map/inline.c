/* map/inline.c - inline: pairs in the table's own name: "inline:{ key=value, { key = text with spaces } }".
 */
#include "log/log.h"
#include "map/memory.h"

static enum rc add_word(struct map_memory *t, struct map *m, struct span word, struct err *e)
{
	struct span key, value, inside;
	enum rc rc;

	if (map_braces(word, &inside))
		word = inside;
	if ((rc = map_pair(word, &key, &value, e)) != RC_OK)
		return rc;
	if (!memory_set(t, m, key, value)) /* as Postfix has it: the last one counts */
		log_warning("%s: duplicate key: '" SPAN_FMT "'", m->name, SPAN_ARG(key));
	return RC_OK;
}

static void close_inline(struct map *m)
{
	struct map_memory *t = m->state;

	if (!t)
		return;
	memory_release(t);
	free(t);
	m->state = NULL;
}

static enum rc open_inline(struct map *m, struct err *e)
{
	struct map_memory *t;
	struct span list, word;
	enum rc rc;

	if (!map_braces(m->arg, &list))
		return err_set(e, RC_SYNTAX,
			       "bad inline: map syntax: \"%s\"; need \"inline:{name=value...}\"", m->name);
	m->state = t = xcalloc(1, sizeof *t);
	memory_init(t);
	while ((rc = map_word_next(&list, &word, e)) == RC_OK && (rc = add_word(t, m, word, e)) == RC_OK)
		;
	if (rc == RC_NOTFOUND && table_count(t->table))
		return RC_OK;
	if (rc == RC_NOTFOUND)
		rc = err_set(e, RC_SYNTAX, "empty value");
	err_prefix(e, "%s map: \"%s\"", m->drv->name, m->name);
	close_inline(m);
	return rc;
}

const struct map_driver map_inline = {
	.name = "inline",
	.open = open_inline,
	.lookup = memory_lookup,
	.next = memory_next,
	.close = close_inline,
};
