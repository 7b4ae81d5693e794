/* mime/mime.c - the structure of a message in one pass over its lines.
 *
 * A stack of open multiparts holds their boundaries; each body line that begins with "--" is compared with
 * those (innermost first). So the work is linear in the message for any nesting: depth and number of parts
 * are bounded, and boundaries are compared by length first. */
#include "mime/mime.h"
#include "base/buf.h"
#include "mime/params.h"

struct open_part {
	struct mime_part *part;
	struct span boundary;	 /* without the leading "--" */
	struct mime_part **tail; /* where the next child goes */
};
struct parser {
	struct span msg;
	struct arena *a;
	struct open_part stack[MIME_DEPTH_MAX];
	size_t depth, parts;
};

static struct mime_part *new_part(struct parser *p, size_t off, bool digest)
{
	struct mime_part *part = arena_alloc(p->a, sizeof(*part));

	part->type = digest ? SPAN("MESSAGE") : SPAN("TEXT");
	part->subtype = digest ? SPAN("RFC822") : SPAN("PLAIN");
	part->encoding = SPAN("7BIT");
	part->header_off = off;
	p->parts++;
	return part;
}

/* ---- header fields that matter ---- */
static void take_type(struct parser *p, struct mime_part *part, struct span body)
{
	struct span type, subtype;
	struct mime_param *v;
	size_t n;

	if (!params_parse_type(body, p->a, &type, &subtype, &v, &n))
		return; /* malformed: text/plain, RFC 2045 5.2 */
	part->type = type;
	part->subtype = subtype;
	part->param = v;
	part->params = n;
}

static void take_disposition(struct parser *p, struct mime_part *part, struct span body)
{
	params_parse_value(body, p->a, &part->disposition, &part->disp_param, &part->disp_params);
}

static void take_encoding(struct parser *p, struct mime_part *part, struct span body)
{
	struct span word = params_token(body);

	if (word.n)
		part->encoding = span_dup(p->a, word);
}

static void take_fields(struct parser *p, struct mime_part *part, struct span header)
{
	struct header_field f;
	bool typed = false;

	while (header_next(&header, &f) == RC_OK) {
		if (f.name.n < 10 || !span_starts_ci(f.name, SPAN("content-")))
			continue;
		if (span_is_ci(f.name, "content-type") && !typed) {
			take_type(p, part, header_unfold(p->a, f.body));
			typed = true;
		} else if (span_is_ci(f.name, "content-transfer-encoding")) {
			take_encoding(p, part, header_unfold(p->a, f.body));
		} else if (span_is_ci(f.name, "content-disposition")) {
			if (part->disposition.n == 0) /* the first counts */
				take_disposition(p, part, header_unfold(p->a, f.body));
		} else if (span_is_ci(f.name, "content-id")) {
			part->id = header_unfold(p->a, f.body);
		} else if (span_is_ci(f.name, "content-description")) {
			part->description = header_unfold(p->a, f.body);
		} else if (span_is_ci(f.name, "content-md5")) {
			part->md5 = header_unfold(p->a, f.body);
		} else if (span_is_ci(f.name, "content-language")) {
			part->language = header_unfold(p->a, f.body);
		} else if (span_is_ci(f.name, "content-location")) {
			part->location = header_unfold(p->a, f.body);
		}
	}
}

/* ---- sizes ---- */
/* Lines of [from, to), and how many of them end in a bare LF (each is one byte longer with CRLF). */
static void count_lines(struct span msg, size_t from, size_t to, uint32_t *lines, uint64_t *bare)
{
	*lines = 0;
	*bare = 0;
	for (size_t i = from; i < to;) {
		const char *lf = memchr(msg.p + i, '\n', to - i);
		size_t at;

		if (!lf)
			return;
		at = (size_t)(lf - msg.p);
		(*lines)++;
		*bare += at == 0 || msg.p[at - 1] != '\r';
		i = at + 1;
	}
}

static void close_part(struct parser *p, struct mime_part *part, size_t end)
{
	uint64_t bare;

	if (end < part->body_off)
		end = (size_t)part->body_off;
	part->body_len = end - part->body_off;
	count_lines(p->msg, (size_t)part->body_off, end, &part->body_lines, &bare);
	part->crlf_body_len = part->body_len + bare;
}

/* ---- the walk ---- */
static size_t line_end(struct span msg, size_t i)
{
	const char *lf = memchr(msg.p + i, '\n', msg.n - i);

	return lf ? (size_t)(lf - msg.p) + 1 : msg.n;
}

/* Which open multipart the delimiter line belongs to: its index + 1, 0 none. *last: "--boundary--". One
 * boundary may be the beginning of another, so the longest that fits decides, the innermost of equals. */
