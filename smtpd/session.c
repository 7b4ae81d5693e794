/* session.c - one connection from greeting to farewell. */
#include "restrict.h"
#include "notice.h"
#include "proxy.h"
#include "base/codec.h"
#include "log/event.h"
#include <sys/socket.h>

#define NAME_LOOKUP_S  60   /* what a client waits for its greeting at most because of DNS */
#define DRAIN_GRACE_MS 2000 /* for a transaction that is under way when the suite stops */
#define DRAIN_CHECK_MS 50

static struct list sessions = { &sessions, &sessions };
static bool drained; /* the grace is over */

deadline_t session_deadline(void)
{
	return deadline_s(conf.timeout_s);
}

void session_flush(struct session *s, int64_t within_s)
{
	struct err e;

	if (stream_flush(s->io, deadline_s(within_s), &e) != RC_OK)
		log_debug("%s: %s", session_client(s), e.text);
}

const char *session_proto(const struct session *s)
{
	return conf.lmtp ? "LMTP" : s->client.esmtp ? "ESMTP" : "SMTP";
}

const char *session_client(const struct session *s)
{
	static char text[600]; /* used before the next wait */

	int n = snprintf(text, sizeof(text), SPAN_FMT "[" SPAN_FMT "]",
			 SPAN_ARG(span_head(s->client.name, 300)), SPAN_ARG(s->client.addr));

	if (conf.log_port && n > 0 && (size_t)n < sizeof(text))
		(void)snprintf(text + n, sizeof(text) - (size_t)n, ":%u", s->client.port);
	return text;
}

const char *session_message(const struct session *s)
{
	return s->tx != NULL && s->tx->qid.s[0] != '\0' ? s->tx->qid.s : "NOQUEUE";
}

/* "QID: ", and nothing where there is none: the filters that watch the log for strangers who go away begin with the words. */
static const char *session_prefix(const struct session *s)
{
	static char text[sizeof(struct qid) + 3];

	if (s->tx == NULL || s->tx->qid.s[0] == '\0')
		return "";
	(void)snprintf(text, sizeof(text), "%s: ", s->tx->qid.s);
	return text;
}

/* A queue id that the log has seen and that no queue will hold: readers of the log need not wait for more. */
static void log_canceled(const struct transaction *tx)
{
	if (tx->qid.s[0] != '\0' && !tx->settled && !conf.before_on)
		log_info("%s: canceled", tx->qid.s);
}

void transaction_end(struct session *s)
{
	if (s->tx != NULL)
		log_canceled(s->tx);
	if (s->tx != NULL && s->tx->content != NULL)
		content_abort(s, &s->tx->content);
	if (s->tx != NULL)
		before_end(&s->tx->before);
	if (s->tx != NULL) /* XFORWARD tells of one transaction */
		s->fwd = (struct forward){ .name = SPAN_NONE };
	s->tx = NULL;
	s->reply_first = SPAN_NONE;
	s->defer_if_permit = s->defer_if_reject = s->wish[2] = (struct verdict){ 0 };
	arena_release(&s->tx_arena); /* an idle session holds no memory */
}

bool session_in_mail(const struct session *s)
{
	return s->tx != NULL || s->bdat_failed == BDAT_OF_MAIL;
}

/* ---- the end ---- */

/* "QID: timeout after DATA (99 bytes) from host[addr]" */
static void log_lost(struct session *s, bool timeout)
{
	char bytes[40] = "";

	if (s->tx != NULL && s->tx->content != NULL &&
	    (strcmp(s->where, "DATA") == 0 || strcmp(s->where, "BDAT") == 0))
		(void)snprintf(bytes, sizeof(bytes), " (%llu bytes)",
			       (unsigned long long)content_bytes(s->tx->content));
	else if (!timeout &&
		 strcmp(s->where, "END-OF-MESSAGE") == 0) /* clients that do without QUIT are many */
		return;
	log_info("%s%s after %s%s from %s", session_prefix(s), s->ended_by, s->where, bytes,
		 session_client(s));
}

bool session_lost(struct session *s, enum rc rc)
{
	bool timeout = rc == RC_TIMEOUT;

	s->hangup = true;
	s->ended_by = timeout ? "timeout" : "lost connection";
	if (service_ending() && rc == RC_EOF && s->idle) {
		reply(s, "421 4.3.2 %s Service not available, closing transmission channel", conf.myhostname);
		return false;
	}
	EVENT("lost", EV_TEXT("client_name", s->client.name), EV_TEXT("client_address", s->client.addr),
	      EV_CSTR("after", s->where), EV_FLAG("timeout", timeout));
	log_lost(s, timeout);
	if (timeout)
		reply(s, "421 4.4.2 %s Error: timeout exceeded", conf.myhostname);
	return false;
}

