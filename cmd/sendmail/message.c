/* message.c - reading the message from standard input. */
#include "sendmail.h"
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

static uint64_t size_limit(void)
{
	int64_t n = conf_int(config, "message_size_limit");

	return n > 0 ? (uint64_t)n : INT32_MAX;
}

/* All of standard input; CRLF makes a byte more a line than will be counted, hence the slack. */
static struct span read_all(void)
{
	uint64_t limit = size_limit();
	static struct buf b;

	buf_init(&b, (size_t)(limit + limit / 16 + 65536));
	for (;;) {
		char *to = buf_reserve(&b, b.cap - b.n > 4096 ? b.cap - b.n : 65536);
		ssize_t n;

		if (to == NULL && (to = buf_reserve(&b, 1)) == NULL)
			fatal("%s: message file too big", who());
		n = read(STDIN_FILENO, to, b.cap - b.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fatal("%s: error reading input: %s", who(), strerror(errno));
		if (n == 0)
			return buf_span(&b);
		b.n += (size_t)n;
	}
}

static bool is_from_line(struct span line)
{
	return span_starts(line, SPAN("From ")) || span_starts(line, SPAN(">From "));
}

/* No field begins so: all of it is body, and must not continue the Received: that will stand in front. */
static bool is_blank_start(struct span line)
{
	return span_starts(line, SPAN(" ")) || span_starts(line, SPAN("\t"));
}

struct reader {
	struct span in;
	size_t at;
	bool fix_crlf, decided, strict, in_header_top, keep_dot;
};

/* The next line without its end; false at the end of the message. */
static bool next_line(struct reader *r, struct span *line, bool *has_end)
{
	struct span rest = span_skip(r->in, r->at);
	const char *lf;

	if (rest.n == 0)
		return false;
	lf = memchr(rest.p, '\n', rest.n);
	*line = span_head(rest, lf != NULL ? (size_t)(lf - rest.p) : rest.n);
	*has_end = lf != NULL;
	r->at += line->n + (lf != NULL);
	if (!r->decided) { /* "strict": as the first line does */
		r->decided = true;
		if (r->strict)
			r->fix_crlf = line->n > 0 && line->p[line->n - 1] == '\r';
	}
	if (r->fix_crlf && line->n > 0 && line->p[line->n - 1] == '\r')
		line->n--;
	return r->keep_dot || !span_is(*line, ".");
}

static bool needs_no_work(struct span in, const struct reader *r)
{
	struct span first = in;

	if (r->fix_crlf && memchr(in.p, '\r', in.n) != NULL)
		return false;
	if (is_from_line(first) || is_blank_start(first) || in.p[in.n - 1] != '\n' || r->strict)
		return false;
	return r->keep_dot || (span_find(in, SPAN("\n.\n")) < 0 && !span_starts(in, SPAN(".\n")));
}

struct span message_read(struct options *o)
{
	const char *fix = conf_str(config, "sendmail_fix_line_endings");
	struct reader r = { .in = read_all(),
			    .keep_dot = o->keep_dot,
			    .fix_crlf = span_is(span_str(fix), "always"),
			    .strict = span_is(span_str(fix), "strict"),
			    .in_header_top = true };
	struct span line;
	struct buf out;
	bool end;

	if (r.in.n == 0 || needs_no_work(r.in, &r))
		return r.in;
	buf_init(&out, r.in.n + 2);
	while (next_line(&r, &line, &end)) {
		if (r.in_header_top && is_from_line(line)) {
			if (o->uucp)
				rmail_from_line(o, line);
			continue;
		}
		if (r.in_header_top && is_blank_start(line))
			(void)buf_putc(&out, '\n');
		r.in_header_top = false;
		(void)buf_append(&out, line);
		(void)buf_putc(&out, '\n');
	}
	if (out.n > size_limit())
		fatal("%s: message file too big", who());
	return buf_span(&out); /* kept until the process ends */
}

/* What -bv sends: nothing is delivered, the report quotes it. */
struct span message_probe(struct span sender, const struct ipc_list *rcpts)
{
	(void)rcpts;
	return span_printf(&memory, "From: " SPAN_FMT "\nSubject: probe\n\n", SPAN_ARG(sender));
}
