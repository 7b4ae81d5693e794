/* cmd/postern/lint_names.c - values that are one of a few words, and the names of restrictions. */
#include "lint.h"

static bool one_of(const char *words, struct span w)
{
	struct span rest = span_str(words), word;

	while (span_next_word(&rest, " ", &word))
		if (span_eq_ci(word, w))
			return true;
	return false;
}

/* What would be refused was told before. */
static void look_at_choice(const struct lint *l, const char *param)
{
	struct conf_choice c;

	if (!conf_choice(param, lint_value(l, param), &c) && !c.fatal)
		lint_say(l, param, "\"" SPAN_FMT "\" means nothing here: %s of %s", SPAN_ARG(c.wrong),
			 c.list ? "words" : "one", c.words);
}

/* ---- restrictions ---- */

static const char restrictions[] =
    "check_client_a_access check_client_access check_client_mx_access check_client_ns_access "
    "check_ccert_access "
    "check_etrn_access check_helo_a_access check_helo_access check_helo_mx_access check_helo_ns_access "
    "check_policy_service check_recipient_a_access check_recipient_access check_recipient_maps "
    "check_recipient_mx_access check_recipient_ns_access check_relay_domains "
    "check_reverse_client_hostname_a_access "
    "check_reverse_client_hostname_access check_reverse_client_hostname_mx_access "
    "check_reverse_client_hostname_ns_access check_sasl_access check_sender_a_access check_sender_access "
    "check_sender_mx_access check_sender_ns_access check_tlsa_access defer defer_if_permit defer_if_reject "
    "defer_unauth_destination permit permit_auth_destination permit_dnswl_client permit_inet_interfaces "
    "permit_mx_backup permit_mynetworks permit_naked_ip_address permit_rhswl_client "
    "permit_sasl_authenticated "
    "permit_tls_all_clientcerts permit_tls_clientcerts reject reject_authenticated_sender_login_mismatch "
    "reject_invalid_helo_hostname reject_invalid_hostname reject_known_sender_login_mismatch reject_maps_rbl "
    "reject_multi_recipient_bounce reject_non_fqdn_helo_hostname reject_non_fqdn_hostname "
    "reject_non_fqdn_recipient reject_non_fqdn_sender reject_plaintext_session reject_rbl reject_rbl_client "
    "reject_rhsbl_client reject_rhsbl_helo reject_rhsbl_recipient reject_rhsbl_reverse_client "
    "reject_rhsbl_sender reject_sender_login_mismatch reject_unauth_destination reject_unauth_pipelining "
    "reject_unauthenticated_sender_login_mismatch reject_unknown_address reject_unknown_client "
    "reject_unknown_client_hostname reject_unknown_forward_client_hostname reject_unknown_helo_hostname "
    "reject_unknown_hostname reject_unknown_recipient_domain reject_unknown_reverse_client_hostname "
    "reject_unknown_sender_domain reject_unlisted_recipient reject_unlisted_sender "
    "reject_unverified_recipient "
    "reject_unverified_sender sleep warn_if_reject";

/* What does not look like a name is an argument: tables, domains, numbers. */
static bool looks_like_name(struct span w)
{
	for (size_t i = 0; i < w.n; i++)
		if (!ascii_isalpha(w.p[i]) && w.p[i] != '_')
			return false;
	return span_starts_ci(w, SPAN("reject")) || span_starts_ci(w, SPAN("permit")) ||
	       span_starts_ci(w, SPAN("check_")) || span_starts_ci(w, SPAN("defer")) ||
	       span_starts_ci(w, SPAN("warn"));
}

static unsigned common(struct span a, struct span b)
{
	unsigned n = 0;

	while (n < a.n && n < b.n && ascii_lower(a.p[n]) == b.p[n])
		n++;
	return n;
}

/* The restriction that shares most of its beginning and end with `w`. */
static struct span nearest(struct span w)
{
	struct span rest = span_str(restrictions), word, best = SPAN_NONE;
	size_t score = w.n / 2;

	while (span_next_word(&rest, " ", &word)) {
		size_t head = common(w, word), tail = 0;

		while (tail + head < w.n && tail + head < word.n &&
		       ascii_lower(w.p[w.n - 1 - tail]) == word.p[word.n - 1 - tail])
			tail++;
		if (head + tail > score || (head + tail == score && best.n > 0 && word.n < best.n)) {
			score = head + tail;
			best = word;
		}
	}
	return best;
}

static void look_at_restrictions(const struct lint *l, const char *param)
{
	struct span *word, near;
	size_t n = lint_words(l, param, &word);

	for (size_t i = 0; i < n; i++) {
		if (!looks_like_name(word[i]) || one_of(restrictions, word[i]) ||
		    one_of(arena_cstr(l->a, lint_value(l, "smtpd_restriction_classes")), word[i]))
			continue;
		near = nearest(word[i]);
		lint_say(l, param, "unknown restriction \"" SPAN_FMT "\"%s" SPAN_FMT "%s", SPAN_ARG(word[i]),
			 near.n > 0 ? "; did you mean " : "", SPAN_ARG(near), near.n > 0 ? "?" : "");
	}
}

void lint_choices(const struct lint *l)
{
	for (const struct param *p = conf_params; p->name != NULL; p++) {
		if (lint_is_own(l, p->name))
			look_at_choice(l, p->name);
		if (span_starts(span_str(p->name), SPAN("smtpd_")) &&
		    span_ends(span_str(p->name), SPAN("_restrictions")) && lint_is_own(l, p->name))
			look_at_restrictions(l, p->name);
	}
}
