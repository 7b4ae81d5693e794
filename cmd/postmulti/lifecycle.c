/* lifecycle.c - instances come and go (postmulti -e). */
#include "postmulti.h"
#include "base/buf.h"
#include "log/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

struct job {
	struct multi *m;
	const struct selection *s;
	char **arg; /* name=value ... */
};

static void set(struct job *j, const char *dir, const char *name, const char *value)
{
	char *settings[] = { arena_printf(&j->m->arena, "%s=%s", name, value), NULL };

	set_parameters(j->m, dir, settings);
}

static struct instance *chosen(struct job *j)
{
	if (j->s->name == NULL)
		die("Select an instance via '-i name'");
	return find_one(j->m, j->s->name);
}

static struct instance *chosen_secondary(struct job *j)
{
	struct instance *in = chosen(j);

	if (in->primary)
		die("Cannot remove the primary instance");
	return in;
}

/* ---- the list of the primary ---- */

/* Where a new one goes: in front of all (-a), of the first of a group (-g), of a name (-i), else behind all. */
static size_t place(struct job *j)
{
	if (j->s->all)
		return 1;
	if (j->s->name == NULL && j->s->group == NULL)
		return j->m->n;
	for (size_t i = 1; i < j->m->n; i++)
		if (selected(&j->m->v[i], j->s))
			return i;
	die("No matching secondary instances");
}

/* The list with `added` at `at`, and without `gone`; either may be NULL. */
static void write_list(struct job *j, const char *added, size_t at, const struct instance *gone)
{
	struct buf list;

	buf_init(&list, 1 << 20);
	for (size_t i = 1; i <= j->m->n; i++) {
		if (added != NULL && i == at)
			(void)buf_printf(&list, "%s%s", list.n > 0 ? " " : "", added);
		if (i < j->m->n && (gone == NULL || &j->m->v[i] != gone))
			(void)buf_printf(&list, "%s%s", list.n > 0 ? " " : "", j->m->v[i].dir);
	}
	set(j, j->m->v[0].dir, "multi_instance_directories", buf_cstr(&list));
	buf_release(&list);
}

/* ---- names ---- */

static void check_name(struct job *j, const char *name, const struct instance *self)
{
	struct err e;

	if (strcmp(name, "-") == 0)
		return;
	if (check_new_name(name, &e) != RC_OK)
		die("%s", e.text);
	for (size_t i = 0; i < j->m->n; i++)
		if (&j->m->v[i] != self && strcmp(j->m->v[i].name, name) == 0)
			die("instance name %s is taken by %s", name, j->m->v[i].dir);
}

static void assign_names(struct job *j, const char *dir, const struct instance *self)
{
	const char *name = j->s->new_name, *group = j->s->new_group;

	struct err e;

	if (group != NULL && check_new_group(group, &e) != RC_OK)
		die("%s", e.text);
	if (name != NULL) {
		check_name(j, name, self);
		set(j, dir, "multi_instance_name", strcmp(name, "-") == 0 ? "" : name);
	}
	if (group != NULL)
		set(j, dir, "multi_instance_group", strcmp(group, "-") == 0 ? "" : group);
}

/* ---- create, import ---- */

/* What "init" sets has to be there before anything else is changed. */
static void must_be_provided_for(const struct job *j)
{
	if (conf_str(j->m->primary, "multi_instance_wrapper")[0] == '\0')
		die("multi_instance_wrapper is empty, run 'postmulti -e init' first.");
	if (!conf_bool(j->m->primary, "multi_instance_enable"))
		die("multi_instance_enable!=yes, run 'postmulti -e init' first.");
}

/* NAME=PATH of the command line, else the path of the primary with the name of the new instance as its last part. */
static const char *path_for(struct job *j, const char *name, const char *of_primary)
{
	size_t n = strlen(name);
	ptrdiff_t slash = span_rchr(span_str(of_primary), '/');
	const char *path = NULL;
	struct err e;

	for (char **arg = j->arg; *arg != NULL; arg++)
		if (strncmp(*arg, name, n) == 0 && (*arg)[n] == '=')
			path = *arg + n + 1;
	if (path == NULL && j->s->new_name != NULL && slash >= 0)
		path = arena_printf(&j->m->arena, "%.*s/%s", (int)slash, of_primary, j->s->new_name);
	if (path == NULL)
		die("Missing %s parameter value", name);
	if (check_path(name, path, &e) != RC_OK)
		die("%s", e.text);
	return path;
}

static void check_arguments(struct job *j, const char *action)
{
	static const char *const known[] = { "config_directory=", "queue_directory=", "data_directory=" };

	for (char **arg = j->arg; *arg != NULL; arg++) {
		bool ok = false;

		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			ok = ok || strncmp(*arg, known[i], strlen(known[i])) == 0;
		if (strchr(*arg, '=') == NULL)
			die("Malformed parameter setting '%s'", *arg);
		if (!ok)
			die("Parameter '%.*s' not valid with action %s", (int)strcspn(*arg, "="), *arg,
			    action);
	}
}

static bool exists(struct job *j, const char *dir, const char *file)
{
	return access(arena_printf(&j->m->arena, "%s/%s", dir, file), F_OK) == 0;
}

static void must_be_free(struct job *j, const struct instance *in)
{
	for (size_t i = 0; i < j->m->n; i++) {
		const struct instance *o = &j->m->v[i];

		if (strcmp(o->dir, in->dir) == 0 || (in->queue != NULL && strcmp(o->queue, in->queue) == 0) ||
		    (in->data != NULL && strcmp(o->data, in->data) == 0))
			die("instance %s uses the same directory", o->dir);
	}
}

