/* restrict_policy.c - check_policy_service: the policy delegation protocol (name=value lines, an empty line,
 * and an "action=" line back; SMTPD_POLICY_README's subject). Connections are made by
 * master. */
#include "restrict.h"
#include "policy_answer.h"
#include "net/endpoint.h"
#include <unistd.h>

#define REPLY_LINE_MAX 4096

struct policy {
	struct endpoint to;
	bool usable;
	struct policy_settings set;
	/* one connection kept; a task takes it while it asks */
	struct stream *idle;
	mono_t made, used;
	int64_t requests;
};

/* ---- reading ---- */

static void take_defaults(struct policy *p)
{
	const char *name;
	char param[80];
	int64_t *at;

	for (size_t i = 0; (name = policy_number(&p->set, i, &at)) != NULL; i++) {
		(void)snprintf(param, sizeof(param), "smtpd_policy_service_%s", name);
		*at = conf_int(service_conf(), param);
	}
	p->set.default_action = span_str(conf_str(service_conf(), "smtpd_policy_service_default_action"));
	p->set.context = span_str(conf_str(service_conf(), "smtpd_policy_service_policy_context"));
}

void *policy_read(struct span arg)
{
	struct policy *p = xcalloc(1, sizeof(*p));
	struct span *v = &arg, server = arg;
	static struct arena a; /* for the life of the process */
	struct err e;
	size_t n = 0;

	take_defaults(p);
	if (conf_words(arg, false, &a, &v, &n, &e) == RC_OK && n > 0)
		server = v[0];
	p->usable = endpoint_parse(server, &p->to, &e) == RC_OK;
	if (!p->usable)
		log_warning("check_policy_service " SPAN_FMT ": %s", SPAN_ARG(arg), e.text);
	for (size_t i = 1; i < n; i++)
		if (policy_attribute(v[i], &p->set) != RC_OK) {
			log_warning("check_policy_service " SPAN_FMT ": bad attribute " SPAN_FMT,
				    SPAN_ARG(server), SPAN_ARG(v[i]));
			p->usable = false;
		}
	return p;
}

/* ---- the request ---- */

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
	put(b, "client_address", s->client.addr);
	put(b, "client_name", s->client.name);
	put_number(b, "client_port", s->client.port);
	put(b, "reverse_client_name", s->client.rname);
	put(b, "server_address", s->client.local_addr);
	put_number(b, "server_port", s->client.local_port);
	put(b, "helo_name", s->client.helo);
}

static void put_security(struct buf *b, const struct session *s)
{
	put(b, "sasl_method", s->client.sasl_method);
	put(b, "sasl_username", s->client.sasl_user);
	put(b, "sasl_sender",
	    s->tx != NULL && !span_is(s->tx->mail.auth, "<>") ? s->tx->mail.auth : SPAN_NONE);
	put(b, "ccert_subject", s->tls != NULL ? span_str(s->tls->peer_subject) : SPAN_NONE);
	put(b, "ccert_issuer", s->tls != NULL ? span_str(s->tls->peer_issuer) : SPAN_NONE);
	if (s->tls != NULL && s->tls->peer_fingerprint[0] != '\0')
		restrict_tell_digest();
	put(b, "ccert_fingerprint", s->tls != NULL ? span_str(s->tls->peer_fingerprint) : SPAN_NONE);
	put(b, "ccert_pubkey_fingerprint",
	    s->tls != NULL ? span_str(s->tls->peer_key_fingerprint) : SPAN_NONE);
	put(b, "encryption_protocol", s->tls != NULL ? span_str(s->tls->protocol) : SPAN_NONE);
	put(b, "encryption_cipher", s->tls != NULL ? span_str(s->tls->cipher) : SPAN_NONE);
	put_number(b, "encryption_keysize", s->tls != NULL ? (uint64_t)s->tls->bits : 0);
	put(b, "tls_sni", s->tls != NULL ? span_str(s->tls->sni) : SPAN_NONE);
}

