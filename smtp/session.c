/* session.c - a connection to a server: made, greeted, ended.
 *
 *   connect -> (TLS) -> 220 -> EHLO [-> STARTTLS -> TLS -> EHLO] [-> AUTH] -> ready */
#include "client.h"
#include "log/log.h"
#include "net/conn.h"

#include <stdarg.h>
#include <unistd.h>

/* ---- talking ---- */

void session_puts(struct session *s, const char *fmt, ...)
{
	char line[8192];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 2, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof line - 2 || memchr(line, '\r', (size_t)n) != NULL ||
	    memchr(line, '\n', (size_t)n) != NULL) {
		s->unusable = true; /* no address may become a second command; the reply that is missing ends
				       the session */
		return;
	}
	if (s->debug)
		log_info("> %s: %.*s", s->name_addr, n, line);
	notice_out(s, span_make(line, (size_t)n));
	memcpy(line + n, "\r\n", 2);
	stream_write(s->io, span_make(line, (size_t)n + 2));
}

void session_why(struct session *s, enum rc rc, const char *doing, struct why *w)
{
	s->unusable = true;
	if (rc == RC_TIMEOUT)
		why_set(w, "4.4.2", "conversation with %s timed out while %s", s->name_addr, doing);
	else if (rc == RC_SYNTAX || rc == RC_LIMIT)
		why_set(w, "4.5.0", "unexpected reply from %s while %s", s->name_addr, doing);
	else
		why_set(w, "4.4.2", "lost connection with %s while %s", s->name_addr, doing);
}

/* A line of a reply becomes what smtp_reply_filter says; a table that fails leaves it. */
static struct span filtered(const struct session *s, struct span line, struct arena *a)
{
	struct span value;
	struct err e;
	if (maps_empty(settings.reply_filter))
		return line;
	line = span_dup(a, line); /* a remote table waits, and the stream's buffer may move */
	switch (maps_lookup(settings.reply_filter, line, a, &value, &e)) {
	case RC_OK:
		log_info("%s: replacing server reply \"" SPAN_FMT "\" with \"" SPAN_FMT "\"", s->relay,
			 SPAN_ARG(line), SPAN_ARG(value));
		return value;
	case RC_NOTFOUND:
		return line;
	default:
		log_warning("%s", e.text);
		return line;
	}
}

static enum rc read_line(struct session *s, struct span *line, deadline_t d, struct err *e)
{
	enum rc rc = stream_line(s->io, line, (size_t)settings.reply_limit, NULL, d, e);
	if (rc != RC_LIMIT)
		return rc;
	log_warning("%s: response longer than %lld: " SPAN_FMT "...", s->relay,
		    (long long)settings.reply_limit, SPAN_ARG(span_head(*line, 30)));
	return RC_OK;
}

/* Text that is no reply may be a greeting gone wrong, or replies and commands have come apart: with PIPELINING the
 * administrator has to know. */
static void passed_over(struct session *s, struct span line)
{
	s->trouble |= NOTICE_PROTOCOL;
	if ((s->ehlo.features & FEAT_PIPELINING) == 0)
		return;
	log_warning(SPAN_FMT ": non-%s response from %s: " SPAN_FMT, SPAN_ARG(s->qid),
		    settings.lmtp ? "LMTP" : "ESMTP", s->relay, SPAN_ARG(span_head(line, 100)));
	log_warning("if mail for %s is lost or delayed, take PIPELINING out of what it offers with "
		    "%s_keyword_address_maps",
		    s->name_addr, settings.lmtp ? "lmtp_discard_lhlo" : "smtp_discard_ehlo");
}

static void note_length(const struct session *s, bool *noted)
{
	if (*noted || (int64_t)s->reply.text.n <= settings.reply_limit)
		return;
	*noted = true;
	log_warning("%s: multi-line response longer than %lld " SPAN_FMT "...", s->relay,
		    (long long)settings.reply_limit, SPAN_ARG(span_head(buf_span(&s->reply.text), 30)));
}

