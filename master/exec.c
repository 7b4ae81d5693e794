/* master/exec.c - the forked child on its way to the program: descriptors, environment, arguments. */
#include "child.h"
#include "config.h"
#include "log/log.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGS_MAX 64 /* ours; master.cf's come on top */
#define PATH_STD "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static NORETURN void give_up(const struct service *s, const char *what)
{
	log_line(LOG_LEVEL_FATAL, "%s: %s: %m", s->path, what);
	_exit(1);
}

/* Lifts a descriptor out of the range where the final ones go. */
static int lift(const struct service *s, int fd, int above)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, above);
	if (up < 0)
		give_up(s, "descriptor");
	return up;
}

static void place(const struct service *s, int fd, int target)
{
	if (dup2(fd, target) < 0) /* without close-on-exec */
		give_up(s, "dup2");
}

static void place_descriptors(const struct service *s, int chan, int lock)
{
	int n = (int)s->listeners, top = MP_FD_LISTEN + n + 1, end = MP_FD_LISTEN + n;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		give_up(s, "/dev/null");
	int up_null = lift(s, null, top), up_chan = lift(s, chan, top);
	int log = master.log_fd >= 0 ? master.log_fd : log_syslog_fd(),
	    up_log = lift(s, log >= 0 ? log : null, top);
	int up_events = lift(s, master.events_fd >= 0 ? master.events_fd : null, top);
	int up_lock = lock >= 0 ? lift(s, lock, top) : -1;
	int *up = calloc((size_t)n + 1, sizeof *up);
	if (up == NULL)
		give_up(s, "memory");
	for (int i = 0; i < n; i++)
		up[i] = lift(s, s->listener[i]->fd, top);
	place(s, up_null, 0);
	for (int i = 1; i <= 2 && master.opt.wait; i++) /* the terminal is the administrator's */
		place(s, up_null, i);
	place(s, up_chan, MP_FD_MASTER);
	place(s, up_log, MP_FD_LOG);
	place(s, up_events, MP_FD_EVENTS);
	for (int i = 0; i < n; i++)
		place(s, up[i], MP_FD_LISTEN + i);
	if (up_lock >= 0)
		place(s, up_lock, end++);
	free(up);
	syscall(SYS_close_range, (unsigned)end, ~0U, 4U /* CLOSE_RANGE_CLOEXEC: the log is still of use */);
}

static void reset_signals(void)
{
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Of the same name the later one counts. */
static void set(struct running *r, char **env, size_t *k, size_t max, const char *name, const char *value)
{
	size_t i = 0, n = strlen(name);

	while (i < *k && (strncmp(env[i], name, n) != 0 || env[i][n] != '='))
		i++;
	if (i + 1 >= max)
		return;
	env[i] = arena_printf(&r->arena, "%s=%s", name, value);
	*k += i == *k;
}

/* import_environment: "NAME" hands on what master has, "NAME=value" sets. */
static void add_environment(struct running *r, char **env, size_t max)
{
	struct span *words, name, value;
	size_t n, k = 0;
	set(r, env, &k, max, "PATH", PATH_STD);
	set(r, env, &k, max, "MAIL_CONFIG", conf_dir(r->conf));
	set(r, env, &k, max, "MAIL_LOGTAG", conf_str(r->conf, "syslog_name"));
	for (const char *const *own = (const char *const[]){ "ASAN_OPTIONS", "UBSAN_OPTIONS", NULL };
	     *own != NULL; own++)
		if (getenv(*own) != NULL)
			set(r, env, &k, max, *own, getenv(*own));
	if (conf_words(span_str(conf_str(r->conf, "import_environment")), false, &r->arena, &words, &n,
		       NULL) != RC_OK)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		bool given = conf_environment_word(words[i], &name, &value);
		const char *key = arena_cstr(&r->arena, name), *mine = getenv(key);
		if (name.n == 0 || span_is(name, "MAIL_CONFIG") || span_is(name, "MAIL_LOGTAG"))
			continue;
		if (given)
			set(r, env, &k, max, key, arena_cstr(&r->arena, value));
		else if (mine != NULL)
			set(r, env, &k, max, key, mine);
	}
	env[k] = NULL;
}

static char **make_arguments(const struct service *s, unsigned lane)
{
	struct arena *a = &s->config->arena;
	const struct master_entry *en = s->entry;
	char **argv = arena_array(a, en->argc + ARGS_MAX, sizeof *argv);
	size_t n = 0;
	argv[n++] = arena_strdup(a, s->program);
	argv[n++] = arena_strdup(a, "-n");
	argv[n++] = arena_strdup(a, s->name);
	argv[n++] = arena_strdup(a, "-t");
	argv[n++] = arena_strdup(a, config_type_name(en->type));
	argv[n++] = arena_strdup(a, "-S");
	argv[n++] = arena_printf(a, "%zu", s->listeners);
	argv[n++] = arena_strdup(a, "-L");
	argv[n++] = arena_printf(a, "%u", lane);
	argv[n++] = arena_strdup(a, "-l");
	argv[n++] = arena_printf(a, "%lld", (long long)en->maxproc);
	if (master.one_uid)
		argv[n++] = arena_strdup(a, "-u");
	if (en->chroot && !master.one_uid)
		argv[n++] = arena_strdup(a, "-c");
	for (unsigned v = 0; v < master.opt.verbose && v < 8; v++)
		argv[n++] = arena_strdup(a, "-v");
	for (size_t i = 1; i < en->argc; i++)
		argv[n++] = arena_cstr(a, en->argv[i]);
	return argv;
}

NORETURN void exec_child(const struct service *s, int chan, int lock, unsigned lane)
{
	char *env[128];
	reset_signals();
	umask(077);
	add_environment(s->config, env, ARRAY_LEN(env));
	char **argv = make_arguments(s, lane);
	place_descriptors(s, chan, lock);
	execve(s->path, argv, env);
	give_up(s, "execve");
}
