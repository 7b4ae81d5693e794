/* iterate.c - the same command for several instances (postmulti -l, -p, -x). */
#include "postmulti.h"
#include "base/codec.h"
#include "log/log.h"
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *or_dash(const char *s)
{
	return s[0] != '\0' ? s : "-";
}

static void list_json(const struct instance *in)
{
	printf("{\"name\": ");
	json_print(stdout, span_str(or_dash(in->name)));
	printf(", \"group\": ");
	json_print(stdout, span_str(or_dash(in->group)));
	printf(", \"enabled\": \"%s\", \"config_directory\": ", in->enabled ? "y" : "n");
	json_print(stdout, span_str(in->dir));
	printf("}\n");
}

void list_instances(const struct multi *m, const struct selection *s)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct instance *in = &m->v[s->reverse ? m->n - 1 - i : i];

		if (!selected(in, s))
			continue;
		if (s->json)
			list_json(in);
		else
			printf("%-15s %-15s %-9s %s\n", or_dash(in->name), or_dash(in->group),
			       in->enabled ? "y" : "n", in->dir);
	}
}

/* The commands of the suite are found before others of the same name. */
static void put_first_in_path(const char *dir)
{
	const char *path = getenv("PATH");
	struct arena a;

	arena_init(&a);
	if (setenv("PATH", arena_printf(&a, "%s:%s", dir, path != NULL ? path : "/usr/bin:/bin"), 1) < 0)
		die("out of memory");
	arena_release(&a);
}

static void set_environment(const struct multi *m, const struct instance *in, unsigned verbose)
{
	const struct {
		const char *name, *value;
	} all[] = {
		{ "MAIL_CONFIG", in->dir },
		{ "config_directory", in->dir },
		{ "command_directory", conf_str(m->primary, "command_directory") },
		{ "daemon_directory", conf_str(m->primary, "daemon_directory") },
		{ "queue_directory", in->queue },
		{ "data_directory", in->data },
		{ "multi_instance_name", in->name },
		{ "multi_instance_group", in->group },
		{ "multi_instance_enable", in->enabled ? "yes" : "no" },
		{ "POSTERN_INSTANCE", in->dir }, /* tells postern(1) that it runs for this one alone */
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (setenv(all[i].name, all[i].value, 1) < 0)
			die("out of memory");
	put_first_in_path(conf_str(m->primary, "command_directory"));
	if (verbose > 0 && setenv("MAIL_VERBOSE", "", 1) < 0)
		die("out of memory");
}

static int run(const struct multi *m, const struct instance *in, unsigned verbose, char **argv)
{
	int status;
	pid_t pid;

	(void)fflush(stdout);
	if ((pid = fork()) < 0)
		die("fork: %m");
	if (pid == 0) {
		set_environment(m, in, verbose);
		execvp(argv[0], argv);
		die("execvp %s: %m", argv[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_for(const struct multi *m, const struct instance *in, char **argv)
{
	return run(m, in, 0, argv);
}

/* 0 when the command succeeded for every instance, else 1: that of one of several has no meaning. */
static int outcome(unsigned ran, unsigned failed)
{
	if (ran == 0)
		die("No matching instances");
	return failed > 0;
}

int run_command(const struct multi *m, const struct selection *s, char **command)
{
	unsigned ran = 0, failed = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct instance *in = &m->v[s->reverse ? m->n - 1 - i : i];

		if (!selected(in, s))
			continue;
		ran++;
		failed += run(m, in, s->verbose, command) != 0;
	}
	return outcome(ran, failed);
}

static bool listed(const struct multi *m, const char *param, const char *command)
{
	return command_is_listed(span_str(conf_str(m->primary, param)), command);
}

/* What is to be run for an instance that is not enabled: nothing for commands that need it to run, "check" for those
 * that would start it. */
static const char *instead(const struct multi *m, const char *command)
{
	if (listed(m, "postmulti_start_commands", command))
		return "check";
	if (listed(m, "postmulti_stop_commands", command) || listed(m, "postmulti_control_commands", command))
		return NULL;
	return command;
}

int run_postfix(const struct multi *m, const struct selection *s, char **command)
{
	bool reverse = listed(m, "postmulti_stop_commands", command[0]);
	unsigned ran = 0, failed = 0;
	size_t n = 0;
	struct arena a;
	char **argv;

	arena_init(&a);
	while (command[n] != NULL)
		n++;
	argv = arena_array(&a, n + 3, sizeof *argv);
	argv[0] = arena_printf(&a, "%s/postfix", conf_str(m->primary, "command_directory"));
	for (size_t i = 0; i < m->n; i++) {
		const struct instance *in = &m->v[reverse ? m->n - 1 - i : i];
		const char *verb = in->enabled ? command[0] : instead(m, command[0]);
		size_t k = 1;

		if (!selected(in, s) || verb == NULL)
			continue;
		if (s->verbose > 0)
			argv[k++] = arena_strdup(&a, "-v");
		argv[k++] = arena_strdup(&a, verb);
		for (size_t j = 1; j < n && verb == command[0]; j++)
			argv[k++] = command[j];
		argv[k] = NULL;
		ran++;
		failed += run(m, in, s->verbose, argv) != 0;
	}
	arena_release(&a);
	return outcome(ran, failed);
}