static void log_disconnect(struct session *s)
{
	struct buf b;

	buf_init(&b, 1000);
	command_log_counts(s, &b);
	log_info("disconnect from %s%s", session_client(s), buf_cstr(&b));
	EVENT("disconnect", EV_TEXT("client_name", s->client.name), EV_TEXT("client_address", s->client.addr),
	      EV_CSTR("protocol", session_proto(s)), EV_NUMBER("messages", s->messages),
	      EV_CSTR("commands", buf_cstr(&b) + (b.n > 0)));
	buf_release(&b);
}

static void session_end(struct session *s)
{
	transaction_end(s);
	limit_disconnect(s);
	session_flush(s, 10);
	notice_end(s);
	log_disconnect(s);
	list_del(&s->link);
	arena_release(&s->tx_arena);
	arena_release(&s->arena);
	free(s->tls);
	free(s);
}

/* Clients that are silent: their reading side ends, and they are told. */
static void end_silent(bool in_transaction)
{
	LIST_EACH(it, &sessions)
	{
		struct session *s = LIST_ENTRY(it, struct session, link);

		if (s->idle && (s->tx == NULL || in_transaction))
			(void)shutdown(stream_fd(s->io), SHUT_RD);
	}
}

/* When the suite stops, idle clients learn it at once, those who are silent in a transaction a little later, the
 * others when their command is done. A reload lets all go on. */
void session_drain(void)
{
	deadline_t grace = deadline_ms(DRAIN_GRACE_MS);

	if (!service_ending())
		return;
	end_silent(false);
	while (!list_empty(&sessions) && !deadline_passed(grace))
		task_sleep_ms(DRAIN_CHECK_MS);
	drained = true;
	end_silent(true);
}

/* ---- lines ---- */

/* smtpd_forbid_bare_newline: true when the session ends here. */
static bool bare_lf_ends(struct session *s)
{
	bool reject = conf.bare_lf == BARE_LF_REJECT;

	if (s->lenient_lf || conf.bare_lf < BARE_LF_NOTE)
		return false;
	log_action(s, reject ? "reject" : "info", s->where, SPAN_NONE, "bare <LF> received");
	if (!reject)
		return false;
	reply(s, "%d 5.5.2 %s Error: bare <LF> received", (int)conf.bare_lf_code, conf.myhostname);
	return s->hangup = true;
}

static void log_too_long(struct session *s, struct span line, int64_t max)
{
	log_warning("%s: request longer than %lld: " SPAN_FMT "...", session_client(s), (long long)max,
		    SPAN_ARG(span_head(line, 30)));
}

bool session_line(struct session *s, struct span *line, size_t max)
{
	struct err e;
	bool crlf;
	enum rc rc = stream_line(s->io, line, max, &crlf, session_deadline(), &e);

	if (rc == RC_LIMIT) {
		log_too_long(s, *line, (int64_t)max);
		*line = span_make(NULL, 0);
	} else if (rc != RC_OK)
		return session_lost(s, rc);
	return rc == RC_LIMIT || crlf || !bare_lf_ends(s);
}

const char *session_visible(struct span s, struct buf *b)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '\r' || c == '\n' || c == '\t' || c == '\\')
			(void)buf_printf(b, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : c == '\t' ? 't' : c);
		else if (c < ' ' || c > '~')
			(void)buf_printf(b, "\\%03o", c);
		else
			(void)buf_printf(b, "%c", c);
	}
	return buf_cstr(b);
}

bool session_bad_pipelining(struct session *s)
{
	struct span seen;
	struct buf b;
	struct err e;

	if (!stream_has_input(s->io) || s->ill_pipelined)
		return false;
	s->ill_pipelined = true;
	if (stream_peek(s->io, &seen, session_deadline(), &e) != RC_OK)
		return false;
	buf_init(&b, 500);
	log_info("improper command pipelining after %s from %s: %s", s->where, session_client(s),
		 session_visible(span_head(seen, 100), &b));
	buf_release(&b);
	if (!conf.forbid_unauth_pipe)
		return false;
	stream_drop_input(s->io);
	reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
	return s->hangup = true;
}

