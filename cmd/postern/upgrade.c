/* cmd/postern/upgrade.c - what an installer calls: owners and modes put right, and a master.cf of an older Postfix brought up to date. */
#include "control.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- name=value ---- */

/* Into main.cf, before they are used. */
static void take_settings(struct control *c)
{
	struct err e;
	for (int i = 0; i < c->argc; i++)
		if (strchr(c->argv[i], '=') == NULL)
			die("name=value expected, not \"%s\"", c->argv[i]);
	if (c->argc == 0)
		return;
	if (control_set(c, c->argv, (size_t)c->argc) != 0)
		exit(1);
	conf_free(&c->conf);
	if (conf_load(c->dir, &c->conf, &e) != RC_OK)
		die("%s", e.text);
}

/* ---- set-permissions ---- */

/* Commands that run with the rights of setgid_group. */
static const char *const setgid_commands[] = { "postdrop", "postqueue" };

static void restore_command(const char *path, gid_t gid)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return; /* not installed, or installed as a link: to a file of that name elsewhere */
	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %m", path);
	if (S_ISREG(st.st_mode) && (st.st_uid != 0 || st.st_gid != gid) && fchown(fd, 0, gid) < 0)
		die("chown %s: %m", path);
	if (S_ISREG(st.st_mode) && fchmod(fd, 02755) < 0)
		die("chmod %s: %m", path);
	close(fd);
}

static void restore_commands(const struct conf *c)
{
	struct arena a;
	const struct group *g = getgrnam(conf_str(c, "setgid_group"));
	if (g == NULL)
		die("setgid_group: unknown group name: \"%s\"", conf_str(c, "setgid_group"));
	arena_init(&a);
	for (size_t i = 0; i < ARRAY_LEN(setgid_commands); i++)
		restore_command(
		    arena_printf(&a, "%s/%s", conf_str(c, "command_directory"), setgid_commands[i]),
		    g->gr_gid);
	arena_release(&a);
}

/* The directories are master's to know. */
static int restore_directories(const struct control *c)
{
	struct arena a;
	int status;
	arena_init(&a);
	const char *path = arena_printf(&a, "%s/master", conf_str(c->conf, "daemon_directory"));
	pid_t pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0) {
		execl(path, "master", "-c", c->dir, "-p", (char *)NULL);
		die("cannot execute %s: %m", path);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	arena_release(&a);
	return status == 0 ? 0 : 1;
}

int control_permissions(const struct control *given)
{
	struct control c = *given;
	take_settings(&c);
	if (geteuid() != 0)
		die("owners and modes are set by root");
	if (restore_directories(&c) != 0)
		return 1;
	restore_commands(c.conf);
	return 0;
}

/* ---- upgrade-configuration ---- */

/* Services that came with some version of Postfix, and that its other programs take for granted. */
static const struct {
	const char *name, *type, *rest;
} needed[] = {
	{ "relay", "unix", "- - n - - smtp" },		{ "flush", "unix", "n - n 1000? 0 flush" },
	{ "trace", "unix", "- - n - 0 bounce" },	{ "verify", "unix", "- - n - 1 verify" },
	{ "proxymap", "unix", "- - n - - proxymap" },	{ "anvil", "unix", "- - n - 1 anvil" },
	{ "scache", "unix", "- - n - 1 scache" },	{ "discard", "unix", "- - n - - discard" },
	{ "tlsmgr", "unix", "- - n 1000? 1 tlsmgr" },	{ "retry", "unix", "- - n - - error" },
	{ "proxywrite", "unix", "- - n - 1 proxymap" }, { "postlog", "unix-dgram", "n - n - 1 postlogd" },
};

/* Columns that older versions had otherwise: where `column` of a service is `former`, it becomes `now`. `type`: of that type only. */
enum column { TYPE = 1, PRIVATE = 2, UNPRIV = 3, WAKEUP = 5, MAXPROC = 6 };
static const struct {
	const char *name, *type;
	enum column column;
	const char *former, *now;
} changed[] = {
	{ "tlsmgr", "fifo", WAKEUP, "300", "300?" }, { "tlsmgr", "fifo", WAKEUP, "1000", "1000?" },
	{ "tlsmgr", "fifo", TYPE, "fifo", "unix" },  { "pickup", "fifo", UNPRIV, "n", "-" },
	{ "cleanup", "unix", PRIVATE, "-", "n" },    { "cleanup", "unix", PRIVATE, "y", "n" },
	{ "flush", "unix", PRIVATE, "-", "n" },	     { "flush", "unix", PRIVATE, "y", "n" },
	{ "verify", "unix", MAXPROC, "0", "1" },     { "proxywrite", "unix", MAXPROC, "-", "1" },
};
static const char *const column_name[] = { [TYPE] = "type",
					   [PRIVATE] = "private",
					   [UNPRIV] = "unprivileged",
					   [WAKEUP] = "wakeup",
					   [MAXPROC] = "process_limit" };

struct upgrade {
	const struct control *c;
	struct mastercf *m;
	struct arena a;
};

static void edit(struct upgrade *u, const char *operation, char *what)
{
	if (control_edit(u->c, operation, &what, 1) != 0)
		exit(1);
	printf("%s/master.cf: %s\n", u->c->dir, what);
}

static const struct master_entry *entry_of(const struct upgrade *u, const char *name)
{
	for (size_t i = 0; i < u->m->n; i++)
		if (u->m->entry[i].type != ST_INET && span_is(u->m->entry[i].name, name))
			return &u->m->entry[i];
	return NULL;
}

static void add_missing(struct upgrade *u)
{
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (entry_of(u, needed[i].name) == NULL)
			edit(u, "-M",
			     arena_printf(&u->a, "%s/%s=%s %s %s", needed[i].name, needed[i].type,
					  needed[i].name, needed[i].type, needed[i].rest));
}

static void change_columns(struct upgrade *u)
{
	for (size_t i = 0; i < ARRAY_LEN(changed); i++) {
		const struct master_entry *en = entry_of(u, changed[i].name);
		if (en != NULL && span_is(en->column[TYPE], changed[i].type) &&
		    span_is(en->column[changed[i].column], changed[i].former))
			edit(u, "-F",
			     arena_printf(&u->a, "%s/%s/%s=%s", changed[i].name, changed[i].type,
					  column_name[changed[i].column], changed[i].now));
	}
}

int control_upgrade(const struct control *given)
{
	struct control c = *given;
	struct upgrade u = { .c = &c };
	struct err e;
	take_settings(&c);
	if (mastercf_load(c.dir, c.conf, &u.m, &e) != RC_OK)
		die("%s", e.text);
	arena_init(&u.a);
	change_columns(&u);
	add_missing(&u);
	arena_release(&u.a);
	mastercf_free(&u.m);
	return 0;
}
