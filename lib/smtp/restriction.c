/* smtp/restriction.c - see restriction.h. */
#include "smtp/restriction.h"
#include "conf/conf.h"
#include <stddef.h>

static const struct {
	const char *name;
	enum restriction_arg arg;
} known[] = {
	{ "check_ccert_access", ARG_TABLE },
	{ "check_client_a_access", ARG_TABLE },
	{ "check_client_access", ARG_TABLE },
	{ "check_client_mx_access", ARG_TABLE },
	{ "check_client_ns_access", ARG_TABLE },
	{ "check_etrn_access", ARG_TABLE },
	{ "check_helo_a_access", ARG_TABLE },
	{ "check_helo_access", ARG_TABLE },
	{ "check_helo_mx_access", ARG_TABLE },
	{ "check_helo_ns_access", ARG_TABLE },
	{ "check_policy_service", ARG_SERVICE },
	{ "check_recipient_a_access", ARG_TABLE },
	{ "check_recipient_access", ARG_TABLE },
	{ "check_recipient_maps", ARG_NONE },
	{ "check_recipient_mx_access", ARG_TABLE },
	{ "check_recipient_ns_access", ARG_TABLE },
	{ "check_relay_domains", ARG_NONE },
	{ "check_reverse_client_hostname_a_access", ARG_TABLE },
	{ "check_reverse_client_hostname_access", ARG_TABLE },
	{ "check_reverse_client_hostname_mx_access", ARG_TABLE },
	{ "check_reverse_client_hostname_ns_access", ARG_TABLE },
	{ "check_sasl_access", ARG_TABLE },
	{ "check_sender_a_access", ARG_TABLE },
	{ "check_sender_access", ARG_TABLE },
	{ "check_sender_mx_access", ARG_TABLE },
	{ "check_sender_ns_access", ARG_TABLE },
	{ "defer", ARG_NONE },
	{ "defer_if_permit", ARG_NONE },
	{ "defer_if_reject", ARG_NONE },
	{ "defer_unauth_destination", ARG_NONE },
	{ "permit", ARG_NONE },
	{ "permit_auth_destination", ARG_NONE },
	{ "permit_dnswl_client", ARG_DOMAIN },
	{ "permit_inet_interfaces", ARG_NONE },
	{ "permit_mx_backup", ARG_NONE },
	{ "permit_mynetworks", ARG_NONE },
	{ "permit_naked_ip_address", ARG_NONE },
	{ "permit_rhswl_client", ARG_DOMAIN },
	{ "permit_sasl_authenticated", ARG_NONE },
	{ "permit_tls_all_clientcerts", ARG_NONE },
	{ "permit_tls_clientcerts", ARG_NONE },
	{ "reject", ARG_NONE },
	{ "reject_authenticated_sender_login_mismatch", ARG_NONE },
	{ "reject_invalid_helo_hostname", ARG_NONE },
	{ "reject_invalid_hostname", ARG_NONE },
	{ "reject_known_sender_login_mismatch", ARG_NONE },
	{ "reject_maps_rbl", ARG_NONE },
	{ "reject_multi_recipient_bounce", ARG_NONE },
	{ "reject_non_fqdn_helo_hostname", ARG_NONE },
	{ "reject_non_fqdn_hostname", ARG_NONE },
	{ "reject_non_fqdn_recipient", ARG_NONE },
	{ "reject_non_fqdn_sender", ARG_NONE },
	{ "reject_plaintext_session", ARG_NONE },
	{ "reject_rbl", ARG_DOMAIN },
	{ "reject_rbl_client", ARG_DOMAIN },
	{ "reject_rhsbl_client", ARG_DOMAIN },
	{ "reject_rhsbl_helo", ARG_DOMAIN },
	{ "reject_rhsbl_recipient", ARG_DOMAIN },
	{ "reject_rhsbl_reverse_client", ARG_DOMAIN },
	{ "reject_rhsbl_sender", ARG_DOMAIN },
	{ "reject_sender_login_mismatch", ARG_NONE },
	{ "reject_unauth_destination", ARG_NONE },
	{ "reject_unauth_pipelining", ARG_NONE },
	{ "reject_unauthenticated_sender_login_mismatch", ARG_NONE },
	{ "reject_unknown_address", ARG_NONE },
	{ "reject_unknown_client", ARG_NONE },
	{ "reject_unknown_client_hostname", ARG_NONE },
	{ "reject_unknown_helo_hostname", ARG_NONE },
	{ "reject_unknown_hostname", ARG_NONE },
	{ "reject_unknown_recipient_domain", ARG_NONE },
	{ "reject_unknown_reverse_client_hostname", ARG_NONE },
	{ "reject_unknown_sender_domain", ARG_NONE },
	{ "reject_unlisted_recipient", ARG_NONE },
	{ "reject_unlisted_sender", ARG_NONE },
	{ "reject_unverified_recipient", ARG_NONE },
	{ "reject_unverified_sender", ARG_NONE },
	{ "sleep", ARG_NUMBER },
	{ "warn_if_reject", ARG_NONE },
};

