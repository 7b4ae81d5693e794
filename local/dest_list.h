/* local/dest_list.h - what stands on the right side of an alias, in a .forward or :include: file
 * (aliases(5)): addresses, "|command", /file/name, :include:/file/name. Pure. */
#ifndef LOCAL_DEST_LIST_H
#define LOCAL_DEST_LIST_H

#include "base/arena.h"

enum dest_kind { DEST_ADDRESS, DEST_COMMAND, DEST_FILE, DEST_INCLUDE };
struct dest {
	enum dest_kind kind;
	bool plain;	  /* \user: no alias, no .forward */
	struct span text; /* address in external form, maybe without domain; command; path ("~/x" stays) */
};
struct dest_list {
	struct dest *v;
	size_t n, cap;
	unsigned bad;	       /* elements that could not be understood: skipped */
	struct span first_bad; /* as written */
};
/* One list: elements separated by commas; addresses and files also by blanks alone. A command without quotes goes
 * up to its comma. RC_LIMIT: more than `max` elements; those before are there. */
MUST_CHECK enum rc dest_list_parse(struct span text, struct arena *a, size_t max, struct dest_list *out);
/* A file: every line a list; empty lines and those that start with '#' are skipped. */
MUST_CHECK enum rc dest_file_parse(struct span text, struct arena *a, size_t max, struct dest_list *out);

#endif
