/* conf/choices.c - parameters whose value is one of a few words, or a list of them. */
#include "conf/conf.h"

#define LEVELS	 "none may encrypt dane dane-only fingerprint verify secure"
#define SECURITY "noplaintext noactive nodictionary noanonymous forward_secrecy mutual_auth"
#define LOCKS	 "fcntl flock dotlock"
#define ORIGINS	 "alias forward include"
#define LATER	 "defer defer_if_permit"
#define GRADES	 "export low medium high null"
#define VERSIONS "SSLv2 SSLv3 TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"

/* `fatal`: another word would keep a process from starting, or turn protection off unseen. */
static const struct {
	const char *param;
	const char *words;
	bool list, fatal;
} choices[] = {
	{ "allow_mail_to_commands", ORIGINS, true, true },
	{ "allow_mail_to_files", ORIGINS, true, true },
	{ "info_log_address_format", "internal external", false, true },
	{ "inet_protocols", "all ipv4 ipv6", true, true },
	{ "internal_mail_filter_classes", "bounce notify", true, true },
	{ "lmtp_address_preference", "any ipv4 ipv6", false, true },
	{ "lmtp_address_verify_target", "rcpt data", false, true },
	{ "lmtp_dns_support_level", "disabled enabled dnssec", false, true },
	{ "lmtp_host_lookup", "dns native", true, true },
	{ "lmtp_sasl_security_options", SECURITY, true, true },
	{ "lmtp_sasl_tls_security_options", SECURITY, true, true },
	{ "lmtp_tls_mandatory_protocols", VERSIONS, true, true },
	{ "lmtp_tls_protocols", VERSIONS, true, true },
	{ "lmtp_tls_security_level", LEVELS, false, true },
	{ "mailbox_delivery_lock", LOCKS, true, true },
	{ "mynetworks_style", "host subnet class", false, true },
	{ "non_empty_end_of_header_action", "fix_quietly add_header reject", false, true },
	{ "notify_classes", "2bounce bounce data delay policy protocol resource software", true, true },
	{ "prepend_delivered_header", "command file forward", true, true },
	{ "propagate_unmatched_extensions", "canonical virtual alias forward include generic", true, true },
	{ "receive_override_options",
	  "no_unknown_recipient_checks no_address_mappings no_header_body_checks no_milters", true, true },
	{ "reject_tempfail_action", LATER, false, true },
	{ "smtp_address_preference", "any ipv4 ipv6", false, true },
	{ "smtp_address_verify_target", "rcpt data", false, true },
	{ "smtp_dns_support_level", "disabled enabled dnssec", false, true },
	{ "smtp_host_lookup", "dns native", true, true },
	{ "smtp_sasl_security_options", SECURITY, true, true },
	{ "smtp_sasl_tls_security_options", SECURITY, true, true },
	{ "smtp_tls_loglevel", "0 1 2 3 4", false, false },
	{ "smtp_tls_mandatory_protocols", VERSIONS, true, true },
	{ "smtp_tls_protocols", VERSIONS, true, true },
	{ "smtp_tls_security_level", LEVELS, false, true },
	{ "smtpd_forbid_bare_newline", "yes no note normalize reject", false, true },
	{ "smtpd_proxy_options", "speed_adjust", true, true },
	{ "smtpd_sasl_security_options", SECURITY, true, true },
	{ "smtpd_sasl_tls_security_options", SECURITY, true, true },
	{ "smtpd_sasl_type", "cyrus dovecot", false, false },
	{ "smtpd_tls_ciphers", GRADES, false, true },
	{ "smtpd_tls_loglevel", "0 1 2 3 4", false, false },
	{ "smtpd_tls_mandatory_ciphers", GRADES, false, true },
	{ "smtpd_tls_mandatory_protocols", VERSIONS, true, true },
	{ "smtpd_tls_protocols", VERSIONS, true, true },
	{ "smtpd_tls_security_level", "none may encrypt fingerprint verify secure", false, true },
	{ "smtpd_upstream_proxy_protocol", "haproxy", false, true },
	{ "syslog_facility",
	  "mail user daemon auth authpriv cron ftp kern lpr news syslog uucp local0 local1 local2 local3 "
	  "local4 local5 local6 local7",
	  false, true },
	{ "unknown_address_tempfail_action", LATER, false, true },
	{ "unknown_helo_hostname_tempfail_action", LATER, false, true },
	{ "unverified_recipient_tempfail_action", LATER, false, true },
	{ "unverified_sender_tempfail_action", LATER, false, true },
	{ "virtual_mailbox_lock", LOCKS, true, true },
};

static bool is_one_of(const char *words, struct span w)
{
	struct span rest = span_str(words), word;

	while (span_next_word(&rest, " ", &word))
		if (span_eq_ci(word, w))
			return true;
	return false;
}

/* ">=0303": also a version that has no name here. */
static bool is_number(struct span w)
{
	size_t digits = 0;

	if (span_starts_ci(w, SPAN("0x")))
		w = span_skip(w, 2);
	for (; digits < w.n; digits++)
		if (!ascii_isdigit(w.p[digits]) &&
		    (ascii_lower(w.p[digits]) < 'a' || ascii_lower(w.p[digits]) > 'f'))
			return false;
	return digits > 0 && digits <= 4;
}

/* A word of smtpd_tls_protocols and its like may begin with "!", or be a bound. */
static bool is_protocol(const char *words, struct span w)
{
	bool bound = span_starts(w, SPAN(">=")) || span_starts(w, SPAN("<="));
	struct span version = span_skip(w, bound ? 2 : span_starts(w, SPAN("!")) ? 1 : 0);

	return is_one_of(words, version) || (bound && is_number(version));
}

bool conf_choice(const char *name, struct span value, struct conf_choice *out)
{
	for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
		struct span rest = value;

		if (strcmp(choices[i].param, name) != 0)
			continue;
		*out = (struct conf_choice){ .words = choices[i].words,
					     .list = choices[i].list,
					     .fatal = choices[i].fatal };
		if (!out->list) {
			out->wrong = span_trim(value);
			return out->wrong.n == 0 || is_one_of(out->words, out->wrong);
		}
		bool protocols = strcmp(out->words, VERSIONS) == 0;

		while (span_next_word(&rest, protocols ? ":, \t\r\n" : ", \t\r\n", &out->wrong))
			if (protocols ? !is_protocol(out->words, out->wrong)
				      : !is_one_of(out->words, out->wrong))
				return false;
		return true;
	}
	return true;
}
