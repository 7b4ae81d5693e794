/* restrict_client.c - restrictions that look at the client, and those of any list. */
#include "restrict.h"

enum outcome run_permit(struct session *s, struct check *c, const struct rule *r)
{
	(void)s, (void)c, (void)r;
	return PERMIT;
}

enum outcome run_reject(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	return restrict_reject(s, c, conf.code.reject, "5.7.1", "%s rejected: Access denied", c->class);
}

enum outcome run_defer(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	return restrict_reject(s, c, conf.code.defer, "4.3.2", "%s rejected: Try again later", c->class);
}

enum outcome run_defer_if(struct session *s, struct check *c, const struct rule *r)
{
	if (r->def->which == 0)
		return restrict_defer_if_permit(s, c, "4.7.0", "%s rejected: defer_if_permit requested",
						c->class);
	if (!c->warn_only && s->defer_if_reject.code == 0)
		s->defer_if_reject =
		    (struct verdict){ 450, SPAN("4.7.0"),
				      span_printf(c->a,
						  "<" SPAN_FMT ">: %s rejected: defer_if_reject requested",
						  SPAN_ARG(c->subject), c->class) };
	return DUNNO;
}

enum outcome run_sleep(struct session *s, struct check *c, const struct rule *r)
{
	(void)c;
	session_flush(s, conf.timeout_s);
	task_sleep_ms(r->number * 1000);
	return DUNNO;
}

enum outcome run_mynetworks(struct session *s, struct check *c, const struct rule *r)
{
	struct err e;

	(void)r;
	switch (match_host(conf.mynetworks, s->client.name, s->client.addr, &e)) {
	case RC_OK:
		if (conf.old_networks && match_host(conf.local_ip, SPAN_NONE, s->client.addr, &e) != RC_OK)
			log_info(OLD_DEFAULT "mynetworks_style=subnet to permit request from client \"%s\"",
				 session_client(s));
		return PERMIT;
	case RC_NOTFOUND:
		return DUNNO;
	default:
		log_warning("%s", e.text);
		return restrict_trouble(s, c);
	}
}

enum outcome run_inet_interfaces(struct session *s, struct check *c, const struct rule *r)
{
	struct err e;

	(void)c, (void)r;
	return match_host(conf.local_ip, SPAN_NONE, s->client.addr, &e) == RC_OK ? PERMIT : DUNNO;
}

enum outcome run_sasl(struct session *s, struct check *c, const struct rule *r)
{
	(void)c, (void)r;
	return conf.auth && s->client.sasl_user.n > 0 ? PERMIT : DUNNO;
}

/* "[192.0.2.1]" or a bare address as name: what mail programs behind address translation say. */
enum outcome run_naked_ip(struct session *s, struct check *c, const struct rule *r)
{
	struct inet_addr ip;

	(void)c, (void)r;
	return domain_literal_valid(s->client.helo) || inet_addr_parse(s->client.helo, &ip) == RC_OK ? PERMIT
												     : DUNNO;
}

bool client_certified(const struct session *s)
{
	return s->tls != NULL && s->tls->peer_fingerprint[0] != '\0' && s->tls->peer_trusted;
}

void restrict_tell_digest(void)
{
	if (conf.old_digest)
		log_info(OLD_DEFAULT "smtpd_tls_fingerprint_digest=md5 to compute certificate fingerprints");
	conf.old_digest = false; /* once in a process */
}

enum rc client_cert_listed(const struct session *s, struct arena *a)
{
	const struct tls_info *t = s->tls;
	struct span value;
	struct err e;
	enum rc rc;

	if (t == NULL || t->peer_fingerprint[0] == '\0')
		return RC_NOTFOUND;
	restrict_tell_digest();
	rc = maps_lookup(conf.relay_certs, span_str(t->peer_fingerprint), a, &value, &e);
	if (rc == RC_NOTFOUND)
		rc = maps_lookup(conf.relay_certs, span_str(t->peer_key_fingerprint), a, &value, &e);
	return rc;
}

enum outcome run_tls_certs(struct session *s, struct check *c, const struct rule *r)
{
	if (r->def->which == 1)
		return client_certified(s) ? PERMIT : DUNNO;
	switch (client_cert_listed(s, c->a)) {
	case RC_OK:
		return PERMIT;
	case RC_NOTFOUND:
		return DUNNO;
	default:
		return restrict_trouble(s, c);
	}
}

enum outcome run_plaintext(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (s->tls != NULL)
		return DUNNO;
	return restrict_reject_bare(s, c, conf.code.plaintext, SPAN("5.7.1"),
				    SPAN("Session encryption is required"));
}

/* Also what session.c saw before, where smtpd_forbid_unauth_pipelining is off. */
enum outcome run_pipelining(struct session *s, struct check *c, const struct rule *r)
{
	(void)r;
	if (!s->ill_pipelined)
		return DUNNO;
	return restrict_reject(s, c, 503, "5.5.0", "%s rejected: Improper use of SMTP command pipelining",
			       c->class);
}

enum outcome run_unknown_client(struct session *s, struct check *c, const struct rule *r)
{
	bool reverse = r->def->which == 1;
	uint16_t status = reverse ? s->client.rname_code : s->client.name_code;

	if (status == 2)
		return DUNNO;
	return restrict_reject_bare(
	    s, c, status == 5 ? conf.code.unknown_client : 450,
	    status == 5 ? SPAN("5.7.25")
	    : reverse	? SPAN("4.7.1")
			: SPAN("4.7.25"),
	    span_printf(c->a, "Client host rejected: cannot find your %shostname, [" SPAN_FMT "]",
			reverse ? "reverse " : "", SPAN_ARG(s->client.addr)));
}
