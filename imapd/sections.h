/* sections.h - BODY[...] of FETCH: which part, what of it, which bytes (RFC 3501 6.4.5). */
#ifndef IMAPD_SECTIONS_H
#define IMAPD_SECTIONS_H

#include "session.h"
#include "mime/header.h"
struct mime_part;
struct mime_part *mime_parse(struct span message, struct arena *a);

enum section_what { SEC_ALL, SEC_HEADER, SEC_HEADER_FIELDS, SEC_HEADER_FIELDS_NOT, SEC_TEXT, SEC_MIME };
struct section {
	const char *legacy; /* "RFC822.HEADER": the name to answer with */
	bool peek, partial;
	enum section_what what;
	uint32_t part[40];
	size_t depth;
	struct span *field;
	size_t fields;
	uint64_t from, count;
};
/* From '[' on. */
bool section_parse(struct parse *p, struct section *out);
bool section_is_root_header(const struct section *s);
void section_put_name(struct buf *b, const struct section *s);
/* The literal, into s->out. Returns its bytes. `root` may be NULL when depth is 0. */
uint64_t section_put_content(struct session *s, const struct section *sec, struct span message,
			     const struct mime_part *root, struct arena *a);

#endif
