/* map/build.h - tables made from their sources: what postmap(1), postalias(1) and newaliases(1) do.
 *
 * A table is built beside the old one and takes its place by rename when it is complete and on stable
 * storage: readers see the old one or the new one, whatever happens. Only where the directory cannot be
 * written is it made in place, under a lock. */
#ifndef MAP_BUILD_H
#define MAP_BUILD_H

#include "map/driver.h"

struct build_options {
	bool aliases;	   /* source in the form of aliases(5) */
	bool incremental;  /* add to what is there; the source is standard input */
	bool no_fold;	   /* keys as they are written */
	bool replace;	   /* of duplicate keys the last counts */
	bool ignore_dups;  /* ... no warning */
	bool keep_root;	   /* do not become the owner of the source */
	bool default_mode; /* 0644, not the source's */
	bool utf8;
	bool base64_files; /* values name files; their content is stored, base64 */
	const char *host;  /* alias tables name the host they were made on; NULL: asked of the system */
	unsigned nul;	   /* MAP_TRY0NULL: no terminating NUL, MAP_TRY1NULL: with, 0: as the type has it */
};

/* Warnings about lines are logged; the rest is built. */
MUST_CHECK enum rc map_build(struct span type, struct span path, const struct build_options *o,
			     struct err *e);
/* newaliases(1): the alias table "type:path" (or "path", of default_type), from its source `path`. */
MUST_CHECK enum rc alias_db_build(struct span type_path, const char *default_type, bool utf8, struct err *e);

/* The table type:path with the pairs of another ("hash:/path"), as they are stored there; its mode and owner are those of
 * `like`, the other's file. */
MUST_CHECK enum rc map_copy(struct span from, const char *like, struct span type, struct span path,
			    struct err *e);

/* Changes to an existing table, all or none. */
struct map_edit;
/* Types that are not files of their own are opened for writing and changed in place. */
MUST_CHECK enum rc map_edit_open(struct span type, struct span path, unsigned flags, struct map_edit **out,
				 struct err *e);
struct map *map_edit_map(struct map_edit *ed);
/* `keep`: changes count; else all is as before. Frees. */
MUST_CHECK enum rc map_edit_close(struct map_edit **ed, bool keep, struct err *e);

#endif