static size_t match_boundary(const struct parser *p, struct span line, bool *last)
{
	struct span s = span_skip(line, 2);
	size_t best = 0, length = 0;

	while (s.n && ascii_isspace(s.p[s.n - 1])) /* trailing white space is padding, RFC 2046 5.1.1 */
		s.n--;
	for (size_t i = p->depth; i-- > 0;) {
		struct span b = p->stack[i].boundary;
		bool dashes;

		if (b.n == 0 || b.n <= length || s.n < b.n || memcmp(s.p, b.p, b.n) != 0)
			continue;
		dashes = s.n >= b.n + 2 && s.p[b.n] == '-' && s.p[b.n + 1] == '-';
		if (s.n != b.n && !dashes)
			continue;
		best = i + 1;
		length = b.n;
		*last = dashes;
	}
	return best;
}

static void add_child(struct parser *p, struct mime_part *child)
{
	struct open_part *top = &p->stack[p->depth - 1];

	*top->tail = child;
	top->tail = &child->next;
}

/* Reads the header at `off`, decides what the part is. Returns the offset of its body; a multipart or message
 * that may be opened is on the stack then, *leaf is the part whose body runs on otherwise. */
static size_t begin_part(struct parser *p, struct mime_part *part, size_t off, struct mime_part **leaf)
{
	struct span rest = span_skip(p->msg, off);
	size_t head = header_length_stored(rest), line = header_mbox_line(rest);
	uint32_t lines;
	uint64_t bare;
	struct span boundary;
	bool room;

	part->header_off = off;
	part->header_len = head;
	part->body_off = off + head;
	count_lines(p->msg, off, off + head, &lines, &bare);
	part->crlf_header_len = head + bare;
	take_fields(p, part, span_skip(span_head(rest, head), line));
	room = p->depth < MIME_DEPTH_MAX && p->parts < MIME_PARTS_MAX;
	*leaf = NULL;
	if (span_is_ci(part->type, "multipart")) {
		boundary = params_find(part->param, part->params, "boundary");
		if (room && boundary.n && boundary.n <= 200) {
			p->stack[p->depth++] = (struct open_part){ part, boundary, &part->child };
			return off + head;
		}
		part->type = SPAN("APPLICATION"); /* a multipart that cannot be taken apart */
		part->subtype = SPAN("OCTET-STREAM");
	} else if (span_is_ci(part->type, "message") &&
		   (span_is_ci(part->subtype, "rfc822") || span_is_ci(part->subtype, "global"))) {
		bool plain =
		    !span_is_ci(part->encoding, "base64") && !span_is_ci(part->encoding, "quoted-printable");

		if (room && plain) {
			struct mime_part *inner = new_part(p, off + head, false);

			p->stack[p->depth++] = (struct open_part){ part, SPAN_NONE, &part->child };
			add_child(p, inner);
			return begin_part(p, inner, off + head, leaf); /* at most MIME_DEPTH_MAX deep */
		}
	}
	*leaf = part;
	return off + head;
}

/* Ends the leaf and all open parts above stack index `keep`; their bodies end at `end`. */
static void unwind(struct parser *p, struct mime_part **leaf, size_t keep, size_t end)
{
	if (*leaf)
		close_part(p, *leaf, end);
	*leaf = NULL;
	while (p->depth > keep) {
		struct open_part *top = &p->stack[--p->depth];

		close_part(p, top->part, end);
	}
}

/* The line end before a delimiter belongs to the delimiter. */
static size_t before_delimiter(struct span msg, size_t off)
{
	if (off > 0 && msg.p[off - 1] == '\n')
		off--;
	if (off > 0 && msg.p[off - 1] == '\r')
		off--;
	return off;
}

static bool is_digest(const struct mime_part *multi)
{
	return span_is_ci(multi->subtype, "digest");
}

struct mime_part *mime_parse(struct span message, struct arena *a)
{
	struct parser p = { .msg = message, .a = a };
	struct mime_part *root = new_part(&p, 0, false), *leaf;
	size_t i = begin_part(&p, root, 0, &leaf);

	while (i < message.n) {
		size_t end = line_end(message, i), of;
		struct span line = span_make(message.p + i, end - i);
		bool last = false;

		if (line.n < 3 || line.p[0] != '-' || line.p[1] != '-' ||
		    (of = match_boundary(&p, line, &last)) == 0) {
			i = end;
			continue;
		}
		INVARIANT(of <= p.depth);
		unwind(&p, &leaf, of, before_delimiter(message, i));
		if (last) {
			p.stack[of - 1].boundary = SPAN_NONE; /* the rest is epilogue */
			i = end;
		} else if (p.parts >= MIME_PARTS_MAX) {
			i = end;
		} else {
			struct mime_part *part = new_part(&p, end, is_digest(p.stack[of - 1].part));

			add_child(&p, part);
			i = begin_part(&p, part, end, &leaf);
		}
	}
	unwind(&p, &leaf, 0, message.n);
	return root;
}
