/* postconf.h - what the files of postconf(1) share. */
#ifndef POSTCONF_POSTCONF_H
#define POSTCONF_POSTCONF_H

#include "conf/conf.h"
#include "conf/conf_int.h"
#include "conf/mastercf.h"

enum action {
	A_SHOW,
	A_EDIT,
	A_REMOVE,
	A_COMMENT,
	A_SERVICES,
	A_MAPS,
	A_LOCKS,
	A_SASL_SERVER,
	A_SASL_CLIENT
};
enum { CLASS_BUILTIN = 1, CLASS_SERVICE = 2, CLASS_USER = 4 };

struct options {
	enum action action;
	const char *dir;
	bool explicit_only;    /* -n */
	bool defaults;	       /* -d */
	bool no_name;	       /* -h */
	bool no_value;	       /* -H */
	bool expand;	       /* -x */
	bool fold;	       /* -f */
	unsigned classes;      /* -C */
	struct span *override; /* -o name=value, in order */
	size_t overrides;
	char **arg;
	int args;
};

NORETURN void fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);
void warn(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* "name=value" of the command line. */
void split_argument(const char *arg, struct span *name, struct span *value);

/* show.c, services.c: read the files and print; end the process when they cannot. */
void show_parameters(const struct options *o);
void show_services(const struct options *o);
struct conf *load_conf(const struct options *o);
/* Warnings about main.cf and the -o settings of master.cf (`m` may be NULL). */
void warn_of_settings(const struct conf *c, const struct mastercf *m);

/* edit.c */
void edit_parameters(const struct options *o);

/* doc.c: the parameters as Markdown ("md") or as mdoc(7) ("man"). */
void write_doc(const char *form);

/* out.c: words with one blank between them, folded at 80 columns when asked for. */
#define INDENT 4
struct out {
	bool fold;
	size_t width; /* of a folded line */
	size_t column;
	bool blank; /* before the next word */
};
void out_word(struct out *o, struct span word);
void out_words(struct out *o, struct span text); /* every run of white space becomes one blank */
void out_break(struct out *o);			 /* when folding: the next word starts a line */
void out_end(struct out *o);

#endif
