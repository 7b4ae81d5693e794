/* header.c - the header of the message: checked, fields dropped, completed and added. Only the header is read
 * here. */
#include "cleanup.h"
#include "log/event.h"
#include <time.h>

#define HEADER_PIECE 2048  /* of a long line */
#define FIELDS_MAX   20000 /* far beyond what is mail; each costs a look-up or two */

struct header_pass {
	struct job *j;
	struct out_field *v;
	size_t n, cap;
	unsigned seen; /* HB() */
	bool resent;
};

static void add_field(struct header_pass *p, struct span text, const struct header_kind *kind)
{
	if (p->n == p->cap)
		p->v = arena_grow(&p->j->a, p->v, p->n, &p->cap, sizeof(*p->v));
	p->v[p->n++] = (struct out_field){ text, kind };
}

static void add_line(struct header_pass *p, struct span text)
{
	p->j->header_changed = true;
	add_field(p, span_printf(&p->j->a, SPAN_FMT "\n", SPAN_ARG(text)), header_kind_of(SPAN_NONE));
}

/* Printable part of a message id, for the log and the envelope. */
static struct span clean_id(struct arena *a, struct span body)
{
	struct span s = header_unfold(a, body);
	char *p;

	s = span_head(s, 1000);
	p = arena_alloc(a, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		p[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
	return span_make(p, s.n);
}

static void log_message_id(const struct job *j, struct span id)
{
	EVENT("message_id", EV_TEXT("queue_id", qid_span(&j->qid)), EV_TEXT("message_id", id));
}

static void note_id(struct header_pass *p, const struct header_kind *kind, struct span text)
{
	ptrdiff_t colon = span_chr(text, ':');
	struct span id = clean_id(&p->j->a, span_skip(text, (size_t)colon + 1));

	if (p->seen & HB(kind->id))
		return;
	log_info("%s: %smessage-id=" SPAN_FMT, p->j->qid.s, kind->id == HID_MESSAGE_ID ? "" : "resent-",
		 SPAN_ARG(id));
	log_message_id(p->j, id);
	if (kind->id == HID_MESSAGE_ID)
		p->j->env.message_id = id;
}

static struct maps *table_for(const struct header_kind *kind)
{
	return kind->flags & HF_MIME ? settings.mime_header_checks : settings.header_checks;
}

static bool is_dropped(struct span text)
{
	struct span name = span_trim(span_head(text, (size_t)span_chr(text, ':'))), rest = settings.drop, w;

	while (span_next_word(&rest, ", \t\r\n", &w))
		if (span_eq_ci(w, name))
			return true;
	return false;
}

/* How much of a field that is too long is looked at: up to the line, or the piece of a long one, that reaches the limit. */
static size_t header_cut(struct span text, size_t limit)
{
	size_t end = 0;

	while (end < text.n && end < limit) {
		struct span line = span_head(span_skip(text, end), HEADER_PIECE);
		ptrdiff_t lf = span_chr(line, '\n');

		end += lf < 0 ? line.n : (size_t)lf + 1;
	}
	return end;
}

/* A field that passed the checks: counted, dropped, or kept. `text` ends with LF. */
static void take_field(struct header_pass *p, struct span text, const struct header_kind *kind)
{
	if (kind->id == HID_RECEIVED && p->j->env.hops < UINT16_MAX)
		p->j->env.hops++;
	if (kind->id == HID_MESSAGE_ID || kind->id == HID_RESENT_MESSAGE_ID)
		note_id(p, kind, text);
	p->seen |= HB(kind->id);
	p->resent |= (kind->flags & HF_RESENT) != 0;
	if (is_dropped(text)) {
		p->j->header_changed = true;
		return;
	}
	add_field(p, text, kind);
}

static struct span with_lf(struct header_pass *p, struct span text)
{
	if (text.n > 0 && text.p[text.n - 1] == '\n')
		return text;
	p->j->header_changed = true;
	return span_printf(&p->j->a, SPAN_FMT "\n", SPAN_ARG(text));
}

static void one_field(struct header_pass *p, struct header_field *f)
{
	const struct header_kind *kind = header_kind_of(f->name);
	struct span text = header_text(f, &p->j->a), bare, before;
	struct maps *table = table_for(kind);

	if (text.n != f->all.n)
		p->j->header_changed = true;
	text = span_head(text, header_cut(text, (size_t)settings.header_size_limit));
	if (chars_wanted(p->j)) {
		struct span kept = chars_filter(p->j, text);

		if (kept.n != text.n) {
			text = kept;
			kind =
			    header_kind_of(span_trim(span_head(text, (size_t)(span_chr(text, ':') + 1) - 1)));
			p->j->header_changed = true;
		}
	}
	if (settings.strict_headers && p->j->checks && !span_is_ascii(text))
		mime_refuse(p->j, "improper use of 8-bit data in message header", span_trim(text));
	if (settings.detect_8bit && kind->id == HID_MIME &&
	    span_is_ci(f->name, "content-transfer-encoding") && span_find_ci(text, SPAN("8bit")) >= 0)
		p->j->env.body = BODY_8BITMIME;
	bare = text;
	while (bare.n > 0 && (bare.p[bare.n - 1] == '\n' || bare.p[bare.n - 1] == '\r'))
		bare.n--;
	if (p->j->checks && !maps_empty(table)) {
		struct span was = bare;

		if (check_text(p->j, table, "header", &bare, &before) == CA_DROP) {
			p->j->header_changed = true;
			return;
		}
		if (before.n > 0)
			add_line(p, before);
		if (bare.p != was.p || bare.n != was.n) {
			ptrdiff_t colon = span_chr(bare, ':');

			p->j->header_changed = true;
			kind = header_kind_of(span_trim(span_head(bare, (size_t)colon)));
			text = span_printf(&p->j->a, SPAN_FMT "\n", SPAN_ARG(bare));
		}
	}
	if (text.n > (size_t)settings.header_size_limit) { /* the excess goes, the field stays */
		text = span_head(text, (size_t)settings.header_size_limit);
		p->j->header_changed = true;
	}
	take_field(p, with_lf(p, text), kind);
}

/* ---- what is missing ---- */

static void add_message_id(struct header_pass *p, const char *resent)
{
	struct job *j = p->j;
	time_t t = (time_t)(j->env.arrival_us / 1000000);
	struct tm tm;
	char stamp[32];
	struct span id;

	gmtime_r(&t, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &tm);
	if (settings.long_ids) /* which hold the time */
		id = span_printf(&j->a, "<%s@%s>", j->qid.s, settings.myhostname);
	else
		id = span_printf(&j->a, "<%s.%s@%s>", stamp, j->qid.s, settings.myhostname);
	add_line(p, span_printf(&j->a, "%sMessage-Id: " SPAN_FMT, resent, SPAN_ARG(id)));
	log_info("%s: %smessage-id=" SPAN_FMT, j->qid.s, resent[0] != '\0' ? "resent-" : "", SPAN_ARG(id));
	log_message_id(j, id);
	if (resent[0] == '\0')
		j->env.message_id = id;
}

static void add_date(struct header_pass *p, const char *resent)
{
	char date[DATE_MAX];

	wall_rfc5322((wall_t){ p->j->env.arrival_us }, date);
	add_line(p, span_printf(&p->j->a, "%sDate: %s", resent, date));
}

/* Atoms with one blank between them. */
static struct span atoms(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.n + 1);
	struct span word;
	size_t n = 0;

	while (span_next_word(&s, " \t", &word)) {
		if (n > 0)
			p[n++] = ' ';
		memcpy(p + n, word.p, word.n);
		n += word.n;
	}
	return span_make(p, n);
}

/* RFC 5322 phrase: quoted when it holds more than atoms and blanks. */
static struct span phrase(struct arena *a, struct span s)
{
	struct buf b;
	struct span out;
	bool plain = true;

