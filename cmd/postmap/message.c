/* postmap/message.c - the lines of a message as keys. One pass, in which each line is of a header or of a body; the line that parts the
 * two is the first of the body, also where it was left out. */
#include "message.h"
#include "mime/content_type.h"
#include "mime/mime.h"

#define STACK_MAX (MIME_DEPTH_MAX * BOUNDARIES_MAX)

struct delimiter {
	struct span boundary;
	bool digest;
};

struct walk {
	bool header, body, mime;
	void (*each)(void *arg, struct span key);
	void *arg;
	struct arena kept; /* boundaries, until the end */
	struct delimiter stack[STACK_MAX];
	size_t depth;
	bool in_header, within; /* ... of a part */
	struct span field;	/* of the message; empty: none is open */
	struct content_type type;
};

static void body_line(struct walk *w, struct span line)
{
	if (w->body)
		w->each(w->arg, line);
}

/* One header line may be several with "\n" between them; the last line end does not count. */
static void end_of_field(struct walk *w)
{
	struct span rest = w->field, key;
	struct header_field f;
	struct arena a;

	if (w->field.n == 0)
		return;
	w->field = SPAN_NONE;
	if (header_next(&rest, &f) != RC_OK)
		return;
	if (w->mime && span_is_ci(f.name, "content-type"))
		content_type_add(&w->type, f.body, &w->kept);
	arena_init(&a);
	key = header_text(&f, &a);
	if (span_ends(key, SPAN("\n")))
		key.n--;
	if (w->header)
		w->each(w->arg, key);
	arena_release(&a);
}

/* The empty line that is left out counts only in the header of the message. */
static void end_of_header(struct walk *w, bool empty_line)
{
	for (size_t i = 0; i < w->type.boundaries && w->depth < STACK_MAX; i++)
		w->stack[w->depth++] = (struct delimiter){ w->type.boundary[i], w->type.digest };
	w->in_header = w->type.nested;
	w->type = (struct content_type){ 0 };
	if (empty_line || !w->within)
		body_line(w, SPAN(""));
	w->within = true;
}

/* A delimiter, of which the beginning counts: what is inside of its multipart has ended. */
static bool at_delimiter(struct walk *w, struct span line)
{
	if (!span_starts(line, SPAN("--")))
		return false;
	for (size_t i = w->depth; i-- > 0;) {
		const struct delimiter *d = &w->stack[i];

		if (!span_starts(span_skip(line, 2), d->boundary))
			continue;
		w->in_header = !span_starts(span_skip(line, 2 + d->boundary.n), SPAN("--"));
		w->type = (struct content_type){ .nested = w->in_header && d->digest };
		w->depth = w->in_header ? i + 1 : i;
		return true;
	}
	return false;
}

/* False: the line is not of a header, which has ended before it. */
static bool header_line(struct walk *w, struct span line, struct span with_end)
{
	struct header_field f;
	struct span rest = line;

	if (w->field.n > 0 && line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')) {
		w->field.n += with_end.n;
		return true;
	}
	end_of_field(w);
	if (header_next(&rest, &f) == RC_OK) {
		w->field = with_end;
		return true;
	}
	end_of_header(w, line.n == 0);
	return line.n == 0;
}

static void one_line(struct walk *w, struct span line, struct span with_end)
{
	/* what ends a header may begin the next one, of a message within: only text of neither is left */
	while (w->in_header)
		if (header_line(w, line, with_end))
			return;
	(void)at_delimiter(w, line);
	body_line(w, line);
}

void message_keys(bool header, bool body, bool mime, struct span message,
		  void (*each)(void *arg, struct span key), void *arg)
{
	struct walk w = {
		.header = header, .body = body, .mime = mime, .each = each, .arg = arg, .in_header = true
	};
	struct span rest = message, line;

	arena_init(&w.kept);
	while (rest.n > 0) {
		struct span from = rest;

		if (!span_next(&rest, '\n', &line))
			break;
		one_line(&w, line, span_head(from, from.n - rest.n));
	}
	end_of_field(&w);
	arena_release(&w.kept);
}
