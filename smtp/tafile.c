/* tafile.c - files of trust anchors that entries of smtp_tls_policy_maps name (tafile=). A process that meets the network opens no
 * file: what the tables name is read when it starts, and tables that cannot be listed name none. */
#include "client.h"
#include "base/table.h"
#include "log/log.h"

#define FILES_MAX 1000

static struct table *by_files;
static struct arena names; /* for the life of the process */

static void load(struct span files)
{
	const char *text = arena_cstr(&names, files);
	struct tls_anchors *t;
	struct err e;
	if (files.n == 0 || table_get(by_files, files) != NULL || table_count(by_files) == FILES_MAX)
		return;
	if (tls_anchors_load(text, &t, &e) == RC_OK)
		(void)table_set(by_files, span_str(text), t);
	else
		log_warning("%s", e.text);
}

static void read_table(struct map *m)
{
	struct span key, value;
	struct policy_entry entry;
	struct arena a;
	void *state = NULL;
	struct err e;
	arena_init(&a);
	while (map_next(m, &state, &a, &key, &value, &e) == RC_OK) {
		if (policy_entry_parse(value, &a, &entry, NULL) == RC_OK)
			load(entry.tafile);
		arena_reset(&a);
	}
	arena_release(&a);
}

void tafiles_prepare(struct maps *tables)
{
	by_files = table_new();
	for (size_t i = 0; i < maps_count(tables); i++)
		read_table(maps_at(tables, i));
}

const struct tls_anchors *tafile_find(struct span files)
{
	const struct tls_anchors *t = table_get(by_files, files);
	if (t == NULL)
		log_warning("tafile=" SPAN_FMT " was not read when this process started", SPAN_ARG(files));
	return t;
}