bool restriction_find(struct span name, enum restriction_arg *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (span_is_ci(name, known[i].name)) {
			*arg = known[i].arg;
			return true;
		}
	return false;
}

bool restriction_is_final(struct span name)
{
	return span_is_ci(name, "permit") || span_is_ci(name, "reject") || span_is_ci(name, "defer");
}

static size_t common(struct span a, struct span b)
{
	size_t n = 0;

	while (n < a.n && n < b.n && ascii_lower(a.p[n]) == b.p[n])
		n++;
	return n;
}

/* Shares most of its beginning and end with `name`. */
struct span restriction_nearest(struct span name)
{
	struct span best = SPAN_NONE;
	size_t score = name.n / 2;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		struct span word = span_str(known[i].name);
		size_t head = common(name, word), tail = 0;

		while (tail + head < name.n && tail + head < word.n &&
		       ascii_lower(name.p[name.n - 1 - tail]) == word.p[word.n - 1 - tail])
			tail++;
		if (head + tail > score || (head + tail == score && best.n > 0 && word.n < best.n)) {
			score = head + tail;
			best = word;
		}
	}
	return best;
}

/* ---- filters of DNS lists ---- */

static bool take_number(struct span *in, unsigned *out)
{
	size_t n = 0;

	*out = 0;
	while (n < in->n && ascii_isdigit(in->p[n]) && n < 3)
		*out = *out * 10 + (unsigned)(in->p[n++] - '0');
	*in = span_skip(*in, n);
	return n > 0 && *out < 256;
}

static bool take_char(struct span *in, char c)
{
	if (in->n == 0 || in->p[0] != c)
		return false;
	*in = span_skip(*in, 1);
	return true;
}

/* "5" or "[1;3..5]" for one byte of the answer. */
static bool take_byte(struct span *in, uint8_t bits[32])
{
	bool set = take_char(in, '[');
	unsigned lo, hi;

	do {
		if (!take_number(in, &lo))
			return false;
		hi = lo;
		if (set && in->n > 2 && in->p[0] == '.' && in->p[1] == '.') {
			*in = span_skip(*in, 2);
			if (!take_number(in, &hi) || hi < lo)
				return false;
		}
		for (unsigned v = lo; v <= hi; v++)
			bits[v / 8] |= (uint8_t)(1u << (v % 8));
	} while (set && take_char(in, ';'));
	return !set || take_char(in, ']');
}

enum rc dnsbl_filter_parse(struct span text, uint8_t allowed[DNSBL_BYTES][32])
{
	for (size_t i = 0; i < DNSBL_BYTES; i++)
		if ((i > 0 && !take_char(&text, '.')) || !take_byte(&text, allowed[i]))
			return RC_SYNTAX;
	return text.n == 0 ? RC_OK : RC_SYNTAX;
}

/* ---- policy servers ---- */

static const struct {
	const char *name;
	size_t at;
	bool time;
} numbers[] = {
	{ "timeout", offsetof(struct policy_settings, timeout_s), true },
	{ "retry_delay", offsetof(struct policy_settings, retry_delay_s), true },
	{ "try_limit", offsetof(struct policy_settings, try_limit), false },
	{ "max_idle", offsetof(struct policy_settings, max_idle_s), true },
	{ "max_ttl", offsetof(struct policy_settings, max_ttl_s), true },
	{ "request_limit", offsetof(struct policy_settings, request_limit), false },
};

const char *policy_number(struct policy_settings *p, size_t i, int64_t **at)
{
	if (i >= ARRAY_LEN(numbers))
		return NULL;
	*at = (int64_t *)(void *)((char *)p + numbers[i].at);
	return numbers[i].name;
}

static enum rc take_setting(struct policy_settings *p, struct span name, struct span value)
{
	int64_t *at;
	uint64_t n;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		if (!span_is(name, policy_number(p, i, &at)))
			continue;
		if (numbers[i].time)
			return conf_parse_time(value, 's', at);
		if (span_to_u64(value, INT32_MAX, &n) != RC_OK)
			return RC_SYNTAX;
		*at = (int64_t)n;
		return RC_OK;
	}
	return RC_NOTFOUND;
}

enum rc policy_attribute(struct span word, struct policy_settings *p)
{
	struct span name, value;
	ptrdiff_t eq;

	if (word.n > 1 && word.p[0] == '{' && word.p[word.n - 1] == '}')
		word = span_trim(span_make(word.p + 1, word.n - 2));
	if ((eq = span_chr(word, '=')) <= 0)
		return RC_SYNTAX;
	name = span_trim(span_head(word, (size_t)eq));
	value = span_trim(span_skip(word, (size_t)eq + 1));
	if (span_is(name, "default_action"))
		p->default_action = value;
	else if (span_is(name, "policy_context"))
		p->context = value;
	else
		return take_setting(p, name, value);
	return RC_OK;
}
