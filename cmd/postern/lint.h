/* cmd/postern/lint.h - mistakes that a configuration may hold although every line of it is well formed: tables and
 * certificates that are missing, one domain in two classes, an open relay, passwords in clear text ... Each finding
 * is a warning with file, line and remedy. */
#ifndef POSTERN_LINT_H
#define POSTERN_LINT_H

#include "base/buf.h"
#include "control.h"

/* One way the parameters are seen: main.cf, or a service of master.cf with its -o settings on top. */
struct lint {
	const char *dir;
	struct conf *conf;
	const struct mastercf *services;
	const struct master_entry *service; /* NULL: main.cf itself */
	struct arena *a;
	unsigned
	    *refused; /* set: what would keep a daemon from working is looked for, and is an error each */
	struct table *told; /* with it: what was said */
	bool
	    start; /* with it: mail that needs no smtpd has to flow as it did; that smtpd will not work is a warning */
};

/* Where the text of `name` stands: its line in main.cf, the line of the service, or no line for a default. */
void lint_say(const struct lint *l, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Of the service itself, and none of its settings. */
void lint_say_service(const struct lint *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The value, expanded; "" when it cannot be. */
struct span lint_value(const struct lint *l, const char *name);
size_t lint_words(const struct lint *l, const char *name, struct span **words);
/* The service runs one of these programs ("smtp relay"). */
bool lint_is_program(const struct lint *l, const char *programs);
/* Set by main.cf, or by the service's own -o: what is a default repeats what was looked at. */
bool lint_is_set(const struct lint *l, const char *name);
/* Set here: in main.cf, or, of a service, by its own -o (what it inherits was looked at with main.cf). */
bool lint_is_own(const struct lint *l, const char *name);

void lint_refuse(const struct lint *l); /* lint_refuse.c */
void lint_agents(
    const struct lint *l); /* lint_agents.c: what local, virtual, pipe and spawn could not begin with */
void lint_commands(const struct lint *l); /* lint_agents.c: users of pipe and spawn that are missing */
void lint_files(const struct lint *l);	  /* lint_files.c: tables, certificates */
void lint_domains(const struct lint *l);  /* lint_mail.c */
void lint_smtpd(const struct lint *l);	  /* lint_mail.c: once for every smtpd of master.cf */
void lint_choices(const struct lint *l);  /* lint_names.c: values that are one of a few words */

/* lint.c: all of them. */
void lint_configuration(const struct control *c);
/* What a daemon could not work with: an error each. Dies when there is one. */
void lint_refusals(const struct control *c, bool start);

#endif