/* smtp_per_request_deadline = no: the time is that of each line, as long as there are any. */
static deadline_t for_next_line(deadline_t d, int64_t timeout_s)
{
	return settings.per_request || timeout_s == 0 ? d : deadline_s(timeout_s);
}

enum rc session_read(struct session *s, int64_t timeout_s, struct err *e)
{
	deadline_t d = deadline_s(timeout_s);
	struct span line;
	struct arena a;
	enum rc rc;
	unsigned strange = 0;
	bool noted = false;
	smtp_reply_reset(&s->reply);
	arena_init(&a);
	do {
		if ((rc = read_line(s, &line, d, e)) != RC_OK)
			break;
		if (s->debug)
			log_info("< %s: " SPAN_FMT, s->name_addr, SPAN_ARG(line));
		line = filtered(s, line, &a);
		notice_in(s, line);
		rc = smtp_reply_feed(&s->reply, line);
		note_length(s, &noted);
		if (rc == RC_SYNTAX && strange++ < SMTP_REPLY_LINES) {
			passed_over(s, line);
			rc = RC_AGAIN;
			continue; /* of such lines there is no end: their time does not begin anew */
		} else if (rc != RC_OK && rc != RC_AGAIN) {
			err_set(e, rc, "malformed reply: " SPAN_FMT, SPAN_ARG(span_head(line, 100)));
		}
		d = for_next_line(d, timeout_s);
	} while (rc == RC_AGAIN);
	arena_release(&a);
	return rc;
}

struct span session_said(const struct session *s, struct arena *a)
{
	return span_head(smtp_reply_text(&s->reply, a), (size_t)settings.reply_limit);
}

void session_dsn(struct session *s, char dsn[SMTP_DSN_MAX])
{
	notice_code(s, s->reply.code);
	unsigned class = s->reply.code / 100;
	if (class != 4 && class != 5)
		snprintf(dsn, SMTP_DSN_MAX, "5.5.0");
	else if (s->reply.dsn[0] != '\0')
		memcpy(dsn, s->reply.dsn, SMTP_DSN_MAX);
	else
		snprintf(dsn, SMTP_DSN_MAX, "%u.0.0", class);
}

enum rc session_reply(struct session *s, int64_t timeout_s, const char *doing, struct why *w)
{
	struct err e;
	enum rc rc = s->unusable ? RC_EOF : stream_flush(s->io, deadline_s(timeout_s), &e);
	if (rc == RC_OK || !s->unusable) /* a server that hangs up may have said why */
		rc = session_read(s, timeout_s, &e);
	if (rc == RC_OK && s->reply.code == 421)
		s->closing = true; /* replies to what was sent already may still come */
	if (rc != RC_OK)
		session_why(s, rc, doing, w);
	return rc;
}

/* ---- ends ---- */

void session_free(struct session **sp)
{
	struct session *s = *sp;
	if (s == NULL)
		return;
	*sp = NULL;
	timer_cancel(&s->expiry);
	stream_close(&s->io);
	transcript_forget(&s->said);
	smtp_reply_release(&s->reply);
	free(s->key);
	free(s);
}

static void quit_task(void *arg)
{
	struct session *s = arg;
	struct why w;
	struct err e;
	session_puts(s, "QUIT");
	if (settings.skip_quit_reply)
		(void)!stream_flush(s->io, deadline_s(settings.quit_s), &e);
	else
		(void)!session_reply(s, settings.quit_s, "sending QUIT command", &w);
	session_free(&s);
	service_unhold();
}

void session_quit(struct session **sp)
{
	struct session *s = *sp;
	*sp = NULL;
	if (s == NULL)
		return;
	if (s->unusable) {
		session_free(&s);
		return;
	}
	service_hold();
	task_spawn(quit_task, s);
}

/* ---- EHLO ---- */

