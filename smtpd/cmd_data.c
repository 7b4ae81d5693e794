/* cmd_data.c - DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030): reading content, and the reply that takes
 * responsibility for it. */
#include "restrict.h"

/* One reply, or in LMTP one for each recipient (RFC 2033 section 4.2). */
static void reply_all(struct session *s, const char *text)
{
	size_t n = conf.lmtp ? s->tx->rcpts : 1;

	for (size_t i = 0; i < n && !s->hangup; i++)
		reply(s, "%s", text);
}

static bool refuse(struct session *s, const struct verdict *v)
{
	char text[1100];

	(void)snprintf(text, sizeof(text), "%u " SPAN_FMT "%s" SPAN_FMT, v->code, SPAN_ARG(v->dsn),
		       v->dsn.n > 0 ? " " : "", SPAN_ARG(v->text));
	reply_all(s, text);
	transaction_end(s);
	return false;
}

static bool bare_lf_refused(struct session *s, const char *where)
{
	const struct transaction *tx = s->tx;
	char text[200];

	if (!content_scan(tx->content)->bare_lf || s->lenient_lf || conf.bare_lf < BARE_LF_NOTE)
		return false;
	log_action(s, conf.bare_lf == BARE_LF_REJECT ? "reject" : "info", where,
		   tx->rcpts == 1 ? tx->rcpt[0].addr : SPAN_NONE, "bare <LF> received");
	if (conf.bare_lf != BARE_LF_REJECT)
		return false;
	(void)snprintf(text, sizeof(text), "%d 5.5.2 %s Error: bare <LF> received", (int)conf.bare_lf_code,
		       conf.myhostname);
	reply_all(s, text);
	transaction_end(s);
	return true;
}

/* The end of data: 250 means stable storage, for every recipient that was accepted. */
static bool finish(struct session *s)
{
	struct verdict v = { 0 };
	struct qid qid = s->tx->qid;
	uint64_t bytes = content_total(s->tx->content);
	bool chunked = s->tx->bdat;
	char text[100];

	s->where = "END-OF-MESSAGE";
	if (bare_lf_refused(s, s->where))
		return false;
	if (!check_end_of_data(s, &v))
		return refuse(s, &v);
	s->tx->settled = true; /* cleanup(8) tells of what it refuses */
	if (!s->tx->discard)
		v = content_submit(s, &s->tx->content);
	if (v.code != 0)
		return refuse(s, &v);
	s->messages++;
	s->junk = s->errors = s->trouble = 0;
	if (s->tx->answer.n > 0) {
		reply(s, SPAN_FMT, SPAN_ARG(s->tx->answer));
		transaction_end(s);
		return true;
	}
	if (chunked)
		(void)snprintf(text, sizeof(text), "250 2.0.0 Ok: %llu bytes queued as %s",
			       (unsigned long long)bytes, qid.s);
	else
		(void)snprintf(text, sizeof(text), "250 2.0.0 Ok: queued as %s", qid.s);
	reply_all(s, text);
	transaction_end(s);
	return true;
}

/* What may stand before content. */
static bool ready(struct session *s)
{
	if (s->tx == NULL || s->tx->rcpts == 0) {
		reply(s, s->tx == NULL ? "503 5.5.1 Error: need RCPT command"
				       : "554 5.5.1 Error: no valid recipients");
		return false;
	}
	return true;
}

/* Of a message as a whole there is time for what has come at the least rate, or for each piece of it. */
static deadline_t content_deadline(const struct content *c, mono_t began)
{
	int64_t left_ms = conf.timeout_s * 1000 - mono_diff_ms(mono_now(), began);

	if (!conf.per_request_deadline)
		return session_deadline();
	if (conf.min_data_rate > 0)
		left_ms += (int64_t)(content_bytes(c) / (uint64_t)conf.min_data_rate) * 1000;
	if (conf.min_data_rate > 0 && left_ms > conf.timeout_s * 1000)
		left_ms = conf.timeout_s * 1000; /* what comes fast saves no time for later */
	return deadline_ms(left_ms > 0 ? left_ms : 0);
}

static bool read_data(struct session *s, struct content *c)
{
	struct data_scan *scan = content_scan(c);
	mono_t began = mono_now();
	struct span in;
	struct err e;

	while (!scan->done) {
		size_t before;
		enum rc rc = stream_peek(s->io, &in, content_deadline(c, began), &e);

		if (rc != RC_OK)
			return session_lost(s, rc);
		before = in.n;
		content_feed(s, c, &in); /* what it leaves is the next command */
		stream_consume(s->io, before - in.n);
	}
	return true;
}

bool cmd_data(struct session *s, struct span arg)
{
	struct verdict v;

	if (s->bdat_failed != BDAT_FINE ||
	    (s->tx != NULL && s->tx->bdat)) { /* RFC 3030 section 3: not both */
		reply(s, "503 5.5.1 Error: DATA after BDAT");
		return false;
	}
	if (!ready(s))
		return false;
	if (arg.n > 0) {
		reply(s, "501 5.5.4 Syntax: DATA");
		return false;
	}
	if (!check_data(s))
		return false;
	if (conf.before_on && !before_data(s, &v))
		return refuse(s, &v);
	reply(s, "354 End data with <CR><LF>.<CR><LF>");
	if (!read_data(s, content_open(s, false)))
		return false;
	return finish(s);
}

