/* policy.c - how much TLS a destination needs: smtp_tls_policy_maps, else the parameters (TLS_README's
 * subject). */
#include "client.h"
#include "log/log.h"

#include <stdarg.h>

static const struct {
	const char *word;
	enum tls_level level;
} words[] = {
	{ "none", TLS_NONE },	  { "may", TLS_MAY },	    { "encrypt", TLS_ENCRYPT },
	{ "verify", TLS_VERIFY }, { "secure", TLS_SECURE }, { "fingerprint", TLS_FINGERPRINT },
	{ "dane", TLS_DANE },
};

static bool level_of(struct span word, enum tls_level *out)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (span_is_ci(word, words[i].word)) {
			*out = words[i].level;
			return true;
		}
	return false;
}

const char *policy_level_name(enum tls_level level)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].level == level)
			return words[i].word;
	return "?";
}

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

/* A grade's list for OpenSSL, without what is excluded; NULL: no such grade. */
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
	const char *out = arena_cstr(a, buf_span(&b));
	buf_release(&b);
	return out;
}

static void split_match(struct span text, struct arena *a, struct tls_policy *p)
{
	struct span word, *v = NULL;
	size_t cap = 0;
	p->matches = 0;
	while (span_next_word(&text, ":|, \t\r\n", &word)) {
		if (p->matches == cap)
			v = arena_grow(a, v, p->matches, &cap, sizeof *v);
		v[p->matches++] = word;
	}
	p->match = v;
}

/* Fingerprints hold colons, so '|' parts them. */
static void split_fingerprints(struct span text, struct arena *a, struct tls_policy *p)
{
	struct span word, *v = arena_array(a, 64, sizeof *v);
	p->matches = 0;
	while (p->matches < 64 && span_next_word(&text, "|, \t\r\n", &word))
		v[p->matches++] = word;
	p->match = v;
}

struct attributes {
	struct span match, protocols, ciphers, exclude, servername, tafile, policy_type, mx_pattern;
	struct span told; /* policy_domain and other facts for reports */
};

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

/* "match=a match=b" is "match=a:b", and so with patterns and files; of other attributes the last one counts. */
static void take(struct attributes *out, struct span *at, struct span value, struct arena *a)
{
	if ((at == &out->match || at == &out->mx_pattern) && at->n > 0)
		value = span_printf(a, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(*at), "|", SPAN_ARG(value));
	else if (at == &out->tafile)
		value = tafile_add(*at, value, a);
	*at = value;
}

static bool read_attribute(struct span nexthop, struct span word, enum tls_level level,
			   struct attributes *out, struct arena *a)
{
	const struct {
		const char *name;
		struct span *to;
		enum tls_level from, to_level;
	} known[] = {
		{ "match", &out->match, TLS_VERIFY, TLS_DANE },
		{ "protocols", &out->protocols, TLS_MAY, TLS_DANE },
		{ "ciphers", &out->ciphers, TLS_MAY, TLS_DANE },
		{ "exclude", &out->exclude, TLS_MAY, TLS_DANE },
		{ "servername", &out->servername, TLS_MAY, TLS_DANE },
		{ "tafile", &out->tafile, TLS_VERIFY, TLS_SECURE },
		{ "policy_type", &out->policy_type, TLS_MAY, TLS_DANE },
		{ "mx_host_pattern", &out->mx_pattern, TLS_MAY, TLS_DANE },
		{ "policy_domain", &out->told, TLS_MAY, TLS_DANE },
		{ "policy_string", &out->told, TLS_MAY, TLS_DANE },
		{ "policy_ttl", &out->told, TLS_MAY, TLS_DANE },
		{ "policy_failure", &out->told, TLS_MAY, TLS_DANE },
		/* without effect: smtp_connection_cache_* keep connections, raw keys are not asked for */
		{ "connection_reuse", &out->told, TLS_MAY, TLS_DANE },
		{ "enable_rpk", &out->told, TLS_MAY, TLS_DANE }
	};
	struct span value = word, name;
	if (span_chr(word, '=') < 0) {
		complain(nexthop,
			 "malformed attribute/value pair \"" SPAN_FMT "\": missing '=' after attribute name",
			 SPAN_ARG(word));
		return false;
	}
	(void)span_next(&value, '=', &name);
	name = span_trim(name);
	value = span_trim(value);
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!span_is_ci(name, known[i].name))
			continue;
		if (level < known[i].from || level > known[i].to_level) {
			complain(nexthop, "attribute \"%s\" invalid at security level \"%s\"", known[i].name,
				 policy_level_name(level));
			return false;
		}
		take(out, known[i].to, value, a);
		return true;
	}
	complain(nexthop, "invalid attribute name: \"" SPAN_FMT "\"", SPAN_ARG(name));
	return false;
}

