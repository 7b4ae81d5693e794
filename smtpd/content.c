/* content.c - the message on its way to cleanup(8). Up to CONTENT_SMALL bytes stay in memory and travel in
 * one record; beyond that cleanup gives a write-only file, and memory holds what is not yet written. After
 * the first trouble the rest is read and dropped, and the verdict is told at the end of data. */
#include "smtpd.h"
#include "queue/qfile.h"
#include <errno.h>
#include <unistd.h>

#define CONTENT_SMALL (64 * 1024)
#define PIECE	      8192 /* scanned at a time */
/* What an IPC record has beside content and envelope. */
#define RECORD_REST 512

struct content {
	struct buf b;
	struct data_scan scan;
	struct opening opening;
	uint64_t bytes;	  /* of the client, as stored */
	uint64_t written; /* in the file */
	size_t keep;	  /* bytes in memory that are not yet too many */
	int fd;		  /* -1: none */
	struct verdict verdict;
};

struct data_scan *content_scan(struct content *c)
{
	return &c->scan;
}

uint64_t content_bytes(const struct content *c)
{
	return c->bytes + c->scan.lines;
}

uint64_t content_total(const struct content *c)
{
	return content_bytes(c) + (data_scan_in_line(&c->scan) ? 2 : 0);
}

struct content *content_open(struct session *s, bool chunked)
{
	struct content *c = xcalloc(1, sizeof(*c));

	c->fd = -1;
	c->scan.chunked = chunked;
	c->scan.lenient = s->lenient_lf;
	c->keep = conf.before_on && conf.before_speed ? BEFORE_SPEED_BYTES : CONTENT_SMALL;
	buf_init(&c->b, c->keep + 2 * PIECE + 4096);
	s->tx->content = c;
	return c;
}

static void refuse(struct content *c, unsigned code, struct span dsn, struct span text)
{
	if (c->verdict.code == 0)
		c->verdict = (struct verdict){ (uint16_t)code, dsn, text };
	buf_release(&c->b);
	buf_init(&c->b, c->keep + 2 * PIECE + 4096);
}

