/* conf/conf.h - main.cf: the file, the table of parameters, and typed access (postconf(5)).
 *
 * Syntax as Postfix reads it: logical lines (a line that starts with white space continues; empty lines and lines whose first
 * non-blank is '#' may stand anywhere, also inside a continued value), `name = value`, last setting wins.
 * Values are expanded when asked for: $name, ${name}, $(name), ${name?text}, ${name:text}, ${name?{a}:{b}}, ${name?{a}},
 * ${{a} == {b} ? {x} : {y}} with == != < <= > >=, $$ for '$'. Unknown names expand to nothing; a loop is an error.
 *
 * Every parameter stands once, in the table of conf/params.c: type, default, bounds, programs, one-line meaning.
 * Errors name file and line ("main.cf line 12: ..."). */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/arena.h"

enum param_type {
	P_STR,	/* text after expansion */
	P_RAW,	/* text before expansion: banners, and values whose $names are expanded later by their user */
	P_INT,	/* decimal, 0 to 2^31-1 unless bounded otherwise */
	P_LONG, /* 64 bits */
	P_BOOL, /* yes or no */
	P_TIME, /* stored in seconds; units s m h d w, the default unit of the parameter when none is given */
};

/* What became of a Postfix parameter here; the generated docs/parameters.md lists it. */
enum param_state {
	PS_DONE,    /* implemented */
	PS_IGNORED, /* accepted, no effect: `meaning` says why */
	PS_REFUSED, /* a value other than the default is refused: `meaning` says why */
};

struct param {
	const char *name;
	enum param_type type;
	const char *def;       /* main.cf syntax: may hold $name */
	const char *min, *max; /* of numbers and times; of texts: bytes; NULL: none */
	const char *programs;  /* "smtpd cleanup": who reads it */
	const char *meaning;   /* one line for the manual */
	enum param_state state;
};
extern const struct param conf_params[];		  /* sorted by name; ends with .name == NULL */
const struct param *conf_param_find(struct span name);	  /* NULL: not a built-in name */
const struct param *conf_param_nearest(struct span name); /* for "did you mean"; NULL when nothing is near */

struct conf; /* opaque: main.cf as read, plus overrides */

/* Reads DIR/main.cf. A missing file is RC_NOTFOUND. The story names file and line. */
MUST_CHECK enum rc conf_load(const char *dir, struct conf **out, struct err *e);
/* From bytes (tests, fuzzing); `name` stands in messages. */
MUST_CHECK enum rc conf_parse(struct span text, const char *name, const char *dir, struct conf **out,
			      struct err *e);
void conf_free(struct conf **c);
/* `-o name=value`, and what a daemon fixes itself (e.g. service_name). Wins over the file. */
void conf_override(struct conf *c, struct span name, struct span value);
const char *conf_dir(const struct conf *c);

/* The text as written (explicit), the default when not set, NULL for an unknown name. */
const char *conf_raw(const struct conf *c, const char *name);
bool conf_is_set(const struct conf *c, const char *name);
/* Nobody has set `name`, and compatibility_level leaves it at its old default, which is `value` (NULL: anything but ""). Who acts
 * on that says so: OLD_DEFAULT is how the line in the log begins. */
bool conf_is_old_default(const struct conf *c, const char *name, const char *value);
#define OLD_DEFAULT "using backwards-compatible default setting "
/* Iterates the explicit settings in file order: *pos starts at 0. */
bool conf_next(const struct conf *c, size_t *pos, const char **name, const char **raw, unsigned *line);
/* Expands `text` with this configuration. RC_SYNTAX with the story for a loop or bad syntax. */
MUST_CHECK enum rc conf_expand(const struct conf *c, struct span text, struct arena *a, struct span *out,
			       struct err *e);
/* As conf_expand, but names for which extra() returns true come from there ($recipient and the like of pipe, DSN templates). */
MUST_CHECK enum rc conf_expand_with(const struct conf *c, struct span text,
				    bool (*extra)(void *arg, struct span name, struct span *value), void *arg,
				    struct arena *a, struct span *out, struct err *e);

/* Typed access by name; the value lives as long as `c`. Names must be in the table (INVARIANT). A value that does not
 * fit its type or bounds ended conf_check() already; here the default is used with a warning. */
const char *conf_str(const struct conf *c, const char *name);
int64_t conf_int(const struct conf *c, const char *name); /* P_INT, P_LONG, P_TIME (seconds) */
bool conf_bool(const struct conf *c, const char *name);
/* "<transport><suffix>" if set, else the default parameter: conf_transport_int(c, "slow", "_destination_concurrency_limit",
 * "default_destination_concurrency_limit"). */
int64_t conf_transport_int(const struct conf *c, const char *transport, const char *suffix,
			   const char *fallback);
const char *conf_transport_str(const struct conf *c, const char *transport, const char *suffix,
			       const char *fallback);

/* Checks every explicit setting: types and bounds (errors), unknown names that nothing refers to (warnings, with the nearest known name).
 * Each finding is given to report(); returns RC_SYNTAX when there was an error. */
MUST_CHECK enum rc conf_check(const struct conf *c, void (*report)(void *arg, bool error, const char *text),
			      void *arg);

/* Values that are one of a few words (choices.c). False: `value` has a word that `name` does not know; *out tells. */
struct conf_choice {
	struct span wrong; /* the word */
	const char *words; /* those that are known, with blanks between them */
	bool list;	   /* several may stand together */
	bool fatal;	   /* a configuration with it is refused */
};
bool conf_choice(const char *name, struct span value, struct conf_choice *out);

/* A list of words separated by commas and white space; { } keeps a word together (braces removed). "" has none.
 * Elements of the form /file/name are replaced by the words of that file when `files` is true. */
MUST_CHECK enum rc conf_words(struct span text, bool files, struct arena *a, struct span **words, size_t *n,
			      struct err *e);
/* A word of import_environment or export_environment. False: a name alone, without "=". */
bool conf_environment_word(struct span word, struct span *name, struct span *value);
/* What import_environment gives a value is set so in this process. */
void conf_enforce_environment(const struct conf *c);
/* "5m" and the like -> seconds; `unit` when no unit is given. As in Postfix, what follows the unit is not read: "5min", "30sec". */
MUST_CHECK enum rc conf_parse_time(struct span s, char unit, int64_t *seconds);
/* How many digits it begins with. */
size_t conf_time_digits(struct span s);
/* Where main.cf is: MAIL_CONFIG, else the built-in directory. Commands check alternate_config_directories themselves. */
const char *conf_default_dir(void);

#endif
