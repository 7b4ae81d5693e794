/* body.c - the body: passed through untouched, unless body_checks, mime_header_checks or nested_header_checks
 * are set. Then one pass over its lines, with as much MIME structure as is needed to know which lines are
 * header (RFC 2046 sections 5.1 and 5.2). */
#include "cleanup.h"
#include "mime/content_type.h"
#include "mime/params.h"

#define CHUNK	      (64 * 1024)
#define LINE_MAX_PART 2048 /* a longer line is looked at in pieces of this length */
#define DEPTH_MAX     100
#define PIECES_MAX    900 /* more could not travel with a delivery */

enum where { IN_BODY, IN_MIME_HEADER, IN_NESTED_HEADER };

struct boundary {
	struct span s; /* in the job's arena; at most mime_boundary_length_limit bytes of it count */
	bool digest;
};

/* Content-Transfer-Encoding, as far as it decides what bytes a part may hold; one that nobody knows allows none beyond ASCII. */
enum domain { DOMAIN_7BIT, DOMAIN_8BIT, DOMAIN_ENCODED };

struct scan {
	struct job *j;
	uint64_t kept_to; /* content up to here is in the pieces */
	enum where where;
	bool line_start;  /* the next bytes begin a line */
	uint64_t segment; /* bytes of this body part seen by body_checks */
	struct boundary *stack;
	size_t depth;
	/* the header field being collected */
	struct buf field;
	uint64_t field_off, field_end;
	bool field_open;
	struct content_type type;	 /* what this part's Content-Type said */
	enum domain domain, part_domain; /* of the body at hand; of the header being read */
	struct span encoding;		 /* the word that said so */
	bool only_7bit;			 /* message/partial, message/external-body */
};

static void add_piece(struct job *j, struct piece pc)
{
	if (j->pieces == PIECES_MAX) {
		job_refuse(j, 552, "5.3.4", "Error: too many changes by body checks");
		return;
	}
	if (j->pieces == j->piece_cap)
		j->piece = arena_grow(&j->a, j->piece, j->pieces, &j->piece_cap, sizeof(*j->piece));
	j->piece[j->pieces++] = pc;
}

static void keep_up_to(struct scan *s, uint64_t off)
{
	if (off > s->kept_to)
		add_piece(s->j, (struct piece){ .off = s->kept_to, .len = off - s->kept_to });
	s->kept_to = off;
}

static void insert(struct scan *s, struct span line)
{
	add_piece(s->j, (struct piece){ .fresh = true,
					.text = span_printf(&s->j->a, SPAN_FMT "\n", SPAN_ARG(line)) });
}

/* Applies a table to the bytes off..end that read as `text`. */
static void apply(struct scan *s, struct maps *table, const char *class, struct span text, uint64_t off,
		  uint64_t end)
{
	struct span was = text, before;
	enum check_act act;

	if (!s->j->checks || maps_empty(table) || job_refused(s->j))
		return;
	act = check_text(s->j, table, class, &text, &before);
	if (act == CA_KEEP && before.n == 0 && text.p == was.p && text.n == was.n)
		return;
	keep_up_to(s, off);
	if (before.n > 0)
		insert(s, before);
	if (act == CA_KEEP && (text.p != was.p || text.n != was.n))
		insert(s, text);
	if (act == CA_DROP || text.p != was.p || text.n != was.n)
		s->kept_to = end;
}

/* ---- structure ---- */

static void take_encoding(struct scan *s, struct span body)
{
	struct span w = params_token(body);

	if (w.n == 0)
		return;
	s->part_domain = span_is_ci(w, "7bit")						? DOMAIN_7BIT
			 : span_is_ci(w, "8bit") || span_is_ci(w, "binary")		? DOMAIN_8BIT
			 : span_is_ci(w, "base64") || span_is_ci(w, "quoted-printable") ? DOMAIN_ENCODED
											: DOMAIN_7BIT;
	s->encoding = span_dup(&s->j->a, w);
}

static void take_field(struct scan *s, const struct header_field *f)
{
	if (!settings.mime)
		return;
	if (span_is_ci(f->name, "content-transfer-encoding"))
		take_encoding(s, span_trim(f->body));
	if (span_is_ci(f->name, "content-type")) {
		struct span type = span_trim(f->body);

		s->only_7bit = span_starts_ci(type, SPAN("message/partial")) ||
			       span_starts_ci(type, SPAN("message/external-body"));
		content_type_add(&s->type, f->body, &s->j->a);
	}
}

