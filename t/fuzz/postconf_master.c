/* Any bytes as a request of postconf -M, -F or -P that changes master.cf, and as that file: it is refused, or the new text has the services of the old one,
 * of which none differs that was not asked for. Input: a byte that selects what is done, requests, each ended by a line end, an empty line, the file. */
#include "../../cmd/postconf/edit_master.c" /* a command's files: not in the archive */
#include "../../cmd/postconf/entry.c"
#include "../../cmd/postconf/out.c"
#include "../../cmd/postconf/request.c"
#include "postconf_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool asked_for(const struct options *o, const struct master_entry *en, struct arena *a)
{
	struct request *r = requests_parse(o, a);

	for (int i = 0; i < o->args; i++)
		if (request_matches(&r[i], en))
			return true;
	return false;
}

static void compare(const struct options *o, const struct mastercf *old, const struct mastercf *new,
		    struct arena *a)
{
	size_t k = 0;

	for (size_t i = 0; i < old->n; i++) {
		const struct master_entry *en = &old->entry[i];
		bool changes = asked_for(o, en, a),
		     goes = changes && o->action != A_EDIT && o->subject == S_SERVICES;

		if (goes)
			continue;
		INVARIANT(k < new->n && (changes || same_service(&new->entry[k], en)));
		k++;
	}
	INVARIANT(new->n - k <= (size_t)o->args &&
		  (new->n == k || (o->action == A_EDIT && o->subject == S_SERVICES)));
}

static void run(const struct options *o, struct span file, struct arena *a)
{
	static struct edit ed; /* as it is after longjmp() */
	struct mastercf *old, *new = NULL;
	struct err e;

	if (mastercf_parse(file, "master.cf", NULL, &old, &e) != RC_OK)
		return;
	edit_init(&ed, o);
	if (setjmp(refused) == 0) {
		struct span text = new_text(&ed, file, "master.cf");
		INVARIANT(mastercf_parse(text, "master.cf", NULL, &new, &e) == RC_OK);
		compare(o, old, new, a);
	}
	mastercf_free(&new);
	mastercf_free(&old);
	edit_release(&ed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		enum subject subject;
		enum action action;
	} kinds[] = { { S_SERVICES, A_EDIT }, { S_SERVICES, A_REMOVE }, { S_SERVICES, A_COMMENT },
		      { S_FIELDS, A_EDIT },   { S_SETTINGS, A_EDIT },	{ S_SETTINGS, A_REMOVE } };
	struct span file;
	char *arg[REQUESTS_MAX];
	struct options o = { .args = 0 };
	struct arena a;

	if (size < 1 || size > 16384 || memchr(data, '\0', size) != NULL)
		return 0;
	o.subject = kinds[*data % ARRAY_LEN(kinds)].subject;
	o.action = kinds[*data % ARRAY_LEN(kinds)].action;
	file = span_make((const char *)data + 1, size - 1);
	arena_init(&a);
	take_requests(&o, arg, &file, &a);
	if (o.args > 0)
		run(&o, file, &a);
	arena_release(&a);
	return 0;
}
