/* map/tool.c - postmap(1) and postalias(1). */
#include "map/tool.h"
#include "base/codec.h"
#include "conf/conf.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <unistd.h>

#define INPUT_MAX (256u << 20)

struct table_name {
	struct span type, path;
};

/* "type:path", or "path" of the default type. */
static struct table_name name_of(const char *arg, const char *default_type)
{
	struct span s = span_str(arg);
	ptrdiff_t colon = span_chr(s, ':');

	if (colon < 0)
		return (struct table_name){ span_str(default_type), s };
	return (struct table_name){ span_head(s, (size_t)colon), span_skip(s, (size_t)colon + 1) };
}

static unsigned open_flags(const struct map_tool *t)
{
	bool message = t->header || t->body;
	unsigned flags = t->build.no_fold ? 0 : MAP_FOLD_KEY;

	if (t->build.utf8 && (!message || t->force_utf8))
		flags |= MAP_UTF8;
	return flags | t->build.nul | MAP_EMPTY_KEY;
}

static struct map *open_table(const struct map_tool *t, const char *arg, const char *default_type)
{
	struct table_name n = name_of(arg, default_type);
	char full[4200];
	struct map *m;
	struct err e;

	map_fold_unicode(t->build.utf8);
	snprintf(full, sizeof full, SPAN_FMT ":" SPAN_FMT, SPAN_ARG(n.type), SPAN_ARG(n.path));
	if (map_open(span_str(full), open_flags(t), &m, &e) != RC_OK)
		die("%s", e.text);
	return m;
}

/* ---- -q ---- */
struct tables {
	struct map_tool *t;
	char **arg;
	size_t n;
	const char *default_type;
	struct map **map; /* opened when first asked */
	bool found;
};

static void print_pair(const struct map_tool *t, struct span key, struct span value, bool with_key)
{
	if (t->json) {
		putchar('{');
		json_print(stdout, key);
		fputs(": ", stdout);
		json_print(stdout, value);
		puts("}");
		return;
	}
	if (with_key)
		printf(SPAN_FMT "%s", SPAN_ARG(key), t->separator);
	fwrite(value.p, 1, value.n, stdout);
	putchar('\n');
}

static void print_found(const struct map_tool *t, const struct map *m, struct span key, struct span value,
			bool with_key)
{
	struct buf plain;

	buf_init(&plain, INPUT_MAX);
	if (t->base64) {
		if (base64_decode(&plain, value) != RC_OK)
			die("table %s: key " SPAN_FMT ": malformed base64 value", map_name(m), SPAN_ARG(key));
		value = buf_span(&plain);
	}
	print_pair(t, key, value, with_key);
	buf_release(&plain);
}

/* The first table that knows the key. */
static bool ask_tables(struct tables *ts, struct span key, bool with_key)
{
	struct span value;
	struct arena a;
	bool found = false;
	struct err e;

	arena_init(&a);
	for (size_t i = 0; i < ts->n && !found; i++) {
		if (!ts->map[i])
			ts->map[i] = open_table(ts->t, ts->arg[i], ts->default_type);
		enum rc rc = map_lookup(ts->map[i], key, &a, &value, &e);
		if (rc == RC_NOTFOUND)
			continue;
		if (rc != RC_OK)
			die("table %s: query error: %s", map_name(ts->map[i]), e.text);
		if (!value.n) {
			log_warning("table %s: key " SPAN_FMT ": empty string result is not allowed",
				    map_name(ts->map[i]), SPAN_ARG(key));
			log_warning("table %s should return NO RESULT in case of NOT FOUND",
				    map_name(ts->map[i]));
		}
		print_found(ts->t, ts->map[i], key, value, with_key);
		found = true;
	}
	arena_release(&a);
	ts->found |= found;
	return found;
}

static void ask_key(void *arg, struct span key)
{
	ask_tables(arg, key, true);
}

