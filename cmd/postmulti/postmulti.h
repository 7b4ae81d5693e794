/* postmulti.h - what the files of postmulti(1) share. */
#ifndef POSTMULTI_POSTMULTI_H
#define POSTMULTI_POSTMULTI_H

#include "conf/conf.h"

/* One instance: the primary, or a directory that its multi_instance_directories names. */
struct instance {
	const char *dir; /* of main.cf */
	const char *name, *group;
	const char *queue, *data;
	bool primary, enabled;
};

struct multi {
	struct arena arena;
	struct conf *primary; /* the main.cf of the primary instance */
	struct instance *v;   /* the primary first, then in the order of multi_instance_directories */
	size_t n;
};

struct selection {
	bool all;			  /* -a */
	const char *name;		  /* -i: a name, a directory, "-" for the primary */
	const char *group;		  /* -g */
	bool reverse;			  /* -R */
	const char *new_name, *new_group; /* -I, -G */
	bool json;			  /* -j */
	unsigned verbose;
};

/* instances.c: reads them all; dies when one of them is unusable. */
void multi_load(struct multi *m);
bool selected(const struct instance *in, const struct selection *s);
struct instance *find_one(struct multi *m, const char *name); /* dies when there is none */

/* lists.c */
#define INSTANCES_MAX 1000
MUST_CHECK enum rc check_new_name(const char *name, struct err *e); /* "-" stands for none */
MUST_CHECK enum rc check_new_group(const char *group, struct err *e);
MUST_CHECK enum rc check_path(const char *name, const char *path, struct err *e);
/* multi_instance_directories: absolute paths. */
MUST_CHECK enum rc directories_parse(struct span text, struct arena *a, struct span **dirs, size_t *n,
				     struct err *e);
bool command_is_listed(struct span list, const char *command);

/* iterate.c: -l, -p, -x. The exit status: 0 when every command's was. */
void list_instances(const struct multi *m, const struct selection *s);
int run_postfix(const struct multi *m, const struct selection *s, char **command);
int run_command(const struct multi *m, const struct selection *s, char **command);
/* Runs a program with the environment of an instance and waits. */
int run_for(const struct multi *m, const struct instance *in, char **argv);

/* lifecycle.c: -e ACTION; `arg` are its name=value arguments. */
int manage(struct multi *m, const struct selection *s, const char *action, char **arg);

/* files.c */
/* NAME = value of an instance's main.cf, by way of postconf(1). */
void set_parameters(const struct multi *m, const char *dir, char **settings);
void make_instance_files(const struct multi *m, const struct instance *in);
void remove_instance_files(const struct multi *m, const struct instance *in);

#endif
