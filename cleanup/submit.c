/* submit.c - one message from its submission to its reply. 250 (code 0) is said when it is on stable storage,
 * not before. */
#include "cleanup.h"
#include "mime/convert.h"
#include "queue/msgsize.h"

#define HEADER_AREA (2 << 20) /* of a large message: a longer header is none */

void job_refuse_span(struct job *j, unsigned code, struct span dsn, struct span text)
{
	if (j->verdict.code != 0)
		return;
	if (settings.soft_bounce && code >= 500) {
		code -= 100;
		dsn = span_printf(&j->a, "4" SPAN_FMT, SPAN_ARG(span_skip(dsn, 1)));
	}
	j->verdict = (struct verdict){ (uint16_t)code, dsn, text };
}

void job_refuse(struct job *j, unsigned code, const char *dsn, const char *text)
{
	job_refuse_span(j, code, span_str(dsn), span_str(text));
}

/* The start of a large message until its header ends. */
static void read_header(struct job *j)
{
	size_t n = 16384;
	char *p;
	struct err e;

	for (;;) {
		if (n > j->content_bytes)
			n = (size_t)j->content_bytes;
		p = arena_alloc(&j->a, n + 1);
		if (large_read(j->file, 0, p, n, &e) != RC_OK) {
			log_warning("%s: %s", j->qid.s, e.text);
			job_refuse(j, 451, "4.3.0", "Error: queue file write error");
			return;
		}
		j->header = span_make(p, n);
		/* one line beyond the header shows that it has ended and is not merely cut off */
		if (n == j->content_bytes || header_length(span_head(j->header, n)) + 4096 < n)
			return;
		if (n >= HEADER_AREA) {
			job_refuse(j, 552, "5.3.4", "Error: message header too large");
			return;
		}
		n *= 4;
	}
}

static bool read_whole(struct job *j, struct err *e)
{
	char *p = arena_alloc(&j->a, (size_t)j->content_bytes + 1);

	if (large_read(j->file, 0, p, (size_t)j->content_bytes, e) != RC_OK)
		return false;
	j->content = span_make(p, (size_t)j->content_bytes);
	large_drop(&j->file);
	return true;
}

/* What fits a slot is handled as if it had come in memory; the file that was streamed into never gets a name. */
static void take_into_memory(struct job *j)
{
	struct err e; /* read_header() meets the same trouble, and tells it */

	if (store_wants_copy(j, j->content_bytes))
		(void)read_whole(j, &e);
}

/* force_mime_input_conversion: before anything looks at the content. What cannot be converted stays as it is. */
static void make_7bit(struct job *j)
{
	struct err e = { .text = "" };
	struct buf b;

	if (j->file != NULL && (j->content_bytes > CONVERT_MAX || !read_whole(j, &e))) {
		log_warning("%s: not converted to 7 bits: %s", j->qid.s,
			    e.text[0] != '\0' ? e.text : "message too large to convert");
		return;
	}
	if (span_is_ascii(j->content))
		return;
	buf_init(&b, 4ULL * CONVERT_MAX);
	if (convert_7bit(j->content, true, &b, &e) == RC_OK) {
		j->content = span_dup(&j->a, buf_span(&b));
		j->content_bytes = j->content.n;
		j->env.body = BODY_7BIT;
	} else {
		log_warning("%s: not converted to 7 bits: %s", j->qid.s, e.text);
	}
	buf_release(&b);
}

static void take_content(struct job *j, struct ipc_call *call, const struct cleanup_submit *q)
{
	if (!q->file) {
		j->content = q->content;
		j->content_bytes = q->content.n;
		return;
	}
	j->file = large_take(ipc_call_chan(call), j->env.qid);
	j->content_bytes = q->content_bytes;
	if (j->file == NULL || q->content_bytes > INT64_MAX / 2) {
		log_warning("%s: no such file was asked for", j->qid.s);
		job_refuse(j, 451, "4.3.0", "Error: internal protocol error");
		return;
	}
	take_into_memory(j);
}