static bool read_entry(struct span nexthop, struct span text, struct tls_policy *p, struct attributes *out,
		       struct arena *a)
{
	struct span *word;
	struct err e;
	size_t n;
	if (conf_words(text, false, a, &word, &n, &e) != RC_OK) { /* "{ name = value with blanks }" */
		complain(nexthop, "%s", e.text);
		return false;
	}
	if (n == 0) {
		complain(nexthop, "invalid empty policy");
		return false;
	}
	if (!level_of(word[0], &p->level)) {
		complain(nexthop, "invalid security level \"" SPAN_FMT "\"", SPAN_ARG(word[0]));
		return false;
	}
	for (size_t i = 1; i < n; i++) {
		if (p->level == TLS_NONE)
			complain(nexthop, "ignoring attribute \"" SPAN_FMT "\" with TLS disabled",
				 SPAN_ARG(word[i]));
		else if (!read_attribute(nexthop, word[i], p->level, out, a))
			return false;
	}
	return true;
}

/* ---- MTA-STS ---- */

/* RFC 8461 section 4.1: "*.example.com" is one label more; plug-ins write ".example.com", too. */
static bool fits_pattern(struct span host, struct span pattern)
{
	if (pattern.n > 1 && pattern.p[0] == '*' && pattern.p[1] == '.')
		pattern = span_skip(pattern, 1);
	if (pattern.n == 0 || pattern.p[0] != '.')
		return span_eq_ci(host, pattern);
	ptrdiff_t dot = span_chr(host, '.');
	return dot > 0 && span_eq_ci(span_skip(host, (size_t)dot), pattern);
}

/* What a plug-in says of a domain's policy (policy_type=sts) holds for the MX host: its name has to match a pattern, and the
 * certificate has to be that host's own. False: no mail for this host. */
static bool by_sts(const struct target *t, struct tls_policy *p, struct attributes *at, struct why *w)
{
	struct span rest = at->mx_pattern, pattern;
	if (p->level != TLS_SECURE || !settings.tls_enforce_sts || !span_is_ci(at->policy_type, "sts") ||
	    rest.n == 0)
		return true;
	at->match = SPAN("hostname");
	while (span_next_word(&rest, "|", &pattern))
		if (fits_pattern(t->host, pattern))
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

static void fill(struct tls_policy *p, const struct attributes *at, const struct target *t, struct arena *a)
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
	if (p->level == TLS_FINGERPRINT)
		split_fingerprints(
		    at->match.n > 0 ? at->match : span_str(settings_str("tls_fingerprint_cert_match")), a, p);
	else if (p->level == TLS_VERIFY)
		split_match(at->match.n > 0 ? at->match : span_str(settings_str("tls_verify_cert_match")), a,
			    p);
	else if (p->level == TLS_SECURE)
		split_match(at->match.n > 0 ? at->match : span_str(settings_str("tls_secure_cert_match")), a,
			    p);
}

/* False: the configuration is at fault, which the log says. */
static bool decide(struct span nexthop, const struct target *t, struct arena *a, struct tls_policy *p,
		   struct attributes *at)
{
	struct span value;
	struct err e;
	if (nexthop.n == 0)
		return true;
	if (maps_empty(settings.tls_policy))
		return maps_empty(settings.tls_per_site) || by_site(nexthop, t, p, a);
	enum rc rc = look_up(nexthop, t->site, a, &value, &e);
	if (rc == RC_OK)
		return read_entry(nexthop, value, p, at, a);
	if (rc == RC_NOTFOUND)
		return true;
	log_warning("%s", e.text);
	complain(nexthop, "policy table lookup error");
	return false;
}

enum rc policy_find(struct span nexthop, const struct target *t, struct arena *a, struct tls_policy *p,
		    struct why *w)
{
	struct attributes at = { 0 };
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
