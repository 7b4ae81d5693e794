/* postconf.h - what the files of postconf(1) share. */
#ifndef POSTCONF_POSTCONF_H
#define POSTCONF_POSTCONF_H

#include "conf/conf.h"
#include "conf/conf_int.h"
#include "conf/mastercf.h"

enum action { /* what is done, with main.cf unless -M, -F or -P says otherwise */
	      A_SHOW,
	      A_EDIT,
	      A_REMOVE,
	      A_COMMENT,
	      A_MAPS,
	      A_LOCKS,
	      A_SASL_SERVER,
	      A_SASL_CLIENT,
	      A_TLS,
	      A_BOUNCE_TEXT,
	      A_BOUNCE_TEMPLATE
};
enum subject { S_MAIN, S_SERVICES, S_FIELDS, S_SETTINGS }; /* main.cf, -M, -F, -P */
enum { CLASS_BUILTIN = 1, CLASS_SERVICE = 2, CLASS_USER = 4 };

struct options {
	enum action action;
	enum subject subject;
	const char *dir;
	const char *tls_mode;  /* -T */
	bool explicit_only;    /* -n */
	bool defaults;	       /* -d */
	bool no_name;	       /* -h */
	bool no_value;	       /* -H */
	bool expand;	       /* -x */
	bool fold;	       /* -f */
	bool json;	       /* -j */
	bool quiet;	       /* -q */
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
void split_override(const char *arg, struct span *name, struct span *value); /* of -o */
void edit_needs_argument(const struct options *o);			     /* dies when there is none */

/* show.c, services.c: read the files and print; end the process when they cannot. */
void show_parameters(const struct options *o);
void show_services(const struct options *o);
struct conf *load_conf(const struct options *o);
/* Warnings about main.cf and the -o settings of master.cf. */
void warn_of_settings(const struct options *o, const struct conf *c);

/* request.c: SERVICE[/TYPE[/NAME]] of -M, -F and -P; "*" stands for anything, and so does what is missing. */
struct request {
	const char *text;
	struct span part[3];
	size_t parts; /* how many were there */
	bool found;
};
struct request *requests_parse(const struct options *o, struct arena *a);
bool request_matches(const struct request *r, const struct master_entry *en);

/* entry.c: one service of master.cf, printed or written back. */
enum { FIELDS = 8, FIELD_CHROOT = 4, FIELD_COMMAND = 7 };
extern const char *const field_name[FIELDS];
struct out;
bool has_blank(struct span s);
/* The argument as it has to stand in the file: in braces when there is a blank in it. */
struct span entry_quoted(struct arena *a, struct span arg);
void entry_columns(struct out *out, const struct master_entry *en);
/* Program and arguments. `c` is not NULL: the values of -o are expanded with it. */
void entry_command(struct out *out, const struct conf *c, const struct master_entry *en, struct arena *a);
void entry_print(struct out *out, const struct conf *c, const struct master_entry *en, struct arena *a);

/* edit.c: main.cf; edit_master.c: master.cf. */
void edit_parameters(const struct options *o);
void edit_services(const struct options *o);

/* replace.c: a configuration file gets a new text as one step. `file` is main.cf or master.cf. */
struct target {
	char path[4096]; /* after symbolic links */
	int fd;		 /* of the old file, locked */
	char *bytes;
	size_t n;
};
void target_open(struct target *t, const struct options *o, const char *file);
void target_finish(struct target *t, struct span text); /* replaces when the text differs, closes */

/* doc.c: the parameters as Markdown ("md") or as mdoc(7) ("man"). */
void write_doc(const char *form);
/* tls.c: -T compile-version, run-version, public-key-algorithms. */
void show_tls(const char *mode);
/* bounce.c: -b and -t. */
void show_bounce_texts(const struct options *o);

/* out.c: words with one blank between them, folded at 80 columns when asked for; to standard output, or to `to`. */
#define INDENT 4
struct out {
	bool fold;
	size_t width; /* of a folded line */
	size_t column;
	bool blank; /* before the next word */
	struct buf *to;
};
void out_raw(struct out *o, struct span text);
void out_word(struct out *o, struct span word);
void out_words(struct out *o, struct span text); /* every run of white space becomes one blank */
void out_break(struct out *o);			 /* when folding: the next word starts a line */
void out_end(struct out *o);

/* json.c: one object per line. */
void json_begin(void);
void json_member(const char *name, struct span value);
void json_end(void);

#endif