	for (size_t i = 0; i < s.n; i++)
		plain &= ascii_isalnum(s.p[i]) || strchr(" !#$%&'*+-/=?^_`{|}~", s.p[i]) != NULL ||
			 (unsigned char)s.p[i] >= 0x80;
	if (plain)
		return atoms(a, s);
	buf_init(&b, 4096);
	(void)buf_putc(&b, '"');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			(void)buf_putc(&b, '\\');
		(void)buf_putc(&b, (unsigned char)s.p[i] < 0x20 ? ' ' : s.p[i]);
	}
	(void)buf_putc(&b, '"');
	out = span_dup(a, buf_span(&b));
	buf_release(&b);
	return out;
}

/* RFC 5322 ctext of a comment: parentheses and backslashes need a backslash. */
static struct span comment(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, 2 * s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (strchr("()\\", s.p[i]) != NULL && s.p[i] != '\0')
			p[n++] = '\\';
		p[n++] = s.p[i];
	}
	return span_make(p, n);
}

static void add_from(struct header_pass *p, const char *resent)
{
	struct job *j = p->j;
	struct span sender = j->env.sender.n > 0 ? j->env.sender : SPAN("MAILER-DAEMON");
	struct span name = j->env.sender.n > 0 ? j->env.full_name : SPAN("Mail Delivery System");

	bool encoded = !span_is_ascii(name) && settings.full_name_charset.n > 0;

	if (encoded)
		name = header_encode(&j->a, name, settings.full_name_charset);
	if (name.n > 0 && settings.from_obsolete)
		add_line(p, span_printf(&j->a, "%sFrom: " SPAN_FMT " (" SPAN_FMT ")", resent,
					SPAN_ARG(sender), SPAN_ARG(encoded ? name : comment(&j->a, name))));
	else if (name.n > 0)
		add_line(p, span_printf(&j->a, "%sFrom: " SPAN_FMT " <" SPAN_FMT ">", resent,
					SPAN_ARG(encoded ? name : phrase(&j->a, name)), SPAN_ARG(sender)));
	else
		add_line(p, span_printf(&j->a, "%sFrom: " SPAN_FMT, resent, SPAN_ARG(sender)));
	if (address_split(sender).domain.n == 0) { /* to be made complete with the others */
		p->v[p->n - 1].kind = header_kind_of(SPAN("from"));
	}
}

