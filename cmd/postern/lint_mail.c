/* cmd/postern/lint_mail.c - what the settings mean together: classes of domains, relay, log-in without TLS. */
#include "lint.h"

/* ---- domains in two classes ---- */

static const char *const classes[] = { "mydestination", "virtual_alias_domains", "virtual_mailbox_domains",
				       "relay_domains" };

static bool is_domain(struct span w)
{
	return w.n > 0 && w.p[0] != '!' && w.p[0] != '/' && span_chr(w, ':') < 0 && span_chr(w, '/') < 0;
}

void lint_domains(const struct lint *l)
{
	struct span *word[ARRAY_LEN(classes)];
	size_t n[ARRAY_LEN(classes)];
	struct span relayhost = lint_value(l, "relayhost"), name = lint_value(l, "myhostname");

	for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
		n[i] = lint_words(l, classes[i], &word[i]);
		/* "relay_domains = $mydestination", once the default, is meant so. */
		if (strcmp(classes[i], "relay_domains") == 0 &&
		    strstr(conf_raw(l->conf, classes[i]), "mydestination") != NULL)
			n[i] = 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		for (size_t k = i + 1; k < ARRAY_LEN(classes); k++)
			for (size_t x = 0; x < n[i]; x++)
				for (size_t y = 0; y < n[k]; y++)
					if (is_domain(word[i][x]) && span_eq_ci(word[i][x], word[k][y]))
						lint_say(
						    l, lint_is_own(l, classes[k]) ? classes[k] : classes[i],
						    "domain " SPAN_FMT
						    " is in %s, too, and only %s counts: take it out of one",
						    SPAN_ARG(word[k][y]),
						    lint_is_own(l, classes[k]) ? classes[i] : classes[k],
						    classes[i]);
	if (relayhost.n > 2 && relayhost.p[0] == '[')
		relayhost = span_head(span_skip(relayhost, 1), span_chr(relayhost, ']') > 0
								   ? (size_t)span_chr(relayhost, ']') - 1
								   : relayhost.n);
	if (span_eq_ci(relayhost, name))
		lint_say(l, "relayhost",
			 "is this host itself ($myhostname): mail would loop; empty means direct delivery");
}

/* ---- relay ---- */

/* "permit" before anything that could say no lets everything through. */
static bool permits_all(const struct lint *l, const char *list)
{
	struct span *word;
	size_t n = lint_words(l, list, &word);

	return n > 0 && span_is_ci(word[0], "permit");
}

static bool listens_to_outside(const struct lint *l)
{
	const struct master_entry *en = l->service;

	return en->type == ST_INET && !span_starts(en->name, SPAN("127.")) &&
	       !span_starts(en->name, SPAN("[::1]")) && !span_starts(en->name, SPAN("localhost"));
}

static void look_at_relay(const struct lint *l)
{
	static const char *const everybody[] = { "0.0.0.0/0", "0/0", "[::]/0", "::/0" };
	struct span *word;
	size_t n = lint_words(l, "mynetworks", &word);

	if (permits_all(l, "smtpd_relay_restrictions") && permits_all(l, "smtpd_recipient_restrictions"))
		lint_say(l, "smtpd_relay_restrictions",
			 "\"permit\" comes first: an open relay; put reject_unauth_destination before it");
	for (size_t i = 0; listens_to_outside(l) && i < n; i++)
		for (size_t k = 0; k < ARRAY_LEN(everybody); k++)
			if (span_is(word[i], everybody[k]))
				lint_say(l, "mynetworks",
					 "mynetworks holds " SPAN_FMT
					 ": everybody may relay; name the clients that may",
					 SPAN_ARG(word[i]));
}

/* ---- log-in ---- */

static bool yes(const struct lint *l, const char *name)
{
	return span_is_ci(lint_value(l, name), "yes");
}

static bool has_word(const struct lint *l, const char *name, const char *wanted)
{
	struct span *word;
	size_t n = lint_words(l, name, &word);

	for (size_t i = 0; i < n; i++)
		if (span_is(word[i], wanted))
			return true;
	return false;
}

static void look_at_login(const struct lint *l)
{
	struct span level = lint_value(l, "smtpd_tls_security_level");
	bool may = span_is(level, "may") || (level.n == 0 && yes(l, "smtpd_use_tls"));
	bool must = span_is(level, "encrypt") || (level.n == 0 && yes(l, "smtpd_enforce_tls")) ||
		    yes(l, "smtpd_tls_wrappermode");

	if ((may || must) && lint_value(l, "smtpd_tls_cert_file").n == 0 &&
	    lint_value(l, "smtpd_tls_chain_files").n == 0 && lint_value(l, "smtpd_tls_eccert_file").n == 0)
		lint_say(l, "smtpd_tls_security_level",
			 "TLS is on without a certificate: set smtpd_tls_cert_file and smtpd_tls_key_file");
	if (!yes(l, "smtpd_sasl_auth_enable") || must ||
	    has_word(l, "smtpd_sasl_security_options", "noplaintext") || !listens_to_outside(l))
		return;
	if (!may)
		lint_say(
		    l, "smtpd_sasl_auth_enable",
		    "passwords travel in clear text: there is no TLS; set smtpd_tls_security_level = may, "
		    "smtpd_tls_auth_only = yes and a certificate");
	else if (!yes(l, "smtpd_tls_auth_only"))
		lint_say(l, "smtpd_sasl_auth_enable",
			 "passwords may travel in clear text: set smtpd_tls_auth_only = yes");
}

void lint_smtpd(const struct lint *l)
{
	look_at_relay(l);
	look_at_login(l);
}