static int add(struct job *j, bool create)
{
	struct instance in = { .name = "", .group = "", .enabled = false };
	size_t at = place(j);

	check_arguments(j, create ? "create" : "import");
	must_be_provided_for(j);
	if (j->s->new_name != NULL)
		check_name(j, j->s->new_name, NULL);
	in.dir = path_for(j, "config_directory", j->m->v[0].dir);
	if (!exists(j, in.dir, "main.cf") || !exists(j, in.dir, "master.cf")) {
		if (!create)
			die("%s: no main.cf and master.cf to import", in.dir);
		in.queue = path_for(j, "queue_directory", j->m->v[0].queue);
		in.data = path_for(j, "data_directory", j->m->v[0].data);
		must_be_free(j, &in);
		make_instance_files(j->m, &in);
	} else {
		struct conf *c;
		struct err e;

		if (conf_load(in.dir, &c, &e) != RC_OK)
			die("%s", e.text);
		in.queue = arena_strdup(&j->m->arena, conf_str(c, "queue_directory"));
		in.data = arena_strdup(&j->m->arena, conf_str(c, "data_directory"));
		conf_free(&c);
		must_be_free(j, &in);
	}
	assign_names(j, in.dir, NULL);
	write_list(j, in.dir, at, NULL);
	return 0;
}

static int do_create(struct job *j)
{
	return add(j, true);
}

static int do_import(struct job *j)
{
	return add(j, false);
}

/* ---- the others ---- */

static int do_init(struct job *j)
{
	set(j, j->m->v[0].dir, "multi_instance_wrapper", "${command_directory}/postmulti -p --");
	set(j, j->m->v[0].dir, "multi_instance_enable", "yes");
	return 0;
}

static int do_enable(struct job *j)
{
	struct instance *in = chosen(j);

	must_be_provided_for(j);
	set(j, in->dir, "multi_instance_enable", "yes");
	return 0;
}

static int do_disable(struct job *j)
{
	struct instance *in = chosen(j);

	must_be_provided_for(j);
	set(j, in->dir, "multi_instance_enable", "no");
	return 0;
}

static int do_assign(struct job *j)
{
	if (j->s->new_name == NULL && j->s->new_group == NULL)
		die("Specify new instance name or group with '-e assign'");
	struct instance *in = chosen(j);
	must_be_provided_for(j);
	assign_names(j, in->dir, in);
	return 0;
}

static int do_deport(struct job *j)
{
	write_list(j, NULL, 0, chosen_secondary(j));
	return 0;
}

static bool has_files(int at, const char *name, unsigned depth)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *d;
	bool found = false;
	DIR *dir;

	if (fd < 0)
		return errno != ENOENT; /* a file, or something that cannot be looked into */
	if (depth > 4 || (dir = fdopendir(fd)) == NULL) {
		close(fd);
		return true;
	}
	while (!found && (d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			found = has_files(fd, d->d_name, depth + 1);
	closedir(dir);
	return found;
}

/* Slots of the pool hold messages, too: postqueue(1) knows which. */
static bool queue_lists_mail(struct job *j, const struct instance *in)
{
	char line[64] = "";
	FILE *p;
	int pipes[2];
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		die("postqueue: %m");
	if (pid == 0) {
		char *argv[] = { arena_printf(&j->m->arena, "%s/postqueue",
					      conf_str(j->m->primary, "command_directory")),
				 "-c", arena_strdup(&j->m->arena, in->dir), "-j", NULL };

		dup2(pipes[1], STDOUT_FILENO);
		_exit(run_for(j->m, in, argv));
	}
	close(pipes[1]);
	if ((p = fdopen(pipes[0], "r")) == NULL)
		die("postqueue: %m");
	bool any = fgets(line, sizeof line, p) != NULL;
	int status = 1;
	(void)fclose(p);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	return any || status != 0; /* a queue that cannot be listed is not known to be empty */
}

static void must_be_empty(struct job *j, const struct instance *in)
{
	static const char *const dirs[] = { "maildrop", "incoming", "active", "deferred", "hold" };
	int fd = open(in->queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (has_files(fd, dirs[i], 0))
			die("instance %s: there is mail in %s/%s", in->dir, in->queue, dirs[i]);
	close(fd);
	if (exists(j, in->queue, "pool") && queue_lists_mail(j, in))
		die("instance %s: there is mail in the queue", in->dir);
}

static void must_be_stopped(struct job *j, const struct instance *in)
{
	int fd = open(arena_printf(&j->m->arena, "%s/pid/master.pid", in->queue), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		die("instance %s is running: stop it first", in->dir);
	close(fd);
}

static int do_destroy(struct job *j)
{
	struct instance *in = chosen_secondary(j);

	if (in->enabled)
		die("Cannot remove enabled instances: disable %s first", in->dir);
	must_be_stopped(j, in);
	must_be_empty(j, in);
	write_list(j, NULL, 0,
		   in); /* first: a crash between the two leaves files, not a name without files */
	remove_instance_files(j->m, in);
	return 0;
}

int manage(struct multi *m, const struct selection *s, const char *action, char **arg)
{
	static const struct {
		const char *name;
		int (*run)(struct job *j);
	} actions[] = {
		{ "init", do_init },	 { "create", do_create },   { "import", do_import },
		{ "deport", do_deport }, { "destroy", do_destroy }, { "enable", do_enable },
		{ "assign", do_assign }, { "disable", do_disable },
	};
	struct job j = { m, s, arg };

	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(action, actions[i].name) == 0)
			return actions[i].run(&j);
	die("Invalid '-e' edit action '%s'. Specify 'create', 'destroy', 'import', 'deport', 'enable', "
	    "'disable', 'assign' or 'init'",
	    action);
}