static void read_input(struct buf *text)
{
	struct err e;

	buf_init(text, INPUT_MAX);
	if (map_read_all(STDIN_FILENO, text, &e) != RC_OK)
		die("standard input: %s", e.text);
}

static void each_line(void (*fn)(void *arg, struct span line), void *arg)
{
	struct buf text;
	struct span rest, line;

	read_input(&text);
	rest = buf_span(&text);
	while (span_next(&rest, '\n', &line))
		fn(arg, line);
	buf_release(&text);
}

static void ask_message(struct tables *ts)
{
	struct map_tool *t = ts->t;
	struct buf text;

	read_input(&text);
	t->message_keys(t->header, t->body, t->mime, buf_span(&text), ask_key, ts);
	buf_release(&text);
}

static int run_query(struct tables *ts)
{
	struct map_tool *t = ts->t;
	bool input = span_is(span_str(t->query), "-");

	if ((t->header || t->body) && !input)
		die("specify -b -h or -m only with \"-q -\"");
	if (!input)
		ask_tables(ts, span_str(t->query), false);
	else if (t->header || t->body)
		ask_message(ts);
	else
		each_line(ask_key, ts);
	for (size_t i = 0; i < ts->n; i++)
		map_close(&ts->map[i]);
	return !ts->found;
}

/* ---- -s ---- */
/* One table; further names are not looked at. */
static int run_list(struct tables *ts)
{
	struct map *m = open_table(ts->t, ts->arg[0], ts->default_type);
	struct span key, value;
	void *state = NULL;
	struct arena a;
	struct err e;
	enum rc rc;

	arena_init(&a);
	while ((rc = map_next(m, &state, &a, &key, &value, &e)) == RC_OK) {
		print_found(ts->t, m, key, value, true);
		arena_reset(&a);
	}
	if (rc == RC_DENIED)
		die("table %s: sequence operation is not supported", map_name(m));
	if (rc != RC_NOTFOUND)
		die("table %s: sequence error: %s", map_name(m), e.text);
	arena_release(&a);
	map_close(&m);
	return 0;
}

/* ---- -d ---- */
struct deletion {
	struct map *m;
	size_t done;
};

static void delete_key(void *arg, struct span key)
{
	struct deletion *d = arg;
	struct err e;
	enum rc rc = key.n ? map_del(d->m, key, &e) : RC_NOTFOUND;

	if (rc == RC_OK)
		d->done++;
	else if (rc != RC_NOTFOUND)
		die("table %s: delete error: %s", map_name(d->m), e.text);
}

struct deletions {
	struct deletion *v;
	size_t n;
};

static void delete_everywhere(void *arg, struct span key)
{
	struct deletions *all = arg;

	for (size_t i = 0; i < all->n; i++)
		delete_key(&all->v[i], key);
}

static int run_delete(struct tables *ts)
{
	struct map_edit **edit = xcalloc(ts->n, sizeof(struct map_edit *));
	struct deletions all = { xcalloc(ts->n, sizeof(struct deletion)), ts->n };
	size_t done = 0;
	struct err e;

	for (size_t i = 0; i < ts->n; i++) {
		struct table_name n = name_of(ts->arg[i], ts->default_type);
		if (map_edit_open(n.type, n.path, open_flags(ts->t), &edit[i], &e) != RC_OK)
			die("%s", e.text);
		all.v[i].m = map_edit_map(edit[i]);
	}
	if (span_is(span_str(ts->t->del), "-"))
		each_line(delete_everywhere, &all);
	else
		delete_everywhere(&all, span_str(ts->t->del));
	for (size_t i = 0; i < ts->n; i++) {
		done += all.v[i].done;
		if (map_edit_close(&edit[i], all.v[i].done > 0, &e) != RC_OK)
			die("%s", e.text);
	}
	free(edit);
	free(all.v);
	return done == 0;
}