static void take_features(struct session *s)
{
	struct arena a;
	struct err e;
	struct span line, discard = span_str(settings.ehlo_discard), value;
	char addr[INET_TEXT_MAX];
	arena_init(&a);
	inet_addr_text(&s->addr, addr);
	if (!maps_empty(settings.ehlo_by_address) &&
	    maps_lookup(settings.ehlo_by_address, span_str(addr), &a, &value, &e) == RC_OK)
		discard = value;
	s->ehlo = (struct ehlo){ .features = FEAT_ESMTP };
	for (size_t i = 1; i < SMTP_REPLY_LINES && smtp_reply_line(&s->reply, i, &line); i++) {
		struct span wrong = ehlo_take(&s->ehlo, line, discard);
		if (wrong.n > 0)
			log_warning("bad %s SIZE limit \"" SPAN_FMT "\" from %s",
				    settings.lmtp ? "LHLO" : "EHLO", SPAN_ARG(span_head(wrong, 100)),
				    s->relay);
	}
	arena_release(&a);
}

static bool own_name_in_reply(const struct session *s)
{
	struct span line, word;
	return smtp_reply_line(&s->reply, 0, &line) && span_next_word(&line, " \t", &word) &&
	       span_is_ci(word, settings.myhostname);
}

static enum rc refused_to_talk(struct session *s, struct why *w)
{
	char dsn[SMTP_DSN_MAX];
	struct arena a;
	arena_init(&a);
	session_dsn(s, dsn);
	why_set(w, dsn, "host %s refused to talk to me: " SPAN_FMT, s->name_addr,
		SPAN_ARG(session_said(s, &a)));
	arena_release(&a);
	s->unusable = true;
	return RC_DENIED;
}

enum rc session_hello(struct session *s, struct why *w)
{
	enum rc rc;
	const char *verb = settings.lmtp ? "LHLO" : "EHLO";
	bool extended = !settings.never_ehlo && (settings.lmtp || (s->pix & PIX_NO_ESMTP) == 0) &&
			(settings.always_ehlo || s->greets_esmtp);
	const char *doing = settings.lmtp ? "performing the LHLO handshake" : "performing the EHLO handshake";
	s->ehlo.features = 0;
	if (extended) {
		session_puts(s, "%s %s", verb, settings.helo_name);
		if ((rc = session_reply(s, settings.helo_s, doing, w)) != RC_OK)
			return rc;
		if (s->reply.code / 100 == 2)
			take_features(s);
	}
	if (!extended || (s->reply.code / 100 != 2 && !settings.lmtp && !s->closing)) {
		session_puts(s, "HELO %s", settings.helo_name); /* RFC 5321 section 3.2 */
		if ((rc = session_reply(s, settings.helo_s, "performing the HELO handshake", w)) != RC_OK)
			return rc;
	}
	if (s->reply.code / 100 == 2)
		return RC_OK;
	return refused_to_talk(s, w);
}

/* ---- connecting ---- */

static void set_names(struct session *s, const struct target *t)
{
	char addr[INET_TEXT_MAX];
	snprintf(s->host, sizeof s->host, SPAN_FMT, SPAN_ARG(t->host));
	snprintf(s->site, sizeof s->site, SPAN_FMT, SPAN_ARG(t->path != NULL ? span_str(t->path) : t->site));
	if (t->path != NULL) {
		snprintf(s->name_addr, sizeof s->name_addr, "%s[%.80s]", s->host, t->path);
		snprintf(s->relay, sizeof s->relay, "%s", s->name_addr);
		return;
	}
	inet_addr_text(&t->addr, addr);
	snprintf(s->name_addr, sizeof s->name_addr, "%s[%s]", s->host, addr);
	snprintf(s->relay, sizeof s->relay, "%s:%u", s->name_addr, t->port);
}

