/* Sources of tables from anywhere - postmap(1) and aliases(5) lines, cidr:, regexp:, pcre: and inline: tables
 * - never crash, hang or leak, and what was read can be asked; nor does a dynamicmaps.cf harm. The first byte selects the form. */
#include "log/log.h"
#include "map/alias.h"
#include "map/driver.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const file_types[] = { "texthash", "cidr", "regexp", "pcre" };

static void ask(struct span name, unsigned flags)
{
	static const char *const keys[] = { "key", "10.1.2.3", "2001:db8::1", "user+ext@example.com",
					    "aaaaaaaaaaaaaaab" };
	struct arena a;
	struct map *m;
	struct err e;
	struct span value;

	arena_init(&a);
	if (map_open(name, flags, &m, &e) == RC_OK)
		for (size_t i = 0; i < ARRAY_LEN(keys); i++)
			if (map_lookup(m, span_str(keys[i]), &a, &value, &e) == RC_OK &&
			    value.n > MAP_VALUE_MAX)
				abort();
	map_close(&m);
	arena_release(&a);
}

static void as_file(const char *type, struct span text)
{
	char name[64];
	int fd = memfd_create("source", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n)
		abort();
	snprintf(name, sizeof name, "%s:/proc/self/fd/%d", type, fd);
	ask(span_str(name), MAP_FOLD_KEY | (text.n % 2 ? MAP_UTF8 : 0));
	close(fd);
}

static void as_aliases(struct span text)
{
	struct map_lines lines;
	struct span line, name, value, name2, value2;
	struct arena a;
	struct err e;
	unsigned number;

	arena_init(&a);
	map_lines_init(&lines, text, "aliases");
	while (map_lines_next(&lines, &line, &number)) {
		if (alias_parse(line, true, &a, &name, &value, &e) != RC_OK)
			continue;
		/* what was put in standard form reads as itself */
		struct span again = span_printf(&a, "x: " SPAN_FMT, SPAN_ARG(value));
		if (alias_parse(again, true, &a, &name2, &value2, &e) != RC_OK)
			abort();
	}
	map_lines_release(&lines);
	arena_release(&a);
}

static void as_inline(struct span text)
{
	static const char *const types[] = { "inline", "unionmap", "pipemap", "randmap",
					     "cidr",   "pcre",	   "static" };
	struct arena a;

	if (!text.n)
		return;
	arena_init(&a);
	ask(span_printf(&a, "%s:" SPAN_FMT, types[(unsigned char)*text.p % ARRAY_LEN(types)],
			SPAN_ARG(span_skip(text, 1))),
	    MAP_FOLD_KEY);
	arena_release(&a);
}

static void as_dynamicmaps(struct span text)
{
	char object[64] = "";

	if (map_module_named(text, SPAN("key"), object, sizeof object) &&
	    (!object[0] || !memchr(object, 0, sizeof object)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span text = span_make((const char *)data, size);

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (!size || size > 16384)
		return 0;
	unsigned form = *data % 7;
	text = span_skip(text, 1);
	if (form < ARRAY_LEN(file_types))
		as_file(file_types[form], text);
	else if (form == 4)
		as_aliases(text);
	else if (form == 6)
		as_dynamicmaps(text);
	else
		as_inline(text);
	return 0;
}
