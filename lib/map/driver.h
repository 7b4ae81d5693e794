/* map/driver.h - what a table type implements. A type is one file (texthash.c) with one struct map_driver,
 * entered in map_drivers[] of map.c, or a module mod_NAME.c that exports `map_module` (loaded by name when a
 * table of its type is opened). */
#ifndef MAP_DRIVER_H
#define MAP_DRIVER_H

#include "map/map.h"
#include <sys/stat.h>

#define MAP_PRIVATE 512 /* an existing file that nobody else uses: no locks, made durable by close */
#define MAP_CREATE  256 /* flag of map_open_at(): a new file, written in one go, made durable by close */

/* Properties of a type. */
#define MD_REMOTE                                                                                            \
	1 /* a file or server that is asked each time: map_set_remote() turns it into a question to proxymap \
	   */
#define MD_PATTERN 2 /* asked with the whole key only */
#define MD_NOFOLD  4 /* keys are never folded here (patterns; types that ask others) */
#define MD_BLOCKING                                                                                          \
	8	    /* a look-up may block for long: done on a helper thread, one at a time for each table */
#define MD_LIGHT 16 /* never becomes remote, even inside others; costs nothing to open */
#define MD_SERVER                                                                                            \
	32 /* asks over a socket: every process that has a way to proxymap(8) asks that one instead */
#define MD_UNSAFE    64	 /* neither server nor connection prove who they are: MAP_NO_UNAUTH refuses it */
#define MD_SORTED    128 /* a new file is made fastest when keys come in ascending order of their bytes */
#define MD_EMPTY_KEY 256 /* may know the empty key */

#define MAP_SOURCE_MAX (1u << 30) /* bytes of a text source */
#define MAP_VALUE_MAX  102400	  /* bytes of a result: what fits a reply of proxymap(8) */
#define MAP_DEPTH_MAX  8	  /* tables within tables (unionmap, debug) */

struct map {
	const struct map_driver *drv;
	char *name;	 /* "type:arg" */
	struct span arg; /* what follows the colon; NUL-terminated */
	unsigned flags;	 /* MAP_..., as opened */
	bool pattern;	 /* MD_PATTERN of this type, or of one within */
	bool asking;	 /* MD_BLOCKING: a look-up is on its way */
	unsigned busy;	 /* look-ups under way: it must not be closed */
	unsigned depth;	 /* of tables within tables */
	struct waitq idle;
	void *state;	    /* the driver's */
	char *broken;	    /* why it cannot be used; NULL: it can */
	struct list link;   /* all that are open, but those within others */
	uint64_t size_hint; /* MAP_CREATE: bytes of the source */
	bool has_owner;	    /* owner is valid: of the file behind it */
	uid_t owner;
};

struct map_driver {
	const char *name;
	unsigned flags;
	/* open fills m->state; on failure close() is not called. Warnings about single entries are logged,
	 * and the rest is used. */
	enum rc (*open)(struct map *m, struct err *e);
	/* `flags` are those of this question (MAP_NO_REGSUB ...); the key is not empty, holds no NUL and is
	 * folded already. With MD_BLOCKING it runs on another thread: it may use `a` and its own state, but
	 * no log. */
	enum rc (*lookup)(struct map *m, unsigned flags, struct span key, struct arena *a, struct span *value,
			  struct err *e);
	/* NULL: read only. RC_DENIED: the key is there already, and may not be replaced. */
	enum rc (*put)(struct map *m, bool replace, struct span key, struct span value, struct err *e);
	enum rc (*del)(struct map *m, struct span key, struct err *e);
	/* NULL: cannot be listed. *state NULL: from the first pair; the cursor itself is the driver's. */
	enum rc (*next)(struct map *m, void **state, struct arena *a, struct span *key, struct span *value,
			struct err *e);
	/* MAP_CREATE, MAP_PRIVATE: everything to the file, before close, which cannot report. NULL: nothing
	 * to do. */
	enum rc (*flush)(struct map *m, struct err *e);
	void (*close)(struct map *m);	      /* NULL: free(state) */
	bool (*changed)(const struct map *m); /* NULL: never */
	/* Names what it reads after it was opened: for the sandbox of who asks it. NULL: nothing but its name. */
	void (*paths)(const struct map *m, void (*add)(void *arg, const char *path), void *arg);
	/* The name of a table that this one was told to ask by a file of its own; NULL: none. */
	const char *(*within)(const struct map *m);
};

/* What a module exports, under the name map_module. */
#define MAP_MODULE_ABI 2
struct map_module {
	unsigned abi;
	const struct map_driver *const *drivers; /* ends with NULL */
	/* To build a table as a file of its own (postmap, postalias); NULL suffix: cannot. */
	const char *suffix;
};
/* The driver of a type; loads its module. RC_NOTFOUND with the story. *suffix (may be NULL) gets ".db" or the
 * like, or NULL. */
MUST_CHECK enum rc map_driver_find(struct span type, const struct map_driver **out, const char **suffix,
				   struct err *e);
MUST_CHECK enum rc map_module_load(struct span type, const struct map_driver **out, const char **suffix,
				   struct err *e);

/* The shared object that the text of a dynamicmaps.cf names for `type`; false: none, or one whose name does not fit. */
bool map_module_named(struct span text, struct span type, char *object, size_t size);

