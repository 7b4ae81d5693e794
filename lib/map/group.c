/* map/group.c - several tables in one name. */
#include "map/group.h"

static enum rc add(struct map *m, struct group *g, struct span word, struct err *e)
{
	struct span inside;

	if (map_braces(word, &inside))
		word = inside;
	if (g->n == GROUP_MAX)
		return err_set(e, RC_LIMIT, "%s: more than %d tables", m->drv->name, GROUP_MAX);
	enum rc rc = map_open_at(word, m->flags, m->depth + 1, false, &g->maps[g->n], e);
	if (g->maps[g->n])
		m->pattern |= map_is_pattern(g->maps[g->n++]);
	return rc;
}

enum rc group_open(struct map *m, struct err *e)
{
	struct group *g;
	struct span list, word;
	enum rc rc;

	if (!map_braces(m->arg, &list))
		return err_set(e, RC_SYNTAX, "bad syntax: \"%s\"; need \"%s:{type:name...}\"", m->name,
			       m->drv->name);
	m->state = g = xcalloc(1, sizeof *g);
	while ((rc = map_word_next(&list, &word, e)) == RC_OK) {
		if ((rc = add(m, g, word, e)) == RC_OK)
			continue;
		group_close(m); /* RC_NOTFOUND here: of a table, not the end of the list */
		return rc;
	}
	if (rc == RC_NOTFOUND && g->n)
		return RC_OK;
	if (rc == RC_NOTFOUND)
		rc = err_set(e, RC_SYNTAX, "bad syntax: \"%s\"; need \"%s:{type:name...}\"", m->name,
			     m->drv->name);
	group_close(m);
	return rc;
}

void group_close(struct map *m)
{
	struct group *g = m->state;

	if (!g)
		return;
	for (size_t i = 0; i < g->n; i++)
		map_close(&g->maps[i]);
	free(g);
	m->state = NULL;
}

bool group_changed(const struct map *m)
{
	const struct group *g = m->state;

	for (size_t i = 0; g && i < g->n; i++)
		if (map_changed(g->maps[i]))
			return true;
	return false;
}
