/* mime/content_type.h - what a Content-Type field says about the lines that follow: where headers of parts are (RFC 2046 sections 5.1
 * and 5.2). Read as leniently as the readers of mail do: what one of them may take for a part is one. */
#ifndef MIME_CONTENT_TYPE_H
#define MIME_CONTENT_TYPE_H

#include "base/arena.h"

#define BOUNDARIES_MAX 4 /* a field, or fields of one header, that name several: each of them delimits */

struct content_type {
	bool multipart, message;
	bool digest; /* parts are messages unless they say otherwise */
	bool nested; /* a message with a header of its own follows */
	size_t boundaries;
	struct span boundary[BOUNDARIES_MAX]; /* in the arena */
};
/* Adds what one more field of the same header says: its type replaces, its boundaries are added. `body` is what follows the colon. */
void content_type_add(struct content_type *t, struct span body, struct arena *a);

#endif
