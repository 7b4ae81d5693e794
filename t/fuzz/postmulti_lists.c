/* Any bytes as what postmulti(1) reads: a list of directories, of which those that are taken come back when they are written and read
 * again; a name, a group and a path, which are each one word of main.cf when they are taken. */
#include "../../cmd/postmulti/lists.c" /* a file of a command: not in the archive */
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_directories(struct span text)
{
	struct span *dirs, *again;
	size_t n, m;
	struct arena a;
	struct buf list;
	struct err e = { 0 };

	arena_init(&a);
	buf_init(&list, 1 << 20);
	if (directories_parse(text, &a, &dirs, &n, &e) == RC_OK) {
		INVARIANT(n <= INSTANCES_MAX);
		for (size_t i = 0; i < n; i++) {
			INVARIANT(dirs[i].p[0] == '/' && dirs[i].n > 0);
			(void)buf_printf(&list, "%s" SPAN_FMT, i > 0 ? " " : "", SPAN_ARG(dirs[i]));
		}
		INVARIANT(directories_parse(buf_span(&list), &a, &again, &m, &e) == RC_OK && m == n);
		for (size_t i = 0; i < n; i++)
			INVARIANT(span_eq(dirs[i], again[i]));
	} else {
		INVARIANT(e.text[0] != '\0');
	}
	buf_release(&list);
	arena_release(&a);
}

/* What was taken stands in a list as one word, with the same bytes, and means nothing else in main.cf. */
static void check_word(const char *word)
{
	struct span *words;
	size_t n;
	struct arena a;
	struct err e = { 0 };

	arena_init(&a);
	INVARIANT(conf_words(span_str(word), false, &a, &words, &n, &e) == RC_OK && n <= 1);
	INVARIANT(n == 0 || span_is(words[0], word));
	INVARIANT(strchr(word, '$') == NULL && strchr(word, '\n') == NULL);
	arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size);
	struct arena a;
	struct err e = { 0 };

	if (span_chr(text, '\0') >= 0)
		return 0; /* from main.cf and from a command line comes none */
	arena_init(&a);
	const char *s = arena_cstr(&a, text);
	check_directories(text);
	if (check_new_name(s, &e) == RC_OK)
		check_word(s);
	if (check_new_group(s, &e) == RC_OK)
		check_word(s);
	if (check_path("queue_directory", s, &e) == RC_OK)
		check_word(s);
	(void)command_is_listed(text, "start");
	INVARIANT(size == 0 || command_is_listed(text, "start") ==
				   command_is_listed(span_str(arena_printf(&a, ", %s\t,", s)), "start"));
	arena_release(&a);
	return 0;
}