/* ---- building ---- */
static int run_build(struct tables *ts)
{
	struct err e;

	for (size_t i = 0; i < ts->n; i++) {
		struct table_name n = name_of(ts->arg[i], ts->default_type);
		if (map_build(n.type, n.path, &ts->t->build, &e) != RC_OK)
			die("%s", e.text);
	}
	return 0;
}

/* ---- options ---- */
static const char *config_dir;
static unsigned verbosity;

static bool take_build_option(struct build_options *b, int c)
{
	static const struct {
		char option;
		size_t offset;
	} flags[] = {
		{ 'i', offsetof(struct build_options, incremental) },
		{ 'f', offsetof(struct build_options, no_fold) },
		{ 'r', offsetof(struct build_options, replace) },
		{ 'w', offsetof(struct build_options, ignore_dups) },
		{ 'o', offsetof(struct build_options, keep_root) },
		{ 'p', offsetof(struct build_options, default_mode) },
		{ 'F', offsetof(struct build_options, base64_files) },
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (flags[i].option != c)
			continue;
		*(bool *)((char *)b + flags[i].offset) = true;
		return true;
	}
	if (c == 'n' || c == 'N')
		b->nul |= c == 'n' ? MAP_TRY0NULL : MAP_TRY1NULL;
	return c == 'n' || c == 'N';
}

static void take_option(struct map_tool *t, int c, const char *value)
{
	if (take_build_option(&t->build, c))
		return;
	switch (c) {
	case 'c':
		config_dir = value;
		break;
	case 'q':
	case 'd':
		if (t->query || t->del || t->list)
			die("specify only one of -s -q or -d");
		*(c == 'q' ? &t->query : &t->del) = value;
		break;
	case 's':
		if (t->query || t->del)
			die("specify only one of -s -q or -d");
		t->list = true;
		break;
	case 'h':
		t->header = true;
		break;
	case 'b':
		t->body = true;
		break;
	case 'j':
		t->json = true;
		break;
	case 'm':
		t->mime = true;
		break;
	case 'u':
		t->no_utf8 = true;
		break;
	case 'U':
		t->force_utf8 = true;
		break;
	case 'v':
		verbosity++;
		break;
	default:
		die("usage: %s %s", t->program, t->usage);
	}
}

static void start_log(const struct map_tool *t, const struct conf *c)
{
	struct log_conf l = { .service = t->program, .to_stderr = true, .file_fd = -1, .verbose = verbosity };

	if (c)
		logsetup_where(c, &l);
	log_init(&l);
}

int map_tool_main(int argc, char **argv, struct map_tool *t)
{
	char *program = xstrdup(t->program);
	struct conf *c;
	struct err e;
	int option, status;

	start_log(t, NULL);
	argv[0] = program; /* getopt(3) names it */
	while ((option = getopt(argc, argv, t->options)) > 0)
		take_option(t, option, optarg);
	if (optind == argc)
		die("usage: %s %s", t->program, t->usage);
	if (conf_load(config_dir ? config_dir : conf_default_dir(), &c, &e) != RC_OK)
		die("%s", e.text);
	start_log(t, c);
	map_set_config_dir(config_dir);
	if (t->mime && !t->header && !t->body)
		log_warning("ignoring -m option without -b or -h");
	map_socketmap_limit(conf_int(c, "socketmap_max_reply_size"));
	t->build.host = conf_str(c, "myhostname");
	t->base64 = t->build.base64_files;
	t->build.utf8 = conf_bool(c, "smtputf8_enable") && !t->no_utf8;

	struct tables ts = {
		t, argv + optind, (size_t)(argc - optind), conf_str(c, "default_database_type"), NULL, false
	};
	ts.map = xcalloc(ts.n, sizeof(struct map *));
	status = t->del	    ? run_delete(&ts)
		 : t->query ? run_query(&ts)
		 : t->list  ? run_list(&ts)
			    : run_build(&ts);
	free(ts.map);
	conf_free(&c);
	free(program);
	if (fflush(stdout) != 0)
		die("write error on standard output");
	return status;
}
