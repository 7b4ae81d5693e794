/* multiline.c - line ends and dots, in pieces of a few KiB. */
#include "multiline.h"

#define PIECE 8192

struct out {
	char p[PIECE];
	size_t n;
	uint64_t total;
	multiline_sink *sink;
	void *arg;
};

static void flush(struct out *o)
{
	if (o->n)
		o->sink(o->arg, span_make(o->p, o->n));
	o->total += o->n;
	o->n = 0;
}

static void put(struct out *o, struct span s)
{
	while (s.n) {
		size_t n = s.n < PIECE - o->n ? s.n : PIECE - o->n;

		memcpy(o->p + o->n, s.p, n);
		o->n += n;
		s = span_skip(s, n);
		if (o->n == PIECE)
			flush(o);
	}
}

/* Takes one line off *rest, without its end. */
static bool next_line(struct span *rest, struct span *line)
{
	const char *lf;

	if (!rest->n)
		return false;
	lf = memchr(rest->p, '\n', rest->n);
	*line = span_head(*rest, lf ? (size_t)(lf - rest->p) : rest->n);
	*rest = span_skip(*rest, line->n + (lf != NULL));
	if (lf && line->n && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

uint64_t multiline_send(struct span content, uint64_t lines, multiline_sink *sink, void *arg)
{
	struct out o;
	struct span line;
	bool body = false;

	o.n = 0;
	o.total = 0;
	o.sink = sink;
	o.arg = arg;
	while ((!body || lines > 0) && next_line(&content, &line)) {
		if (line.n && line.p[0] == '.')
			put(&o, SPAN("."));
		put(&o, line);
		put(&o, SPAN("\r\n"));
		if (body && lines != MULTILINE_ALL)
			lines--;
		else if (!line.n)
			body = true;
	}
	put(&o, SPAN(".\r\n"));
	flush(&o);
	return o.total;
}

size_t multiline_needs(struct span content, uint64_t lines)
{
	struct span rest = content, line;
	bool body = false;

	while (!body || lines > 0) {
		if (!next_line(&rest, &line) || (rest.n == 0 && content.p[content.n - 1] != '\n'))
			return content.n + 1;
		if (body)
			lines--;
		else if (!line.n)
			body = true;
	}
	return content.n - rest.n;
}
