/* conf/deprecated.c - names that still work and that Postfix has announced to remove (its DEPRECATION_README). */
#include "conf/conf_int.h"

static const struct {
	const char *name;
	const char *instead; /* the name to set; NULL: nothing at all */
} deprecated[] = {
	{ "authorized_verp_clients", "smtpd_authorized_verp_clients" },
	{ "disable_dns_lookups", "smtp_dns_support_level" },
	{ "fallback_relay", "smtp_fallback_relay" },
	{ "lmtp_cname_overrides_servername", NULL },
	{ "lmtp_enforce_tls", "lmtp_tls_security_level" },
	{ "lmtp_per_record_deadline", "lmtp_per_request_deadline" },
	{ "lmtp_tls_enforce_peername", "lmtp_tls_security_level" },
	{ "lmtp_tls_per_site", "lmtp_tls_policy_maps" },
	{ "lmtp_use_tls", "lmtp_tls_security_level" },
	{ "postscreen_blacklist_action", "postscreen_denylist_action" },
	{ "postscreen_dnsbl_ttl", "postscreen_dnsbl_max_ttl" },
	{ "postscreen_dnsbl_whitelist_threshold", "postscreen_dnsbl_allowlist_threshold" },
	{ "postscreen_enforce_tls", "postscreen_tls_security_level" },
	{ "postscreen_use_tls", "postscreen_tls_security_level" },
	{ "postscreen_whitelist_interfaces", "postscreen_allowlist_interfaces" },
	{ "smtp_cname_overrides_servername", NULL },
	{ "smtp_enforce_tls", "smtp_tls_security_level" },
	{ "smtp_per_record_deadline", "smtp_per_request_deadline" },
	{ "smtp_tls_enforce_peername", "smtp_tls_security_level" },
	{ "smtp_tls_per_site", "smtp_tls_policy_maps" },
	{ "smtp_use_tls", "smtp_tls_security_level" },
	{ "smtpd_client_connection_limit_exceptions", "smtpd_client_event_limit_exceptions" },
	{ "smtpd_enforce_tls", "smtpd_tls_security_level" },
	{ "smtpd_per_record_deadline", "smtpd_per_request_deadline" },
	{ "smtpd_tls_dh1024_param_file", NULL },
	{ "smtpd_tls_eecdh_grade", NULL },
	{ "smtpd_use_tls", "smtpd_tls_security_level" },
	{ "tlsproxy_client_enforce_tls", "tlsproxy_client_security_level" },
	{ "tlsproxy_client_level", "tlsproxy_client_security_level" },
	{ "tlsproxy_client_per_site", "tlsproxy_client_policy_maps" },
	{ "tlsproxy_client_policy", "tlsproxy_client_policy_maps" },
	{ "tlsproxy_client_use_tls", "tlsproxy_client_security_level" },
	{ "tlsproxy_enforce_tls", "tlsproxy_tls_security_level" },
	{ "tlsproxy_use_tls", "tlsproxy_tls_security_level" },
	{ "virtual_maps", "virtual_alias_maps" },
};

/* The words are those that scripts look for in the warning. */
const char *conf_deprecated(struct span name)
{
	static _Thread_local char text[100];

	for (size_t i = 0; i < ARRAY_LEN(deprecated); i++) {
		if (!span_is(name, deprecated[i].name))
			continue;
		if (deprecated[i].instead == NULL)
			return "do not specify (leave at default)";
		(void)snprintf(text, sizeof(text), "specify \"%s\"", deprecated[i].instead);
		return text;
	}
	return NULL;
}

static const struct {
	const char *name, *instead;
} restrictions[] = {
	{ "check_relay_domains", "permit_mynetworks, reject_unauth_destination" },
	{ "permit_mx_backup", "relay_domains" },
	{ "permit_naked_ip_address", "permit_mynetworks" },
	{ "reject_maps_rbl", "reject_rbl_client domain-name" },
};

const char *conf_deprecated_restriction(struct span word)
{
	for (size_t i = 0; i < ARRAY_LEN(restrictions); i++)
		if (span_is_ci(word, restrictions[i].name))
			return restrictions[i].instead;
	return NULL;
}