static void forget_type(struct scan *s)
{
	s->type = (struct content_type){ 0 };
	s->part_domain = DOMAIN_7BIT;
	s->encoding = SPAN_NONE;
	s->only_7bit = false;
}

/* RFC 2045 section 6.4 allows composite types no encoding but the identities, and RFC 2046 sections 5.2.2 and 5.2.3
 * those of their pieces only 7bit. */
static bool encoding_is_wrong(const struct scan *s)
{
	if (s->only_7bit)
		return s->part_domain == DOMAIN_8BIT;
	return (s->type.multipart || s->type.nested) && s->part_domain == DOMAIN_ENCODED;
}

static void push_boundary(struct scan *s, struct span text)
{
	size_t limit = (size_t)settings.boundary_limit;

	if (s->depth >= (size_t)settings.nesting_limit)
		mime_refuse(s->j, "MIME nesting exceeds safety limit", text);
	else if (s->depth < DEPTH_MAX)
		s->stack[s->depth++] =
		    (struct boundary){ span_head(text, text.n < limit ? text.n : limit), s->type.digest };
}

/* The empty line after a part's header. */
static void end_of_header(struct scan *s)
{
	for (size_t i = 0; i < s->type.boundaries; i++)
		push_boundary(s, s->type.boundary[i]);
	if (settings.strict_domain && encoding_is_wrong(s))
		mime_refuse(s->j, "invalid message/* or multipart/* encoding domain", s->encoding);
	s->domain = s->part_domain;
	s->where = s->type.nested ? IN_NESTED_HEADER : IN_BODY;
	s->segment = 0;
	forget_type(s);
}

static void flush_field(struct scan *s)
{
	struct span rest = buf_span(&s->field), text;
	struct maps *table =
	    s->where == IN_NESTED_HEADER ? settings.nested_header_checks : settings.mime_header_checks;
	struct header_field f;

	if (!s->field_open)
		return;
	s->field_open = false;
	if (header_next(&rest, &f) != RC_OK)
		return;
	take_field(s, &f);
	text = header_text(&f, &s->j->a);
	if (settings.strict_headers && !span_is_ascii(text))
		mime_refuse(s->j, "improper use of 8-bit data in message header", text);
	if (header_kind_of(f.name)->flags & HF_MIME)
		table = settings.mime_header_checks;
	apply(s, table, "header", span_dup(&s->j->a, text), s->field_off, s->field_end);
}

static bool at_boundary(struct scan *s, struct span line)
{
	if (line.n < 3 || line.p[0] != '-' || line.p[1] != '-')
		return false;
	for (size_t i = s->depth; i-- > 0;) {
		const struct boundary *b = &s->stack[i];
		bool last;

		if (!span_starts(span_skip(line, 2), b->s))
			continue;
		/* What follows does not matter, RFC 2046 section 5.1.1: the beginning of the line is compared. */
		last = span_starts(span_skip(line, 2 + b->s.n), SPAN("--"));
		flush_field(s);
		s->depth = last ? i : i + 1; /* what was inside of it has ended, too */
		s->where = last ? IN_BODY : IN_MIME_HEADER;
		if (last) /* one that begins a part counts to what stands before it */
			s->segment = 0;
		forget_type(s);
		s->type.nested = !last && b->digest; /* unless it says otherwise, RFC 2046 section 5.1.5 */
		return true;
	}
	return false;
}

/* More of the open field; what is beyond the limit is not looked at. */
static void extend_field(struct scan *s, struct span line, bool starts, uint64_t end)
{
	if (s->field.n + line.n + 1 < (size_t)settings.header_size_limit) {
		if (starts)
			(void)buf_putc(&s->field, '\n');
		(void)buf_append(&s->field, line);
	}
	s->field_end = end;
}