/* ---- BDAT ---- */

struct chunk {
	uint64_t bytes;
	bool last;
};

static bool chunk_parse(struct span arg, struct chunk *out)
{
	struct span count, word;

	*out = (struct chunk){ 0 };
	if (!span_next_word(&arg, " \t", &count) || count.n > 18 ||
	    span_to_u64(count, INT64_MAX, &out->bytes) != RC_OK)
		return false;
	if (span_next_word(&arg, " \t", &word)) {
		out->last = true;
		return span_is_ci(word, "LAST") && !span_next_word(&arg, " \t", &word);
	}
	return true;
}

/* Takes the chunk off the wire, into content or, when c is NULL, nowhere (RFC 3030 section 3: it comes
 * without waiting for leave). */
static bool read_chunk(struct session *s, struct content *c, uint64_t n)
{
	struct span in;
	struct err e;

	while (n > 0) {
		enum rc rc = stream_peek(s->io, &in, session_deadline(), &e);

		if (rc != RC_OK)
			return session_lost(s, rc);
		size_t take = n < in.n ? (size_t)n : in.n;

		in = span_head(in, take);
		if (c != NULL)
			content_feed(s, c, &in);
		stream_consume(s->io, take);
		n -= take;
	}
	return true;
}

static void break_off(struct session *s)
{
	s->bdat_failed = session_in_mail(s) ? BDAT_OF_MAIL : BDAT_WITHOUT_MAIL;
	transaction_end(s);
}

/* The chunk is read and forgotten, and so is the message: whoever refused one piece never gets a message of
 * the rest. The last chunk ends that. */
static bool chunk_refused(struct session *s, const struct chunk *ch)
{
	if (ch->bytes > (uint64_t)INT64_MAX / 2 ||
	    (conf.message_size_limit > 0 && ch->bytes > 2 * (uint64_t)conf.message_size_limit + (1 << 20))) {
		reply(s, "521 5.3.4 Message size exceeds fixed limit"); /* not worth reading */
		transaction_end(s);
		return false;
	}
	if (!read_chunk(s, NULL, ch->bytes))
		return false;
	break_off(s);
	if (ch->last)
		s->bdat_failed = BDAT_FINE;
	return true;
}

static bool first_chunk(struct session *s)
{
	if (!ready(s) || !check_data(s))
		return false;
	(void)content_open(s, true);
	s->tx->bdat = true;
	return true;
}

bool cmd_bdat(struct session *s, struct span arg)
{
	struct chunk ch;

	if (!chunk_parse(arg, &ch)) { /* how much would follow nobody knows */
		log_warning("%s: malformed BDAT command syntax from %s: BDAT%s" SPAN_FMT, session_message(s),
			    session_client(s), arg.n > 0 ? " " : "", SPAN_ARG(span_head(arg, 100)));
		reply(s, "521 5.5.4 Syntax: BDAT count [LAST]");
		return false;
	}
	if (s->discard_ehlo & KW_CHUNKING) { /* what follows cannot be told from commands */
		reply(s, "521 5.5.1 Error: command not implemented");
		return false;
	}
	if (ch.bytes == 0 && !ch.last) {
		log_warning("%s: null BDAT request from %s", session_message(s), session_client(s));
		reply(s, "551 5.7.1 Null BDAT request");
		break_off(s);
		return false;
	}
	if (s->bdat_failed != BDAT_FINE) {
		if (chunk_refused(s, &ch))
			reply(s, "551 5.0.0 Discarded %llu bytes after earlier error",
			      (unsigned long long)ch.bytes);
		return false;
	}
	if ((s->tx == NULL || !s->tx->bdat) && !first_chunk(s)) {
		if (!s->hangup)
			(void)chunk_refused(s, &ch);
		return false;
	}
	if (conf.message_size_limit > 0 &&
	    (ch.bytes > (uint64_t)conf.message_size_limit ||
	     content_bytes(s->tx->content) + ch.bytes > (uint64_t)conf.message_size_limit)) {
		log_warning("%s: BDAT request from %s exceeds message size limit", session_message(s),
			    session_client(s));
		if (chunk_refused(s, &ch))
			reply(s, "552 5.3.4 Chunk exceeds message size limit");
		return false;
	}
	if (!read_chunk(s, s->tx->content, ch.bytes))
		return false;
	if (ch.last)
		return finish(s);
	if (bare_lf_refused(s, "BDAT content")) {
		s->bdat_failed = BDAT_OF_MAIL;
		return false;
	}
	reply(s, "250 2.0.0 Ok: %llu bytes", (unsigned long long)ch.bytes);
	return true;
}