bool from_network(const char *program)
{
	return strcmp(program, "smtpd") == 0 || strcmp(program, "lmtpd") == 0;
}

static void set_up(struct job *j, struct ipc_call *call, const struct cleanup_submit *q)
{
	const struct ipc_peer *peer = ipc_chan_peer(ipc_call_chan(call));
	struct err e;

	arena_init(&j->a);
	buf_init(&j->new_header, 0);
	if (envelope_decode(q->envelope, &j->a, &j->env, &e) != RC_OK || !qid_parse(j->env.qid, &j->qid)) {
		log_warning("a submission of %s: %s", peer->program,
			    j->env.qid.n > 0 ? "bad queue id" : e.text);
		job_refuse(j, 451, "4.3.0", "Error: internal protocol error");
		return;
	}
	j->peer = peer->program;
	j->external = from_network(peer->program) || strcmp(peer->program, "pickup") == 0;
	/* bounce(8) says whether internal_mail_filter_classes has what it made */
	j->checks =
	    (j->external || strcmp(peer->program, "bounce") == 0) && !(j->env.flags & ENVF_NO_HEADERBODY);
	j->hold = (j->env.flags & ENVF_HOLD) != 0;
	if (j->env.arrival_us <= 0)
		j->env.arrival_us = wall_now().us;
	take_content(j, call, q);
}

/* The size that is logged. Of a message in a file it is counted when that is read for its checksum. */
static void count(struct job *j)
{
	struct msgsize m = { 0 };

	if (j->file != NULL)
		return;
	msgsize_add(&m, j->header_changed ? buf_span(&j->new_header)
					  : span_head(j->content, (size_t)j->body_off));
	for (size_t i = 0; i < j->pieces; i++)
		msgsize_add(&m, j->piece[i].fresh ? j->piece[i].text
						  : span_head(span_skip(j->content, (size_t)j->piece[i].off),
							      (size_t)j->piece[i].len));
	j->env.size = m.bytes;
}

/* What "postsuper -r" sends through here once more was let in by the limit of its day. */
static bool too_big(const struct job *j)
{
	return settings.message_size_limit > 0 && j->content_bytes > (uint64_t)settings.message_size_limit &&
	       !job_resubmitted(j);
}

static void process(struct job *j)
{
	if (too_big(j)) {
		job_refuse(j, 552, "5.3.4", "Error: message file too big");
		return;
	}
	if (settings.force_7bit)
		make_7bit(j);
	if (j->file != NULL)
		read_header(j);
	else if (chars_wanted(j)) {
		j->content = chars_filter(j, j->content);
		j->content_bytes = j->content.n;
	}
	j->env.hops = 0;
	if (!job_refused(j))
		job_expand(j);
	if (!job_refused(j))
		job_header(j);
	if (!job_refused(j) && !j->discard)
		job_body(j);
	if (job_refused(j) || j->discard)
		return;
	job_late_recipients(j);
	count(j);
	if (j->hold)
		j->env.flags |= ENVF_HOLD;
	if (!job_refused(j))
		job_store(j);
}

void answer_submit(struct ipc_call *call, const void *request)
{
	struct job j = { .where = QW_HOLD };
	struct cleanup_submit_reply r;

	service_hold(); /* an ending process finishes what it has begun */
	set_up(&j, call, request);
	if (j.external)
		flow_wait();
	if (!job_refused(&j))
		process(&j);
	if (j.verdict.code >= 500 && j.peer != NULL && span_is(span_str(j.peer), "pickup") &&
	    job_bounce(&j)) {
		j.verdict = (struct verdict){ .code = 0 };
		j.discard = true;
	}
	r = (struct cleanup_submit_reply){ j.verdict.code, j.verdict.dsn, j.verdict.text, qid_span(&j.qid) };
	ipc_reply(call, &r); /* what the envelope borrows from the request is gone now */
	if (!job_refused(&j) && !j.discard)
		notify_new(&j);
	large_drop(&j.file);
	buf_release(&j.new_header);
	arena_release(&j.a);
	service_unhold();
}
