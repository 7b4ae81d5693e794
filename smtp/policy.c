/* policy.c - how much TLS a destination needs: smtp_tls_policy_maps, else the parameters (TLS_README's
 * subject). */
#include "client.h"
#include "log/log.h"

#include <stdarg.h>

void policy_status(const struct session *s, char *out, size_t size)
{
	out[0] = '\0';
	if (s->level == TLS_NONE)
		return;
	const char *level = policy_level_name(s->level);
	if (!s->tls_decided)
		snprintf(out, size, "%s?", level);
	else
		snprintf(out, size, "%s%s", level, s->level == TLS_MAY && !s->tls ? ":none" : "");
}

/* The next hop as written; what is a mere domain also by ".parent" of it. */
static enum rc look_up(struct span nexthop, struct span site, struct arena *a, struct span *value,
		       struct err *e)
{
	enum rc rc = maps_lookup(settings.tls_policy, nexthop, a, value, e);
	if (!span_eq(site, nexthop)) /* brackets or a port: somebody wrote it into a table of transports */
		return rc;
	for (ptrdiff_t dot; rc == RC_NOTFOUND && (dot = span_chr(span_skip(site, 1), '.')) >= 0;) {
		site = span_skip(site, (size_t)dot + 1);
		rc = maps_lookup(settings.tls_policy, site, a, value, e);
	}
	return rc;
}

/* A grade's list for OpenSSL, without what is excluded; NULL: no such grade, or more exclusions than there is room for. */
static const char *cipher_list(struct arena *a, struct span grade, struct span exclude)
{
	const char *list = tls_cipher_list(service_conf(), grade);
	struct buf b;
	struct span word;
	if (list == NULL)
		return NULL;
	buf_init(&b, 4096);
	(void)buf_puts(&b, list);
	while (span_next_word(&exclude, ":, \t\r\n", &word))
		(void)buf_printf(&b, ":!" SPAN_FMT, SPAN_ARG(word));
	const char *out = buf_ok(&b) ? arena_cstr(a, buf_span(&b)) : NULL;
	buf_release(&b);
	return out;
}

/* What is wrong with the entry of a next hop; all such are warned of in the same form. */
static void complain(struct span nexthop, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct span nexthop, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_warning("%s_tls_policy_maps, next-hop destination \"" SPAN_FMT "\": %s",
		    settings.lmtp ? "lmtp" : "smtp", SPAN_ARG(nexthop), text);
}

static bool read_entry(struct span nexthop, struct span text, struct policy_entry *out, struct arena *a)
{
	struct err e;
	if (policy_entry_parse(text, a, out, &e) != RC_OK) {
		complain(nexthop, "%s", e.text);
		return false;
	}
	for (size_t i = 0; i < out->ignored_n; i++)
		complain(nexthop, "ignoring attribute \"" SPAN_FMT "\" with TLS disabled",
			 SPAN_ARG(out->ignored[i]));
	return true;
}

/* ---- MTA-STS ---- */

/* What a plug-in says of a domain's policy (policy_type=sts) holds for the MX host: its name has to match a pattern, and the
 * certificate has to be that host's own. False: no mail for this host. */
static bool by_sts(const struct target *t, struct tls_policy *p, struct policy_entry *at, struct why *w)
{
	if (p->level != TLS_SECURE || !settings.tls_enforce_sts || !span_is_ci(at->policy_type, "sts") ||
	    at->mx_pattern.n == 0)
		return true;
	at->match = SPAN("hostname");
	if (policy_entry_fits(at, t->host))
		return true;
	log_warning("MX host " SPAN_FMT " of " SPAN_FMT " matches no pattern of the domain's STS policy",
		    SPAN_ARG(t->host), SPAN_ARG(t->site));
	why_set(w, "4.7.5", "MX host " SPAN_FMT " does not match the STS policy of " SPAN_FMT,
		SPAN_ARG(t->host), SPAN_ARG(t->site));
	w->no_connection = true;
	return false;
}

/* ---- smtp_tls_per_site, the older table ---- */

/* Between next hop and host the stricter word counts, but NONE is more than MAY. */
static const struct {
	const char *word;
	enum tls_level level;
	int rank;
} sites[] = {
	{ "MAY", TLS_MAY, 1 },
	{ "NONE", TLS_NONE, 2 },
	{ "MUST_NOPEERMATCH", TLS_ENCRYPT, 3 },
	{ "MUST", TLS_VERIFY, 4 },
};