/* A type that this build has, or that dynamicmaps.cf names: by name, nothing is loaded. */
bool map_type_exists(struct span type);
bool map_type_in_module(struct span type);
/* A type that the lookup daemon alone asks, so that nobody else holds its library and its passwords. Tells by
 * name: nothing is loaded. */
bool map_type_is_database(struct span type);
/* As `paths` of the driver; nothing when there is none. */
void map_paths(const struct map *m, void (*add)(void *arg, const char *path), void *arg);
/* Where main.cf and dynamicmaps.cf are: as set, else conf_default_dir(). */
const char *map_config_dir(void);

/* As map_open, at depth `depth` of tables within tables, never remote when `here`. */
MUST_CHECK enum rc map_open_at(struct span type_name, unsigned flags, unsigned depth, bool here,
			       struct map **out, struct err *e);
/* For writing, never remote. */
MUST_CHECK enum rc map_open_sized(struct span type_name, unsigned flags, uint64_t source_bytes,
				  struct map **out, struct err *e);
/* As map_lookup with flags of the question instead of those it was opened with (proxymap(8), tables within
 * tables). */
MUST_CHECK enum rc map_ask(struct map *m, unsigned flags, struct span key, struct arena *a,
			   struct span *value, struct err *e);

/* map_put that leaves an existing pair alone: RC_DENIED. */
MUST_CHECK enum rc map_add(struct map *m, struct span key, struct span value, struct err *e);

/* ---- sources ---- */
/* The next word of a list separated by commas and white space; { } keeps together what is inside (and stays).
 * RC_NOTFOUND at the end, RC_SYNTAX: braces do not match. */
MUST_CHECK enum rc map_word_next(struct span *rest, struct span *word, struct err *e);
/* An element of a list that stands for addresses. */
bool match_is_net(struct span word);
/* "{ text }" -> "text"; false when it is not one balanced group. */
bool map_braces(struct span text, struct span *inside);
/* "key = value" -> both, trimmed. */
MUST_CHECK enum rc map_pair(struct span text, struct span *key, struct span *value, struct err *e);

/* A file as it was when opened. */
struct map_file {
	int fd; /* -1: none */
	char *path;
	struct timespec mtime, ctime;
	dev_t dev;
	ino_t ino;
	off_t bytes;
};
void map_file_init(struct map_file *f);
MUST_CHECK enum rc map_file_open(struct map_file *f, struct span path, struct err *e); /* "open PATH: ..." */
void map_file_note(struct map_file *f); /* takes its present state as unchanged */
void map_file_adopt(struct map_file *f, int fd, const char *path);
void map_file_close(struct map_file *f);
bool map_file_changed(const struct map_file *f);
/* From now on by the descriptors alone: names are out of reach. */
void map_files_by_descriptor(void);

/* The text of a table: the file m->arg names, or, for "{ { line } { line } }", those lines. *f stays open for
 * map_file_changed(). */
MUST_CHECK enum rc map_source_read(struct map *m, struct map_file *f, struct buf *text, struct err *e);
/* All of a descriptor. RC_LIMIT past text->max. */
MUST_CHECK enum rc map_read_all(int fd, struct buf *text, struct err *e);

/* Logical lines: a line that starts with white space continues, empty lines and comment lines may stand
 * anywhere. */
struct map_lines {
	struct span rest;
	unsigned line; /* lines taken so far */
	struct buf joined;
	const char *name; /* for messages */
};
/* `name` is kept; a first line that begins with white space is told as a warning, and left out. */
void map_lines_init(struct map_lines *l, struct span text, const char *name);
void map_lines_release(struct map_lines *l);
/* *text is valid until the next call; *line is where it began. */
bool map_lines_next(struct map_lines *l, struct span *text, unsigned *line);

/* "key whitespace value" of a postmap(1) source. RC_SYNTAX with the story, without file and line.
 * *alias_like: the key ends with ':'. */
MUST_CHECK enum rc map_source_pair(struct span line, bool utf8, struct span *key, struct span *value,
				   bool *alias_like, struct err *e);

/* Lower-case copy in `a` (the span itself when there is nothing to do). */
struct span map_fold(struct arena *a, struct span key);
/* Whether letters beyond ASCII count (smtputf8_enable); they do unless this says otherwise. */
void map_fold_unicode(bool on);
/* While files can be opened. */
void map_fold_prepare(void);

/* fcntl lock of the whole file, as the other programs that read and write such tables take it. Waits (other
 * tasks run) a few seconds, then RC_AGAIN. type: F_RDLCK, F_WRLCK, F_UNLCK. */
MUST_CHECK enum rc map_lock(int fd, short type, const char *name, struct err *e);

/* ---- proxy: ---- */
typedef enum rc map_remote_fn(uint16_t type, const void *request, void *reply, struct arena *a,
			      struct err *e);
/* The way to proxymap(8); NULL: there is none, "proxy:" tables are opened here. map/remote.c gives
 * it. Servers and databases are asked through it, and files with `all_files`. */
void map_remote_via(map_remote_fn *ask, bool all_files);
/* Whether a type with these MD_... is asked through it. */
bool map_remote_wanted(unsigned driver_flags);
bool map_remote_database(struct span type); /* the same, by name: nothing is loaded */

/* ---- the built-in types ---- */
extern const struct map_driver map_texthash, map_static, map_inline, map_regexp, map_pcre, map_cidr, map_unix,
    map_environ, map_fail, map_debug, map_unionmap, map_pipemap, map_randmap, map_proxy, map_tcp,
    map_socketmap, map_memcache, map_internal;

#endif