static void add_missing(struct header_pass *p)
{
	const unsigned visible = HB(HID_TO) | HB(HID_CC) | HB(HID_RESENT_TO) | HB(HID_RESENT_CC);
	const char *resent = p->resent ? "Resent-" : "";
	bool add = (p->j->env.flags & ENVF_LOCAL) || settings.add_missing;

	if (add && !(p->seen & HB(p->resent ? HID_RESENT_MESSAGE_ID : HID_MESSAGE_ID)))
		add_message_id(p, resent);
	if (!(p->seen & HB(HID_MESSAGE_ID)) && (!add || p->resent))
		log_info("%s: message-id=<>", p->j->qid.s);
	if (!add)
		return;
	if (!(p->seen & HB(p->resent ? HID_RESENT_DATE : HID_DATE)))
		add_date(p, resent);
	if (!(p->seen & HB(p->resent ? HID_RESENT_FROM : HID_FROM)))
		add_from(p, resent);
	if (!(p->seen & visible) && settings.undisclosed[0] != '\0')
		add_line(p, span_str(settings.undisclosed));
}

static void join(struct header_pass *p, bool blank_line)
{
	struct job *j = p->j;

	buf_init(&j->new_header, 64 << 20);
	for (size_t i = 0; i < p->n; i++)
		(void)buf_append(&j->new_header, p->v[i].text);
	if (blank_line)
		(void)buf_putc(&j->new_header, '\n');
	if (!buf_ok(&j->new_header))
		job_refuse(j, 552, "5.3.4", "Error: message header too large");
}

/* The header ends at a line of text: the empty line that parts it from the body is made here (join()). Whether
 * that is refused, or told in the header, is non_empty_end_of_header_action's choice. */
static void unended(struct header_pass *p, struct span body)
{
	static const char why[] = "message header was not terminated by empty line";
	ptrdiff_t lf = span_chr(body, '\n');

	p->j->header_changed = true;
	if (settings.unended == UNENDED_TELL)
		add_line(p, span_printf(&p->j->a, "MIME-Error: %s", why));
	else if (settings.unended == UNENDED_REFUSE && p->j->checks)
		mime_refuse(p->j, why, lf < 0 ? body : span_head(body, (size_t)lf));
}

void job_header(struct job *j)
{
	struct header_pass p = { .j = j };
	struct span all = j->file != NULL ? j->header : j->content, rest = all;
	struct header_field f;
	bool blank_line;
	enum rc rc;

	while ((rc = header_next(&rest, &f)) == RC_OK && !job_refused(j)) {
		if (p.n > FIELDS_MAX)
			job_refuse(j, 552, "5.3.4", "Error: message header too large");
		else
			one_field(&p, &f);
	}
	if (job_refused(j))
		return;
	j->body_off = all.n - rest.n;
	/* an empty line parts header and body, also where the message had none (its header ended with text)
	 */
	blank_line = rc == RC_SYNTAX ||
		     (j->body_off > 0 && rc == RC_EOF && j->body_off <= all.n &&
		      all.p[j->body_off - 1] == '\n' && (j->body_off == 1 || all.p[j->body_off - 2] == '\n'));
	if (j->env.hops >= settings.hopcount_limit) { /* the field that this hop added is one of them */
		log_warning("%s: message rejected: hopcount exceeded", j->qid.s);
		job_refuse(j, 554, "5.4.0", "Error: too many hops");
		return;
	}
	add_missing(&p);
	if (rc == RC_SYNTAX)
		unended(&p, rest);
	if (p.n > 0 && !blank_line)
		blank_line = j->header_changed; /* header only, ended by the end of the content */
	/* Headers of strangers are theirs, unless remote_header_rewrite_domain says whose they are to be. */
	if ((j->env.flags & ENVF_LOCAL) || settings.remote_rewrite)
		header_rewrite_addresses(j, p.v, p.n);
	smtputf8_detect(j, span_head(all, (size_t)j->body_off));
	if (!job_refused(j) && j->header_changed)
		join(&p, blank_line);
}