static bool look_up_site(struct span name, const char *what, struct arena *a, int *rank)
{
	struct span value;
	struct err e;
	enum rc rc = maps_lookup(settings.tls_per_site, name, a, &value, &e);
	if (rc == RC_NOTFOUND)
		return true;
	if (rc != RC_OK) {
		log_warning("%s_tls_per_site lookup error for %s: %s: %s", settings.lmtp ? "lmtp" : "smtp",
			    what, arena_cstr(a, name), e.text);
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(sites); i++)
		if (span_is_ci(value, sites[i].word)) {
			*rank = sites[i].rank > *rank ? sites[i].rank : *rank;
			return true;
		}
	log_warning("%s_tls_per_site: unknown TLS policy '" SPAN_FMT "' for %s " SPAN_FMT,
		    settings.lmtp ? "lmtp" : "smtp", SPAN_ARG(value), what, SPAN_ARG(name));
	return false;
}

/* What is known of a place comes before the general level; a mere MAY does not make that weaker. */
static bool by_site(struct span nexthop, const struct target *t, struct tls_policy *p, struct arena *a)
{
	int rank = 0;
	if (!look_up_site(nexthop, "next-hop destination", a, &rank) ||
	    (!span_eq_ci(nexthop, t->host) && !look_up_site(t->host, "server hostname", a, &rank)))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(sites); i++)
		if (rank == sites[i].rank && !(sites[i].level == TLS_MAY && p->level > TLS_MAY))
			p->level = sites[i].level;
	return true;
}

/* ---- level dane ---- */

/* Whether DNSSEC vouches for what DNS says of the host; else nobody looks for TLSA records (RFC 7672 section 2.2.2), and servers that cannot
 * answer such questions do no harm. */
static bool is_secure(struct span host, struct arena *a)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA };
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct dns_answer ans;
		struct err e;
		if (dns_query(host, types[i], a, &ans, deadline_s(settings.connect_s), &e) == RC_OK)
			return ans.secure;
	}
	return false;
}

/* Certificates are not held against TLSA records. A host that publishes some has to speak TLS, as one that says so of itself;
 * all others are as with "may". */
static enum tls_level by_tlsa(const struct target *t, struct arena *a)
{
	struct dns_answer ans;
	struct err e;
	if (!is_secure(t->host, a))
		return TLS_MAY;
	struct span name = span_printf(a, "_%u._tcp." SPAN_FMT, (unsigned)t->port, SPAN_ARG(t->host));
	enum rc rc = dns_query(name, DNS_TLSA, a, &ans, deadline_s(settings.connect_s), &e);
	return rc == RC_NOTFOUND ? TLS_MAY : TLS_ENCRYPT;
}

/* ---- together ---- */

/* What the certificate has to show; at lower levels anything. */
static struct span names_of(enum tls_level level, const struct policy_entry *at)
{
	const char *param = level == TLS_FINGERPRINT ? "tls_fingerprint_cert_match"
			    : level == TLS_VERIFY    ? "tls_verify_cert_match"
			    : level == TLS_SECURE    ? "tls_secure_cert_match"
						     : NULL;
	if (param == NULL || at->match.n > 0)
		return param == NULL ? SPAN_NONE : at->match;
	return span_str(settings_str(param));
}

static void fill(struct tls_policy *p, const struct policy_entry *at, const struct target *t, struct arena *a)
{
	bool mandatory = p->level > TLS_MAY;
	struct span exclude = span_printf(a, "%s %s " SPAN_FMT, settings_str("tls_exclude_ciphers"),
					  mandatory ? settings_str("tls_mandatory_exclude_ciphers") : "",
					  SPAN_ARG(at->exclude));
	struct span grade = at->ciphers.n > 0
				? at->ciphers
				: span_str(settings_str(mandatory ? "tls_mandatory_ciphers" : "tls_ciphers"));
	if (p->level >= TLS_VERIFY) /* without a certificate there is nothing to look at */
		exclude = span_printf(a, SPAN_FMT " aNULL", SPAN_ARG(exclude));
	p->ciphers = cipher_list(a, grade, exclude);
	p->grade = arena_cstr(a, grade);
	p->protocols = at->protocols.n > 0
			   ? arena_cstr(a, at->protocols)
			   : settings_str(mandatory ? "tls_mandatory_protocols" : "tls_protocols");
	struct span sni = at->servername.n > 0 ? at->servername : span_str(settings_str("tls_servername"));
	if (span_is_ci(sni, "nexthop"))
		sni = t->site;
	p->sni = sni.n > 0 && !span_is_ci(sni, "hostname") ? arena_cstr(a, sni) : NULL;
	if (p->level == TLS_FINGERPRINT && settings.tls_old_digest)
		log_info(OLD_DEFAULT "%s_tls_fingerprint_digest=md5 to compute certificate fingerprints",
			 settings.lmtp ? "lmtp" : "smtp");
	p->matches = policy_words(names_of(p->level, at), p->level == TLS_FINGERPRINT, a, &p->match);
}

