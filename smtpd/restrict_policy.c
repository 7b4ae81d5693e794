/* restrict_policy.c - check_policy_service: the policy delegation protocol (name=value lines, an empty line,
 * and an "action=" line back; SMTPD_POLICY_README's subject). Connections to a UNIX socket are made by
 * master. */
#include "restrict.h"
#include <unistd.h>

#define REPLY_LINE_MAX 4096
#define REPLY_LINES    50

struct policy {
	const char *path;
	struct stream *idle; /* one connection kept; a task takes it while it asks */
};

void *policy_read(struct span arg)
{
	struct policy *p = xcalloc(1, sizeof(*p));
	struct span path = arg;

	if (span_starts(path, SPAN("unix:")))
		path = span_skip(path, 5);
	p->path = strndup(path.p, path.n);
	if (span_starts(arg, SPAN("inet:")) || span_chr(path, '/') < 0 || path.n >= 60) {
		log_warning("check_policy_service " SPAN_FMT
			    ": policy servers are reached over UNIX sockets only; "
			    "smtpd_policy_service_default_action is taken",
			    SPAN_ARG(arg));
		p->path = NULL;
	}
	return p;
}

/* Bytes of a client never start a line of their own. */
static void put(struct buf *b, const char *name, struct span value)
{
	(void)buf_printf(b, "%s=", name);
	for (size_t i = 0; i < value.n; i++)
		(void)buf_putc(b, (unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f ? '?' : value.p[i]);
	(void)buf_putc(b, '\n');
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
	(void)buf_printf(b, "%s=%llu\n", name, (unsigned long long)v);
}

static const char *protocol_state(const struct session *s, const struct check *c)
{
	switch (c->stage) {
	case AT_DATA:
		return "DATA";
	case AT_END_OF_DATA:
		return "END-OF-MESSAGE";
	case AT_ETRN:
		return "ETRN";
	default:
		return s->where;
	}
}

static void put_client(struct buf *b, const struct session *s)
{
	put(b, "client_address", s->addr);
	put(b, "client_name", s->name);
	put_number(b, "client_port", s->port);
	put(b, "reverse_client_name", s->rname);
	put(b, "server_address", s->local_addr);
	put_number(b, "server_port", s->local_port);
	put(b, "helo_name", s->helo);
}

static void put_security(struct buf *b, const struct session *s)
{
	put(b, "sasl_method", s->sasl_method);
	put(b, "sasl_username", s->sasl_user);
	put(b, "sasl_sender", SPAN_NONE);
	put(b, "ccert_subject", s->tls != NULL ? span_str(s->tls->peer_subject) : SPAN_NONE);
	put(b, "ccert_issuer", s->tls != NULL ? span_str(s->tls->peer_issuer) : SPAN_NONE);
	put(b, "ccert_fingerprint", s->tls != NULL ? span_str(s->tls->peer_fingerprint) : SPAN_NONE);
	put(b, "ccert_pubkey_fingerprint", SPAN_NONE);
	put(b, "encryption_protocol", s->tls != NULL ? span_str(s->tls->protocol) : SPAN_NONE);
	put(b, "encryption_cipher", s->tls != NULL ? span_str(s->tls->cipher) : SPAN_NONE);
	put_number(b, "encryption_keysize", s->tls != NULL ? (uint64_t)s->tls->bits : 0);
}

static void make_request(struct session *s, struct check *c, struct buf *b)
{
	struct transaction *tx = s->tx;
	char instance[60];

	(void)snprintf(instance, sizeof(instance), "%lx.%llx.%zx.0", (long)getpid(),
		       (unsigned long long)(tx != NULL ? tx->arrival_us : 0), tx != NULL ? tx->rcpts : 0);
	put(b, "request", SPAN("smtpd_access_policy"));
	put(b, "protocol_state", span_str(protocol_state(s, c)));
	put(b, "protocol_name", span_str(session_proto(s)));
	put_client(b, s);
	put(b, "sender", tx != NULL ? tx->sender : SPAN_NONE);
	put(b, "recipient", c->rcpt);
	put_number(b, "recipient_count", tx != NULL && c->stage >= AT_DATA ? tx->rcpts : 0);
	put(b, "queue_id", tx != NULL ? qid_span(&tx->qid) : SPAN_NONE);
	put(b, "instance", span_str(instance));
	put_number(b, "size",
		   tx == NULL		 ? 0
		   : tx->content != NULL ? content_bytes(tx->content)
					 : tx->mail.size);
	put(b, "etrn_domain", c->stage == AT_ETRN ? c->subject : SPAN_NONE);
	put(b, "stress", span_str(conf_str(service_conf(), "stress")));
	put_security(b, s);
	put(b, "policy_context", SPAN_NONE);
	put(b, "compatibility_level", span_str(conf_str(service_conf(), "compatibility_level")));
	put(b, "mail_version", SPAN(POSTERN_VERSION));
	(void)buf_putc(b, '\n');
}

static enum rc read_action(struct stream *io, struct arena *a, struct span *action, deadline_t d,
			   struct err *e)
{
	struct span line;
	enum rc rc;

	*action = SPAN_NONE;
	for (int i = 0; i < REPLY_LINES; i++) {
		if ((rc = stream_line(io, &line, REPLY_LINE_MAX, NULL, d, e)) != RC_OK)
			return rc;
		if (line.n == 0)
			return action->n > 0 ? RC_OK : err_set(e, RC_SYNTAX, "no action in the answer");
		if (span_starts(line, SPAN("action=")))
			*action = span_dup(a, span_trim(span_skip(line, 7)));
	}
	return err_set(e, RC_LIMIT, "answer too long");
}

static enum rc ask_once(struct policy *p, struct span request, struct arena *a, struct span *action,
			struct err *e)
{
	deadline_t d = deadline_s(conf_int(service_conf(), "smtpd_policy_service_timeout"));
	struct stream *io = p->idle;
	enum rc rc = RC_OK;
	int fd;

	p->idle = NULL;
	if (io == NULL && (rc = service_connect(p->path, &fd, d, e)) == RC_OK)
		io = stream_new(fd);
	if (rc != RC_OK)
		return rc;
	stream_write(io, request);
	if ((rc = stream_flush(io, d, e)) == RC_OK)
		rc = read_action(io, a, action, d, e);
	if (rc == RC_OK && p->idle == NULL)
		p->idle = io;
	else
		stream_close(&io);
	return rc;
}

enum outcome run_policy(struct session *s, struct check *c, const struct rule *r)
{
	int64_t tries = conf_int(service_conf(), "smtpd_policy_service_try_limit");
	struct policy *p = r->state;
	struct span action = span_str(conf_str(service_conf(), "smtpd_policy_service_default_action"));
	struct buf b;
	struct err e;
	enum rc rc = RC_DENIED;

	buf_init(&b, 64 * 1024);
	make_request(s, c, &b);
	for (int64_t i = 0; p->path != NULL && rc != RC_OK && i < tries; i++) {
		if (i > 0)
			task_sleep_ms(conf_int(service_conf(), "smtpd_policy_service_retry_delay") * 1000);
		if ((rc = ask_once(p, buf_span(&b), c->a, &action, &e)) != RC_OK)
			log_warning("problem talking to server %s: %s", p->path, e.text);
	}
	if (rc != RC_OK)
		action = span_str(conf_str(service_conf(), "smtpd_policy_service_default_action"));
	buf_release(&b);
	return access_result(s, c, action, "policy service", c->subject, c->class);
}
