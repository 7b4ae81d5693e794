/* policy.c - how much TLS a destination needs: smtp_tls_policy_maps, else the parameters (TLS_README's
 * subject). */
#include "client.h"
#include "log/log.h"

static const struct {
	const char *word;
	enum tls_level level;
} words[] = {
	{ "none", TLS_NONE },	  { "may", TLS_MAY },	    { "encrypt", TLS_ENCRYPT },
	{ "verify", TLS_VERIFY }, { "secure", TLS_SECURE }, { "fingerprint", TLS_FINGERPRINT },
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
	return "dane";
}

/* The next hop as written, then the domain, then ".parent" of it. */
static enum rc look_up(struct span nexthop, struct span site, struct arena *a, struct span *value,
		       struct err *e)
{
	enum rc rc = maps_lookup(settings.tls_policy, nexthop, a, value, e);
	if (rc == RC_NOTFOUND && !span_eq(site, nexthop) && nexthop.p[0] != '[')
		rc = maps_lookup(settings.tls_policy, site, a, value, e);
	for (ptrdiff_t dot;
	     rc == RC_NOTFOUND && nexthop.p[0] != '[' && (dot = span_chr(span_skip(site, 1), '.')) >= 0;) {
		site = span_skip(site, (size_t)dot + 1);
		rc = maps_lookup(settings.tls_policy, site, a, value, e);
	}
	return rc;
}

/* Grade or list -> OpenSSL's list, with the exclusions. */
static const char *cipher_list(struct arena *a, struct span grade, struct span exclude)
{
	static const struct {
		const char *grade, *param;
	} grades[] = { { "high", "tls_high_cipherlist" },
		       { "medium", "tls_medium_cipherlist" },
		       { "low", "tls_medium_cipherlist" },
		       { "export", "tls_medium_cipherlist" },
		       { "null", "tls_null_cipherlist" } };
	const char *list = conf_str(service_conf(), "tls_medium_cipherlist");
	struct buf b;
	struct span word;
	for (size_t i = 0; i < ARRAY_LEN(grades); i++)
		if (span_is_ci(grade, grades[i].grade))
			list = conf_str(service_conf(), grades[i].param);
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
	while (span_next_word(&text, ":, \t\r\n", &word)) {
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
	struct span match, protocols, ciphers, exclude, servername;
};

static enum rc read_attributes(struct span text, struct attributes *out, struct why *w)
{
	struct span word;
	while (span_next_word(&text, ", \t\r\n", &word)) {
		struct span value = word, name;
		(void)span_next(&value, '=', &name);
		if (span_is_ci(name, "match"))
			out->match = value;
		else if (span_is_ci(name, "protocols"))
			out->protocols = value;
		else if (span_is_ci(name, "ciphers"))
			out->ciphers = value;
		else if (span_is_ci(name, "exclude"))
			out->exclude = value;
		else if (span_is_ci(name, "servername"))
			out->servername = value;
		else {
			why_set(w, "4.7.5", "client TLS configuration problem");
			log_warning("TLS policy attribute " SPAN_FMT " is not supported", SPAN_ARG(name));
			return RC_SYNTAX;
		}
	}
	return RC_OK;
}

static void fill(struct tls_policy *p, const struct attributes *at, const struct target *t, struct arena *a)
{
	bool mandatory = p->level > TLS_MAY;
	struct span exclude = span_printf(a, "%s %s " SPAN_FMT, settings_str("tls_exclude_ciphers"),
					  mandatory ? settings_str("tls_mandatory_exclude_ciphers") : "",
					  SPAN_ARG(at->exclude));
	struct span grade = at->ciphers.n > 0
				? at->ciphers
				: span_str(settings_str(mandatory ? "tls_mandatory_ciphers" : "tls_ciphers"));
	p->ciphers = cipher_list(a, grade, exclude);
	p->protocols = at->protocols.n > 0
			   ? arena_cstr(a, at->protocols)
			   : settings_str(mandatory ? "tls_mandatory_protocols" : "tls_protocols");
	struct span sni = at->servername.n > 0 ? at->servername : span_str(settings_str("tls_servername"));
	if (span_is_ci(sni, "nexthop"))
		sni = t->site;
	p->sni = sni.n > 0 && !span_is_ci(sni, "hostname") ? arena_cstr(a, sni) : NULL;
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

enum rc policy_find(struct span nexthop, const struct target *t, struct arena *a, struct tls_policy *p,
		    struct why *w)
{
	struct attributes at = { 0 };
	struct span value, level;
	struct err e;
	*p = (struct tls_policy){ .level = (enum tls_level)settings.tls_level };
	if (t->path != NULL)
		p->level = TLS_NONE;
	enum rc rc = nexthop.n == 0 || maps_empty(settings.tls_policy)
			 ? RC_NOTFOUND
			 : look_up(nexthop, t->site, a, &value, &e);
	if (rc == RC_OK) {
		if (!span_next_word(&value, ", \t\r\n", &level) || !level_of(level, &p->level)) {
			log_warning("TLS policy level for " SPAN_FMT " is unknown or not supported",
				    SPAN_ARG(nexthop));
			why_set(w, "4.7.5", "client TLS configuration problem");
			return RC_AGAIN;
		}
		if (read_attributes(value, &at, w) != RC_OK)
			return RC_AGAIN;
	} else if (rc != RC_NOTFOUND) {
		log_warning("%s", e.text);
		why_set(w, "4.7.5", "client TLS configuration problem");
		return RC_AGAIN;
	}
	if (p->level != TLS_NONE)
		fill(p, &at, t, a);
	return RC_OK;
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
