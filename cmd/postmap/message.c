/* postmap/message.c - the lines of a message as keys. */
#include "message.h"
#include "mime/mime.h"

struct walk {
	bool header, body;
	struct span message;
	uint64_t done; /* bytes of the message that were handled */
	void (*each)(void *arg, struct span key);
	void *arg;
};

static void body_lines(struct walk *w, uint64_t to)
{
	struct span rest, line;

	if (to <= w->done)
		return;
	rest = span_make(w->message.p + w->done, (size_t)(to - w->done));
	w->done = to;
	if (span_ends(rest, SPAN("\n")))
		rest.n--;
	while (w->body && span_next(&rest, '\n', &line))
		w->each(w->arg, span_ends(line, SPAN("\r")) ? span_head(line, line.n - 1) : line);
}

/* One header line may be several with "\n" between them; the last line end does not count. */
static void header_lines(struct walk *w, struct span header)
{
	struct header_field f;
	struct arena a;

	arena_init(&a);
	while (header_next(&header, &f) == RC_OK) {
		struct span key = header_text(&f, &a);
		if (span_ends(key, SPAN("\n")))
			key.n--;
		if (w->header)
			w->each(w->arg, key);
		arena_reset(&a);
	}
	arena_release(&a);
}

static void walk_part(struct walk *w, const struct mime_part *p, unsigned depth)
{
	body_lines(w, p->header_off);
	header_lines(w, span_make(w->message.p + p->header_off, (size_t)p->header_len));
	if (p->header_off + p->header_len > w->done)
		w->done = p->header_off + p->header_len;
	for (const struct mime_part *c = p->child; c && depth < MIME_DEPTH_MAX; c = c->next)
		walk_part(w, c, depth + 1);
	body_lines(w, p->body_off + p->body_len);
}

void message_keys(bool header, bool body, bool mime, struct span message,
		  void (*each)(void *arg, struct span key), void *arg)
{
	struct walk w = { .header = header, .body = body, .message = message, .each = each, .arg = arg };
	struct arena a;
	size_t n;

	if (mime) {
		arena_init(&a);
		walk_part(&w, mime_parse(message, &a), 0);
		arena_release(&a);
	} else {
		n = header_length(message);
		header_lines(&w, span_head(message, n));
		w.done = n;
	}
	body_lines(&w, message.n);
}