/* False: the line is not of this header, which has ended before it. */
static bool header_line(struct scan *s, struct span line, uint64_t off, uint64_t end, bool starts)
{
	struct header_field f;
	struct span rest = line;

	if (s->field_open && (!starts || (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')))) {
		extend_field(s, line, starts, end);
		return true;
	}
	flush_field(s);
	if (!starts || header_next(&rest, &f) != RC_OK) {
		end_of_header(s);
		s->segment = line.n == 0 ? 1 : 0; /* with the empty line */
		return line.n == 0;
	}
	buf_reset(&s->field);
	(void)buf_append(&s->field, line);
	s->field_open = true;
	s->field_off = off;
	s->field_end = end;
	return true;
}

/* `line` is a whole line, or a piece of a long one. */
static void one_line(struct scan *s, struct span line, uint64_t off, uint64_t end, bool starts)
{
	bool boundary = starts && at_boundary(s, line); /* body_checks(5) are for these, too */

	while (!boundary && s->where != IN_BODY) /* what ends a header may begin that of a message within */
		if (header_line(s, line, off, end, starts))
			return;
	if (settings.strict_body && !boundary && s->domain == DOMAIN_7BIT && !span_is_ascii(line))
		mime_refuse(s->j, "improper use of 8-bit data in message body", line);
	if (chars_wanted(s->j) && s->j->file != NULL) {
		struct span kept = chars_filter(s->j, line);

		if (kept.n != line.n) {
			keep_up_to(s, off);
			insert(s, kept);
			s->kept_to = end;
		}
	}
	if (settings.body_checks_limit == 0 || s->segment < (uint64_t)settings.body_checks_limit)
		apply(s, settings.body_checks, "body", line, off, end);
	s->segment += end - off;
}

/* ---- reading ---- */

static bool read_chunk(struct job *j, uint64_t off, struct span *out, char *buf)
{
	uint64_t left = j->content_bytes - off;
	size_t n = left < CHUNK ? (size_t)left : CHUNK;
	struct err e;

	if (j->file == NULL) {
		*out = span_skip(j->content, (size_t)off);
		return true;
	}
	if (large_read(j->file, off, buf, n, &e) != RC_OK) {
		log_warning("%s: %s", j->qid.s, e.text);
		job_refuse(j, 451, "4.3.0", "Error: queue file write error");
		return false;
	}
	*out = span_make(buf, n);
	return true;
}

/* Lines of one chunk; returns the bytes used: a line at the end that goes on is left for the next chunk. */
static size_t scan_chunk(struct scan *s, struct span chunk, uint64_t off, bool last)
{
	size_t used = 0;

	while (used < chunk.n && !job_refused(s->j)) {
		struct span rest = span_skip(chunk, used), line = span_head(rest, LINE_MAX_PART);
		const char *lf = memchr(line.p, '\n', line.n);
		size_t take;

		if (lf == NULL && line.n == rest.n && line.n < LINE_MAX_PART && !last)
			break;
		take = lf != NULL ? (size_t)(lf - line.p) + 1 : line.n;
		one_line(s, span_head(line, lf != NULL ? take - 1 : take), off + used, off + used + take,
			 s->line_start);
		s->line_start = lf != NULL;
		used += take;
	}
	return used;
}

static void scan_all(struct scan *s)
{
	struct job *j = s->j;
	char *buf = j->file != NULL ? xmalloc(CHUNK) : NULL;

	for (uint64_t off = j->body_off; off < j->content_bytes && !job_refused(j);) {
		struct span chunk;

		if (!read_chunk(j, off, &chunk, buf))
			break;
		off += scan_chunk(s, chunk, off, off + chunk.n == j->content_bytes);
	}
	flush_field(s);
	free(buf);
}

static void top_type(struct scan *s)
{
	struct span head = s->j->file != NULL ? s->j->header : s->j->content;
	struct header_field f;
	enum rc rc;

	while ((rc = header_next(&head, &f)) == RC_OK)
		take_field(s, &f);
	end_of_header(s);
	s->segment = rc == RC_EOF ? 1 : 0; /* not when something that is no header ended it */
}

void job_body(struct job *j)
{
	struct scan s = { .j = j, .kept_to = j->body_off, .line_start = true };

	if (j->checks && (!maps_empty(settings.body_checks) || !maps_empty(settings.mime_header_checks) ||
			  !maps_empty(settings.nested_header_checks) || settings.strict_headers ||
			  settings.strict_body || settings.strict_domain || chars_wanted(j))) {
		s.stack = arena_array(&j->a, DEPTH_MAX, sizeof(*s.stack));
		buf_init(&s.field, (size_t)settings.header_size_limit + LINE_MAX_PART);
		top_type(&s);
		scan_all(&s);
		buf_release(&s.field);
	}
	keep_up_to(&s, j->content_bytes);
}
