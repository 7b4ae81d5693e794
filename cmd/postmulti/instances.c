/* instances.c - the primary instance, and those that its multi_instance_directories names. */
#include "postmulti.h"
#include "log/log.h"

static void read_instance(struct multi *m, const struct conf *c, const char *dir, bool alone,
			  struct instance *in)
{
	*in = (struct instance){ .dir = dir,
				 .name = arena_strdup(&m->arena, conf_str(c, "multi_instance_name")),
				 .group = arena_strdup(&m->arena, conf_str(c, "multi_instance_group")),
				 .queue = arena_strdup(&m->arena, conf_str(c, "queue_directory")),
				 .data = arena_strdup(&m->arena, conf_str(c, "data_directory")),
				 .primary = m->n == 0,
				 /* alone, it has nobody to be told from */
				 .enabled = conf_bool(c, "multi_instance_enable") || alone };
	m->n++;
}

static void must_differ(const struct instance *a, const struct instance *b)
{
	if (strcmp(a->dir, b->dir) == 0)
		die("instance %s is there twice", a->dir);
	if (strcmp(a->queue, b->queue) == 0)
		die("instances %s and %s have the same queue_directory: %s", a->dir, b->dir, a->queue);
	if (strcmp(a->data, b->data) == 0)
		die("instances %s and %s have the same data_directory: %s", a->dir, b->dir, a->data);
	if (a->name[0] != '\0' && strcmp(a->name, b->name) == 0)
		die("instances %s and %s have the same multi_instance_name: %s", a->dir, b->dir, a->name);
}

void multi_load(struct multi *m)
{
	struct span *dirs;
	struct err e;
	size_t n;

	arena_init(&m->arena);
	if (conf_load(conf_default_dir(), &m->primary, &e) != RC_OK ||
	    directories_parse(span_str(conf_str(m->primary, "multi_instance_directories")), &m->arena, &dirs,
			      &n, &e) != RC_OK)
		die("%s", e.text);
	m->v = arena_array(&m->arena, n + 1, sizeof *m->v);
	read_instance(m, m->primary, conf_dir(m->primary), n == 0, &m->v[0]);
	for (size_t i = 0; i < n; i++) {
		struct conf *c;

		if (conf_load(arena_cstr(&m->arena, dirs[i]), &c, &e) != RC_OK)
			die("%s", e.text);
		read_instance(m, c, arena_cstr(&m->arena, dirs[i]), false, &m->v[m->n]);
		conf_free(&c);
		for (size_t k = 0; k + 1 < m->n; k++)
			must_differ(&m->v[m->n - 1], &m->v[k]);
	}
}

/* A directory, or a name, also without the "postfix-" that all names begin with. */
static bool is_named(const struct instance *in, const char *name)
{
	if (strcmp(name, "-") == 0)
		return in->primary;
	if (name[0] == '/')
		return strcmp(in->dir, name) == 0;
	return name[0] != '\0' && (strcmp(in->name, name) == 0 || (strncmp(in->name, "postfix-", 8) == 0 &&
								   strcmp(in->name + 8, name) == 0));
}

bool selected(const struct instance *in, const struct selection *s)
{
	if (s->name != NULL)
		return is_named(in, s->name);
	return s->group == NULL || strcmp(in->group, s->group) == 0;
}

struct instance *find_one(struct multi *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++)
		if (is_named(&m->v[i], name))
			return &m->v[i];
	die("No instance named %s", name);
}