/* ---- the conversation ---- */

/* false: over. */
static bool one_command(struct session *s)
{
	struct arena a;
	struct span line;
	struct err e;
	enum rc rc;
	bool crlf;

	s->idle = true;
	rc = stream_line(s->io, &line, (size_t)conf.line_length_limit, &crlf, session_deadline(), &e);
	if (rc == RC_LIMIT) {
		s->idle = false;
		log_too_long(s, line, conf.line_length_limit);
		reply(s, "500 5.5.2 Error: line too long");
		s->errors++;
		return true;
	}
	if (rc != RC_OK)
		return session_lost(s, rc);
	s->idle = false;
	while (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--; /* CR CR LF, as some clients end their lines */
	notice_in(s, line);
	if (!crlf && bare_lf_ends(s))
		return false;
	if (conf.smtputf8 && !span_is_ascii(line) && !utf8_valid(line)) {
		reply(s, "500 5.5.2 Error: bad UTF-8 syntax");
		s->errors++;
		return true;
	}
	arena_init(&a);
	line = command_filter(s, line, &a);
	command_run(s, line);
	arena_release(&a);
	return true;
}

static void converse(struct session *s)
{
	while (!s->hangup && one_command(s)) {
		if (s->hangup)
			return;
		if (s->errors >= (unsigned)conf.hard_error_limit) {
			s->ended_by = "too many errors";
			log_info("%stoo many errors after %s from %s", session_prefix(s), s->where,
				 session_client(s));
			reply(s, "421 4.7.0 %s Error: too many errors", conf.myhostname);
			return;
		}
		if (service_ending() && (s->tx == NULL || drained) && !stream_has_input(s->io)) {
			reply(s, "421 4.3.2 %s Service not available, closing transmission channel",
			      conf.myhostname);
			return;
		}
	}
}

/* ---- the beginning ---- */

static void take_addresses(struct session *s)
{
	char text[INET_TEXT_MAX];
	struct inet_addr local;
	uint16_t port = 0;

	s->client.name = s->client.rname = SPAN("unknown");
	s->client.name_code = s->client.rname_code = 5;
	s->client.addr = SPAN("unknown");
	if (s->conn->peer_len == 0) { /* a UNIX socket: as Postfix names such clients */
		s->client.name = s->client.rname = SPAN("localhost");
		s->client.addr = SPAN("127.0.0.1");
		s->client.name_code = s->client.rname_code = 2;
		if (inet_addr_parse(s->client.addr, &s->client.ip) != RC_OK)
			s->client.ip.family = AF_UNSPEC;
		return;
	}
	inet_addr_from_sockaddr(&s->conn->peer, &s->client.ip, &port);
	s->client.port = port;
	inet_addr_text(&s->client.ip, text);
	s->client.addr = span_str(arena_strdup(&s->arena, text));
	inet_addr_from_sockaddr(&s->conn->local, &local, &port);
	s->client.local_port = port;
	inet_addr_text(&local, text);
	s->client.local_addr = span_str(arena_strdup(&s->arena, text));
}

/* smtpd_upstream_proxy_protocol = haproxy: the header comes before anything else, in one piece of bounded
 * length. */
static enum rc read_proxy(struct session *s, struct proxy_header *h, struct err *e)
{
	deadline_t d = deadline_s(conf.proxy_timeout_s);
	char head[PROXY_V2_HEAD], body[PROXY_V2_BODY_MAX];
	struct span line;
	size_t n = 0;
	enum rc rc = stream_peek(s->io, &line, d, e);

	if (rc != RC_OK)
		return rc;
	if (line.p[0] == 'P') {
		rc = stream_line(s->io, &line, PROXY_V1_MAX, NULL, d, e);
		return rc == RC_OK ? proxy_v1(line, h) : rc;
	}
	if ((rc = stream_read_exact(s->io, head, sizeof(head), d, e)) != RC_OK ||
	    (rc = proxy_v2_length(span_make(head, sizeof(head)), &n)) != RC_OK ||
	    (rc = stream_read_exact(s->io, body, n, d, e)) != RC_OK)
		return rc;
	return proxy_v2(span_make(head, sizeof(head)), span_make(body, n), h);
}

static bool take_proxy(struct session *s)
{
	char text[INET_TEXT_MAX];
	struct proxy_header h;
	struct err e = { .text = "" };
	enum rc rc = read_proxy(s, &h, &e);

	if (rc != RC_OK) {
		log_warning("haproxy read: %s from %s",
			    rc == RC_SYNTAX || rc == RC_LIMIT ? "bad header" : e.text, session_client(s));
		reply(s, "421 4.3.0 %s Server local error", conf.myhostname);
		return false;
	}
	if (h.local)
		return true;
	s->client.ip = h.src;
	s->client.port = h.src_port;
	inet_addr_text(&h.src, text);
	s->client.addr = span_str(arena_strdup(&s->arena, text));
	s->client.local_port = h.dst_port;
	inet_addr_text(&h.dst, text);
	s->client.local_addr = span_str(arena_strdup(&s->arena, text));
	return true;
}

static void find_name(struct session *s)
{
	struct client_name n;

	if (!conf.peername_lookup || s->conn->peer_len == 0 || s->client.ip.family == AF_UNSPEC)
		return;
	client_name_find(&s->client.ip, &s->tx_arena, &n, deadline_s(NAME_LOOKUP_S));
	if (n.forged.n > 0)
		log_warning("hostname " SPAN_FMT " does not resolve to address " SPAN_FMT "%s%s",
			    SPAN_ARG(n.forged), SPAN_ARG(s->client.addr), n.forged_why != NULL ? ": " : "",
			    n.forged_why != NULL ? n.forged_why : "");
	s->client.name = span_dup(&s->arena, n.name);
	s->client.rname = span_dup(&s->arena, n.reverse);
	s->client.name_code = n.name_code;
	s->client.rname_code = n.reverse_code;
	arena_release(&s->tx_arena);
}

bool session_in_list(const struct session *s, struct match_list *l)
{
	struct err e;

	return !match_list_empty(l) && match_host(l, s->client.name, s->client.addr, &e) == RC_OK;
}

/* smtpd_discard_ehlo_keyword_address_maps wins over smtpd_discard_ehlo_keywords. */
static void find_discarded(struct session *s)
{
	struct arena a;
	struct span value, word;
	struct err e;

	s->discard_ehlo = conf.discard_ehlo;
	if (maps_empty(conf.discard_maps))
		return;
	arena_init(&a);
	if (maps_lookup(conf.discard_maps, s->client.addr, &a, &value, &e) == RC_OK) {
		s->discard_ehlo = 0;
		while (span_next_word(&value, ", \t", &word))
			s->discard_ehlo |= ehlo_keyword(word);
	}
	arena_release(&a);
}

void session_identify(struct session *s)
{
	s->lenient_lf = conf.bare_lf == BARE_LF_ALLOW || session_in_list(s, conf.bare_lf_except);
	s->auth_excepted = session_in_list(s, conf.auth_except);
	s->debug = log_verbose() > 0 || session_in_list(s, conf.debug_peers);
	find_discarded(s);
}

static void greet(struct session *s)
{
	s->where = "CONNECT";
	if (session_bad_pipelining(s) || !limit_connect(s))
		return;
	s->greeted = true;
	if (!conf.delay_reject && !check_connect(s)) {
		s->denied = true;
		return;
	}
	reply(s, "220 %s", conf.banner);
}

void session_serve(struct service_conn *c)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->conn = c;
	s->io = c->io;
	s->where = "CONNECT";
	arena_init(&s->arena);
	arena_init(&s->tx_arena);
	list_add_tail(&sessions, &s->link);
	stream_set_write_timeout(s->io, conf.timeout_s);
	take_addresses(s);
	s->hangup = conf.proxy_timeout_s > 0 && !take_proxy(s);
	find_name(s);
	log_info("connect from %s", session_client(s));
	EVENT("connect", EV_TEXT("client_name", s->client.name), EV_TEXT("client_address", s->client.addr),
	      EV_NUMBER("client_port", s->client.port), EV_TEXT("server_address", s->client.local_addr),
	      EV_NUMBER("server_port", s->client.local_port));
	session_identify(s);
	s->may_xforward = session_in_list(s, conf.xforward);
	if (conf.tls_wrapper && conf.tls_server == NULL)
		log_warning("Wrapper-mode request dropped from %s for service %s: there is no TLS, as was "
			    "told when the process started",
			    session_client(s), service_name());
	if (!s->hangup && (!conf.tls_wrapper || (conf.tls_server != NULL && tls_start(s)))) {
		greet(s);
		converse(s);
	}
	session_end(s);
}
