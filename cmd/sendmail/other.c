/* other.c - modes that are other programs of the suite: the queue listing, flushing, the alias tables. */
#include "sendmail.h"
#include <errno.h>
#include <unistd.h>

NORETURN static void run(const char *name, char **argv)
{
	char *path = arena_printf(&memory, "%s/%s", conf_str(config, "command_directory"), name);

	argv[0] = path;
	execv(path, argv);
	fatal("execute %s: %s", path, strerror(errno));
}

NORETURN static void run_one(const char *name, const char *a, const char *b)
{
	char *argv[] = { NULL, (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL };

	run(name, argv);
}

NORETURN static void rebuild_aliases(void)
{
	struct span *word;
	char **argv;
	size_t n;
	struct err e;

	if (conf_words(span_str(conf_str(config, "alias_database")), false, &memory, &word, &n, &e) != RC_OK)
		fatal("alias_database: %s", e.text);
	if (n == 0)
		_exit(0);
	argv = arena_array(&memory, n + 3, sizeof(*argv));
	argv[1] = (char *)(uintptr_t) "--";
	for (size_t i = 0; i < n; i++)
		argv[2 + i] = arena_cstr(&memory, word[i]);
	run("postalias", argv);
}

void run_other(const struct options *o)
{
	if (o->rcpts > 0 && o->mode != MODE_ALIASES)
		fatal("%s", o->mode == MODE_LIST	 ? "display queue mode requires no recipient"
			    : o->mode == MODE_FLUSH	 ? "flush queue mode requires no recipient"
			    : o->mode == MODE_FLUSH_ID	 ? "flush queue_id requires no recipient"
			    : o->mode == MODE_FLUSH_SITE ? "flush site requires no recipient"
			    : o->mode == MODE_SMTP	 ? "stand-alone mode requires no recipient"
							 : "daemon mode requires no recipient");
	switch (o->mode) {
	case MODE_LIST:
		run_one("postqueue", "-p", NULL);
	case MODE_FLUSH:
		run_one("postqueue", "-f", NULL);
	case MODE_FLUSH_ID:
		run_one("postqueue", "-i", o->flush_arg);
	case MODE_FLUSH_SITE:
		run_one("postqueue", "-s", o->flush_arg);
	case MODE_ALIASES:
		if (o->rcpts > 0)
			fatal("alias initialization mode requires no recipient");
		rebuild_aliases();
	case MODE_DAEMON:
		run_one("postern", "start", NULL);
	case MODE_SMTP:
	case MODE_NOTHING:
	case MODE_DELIVER:
	case MODE_VERIFY:
		break;
	}
	fatal("not a mode of its own");
}