/* debug_peer_list: by next hop, by the server's name or address. */
static bool is_debugged(const struct session *s, const struct target *t, struct span nexthop)
{
	char addr[INET_TEXT_MAX] = "";
	struct err e;
	if (log_verbose() > 0 || match_list_empty(settings.debug_peers))
		return log_verbose() > 0;
	if (t->path == NULL)
		inet_addr_text(&s->addr, addr);
	return match_domain(settings.debug_peers, nexthop, &e) == RC_OK ||
	       match_host(settings.debug_peers, t->host, span_str(addr), &e) == RC_OK;
}

/* The source address of a connection; a bad one costs the attempt when it is enforced, else a warning. */
static enum rc connect_from(const struct target *t, const struct inet_addr *from, deadline_t d, int *fd,
			    struct err *e)
{
	enum rc rc = conn_tcp(&t->addr, t->port, from, d, fd, e);
	char addr[INET_TEXT_MAX];
	if (rc == RC_OK || from == NULL || strncmp(e->text, "bind:", 5) != 0)
		return rc;
	inet_addr_text(from, addr);
	log_warning("cannot use source address %s: %s", addr, e->text);
	return settings.bind_enforce ? RC_DENIED : conn_tcp(&t->addr, t->port, NULL, d, fd, e);
}

static enum rc make_connection(const struct target *t, int *fd, struct err *e)
{
	deadline_t d = settings.connect_s > 0 ? deadline_s(settings.connect_s) : DEADLINE_NEVER;
	if (t->path != NULL) {
		enum rc rc = service_connect(t->path, fd, d, e);
		if (rc != RC_OK && e->sys != 0)
			snprintf(e->text, sizeof e->text, "%s", strerror(e->sys));
		return rc == RC_DENIED ? RC_AGAIN : rc;
	}
	const struct inet_addr *from = t->addr.family == AF_INET ? &settings.bind4 : &settings.bind6;
	return connect_from(t, from->family == t->addr.family ? from : NULL, d, fd, e);
}

static enum rc connect_session(struct session *s, const struct target *t, struct why *w)
{
	struct err e;
	int fd;
	enum rc rc = make_connection(t, &fd, &e);
	if (rc == RC_OK) {
		s->io = stream_new(fd);
		s->opened = mono_now();
		return RC_OK;
	}
	if (rc == RC_DENIED) { /* smtp_bind_address_enforce */
		why_set(w, "4.4.0", "server configuration error");
		return RC_AGAIN;
	}
	why_set(w, "4.4.1", "connect to %s: %s", s->relay, e.text);
	log_info("%s", w->text);
	return RC_AGAIN;
}

static bool says_esmtp(const struct session *s)
{
	struct span line, word;
	for (size_t i = 0; smtp_reply_line(&s->reply, i, &line); i++)
		while (span_next_word(&line, " \t", &word))
			if (span_is_ci(word, "ESMTP"))
				return true;
	return false;
}

static enum rc greeting(struct session *s, struct why *w)
{
	enum rc rc = session_reply(s, settings.helo_s, "receiving the initial server greeting", w);
	s->greets_esmtp = rc == RC_OK && says_esmtp(s);
	if (rc != RC_OK || s->reply.code / 100 == 2)
		return rc;
	rc = refused_to_talk(s, w);
	if (settings.skip_5xx_greeting)
		w->dsn[0] = '4';
	return rc;
}

/* smtp_tls_block_early_mail_reply: whoever had commands carried into the session before the handshake (CVE-2009-3555) has
 * them answered behind it. */
static enum rc refuse_early(struct session *s, struct why *w)
{
	if (!settings.tls_block_early || !stream_has_input(s->io))
		return RC_OK;
	log_warning("%s: replies under TLS to commands that were not sent", s->relay);
	why_set(w, "4.7.0", "host %s replied under TLS to commands that were not sent", s->name_addr);
	s->unusable = true;
	return RC_DENIED;
}

