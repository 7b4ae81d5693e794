/* policy_entry.c - see policy_entry.h. */
#include "policy_entry.h"
#include "conf/conf.h"

static const struct {
	const char *word;
	enum tls_level level;
} levels[] = {
	{ "none", TLS_NONE },	  { "may", TLS_MAY },	    { "encrypt", TLS_ENCRYPT },
	{ "verify", TLS_VERIFY }, { "secure", TLS_SECURE }, { "fingerprint", TLS_FINGERPRINT },
	{ "dane", TLS_DANE },
};

static bool level_of(struct span word, enum tls_level *out)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (span_is_ci(word, levels[i].word)) {
			*out = levels[i].level;
			return true;
		}
	return false;
}

const char *policy_level_name(enum tls_level level)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (levels[i].level == level)
			return levels[i].word;
	return "?";
}

/* "match=a match=b" is "match=a|b"; of other attributes the last one counts. */
static void take(struct span *at, const char *joint, struct span value, struct arena *a)
{
	if (joint[0] != '\0' && at->n > 0)
		value = span_printf(a, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(*at), joint, SPAN_ARG(value));
	*at = value;
}

static enum rc read_attribute(struct span word, struct policy_entry *out, struct arena *a, struct err *e)
{
	const struct {
		const char *name;
		struct span *to;
		enum tls_level from, to_level;
		const char *joint;
	} known[] = {
		{ "match", &out->match, TLS_VERIFY, TLS_DANE, "|" },
		{ "protocols", &out->protocols, TLS_MAY, TLS_DANE, "" },
		{ "ciphers", &out->ciphers, TLS_MAY, TLS_DANE, "" },
		{ "exclude", &out->exclude, TLS_MAY, TLS_DANE, "" },
		{ "servername", &out->servername, TLS_MAY, TLS_DANE, "" },
		{ "tafile", &out->tafile, TLS_VERIFY, TLS_SECURE, "," },
		{ "policy_type", &out->policy_type, TLS_MAY, TLS_DANE, "" },
		{ "mx_host_pattern", &out->mx_pattern, TLS_MAY, TLS_DANE, "|" },
		{ "policy_domain", &out->told, TLS_MAY, TLS_DANE, "" },
		{ "policy_string", &out->told, TLS_MAY, TLS_DANE, "" },
		{ "policy_ttl", &out->told, TLS_MAY, TLS_DANE, "" },
		{ "policy_failure", &out->told, TLS_MAY, TLS_DANE, "" },
		/* without effect: smtp_connection_cache_* keep connections, raw keys are not asked for */
		{ "connection_reuse", &out->told, TLS_MAY, TLS_DANE, "" },
		{ "enable_rpk", &out->told, TLS_MAY, TLS_DANE, "" }
	};
	struct span value = word, name;
	if (span_chr(word, '=') < 0)
		return err_set(e, RC_SYNTAX,
			       "malformed attribute/value pair \"" SPAN_FMT
			       "\": missing '=' after attribute name",
			       SPAN_ARG(word));
	(void)span_next(&value, '=', &name);
	name = span_trim(name);
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!span_is_ci(name, known[i].name))
			continue;
		if (out->level < known[i].from || out->level > known[i].to_level)
			return err_set(e, RC_SYNTAX, "attribute \"%s\" invalid at security level \"%s\"",
				       known[i].name, policy_level_name(out->level));
		take(known[i].to, known[i].joint, span_trim(value), a);
		return RC_OK;
	}
	return err_set(e, RC_SYNTAX, "invalid attribute name: \"" SPAN_FMT "\"", SPAN_ARG(name));
}

enum rc policy_entry_parse(struct span text, struct arena *a, struct policy_entry *out, struct err *e)
{
	struct span *word;
	size_t n;
	enum rc rc = conf_words(text, false, a, &word, &n, e); /* "{ name = value with blanks }" */
	*out = (struct policy_entry){ .level = TLS_NONE };
	if (rc != RC_OK)
		return rc;
	if (n == 0)
		return err_set(e, RC_SYNTAX, "invalid empty policy");
	if (!level_of(word[0], &out->level))
		return err_set(e, RC_SYNTAX, "invalid security level \"" SPAN_FMT "\"", SPAN_ARG(word[0]));
	if (out->level == TLS_NONE) {
		out->ignored = word + 1;
		out->ignored_n = n - 1;
		return RC_OK;
	}
	for (size_t i = 1; i < n && rc == RC_OK; i++)
		rc = read_attribute(word[i], out, a, e);
	return rc;
}

/* "*.example.com" is one label more; plug-ins write ".example.com", too. */
static bool fits(struct span host, struct span pattern)
{
	if (pattern.n > 1 && pattern.p[0] == '*' && pattern.p[1] == '.')
		pattern = span_skip(pattern, 1);
	if (pattern.n == 0 || pattern.p[0] != '.')
		return span_eq_ci(host, pattern);
	ptrdiff_t dot = span_chr(host, '.');
	return dot > 0 && span_eq_ci(span_skip(host, (size_t)dot), pattern);
}

bool policy_entry_fits(const struct policy_entry *p, struct span host)
{
	struct span rest = p->mx_pattern, pattern;
	while (span_next_word(&rest, "|", &pattern))
		if (fits(host, pattern))
			return true;
	return false;
}

size_t policy_words(struct span text, bool fingerprints, struct arena *a, struct span **out)
{
	struct span word;
	size_t n = 0, cap = 0;
	*out = NULL;
	while (span_next_word(&text, fingerprints ? "|, \t\r\n" : ":|, \t\r\n", &word)) {
		if (n == cap)
			*out = arena_grow(a, *out, n, &cap, sizeof **out);
		(*out)[n++] = word;
	}
	return n;
}
