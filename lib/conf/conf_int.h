/* conf/conf_int.h - shared by the files of lib/conf, postconf(1) and their tests; nobody else includes it. */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "base/buf.h"
#include "base/table.h"
#include "conf/conf.h"

#define CONF_FILE_MAX  ((size_t)10 << 20) /* bytes of main.cf or master.cf */
#define CONF_VALUE_MAX ((size_t)1 << 20)  /* bytes of one logical line, and of one expanded value */
#define CONF_DEPTH_MAX 64		  /* ${ } in ${ }, and names that lead to names */
#define CONF_STEPS_MAX 100000		  /* names looked up for one value */
#define CONF_WORDS_MAX 1000000		  /* elements of one list */

/* ---- logical lines: what main.cf and master.cf share ---- */
struct lines {
	const char *file; /* as it stands in messages */
	struct span rest;
	unsigned next; /* number of the next physical line, from 1 */
	struct buf text;
};
void lines_init(struct lines *l, struct span text, const char *file);
void lines_release(struct lines *l);
/* The next logical line without its line ends; *line is where it starts. RC_EOF at the end, RC_SYNTAX for a
 * NUL, RC_LIMIT. */
MUST_CHECK enum rc lines_next(struct lines *l, struct span *text, unsigned *line, struct err *e);
/* Reads DIR/NAME. RC_NOTFOUND, RC_SYS, RC_LIMIT; the bytes are the caller's to free(). */
MUST_CHECK enum rc conf_read_file(const char *path, char **bytes, size_t *n, struct err *e);

/* The text inside the braces that *rest starts with, trimmed; *rest moves behind them. RC_SYNTAX without a
 * closing one. */
MUST_CHECK enum rc conf_braces(struct span *rest, struct span *inner);
static inline bool conf_name_char(char c)
{
	return ascii_isalnum(c) || c == '_';
}

/* ---- names that services of master.cf add ---- */
struct service_param {
	const char *suffix;
	const char *def;
	bool command; /* of pipe(8) and spawn(8) only */
};
extern const struct service_param conf_service_params[]; /* ends with .suffix == NULL */

/* ---- the file as read ---- */
struct conf_entry {
	const char *name;
	const char *raw;
	unsigned line;
};
struct conf_net; /* an address of this host: defaults.c */
struct conf {
	struct arena arena;
	const char *dir;
	const char *file; /* as it stands in messages */
	struct conf_entry *entry;
	size_t n, cap;
	struct table *index; /* name -> entry number + 1 */
	struct table *over;  /* name -> text */
	struct conf_late *late;
	const char **warning; /* found while reading */
	size_t warnings, warnings_cap;
	struct conf_net *net;
	size_t nets;
};
/* What is found out when asked for. Behind a pointer, so that looking does not change `struct conf`. */
struct conf_late {
	struct arena arena;
	struct table *value;	 /* name -> expanded text */
	struct table *computed;	 /* name -> default */
	const char *origin_file; /* myorigin = /file: the name, and the first line of the file */
	const char *origin;
	unsigned computing; /* depth of defaults that ask for others */
};

/* The default of `p`: the text of the table, or what this host says (myhostname ...). */
const char *conf_default(const struct conf *c, const struct param *p);
void conf_find_nets(struct conf *c); /* reads the host's addresses; may fail silently */
const char *conf_typed_fault(const struct param *p, struct span text,
			     int64_t *value); /* NULL: text fits the type and bounds */
const struct conf_entry *conf_entry(const struct conf *c, struct span name); /* NULL: not in the file */

/* ---- names that Postfix will give up (deprecated.c) ---- */
/* What to do instead of setting `name`, as the end of the sentence "instead, ..."; NULL: nothing is wrong with it. */
const char *conf_deprecated(struct span name);
/* What to use instead of the restriction `word`; NULL: nothing is wrong with it. */
const char *conf_deprecated_restriction(struct span word);

/* ---- names that are not built in, but that something reads (names.c) ---- */
struct mastercf;
struct conf_names;
/* `services` may be NULL: unknown. Both must outlive the result. */
struct conf_names *conf_names_new(const struct conf *c, const struct mastercf *services);
void conf_names_free(struct conf_names **n);
/* Does a setting, a default, a service or a table refer to `name`? */
bool conf_names_used(const struct conf_names *n, struct span name);
/* Every $name, ${name and $(name in `text`, however deep; *pos starts at 0. */
bool conf_next_reference(struct span text, size_t *pos, struct span *name);
/* Is it <service><suffix> of a service in master.cf? Then *def (may be NULL) becomes its default. */
bool conf_names_service(const struct conf_names *n, struct span name, const char **def);

#endif