/* TLS as the policy wants it, after the first EHLO. */
static enum rc secure(struct session *s, const struct target *t, const struct tls_policy *p, struct arena *a,
		      struct why *w)
{
	if (s->tls || p->level == TLS_NONE) {
		if (!s->tls && settings.tls_note_offer && (s->ehlo.features & FEAT_STARTTLS))
			log_info("Host offered STARTTLS: [%s]", s->host);
		return RC_OK;
	}
	if ((s->ehlo.features & FEAT_STARTTLS) != 0) {
		enum rc rc = session_starttls(s, t, p, false, a, w);
		if (rc == RC_OK && s->tls && (rc = session_hello(s, w)) == RC_OK)
			rc = refuse_early(s, w);
		return rc;
	}
	if (p->level == TLS_MAY)
		return RC_OK;
	why_set(w, "4.7.4", "TLS is required, but was not offered by host %s", s->name_addr);
	return RC_DENIED;
}

static enum rc log_in(struct session *s, const struct target *t, struct span nexthop, struct span sender,
		      struct arena *a, struct why *w)
{
	struct span userpass;
	if (!settings.auth || (s->ehlo.features & FEAT_AUTH) == 0)
		return RC_OK;
	enum rc rc = login_find(s->name_addr, nexthop, t->host, sender, a, &userpass, w);
	if (rc == RC_NOTFOUND)
		return RC_OK;
	return rc == RC_OK ? login(s, userpass, a, w) : rc;
}

static bool has_password(const struct target *t, struct span nexthop, struct span sender, struct arena *a)
{
	struct span userpass;
	struct why w;
	return settings.auth && login_find("", nexthop, t->host, sender, a, &userpass, &w) != RC_NOTFOUND;
}

struct session *session_open(const struct delivery *dl, const struct target *t, struct span site, bool no_tls,
			     struct why *w, bool *plain_retry, struct span *refused)
{
	struct arena *a = dl->a;
	struct session *s = xcalloc(1, sizeof *s);
	struct tls_policy p;
	*plain_retry = false;
	*refused = SPAN("");
	smtp_reply_init(&s->reply);
	list_init(&s->link);
	timer_init(&s->expiry, NULL, NULL);
	s->addr = t->addr;
	s->qid = dl->env.qid;
	set_names(s, t);
	s->debug = is_debugged(s, t, site);
	enum rc rc = policy_find(site, t, a, &p, w);
	if (rc == RC_OK)
		s->level = p.level;
	if (rc == RC_OK && no_tls)
		p.level = TLS_NONE;
	if (rc == RC_OK && (rc = connect_session(s, t, w)) != RC_OK)
		w->no_connection = true;
	if (rc == RC_OK && settings.wrapper && p.level >= TLS_ENCRYPT) {
		s->tls_decided = true;
		rc = session_starttls(s, t, &p, true, a, w);
	}
	if (rc == RC_OK)
		rc = greeting(s, w);
	if (rc == RC_OK)
		pix_detect(s, dl);
	if (rc == RC_OK)
		rc = session_hello(s, w);
	if (rc == RC_OK && dest_detects_loops(t->port) && own_name_in_reply(s)) {
		log_warning("host %s replied to HELO/EHLO with my own hostname %s", s->relay,
			    settings.myhostname);
		why_set(w, "5.4.6", "mail for " SPAN_FMT " loops back to myself", SPAN_ARG(t->site));
		rc = RC_DENIED;
	}
	if (rc == RC_OK) {
		s->tls_decided = true;
		rc = secure(s, t, &p, a, w);
		*plain_retry = rc == RC_SYNTAX && p.level == TLS_MAY && !has_password(t, site, dl->sender, a);
	}
	if (rc == RC_OK)
		rc = log_in(s, t, site, dl->sender, a, w);
	if (rc == RC_OK)
		return s;
	if (rc == RC_DENIED && s->reply.code >= 400)
		*refused = session_said(s, a);
	if (!w->no_connection)
		policy_status(s, w->tls, sizeof w->tls);
	s->unusable = s->unusable || s->io == NULL;
	notice_end(s);
	session_quit(&s);
	return NULL;
}