static void close_file(struct content *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* ---- the file ---- */

static bool ask_file(struct session *s, struct content *c)
{
	struct cleanup_file q = { qid_span(&s->tx->qid) };
	struct cleanup_file_reply r = { .fd = -1 };
	struct err e;

	if (service_request(conf.cleanup_service, false, IPC_CLEANUP_FILE, &q, &r, &s->tx_arena,
			    deadline_s(conf.ipc_timeout_s), &e) != RC_OK) {
		log_warning("%s: %s", conf.cleanup_service, e.text);
		refuse(c, 451, SPAN("4.3.0"), SPAN("Error: queue file write error"));
		return false;
	}
	c->fd = r.fd;
	if (r.code != 0 || r.fd < 0) {
		close_file(c);
		refuse(c, r.code != 0 ? r.code : 451, r.dsn, r.text);
		return false;
	}
	return true;
}

struct write_job {
	int fd, error;
	const char *p;
	size_t n;
	int64_t off;
};

static void write_run(void *arg)
{
	struct write_job *j = arg;

	while (j->n > 0 && j->error == 0) {
		ssize_t n = pwrite(j->fd, j->p, j->n, j->off);

		if (n <= 0) {
			j->error = n == 0 ? ENOSPC : errno == EINTR ? 0 : errno;
			continue;
		}
		j->p += n;
		j->off += n;
		j->n -= (size_t)n;
	}
}

/* What is in memory goes to the filter before the queue. */
static void spill_to_filter(struct session *s, struct content *c)
{
	struct verdict v = { 0 };

	if (before_content(s, buf_span(&c->b), &v)) {
		c->written += c->b.n;
		buf_reset(&c->b);
	} else
		c->verdict = v;
}

/* What is in memory goes to the file. */
static void spill(struct session *s, struct content *c)
{
	struct write_job j;

	if (c->verdict.code != 0)
		return;
	if (conf.before_on) {
		spill_to_filter(s, c);
		return;
	}
	if (c->fd < 0 && !ask_file(s, c))
		return;
	j = (struct write_job){ c->fd, 0, c->b.p, c->b.n, QFILE_CONTENT_OFF + (int64_t)c->written };
	task_offload(write_run, &j);
	if (j.error != 0) {
		bool full = j.error == ENOSPC || j.error == EDQUOT || j.error == EFBIG;

		log_warning("%s: write queue file: %s", session_message(s), strerror(j.error));
		refuse(c, full ? 452 : 451, full ? SPAN("4.3.1") : SPAN("4.3.0"),
		       full ? SPAN("Insufficient system storage") : SPAN("Error: queue file write error"));
		return;
	}
	c->written += c->b.n;
	buf_reset(&c->b);
}

/* ---- bytes ---- */

static void too_big(struct session *s, struct content *c)
{
	struct verdict v = { 552, SPAN("5.3.4"), SPAN("Error: message file too big") };

	log_warning("%s: queue file size limit exceeded", session_message(s));
	refuse(c, v.code, v.dsn, v.text);
}

/* Received: stands first, and needs the queue id, which is there when content begins. */
static void begin(struct session *s, struct content *c)
{
	/* A filter between two hops of one host, told of the real client, leaves no trace of its own. */
	if (conf.before_on && (s->fwd.name.n > 0 || s->fwd.addr.n > 0))
		(void)buf_append(&c->b, s->tx->prepend);
	else
		(void)buf_append(&c->b, received_field(s, &s->tx_arena));
	c->opening.at = c->b.n;
}

void content_feed(struct session *s, struct content *c, struct span *in)
{
	if (c->bytes == 0 && c->b.n == 0 && c->written == 0 && c->verdict.code == 0)
		begin(s, c);
	while (in->n > 0 && !c->scan.done) {
		struct span piece = span_head(*in, PIECE);
		char *room = buf_reserve(&c->b, piece.n + DATA_SCAN_EXTRA);
		size_t made, used = data_scan(&c->scan, piece, room, &made);

		*in = span_skip(*in, used);
		c->bytes += made;
		if (c->verdict.code != 0)
			continue; /* dropped */
		c->b.n += made;
		opening_settle(&c->opening, &c->b, c->b.n >= CONTENT_SMALL);
		if (conf.message_size_limit > 0 && content_bytes(c) > (uint64_t)conf.message_size_limit)
			too_big(s, c);
		else if (c->b.n >= c->keep)
			spill(s, c);
	}
}

/* ---- the end ---- */

void content_abort(struct session *s, struct content **cp)
{
	struct content *c = *cp;
	struct cleanup_abort q = { qid_span(&s->tx->qid) };
	struct ipc_chan *chan;
	struct err e;

	*cp = NULL;
	if (c->fd >= 0 && service_peer(conf.cleanup_service, &chan, deadline_s(10), &e) == RC_OK &&
	    ipc_notify(chan, IPC_CLEANUP_ABORT, &q, deadline_s(10), &e) != RC_OK)
		log_warning("%s: %s", conf.cleanup_service, e.text);
	close_file(c);
	buf_release(&c->b);
	free(c);
}

bool client_is_local(const struct session *s)
{
	struct arena a;
	struct span value;
	struct err e;
	bool local =
	    conf.rewrite_all || (conf.rewrite_sasl && s->client.sasl_user.n > 0) ||
	    (conf.rewrite_inet && match_host(conf.local_ip, SPAN_NONE, s->client.addr, &e) == RC_OK) ||
	    (conf.rewrite_mynetworks &&
	     match_host(conf.mynetworks, s->client.name, s->client.addr, &e) == RC_OK);

	arena_init(&a);
	if (!local && !maps_empty(conf.rewrite_table))
		local = maps_lookup(conf.rewrite_table, s->client.addr, &a, &value, &e) == RC_OK;
	if (!local)
		local = (conf.rewrite_all_certs && client_certified(s)) ||
			(conf.rewrite_certs && client_cert_listed(s, &a) == RC_OK);
	arena_release(&a);
	return s->fwd.sourced ? s->fwd.local : local;
}

static struct span or_else(struct span forwarded, struct span own)
{
	return forwarded.n > 0 ? forwarded : own;
}

/* Recipients, and those that access tables added (BCC): nobody is told about these. */
static struct ipc_list all_recipients(struct transaction *tx, struct arena *a)
{
	struct env_rcpt *v;

	if (tx->bccs == 0)
		return (struct ipc_list){ tx->rcpt, tx->rcpts };
	v = arena_array(a, tx->rcpts + tx->bccs, sizeof(*v));
	memcpy(v, tx->rcpt, tx->rcpts * sizeof(*v));
	for (size_t i = 0; i < tx->bccs; i++)
		v[tx->rcpts + i] = (struct env_rcpt){ .addr = tx->bcc[i], .notify = NOTIFY_NEVER };
	return (struct ipc_list){ v, tx->rcpts + tx->bccs };
}

static void make_envelope(struct session *s, struct envelope *env)
{
	struct transaction *tx = s->tx;
	char port[8];

	(void)snprintf(port, sizeof(port), "%u", s->client.port);
	*env = (struct envelope){
		.qid = qid_span(&tx->qid),
		.arrival_us = tx->arrival_us,
		.sender = tx->sender,
		.flags = conf.env_flags | (tx->mail.smtputf8 ? ENVF_SMTPUTF8 : 0) |
			 (tx->hold ? ENVF_HOLD : 0) | (client_is_local(s) ? ENVF_LOCAL : 0),
		.ret = (uint16_t)tx->mail.ret,
		.body = (uint16_t)tx->mail.body,
		.envid = tx->mail.envid,
		.client_name = or_else(s->fwd.name, s->client.name),
		.client_addr = or_else(s->fwd.addr, s->client.addr),
		.client_port = or_else(s->fwd.port, span_printf(&s->tx_arena, "%s", port)),
		.helo = or_else(s->fwd.helo, s->client.helo),
		.protocol = or_else(s->fwd.proto, span_str(session_proto(s))),
		.rev_client_name = s->client.rname,
		.sasl_method = s->client.sasl_method,
		.sasl_username = s->client.sasl_user,
		.ident = s->fwd.ident.n > 0 ? s->fwd.ident : qid_span(&tx->qid),
		.content_filter = or_else(tx->filter, span_str(conf.content_filter)),
		.redirect = tx->redirect,
		.verp = tx->mail.verp,
		.rcpts = all_recipients(tx, &s->tx_arena),
	};
}

static struct verdict send_off(struct session *s, struct content *c, struct buf *env)
{
	struct cleanup_submit q = { .envelope = buf_span(env) };
	struct cleanup_submit_reply r;
	struct err e;

	if (c->fd >= 0 || c->b.n + env->n + RECORD_REST > IPC_FRAME_MAX)
		spill(s, c);
	if (c->verdict.code != 0)
		return c->verdict;
	q.file = c->fd >= 0;
	q.content = q.file ? SPAN_NONE : buf_span(&c->b);
	q.content_bytes = q.file ? c->written : c->b.n;
	close_file(c); /* nobody writes any more when cleanup makes it durable */
	if (service_request(conf.cleanup_service, false, IPC_CLEANUP_SUBMIT, &q, &r, &s->tx_arena,
			    deadline_s(conf.ipc_timeout_s), &e) != RC_OK) {
		log_warning("%s: %s: %s", s->tx->qid.s, conf.cleanup_service, e.text);
		return (struct verdict){ 451, SPAN("4.3.0"), SPAN("Error: queue file write error") };
	}
	return (struct verdict){ r.code, r.dsn, r.text };
}

static struct verdict send_to_filter(struct session *s, struct content *c)
{
	struct verdict v = { 0 };

	spill_to_filter(s, c);
	if (c->verdict.code == 0)
		(void)before_finish(s, &v, &s->tx->answer);
	return c->verdict.code != 0 ? c->verdict : v;
}

struct verdict content_submit(struct session *s, struct content **cp)
{
	struct content *c = *cp;
	struct verdict v = c->verdict;
	struct envelope env;
	struct buf b;

	if (c->b.n == 0 && c->written == 0 && v.code == 0)
		begin(s, c); /* an empty message */
	if (v.code == 0) {
		char *room = buf_reserve(&c->b, DATA_SCAN_EXTRA);

		c->b.n += data_scan_finish(&c->scan, room);
		opening_settle(&c->opening, &c->b, true);
		buf_init(&b, IPC_FRAME_MAX);
		make_envelope(s, &env);
		if (conf.before_on)
			v = send_to_filter(s, c);
		else if (envelope_encode(&env, &b) == RC_OK)
			v = send_off(s, c, &b);
		else
			v = (struct verdict){ 452, SPAN("4.5.3"), SPAN("Error: too many recipients") };
		buf_release(&b);
	}
	if (v.code != 0) {
		if (conf.before_on)
			before_refused(s, &v);
		content_abort(s, cp);
		return v;
	}
	*cp = NULL;
	buf_release(&c->b);
	free(c);
	return v;
}
