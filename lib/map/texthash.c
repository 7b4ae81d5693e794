/* map/texthash.c - texthash: the source of postmap(1), read into memory. */
#include "log/log.h"
#include "map/memory.h"

struct texthash {
	struct map_memory pairs; /* first: memory_lookup() finds it */
	struct map_file file;
};

static void add_line(struct texthash *t, struct map *m, struct span line, unsigned number)
{
	struct span key, value;
	bool alias_like;
	struct err e;

	if (map_source_pair(line, m->flags & MAP_UTF8, &key, &value, &alias_like, &e) != RC_OK) {
		bool said = span_ends(span_str(e.text), SPAN("line"));
		log_warning("" SPAN_FMT ", line %u: %s%s", SPAN_ARG(m->arg), number, e.text,
			    said ? "" : " -- ignoring this line");
		return;
	}
	if (alias_like)
		log_warning("" SPAN_FMT
			    ", line %u: record is in \"key: value\" format; is this an alias file?",
			    SPAN_ARG(m->arg), number);
	if (!memory_add(&t->pairs, m, key, value))
		log_warning("" SPAN_FMT ", line %u: duplicate entry: \"" SPAN_FMT "\"", SPAN_ARG(m->arg),
			    number, SPAN_ARG(key));
}

static enum rc open_texthash(struct map *m, struct err *e)
{
	struct texthash *t = xcalloc(1, sizeof *t);
	struct map_lines lines;
	struct span line;
	struct buf text;
	unsigned number;
	enum rc rc;

	buf_init(&text, MAP_SOURCE_MAX);
	if ((rc = map_source_read(m, &t->file, &text, e)) != RC_OK) {
		free(t);
	} else {
		memory_init(&t->pairs);
		map_lines_init(&lines, buf_span(&text), m->arg.p);
		while (map_lines_next(&lines, &line, &number))
			add_line(t, m, line, number);
		map_lines_release(&lines);
		m->state = t;
	}
	buf_release(&text);
	return rc;
}

static void close_texthash(struct map *m)
{
	struct texthash *t = m->state;

	if (!t)
		return;
	memory_release(&t->pairs);
	map_file_close(&t->file);
	free(t);
}

static bool changed(const struct map *m)
{
	const struct texthash *t = m->state;
	return map_file_changed(&t->file);
}

const struct map_driver map_texthash = {
	.name = "texthash",
	.open = open_texthash,
	.lookup = memory_lookup,
	.next = memory_next,
	.close = close_texthash,
	.changed = changed,
};
