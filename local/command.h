/* local/command.h - delivery to a command, for local(8) and pipe(8): how its end is read. */
#ifndef LOCAL_COMMAND_H
#define LOCAL_COMMAND_H

#include "workers.h"

/* What sysexits(3), signals, the time limit and the first line of output ("4.2.2 text") say about the
 * delivery. `shown` is the command as it stands in messages; `done` the text of success. */
void command_outcome(const struct user_run_reply *r, const char *shown, const char *done, struct arena *a,
		     struct outcome *o);
/* A word list for the environment: NAME=value; values may be filtered (`allowed`, NULL: not). */
struct command_env {
	struct arena *a;
	struct text_item *v;
	size_t n, cap;
	const char *allowed;
};
void command_env_add(struct command_env *env, const char *name, struct span value);
/* PATH, and what the parameter export_environment names. */
void command_env_start(struct command_env *env, struct arena *a, const char *allowed);

#endif
