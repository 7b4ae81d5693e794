/* data_scan.c - the end-of-data scanner (data_scan.h).
 *
 *	LINE_x --"."--> DOT_x --CR--> DOTCR_x --LF--> end (x = CRLF, or lenient)
 *	   |              |             |
 *	   v              v             v
 *	 TEXT <-------------------- TEXT_CR (a CR is held back until the next byte shows what it is)
 *	   +--CRLF--> LINE_CRLF
 *	   +--LF----> LINE_LF */
#include "data_scan.h"

enum { LINE_CRLF = 0, LINE_LF, DOT_CRLF, DOT_LF, DOTCR_CRLF, DOTCR_LF, TEXT, TEXT_CR };

struct output {
	char *p;
	size_t n;
};

static void put(struct output *o, const char *p, size_t n)
{
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void end_line(struct data_scan *s, struct output *o)
{
	put(o, "\n", 1);
	s->lines++;
}

/* Text up to and including the next line end. */
static size_t scan_text(struct data_scan *s, struct span in, struct output *o)
{
	const char *lf = memchr(in.p, '\n', in.n);
	size_t n = lf != NULL ? (size_t)(lf - in.p) : in.n;
	bool cr = n > 0 && in.p[n - 1] == '\r';

	put(o, in.p, n - cr);
	if (lf == NULL) {
		s->at = cr ? TEXT_CR : TEXT;
		return n;
	}
	end_line(s, o);
	s->at = cr ? LINE_CRLF : LINE_LF;
	s->bare_lf |= !cr;
	return n + 1;
}

/* A line of one dot that is no end of data, here. */
static void lone_dot(struct data_scan *s, struct output *o)
{
	put(o, ".", 1);
	end_line(s, o);
}

/* One byte behind the dot that starts a line; returns whether it was consumed. */
static bool scan_dot(struct data_scan *s, char c, struct output *o)
{
	bool after_crlf = s->at == DOT_CRLF;

	if (c == '\r') {
		s->at = after_crlf ? DOTCR_CRLF : DOTCR_LF;
		return true;
	}
	if (c != '\n') { /* the dot was stuffing (RFC 5321 section 4.5.2) */
		s->at = TEXT;
		return false;
	}
	s->bare_lf = true;
	s->done = s->lenient;
	s->at = LINE_LF;
	if (!s->done)
		lone_dot(s, o);
	return true;
}

static bool scan_dot_cr(struct data_scan *s, char c, struct output *o)
{
	bool after_crlf = s->at == DOTCR_CRLF;

	if (c != '\n') {
		s->at = TEXT_CR;
		return false;
	}
	s->done = after_crlf || s->lenient;
	s->at = LINE_CRLF;
	if (!s->done)
		lone_dot(s, o);
	return true;
}

static bool scan_text_cr(struct data_scan *s, char c, struct output *o)
{
	s->at = c == '\n' ? LINE_CRLF : TEXT;
	if (c == '\n')
		end_line(s, o);
	else
		put(o, "\r", 1);
	return c == '\n';
}

size_t data_scan(struct data_scan *s, struct span in, char *out, size_t *made)
{
	struct output o = { out, 0 };
	size_t i = 0;

	while (i < in.n && !s->done) {
		switch (s->at) {
		case LINE_CRLF:
		case LINE_LF:
			if (in.p[i] == '.' && !s->chunked) {
				s->at = s->at == LINE_CRLF ? DOT_CRLF : DOT_LF;
				i++;
				break;
			}
			i += scan_text(s, span_skip(in, i), &o);
			break;
		case TEXT:
			i += scan_text(s, span_skip(in, i), &o);
			break;
		case DOT_CRLF:
		case DOT_LF:
			i += scan_dot(s, in.p[i], &o);
			break;
		case DOTCR_CRLF:
		case DOTCR_LF:
			i += scan_dot_cr(s, in.p[i], &o);
			break;
		case TEXT_CR:
			i += scan_text_cr(s, in.p[i], &o);
			break;
		}
	}
	*made = o.n;
	return i;
}

bool data_scan_in_line(const struct data_scan *s)
{
	return s->at == TEXT || s->at == TEXT_CR;
}

size_t data_scan_finish(struct data_scan *s, char *out)
{
	struct output o = { out, 0 };

	if (s->at == TEXT_CR)
		put(&o, "\r", 1);
	if (data_scan_in_line(s))
		end_line(s, &o);
	s->at = LINE_CRLF;
	return o.n;
}