static void make_request(struct session *s, struct check *c, const struct policy *p, struct buf *b)
{
	struct transaction *tx = s->tx;
	char instance[60] = "";

	if (tx != NULL &&
	    strcmp(s->where, "MAIL") != 0) /* the message is not begun before that is accepted */
		(void)snprintf(instance, sizeof(instance), "%lx.%llx.%zx.0", (long)getpid(),
			       (unsigned long long)(tx != NULL ? tx->arrival_us : 0),
			       tx != NULL ? tx->rcpts : 0);
	put(b, "request", SPAN("smtpd_access_policy"));
	put(b, "protocol_state", span_str(protocol_state(s, c)));
	put(b, "protocol_name", span_str(session_proto(s)));
	put_client(b, s);
	put(b, "sender", tx != NULL ? address_unquote(c->a, tx->sender) : SPAN_NONE);
	put(b, "recipient", address_unquote(c->a, c->rcpt));
	put_number(b, "recipient_count", tx != NULL && c->stage >= AT_DATA ? tx->rcpts : 0);
	put(b, "queue_id", tx != NULL ? qid_span(&tx->qid) : SPAN_NONE);
	put(b, "instance", span_str(instance));
	put_number(b, "size",
		   tx == NULL		 ? 0
		   : tx->content != NULL ? content_bytes(tx->content)
					 : tx->mail.size);
	put(b, "etrn_domain", s->etrn);
	put(b, "stress", span_str(conf_str(service_conf(), "stress")));
	put_security(b, s);
	put(b, "policy_context", p->set.context);
	put(b, "compatibility_level", span_str(conf_str(service_conf(), "compatibility_level")));
	put(b, "mail_version", SPAN(POSTERN_VERSION));
	(void)buf_putc(b, '\n');
}

static enum rc read_action(struct stream *io, struct arena *a, struct span *action, deadline_t d,
			   struct err *e)
{
	struct policy_answer answer = { .seen = false };
	struct span line;
	enum rc rc;

	do {
		if ((rc = stream_line(io, &line, REPLY_LINE_MAX, NULL, d, e)) != RC_OK)
			return rc;
		rc = policy_answer_take(&answer, line, a, e);
	} while (rc == RC_AGAIN);
	*action = answer.action;
	return rc;
}

/* The kept connection, unless it is too old or was used enough. */
static struct stream *take_idle(struct policy *p)
{
	struct stream *io = p->idle;

	p->idle = NULL;
	if (io != NULL && (mono_diff_ms(mono_now(), p->made) >= p->set.max_ttl_s * 1000 ||
			   mono_diff_ms(mono_now(), p->used) >= p->set.max_idle_s * 1000 ||
			   (p->set.request_limit > 0 && p->requests >= p->set.request_limit)))
		stream_close(&io);
	return io;
}

static enum rc open_connection(struct policy *p, struct stream **out, deadline_t d, struct err *e)
{
	int fd;
	enum rc rc = endpoint_connect(&p->to, service_connect, d, &fd, e);

	if (rc != RC_OK)
		return rc;
	*out = stream_new(fd);
	p->made = mono_now();
	p->requests = 0;
	return RC_OK;
}

static enum rc converse(struct stream *io, struct span request, struct arena *a, struct span *action,
			deadline_t d, struct err *e)
{
	enum rc rc;

	stream_write(io, request);
	rc = stream_flush(io, d, e);
	return rc == RC_OK ? read_action(io, a, action, d, e) : rc;
}

/* Servers close connections that rest: once more over a fresh one before that counts as a failure. */
static enum rc ask_once(struct policy *p, struct span request, struct arena *a, struct span *action,
			struct err *e)
{
	deadline_t d = deadline_s(p->set.timeout_s);
	struct stream *io = take_idle(p);
	enum rc rc = RC_EOF;

	if (io != NULL && (rc = converse(io, request, a, action, d, e)) != RC_OK)
		stream_close(&io);
	if (rc != RC_OK && rc != RC_TIMEOUT && (rc = open_connection(p, &io, d, e)) == RC_OK)
		rc = converse(io, request, a, action, d, e);
	if (rc == RC_OK && p->idle == NULL) {
		p->idle = io;
		p->used = mono_now();
		p->requests++;
	} else
		stream_close(&io);
	return rc;
}

enum outcome run_policy(struct session *s, struct check *c, const struct rule *r)
{
	struct policy *p = r->state;
	struct span action = SPAN_NONE;
	struct buf b;
	struct err e;
	enum rc rc = RC_DENIED;

	if (!p->usable)
		return restrict_config_error(c);
	buf_init(&b, 64 * 1024);
	make_request(s, c, p, &b);
	for (int64_t i = 0; rc != RC_OK && i < p->set.try_limit; i++) {
		if (i > 0)
			task_sleep_ms(p->set.retry_delay_s * 1000);
		if ((rc = ask_once(p, buf_span(&b), c->a, &action, &e)) != RC_OK)
			log_warning("problem talking to server %s: %s",
				    p->to.name + (strncmp(p->to.name, "inet:", 5) == 0 ? 5 : 0), e.text);
	}
	if (rc != RC_OK)
		action = p->set.default_action;
	buf_release(&b);
	return access_result(s, c, action, "policy service", c->subject, c->class);
}