/* False: the configuration is at fault, which the log says. */
static bool decide(struct span nexthop, const struct target *t, struct arena *a, struct tls_policy *p,
		   struct policy_entry *at)
{
	struct span value;
	struct err e;
	if (nexthop.n == 0)
		return true;
	if (maps_empty(settings.tls_policy))
		return maps_empty(settings.tls_per_site) || by_site(nexthop, t, p, a);
	enum rc rc = look_up(nexthop, t->site, a, &value, &e);
	if (rc == RC_OK) {
		bool good = read_entry(nexthop, value, at, a);
		p->level = at->level;
		return good;
	}
	if (rc == RC_NOTFOUND)
		return true;
	log_warning("%s", e.text);
	complain(nexthop, "policy table lookup error");
	return false;
}

enum rc policy_find(struct span nexthop, const struct target *t, struct arena *a, struct tls_policy *p,
		    struct why *w)
{
	struct policy_entry at = { 0 };
	if (settings.lmtp && (span_starts(nexthop, SPAN("inet:")) || span_starts(nexthop, SPAN("unix:"))))
		nexthop = span_skip(nexthop, 5);
	*p = (struct tls_policy){ .level = (enum tls_level)settings.tls_level };
	if (t->path != NULL)
		p->level = TLS_NONE;
	p->anchors = settings.tls_anchors;
	bool good = decide(nexthop, t, a, p, &at);
	if (good && at.tafile.n > 0)
		good = (p->anchors = tafile_find(at.tafile)) != NULL;
	if (good && p->level == TLS_DANE)
		p->level = by_tlsa(t, a);
	if (good && !by_sts(t, p, &at, w))
		return RC_AGAIN;
	if (good && p->level != TLS_NONE)
		fill(p, &at, t, a);
	if (good && p->level == TLS_FINGERPRINT && p->matches == 0) {
		log_warning("nexthop domain " SPAN_FMT
			    ": configured at fingerprint security level, but with no fingerprints to match.",
			    SPAN_ARG(nexthop));
		good = false;
	}
	if (good && settings.wrapper && p->level < TLS_ENCRYPT && t->path == NULL) {
		log_warning("%s_tls_wrappermode requires level encrypt or a stronger one, not \"%s\"",
			    settings.lmtp ? "lmtp" : "smtp", policy_level_name(p->level));
		good = false;
	}
	if (good)
		return RC_OK;
	log_warning("TLS policy lookup for " SPAN_FMT "/" SPAN_FMT ": client TLS configuration problem",
		    SPAN_ARG(nexthop), SPAN_ARG(t->host));
	why_set(w, "4.7.5", "client TLS configuration problem");
	w->no_connection = true;
	return RC_AGAIN;
}

size_t policy_names(const struct tls_policy *p, const struct target *t, struct arena *a, struct span **out)
{
	struct span *v = arena_array(a, p->matches + 1, sizeof *v);
	for (size_t i = 0; i < p->matches; i++) {
		v[i] = p->match[i];
		if (p->level == TLS_FINGERPRINT)
			continue;
		if (span_is_ci(v[i], "nexthop"))
			v[i] = t->site;
		else if (span_is_ci(v[i], "dot-nexthop"))
			v[i] = span_printf(a, "." SPAN_FMT, SPAN_ARG(t->site));
		else if (span_is_ci(v[i], "hostname"))
			v[i] = t->host;
	}
	*out = v;
	return p->matches;
}
