/* settings.c - main.cf as smtpd reads it: once, in prepare(). */
#include "restrict.h"
#include "smtp/transcript.h"
#include "map/dns_filter.h"
#include "net/interfaces.h"

struct smtpd_conf conf;

static const char *str(const char *name)
{
	return conf_str(service_conf(), name);
}

static int64_t num(const char *name)
{
	return conf_int(service_conf(), name);
}

static bool yes(const char *name)
{
	return conf_bool(service_conf(), name);
}

static struct match_list *list(const char *name, bool parents)
{
	struct match_list *l;
	struct err e;

	if (match_list_open(name, span_str(str(name)), parents ? MATCH_PARENT : 0, &l, &e) != RC_OK)
		die("%s", e.text);
	return l;
}

/* Of words. */
static struct match_list *exact(const char *name)
{
	struct match_list *l;
	struct err e;

	if (match_list_open(name, span_str(str(name)), MATCH_EXACT, &l, &e) != RC_OK)
		die("%s", e.text);
	return l;
}

static struct maps *tables(const char *name, struct span value)
{
	struct maps *m;
	struct err e;

	if (maps_open(name, value, MAP_FOLD_KEY | MAP_PARTIAL, &m, &e) != RC_OK)
		die("%s", e.text);
	return m;
}

static void open_own_domains(void)
{
	struct err e;

	if (own_domains_open(service_conf(), &conf.own, &e) != RC_OK)
		die("%s", e.text);
}

/* Tables that are asked with whole texts. */
static struct maps *texts(const char *name)
{
	struct maps *m;
	struct err e;

	if (maps_open(name, span_str(str(name)), 0, &m, &e) != RC_OK)
		die("%s", e.text);
	return m;
}

/* The words of a list; they live as long as the process. */
static size_t words(const char *name, struct span **v)
{
	static struct arena a;
	size_t n;
	struct err e;

	if (conf_words(span_str(str(name)), true, &a, v, &n, &e) != RC_OK)
		die("%s: %s", name, e.text);
	return n;
}

static bool has_word(const char *param, const char *word)
{
	struct span *v;
	size_t n = words(param, &v);

	for (size_t i = 0; i < n; i++)
		if (span_is_ci(v[i], word))
			return true;
	return false;
}

/* Whether "example.com" in the list of `feature` stands for its subdomains, too. */
static bool parents(const char *feature)
{
	return has_word("parent_domain_matches_subdomains", feature);
}

/* A list in which names and tables stand side by side: the tables, joined. */
static struct maps *tables_of_list(const char *name, struct span **plain, size_t *plain_n)
{
	struct span *v;
	size_t n = words(name, &v);
	struct buf b;
	struct maps *m;

	*plain_n = 0;
	*plain = v;
	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < n; i++) {
		if (span_chr(v[i], ':') > 0) {
			(void)buf_append(&b, v[i]);
			(void)buf_putc(&b, ' ');
		} else {
			(*plain)[(*plain_n)++] = v[i];
		}
	}
	m = tables(name, buf_span(&b));
	buf_release(&b);
	return m;
}

/* ---- groups ---- */

static void load_limits(void)
{
	conf.timeout_s = num("smtpd_timeout");
	conf.starttls_timeout_s = num("smtpd_starttls_timeout");
	conf.ipc_timeout_s = num("ipc_timeout");
	conf.line_length_limit = num("line_length_limit");
	conf.message_size_limit = num("message_size_limit");
	conf.junk_limit = num("smtpd_junk_command_limit");
	conf.soft_error_limit = num("smtpd_soft_error_limit");
	conf.hard_error_limit = num("smtpd_hard_error_limit");
	conf.error_sleep_s = num("smtpd_error_sleep_time");
	conf.rcpt_limit = num("smtpd_recipient_limit");
	conf.rcpt_overshoot = num("smtpd_recipient_overshoot_limit");
	conf.limit_connections = num("smtpd_client_connection_count_limit");
	conf.limit_connect_rate = num("smtpd_client_connection_rate_limit");
	conf.limit_mail_rate = num("smtpd_client_message_rate_limit");
	conf.limit_rcpt_rate = num("smtpd_client_recipient_rate_limit");
	conf.limit_tls_rate = num("smtpd_client_new_tls_session_rate_limit");
	conf.prefix4 = num("smtpd_client_ipv4_prefix_length");
	conf.prefix6 = num("smtpd_client_ipv6_prefix_length");
	conf.per_request_deadline = yes("smtpd_per_request_deadline");
	conf.min_data_rate = num("smtpd_min_data_rate");
	conf.limit_auth_rate = num("smtpd_client_auth_rate_limit");
	conf.limit_except =
	    list("smtpd_client_event_limit_exceptions", parents("smtpd_client_event_limit_exceptions"));
}

/* ..._tempfail_action: defer, or defer_if_permit. */
static bool defers(const char *param)
{
	return span_is_ci(span_str(str(param)), "defer");
}

static void load_codes(void)
{
	conf.code.reject = num("reject_code");
	conf.code.defer = num("defer_code");
	conf.code.access_reject = num("access_map_reject_code");
	conf.code.access_defer = num("access_map_defer_code");
	conf.code.rbl = num("maps_rbl_reject_code");
	conf.code.relay = num("relay_domains_reject_code");
	conf.code.invalid_host = num("invalid_hostname_reject_code");
	conf.code.non_fqdn = num("non_fqdn_reject_code");
	conf.code.unknown_client = num("unknown_client_reject_code");
	conf.code.unknown_host = num("unknown_hostname_reject_code");
	conf.code.unknown_address = num("unknown_address_reject_code");
	conf.code.multi_bounce = num("multi_recipient_bounce_reject_code");
	conf.code.plaintext = num("plaintext_reject_code");
	conf.defer_unknown_helo = defers("unknown_helo_hostname_tempfail_action");
	conf.defer_unknown_address = defers("unknown_address_tempfail_action");
}

static void load_unverified(void)
{
	conf.unverified[0].reject = num("unverified_sender_reject_code");
	conf.unverified[0].defer = num("unverified_sender_defer_code");
	conf.unverified[0].reason = str("unverified_sender_reject_reason");
	conf.unverified[0].defer_action = defers("unverified_sender_tempfail_action");
	conf.unverified[1].reject = num("unverified_recipient_reject_code");
	conf.unverified[1].defer = num("unverified_recipient_defer_code");
	conf.unverified[1].reason = str("unverified_recipient_reject_reason");
	conf.unverified[1].defer_action = defers("unverified_recipient_tempfail_action");
	conf.verify_polls = num("address_verify_poll_count");
	conf.verify_delay_s = num("address_verify_poll_delay");
	conf.verify_service = str("address_verify_service_name");
}

static enum bare_lf bare_lf_mode(const char *value)
{
	static const struct {
		const char *word;
		enum bare_lf mode;
	} words_[] = { { "no", BARE_LF_ALLOW },
		       { "yes", BARE_LF_NORMALIZE },
		       { "normalize", BARE_LF_NORMALIZE },
		       { "note", BARE_LF_NOTE },
		       { "reject", BARE_LF_REJECT } };

	for (size_t i = 0; i < ARRAY_LEN(words_); i++)
		if (span_is_ci(span_str(value), words_[i].word))
			return words_[i].mode;
	die("smtpd_forbid_bare_newline: unknown value \"%s\"", value);
}

/* "\\t\\40abc": the octets of smtpd_expansion_filter, some of them as escapes of C. */
static void load_expansion_filter(void)
{
	static const char letters[] = "t\tn\nr\rb\bf\fv\v";
	const char *p = conf_raw(service_conf(), "smtpd_expansion_filter");

	while (*p != '\0') {
		unsigned c = (unsigned char)*p++;

		if (c == '\\' && *p >= '0' && *p <= '7') {
			c = 0;
			for (int i = 0; i < 3 && *p >= '0' && *p <= '7'; i++)
				c = c * 8 + (unsigned)(*p++ - '0');
		} else if (c == '\\' && *p != '\0') {
			const char *at = strchr(letters, *p);

			c = (unsigned char)(at != NULL && (at - letters) % 2 == 0 ? at[1] : *p);
			p++;
		}
		conf.expansion_ok[c & 255] = true;
	}
}

static void load_protocol(void)
{
	struct span *v;
	size_t n;

	conf.banner = str("smtpd_banner");
	conf.myhostname = str("myhostname");
	conf.mail_name = str("mail_name");
	conf.cleanup_service = str("cleanup_service_name");
	conf.rewrite_service = str("rewrite_service_name");
	conf.helo_required = yes("smtpd_helo_required");
	conf.resolve_numeric_domain = yes("resolve_numeric_domain");
	conf.allow_min_user = yes("allow_min_user");
	conf.strict_envelopes = yes("strict_rfc821_envelopes");
	conf.disable_vrfy = yes("disable_vrfy_command");
	conf.soft_bounce = yes("soft_bounce");
	conf.smtputf8 = yes("smtputf8_enable");
	conf.hide_session = yes("smtpd_hide_client_session");
	conf.log_port = yes("smtpd_client_port_logging");
	conf.untrusted_routing = yes("allow_untrusted_routing");
	conf.strict_utf8 = yes("strict_smtputf8");
	conf.peername_lookup = yes("smtpd_peername_lookup");
	conf.forbid_unauth_pipe = yes("smtpd_forbid_unauth_pipelining");
	conf.bare_lf = bare_lf_mode(str("smtpd_forbid_bare_newline"));
	conf.bare_lf_code = num("smtpd_forbid_bare_newline_reject_code");
	conf.bare_lf_except = list("smtpd_forbid_bare_newline_exclusions", parents("mynetworks"));
	conf.reject_footer = conf_raw(service_conf(), "smtpd_reject_footer");
	load_expansion_filter();
	conf.footer_maps = texts("smtpd_reject_footer_maps");
	conf.delay_open = yes("smtpd_delay_open_until_valid_rcpt");
	conf.reject_filter = texts("smtpd_reject_filter_maps");
	conf.command_filter = texts("smtpd_command_filter");
	conf.extensions = address_extensions_of(service_conf());
	n = words("smtpd_discard_ehlo_keywords", &v);
	for (size_t i = 0; i < n; i++)
		conf.discard_ehlo |= ehlo_keyword(v[i]);
	conf.discard_maps = tables("smtpd_discard_ehlo_keyword_address_maps",
				   span_str(str("smtpd_discard_ehlo_keyword_address_maps")));
	conf.noops = words("smtpd_noop_commands", &conf.noop_cmd);
	conf.forbidden_table =
	    tables_of_list("smtpd_forbidden_commands", &conf.forbidden_cmd, &conf.forbidden);
	conf.xclient = list("smtpd_authorized_xclient_hosts", false);
	conf.xforward = list("smtpd_authorized_xforward_hosts", false);
	conf.verp_clients = list("smtpd_authorized_verp_clients", false);
	conf.verp_delims = str("default_verp_delimiters");
	conf.verp_filter = str("verp_delimiter_filter");
	if (strcmp(str("smtpd_upstream_proxy_protocol"), "haproxy") == 0)
		conf.proxy_timeout_s = num("smtpd_upstream_proxy_timeout");
	else if (str("smtpd_upstream_proxy_protocol")[0] != '\0')
		die("smtpd_upstream_proxy_protocol: unknown protocol \"%s\"",
		    str("smtpd_upstream_proxy_protocol"));
	qid_configure(service_conf());
}

static void load_content(void)
{
	static const struct {
		const char *word;
		unsigned flag;
		bool takes_unlisted;
	} overrides[] = { { "no_address_mappings", ENVF_NO_CANONICAL, false },
			  { "no_header_body_checks", ENVF_NO_HEADERBODY, false },
			  { "no_milters", ENVF_NO_MILTERS, false },
			  { "no_unknown_recipient_checks", 0, true } };
	struct span *v;
	size_t n = words("receive_override_options", &v);

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(overrides) && !span_is_ci(v[i], overrides[k].word))
			k++;
		if (k == ARRAY_LEN(overrides))
			die("receive_override_options: unknown option: " SPAN_FMT, SPAN_ARG(v[i]));
		conf.env_flags |= overrides[k].flag;
		conf.takes_unlisted |= overrides[k].takes_unlisted;
	}
	conf.content_filter = str("content_filter");
}

static void load_before_queue(void)
{
	const char *filter = str("smtpd_proxy_filter");
	struct span *v;
	size_t n = words("smtpd_proxy_options", &v);
	struct err e;

	for (size_t i = 0; i < n; i++) {
		if (!span_is_ci(v[i], "speed_adjust"))
			die("smtpd_proxy_options: unknown option \"" SPAN_FMT "\"", SPAN_ARG(v[i]));
		conf.before_speed = true;
	}
	conf.before_ehlo = str("smtpd_proxy_ehlo");
	conf.before_timeout_s = num("smtpd_proxy_timeout");
	conf.before_on = filter[0] != '\0' && !conf.lmtp;
	if (conf.before_on && endpoint_parse(span_str(filter), &conf.before, &e) != RC_OK)
		die("smtpd_proxy_filter: %s", e.text);
}

/* permit_inet_interfaces: a client with an address of this host (inet_interfaces says which are ours). */
static void load_own_addresses(void)
{
	struct buf b;
	struct err e;

	buf_init(&b, 1 << 20);
	own_addresses(service_conf(), &b);
	if (match_list_open("inet_interfaces", buf_span(&b), 0, &conf.local_ip, &e) != RC_OK)
		die("%s", e.text);
	buf_release(&b);
}

/* local_header_rewrite_clients: conditions, and tables, before which check_address_map may stand. */
static void load_rewriting(void)
{
	const struct {
		const char *name;
		bool *flag;
	} known[] = { { "permit_inet_interfaces", &conf.rewrite_inet },
		      { "permit_mynetworks", &conf.rewrite_mynetworks },
		      { "permit_sasl_authenticated", &conf.rewrite_sasl },
		      { "permit_tls_clientcerts", &conf.rewrite_certs },
		      { "permit_tls_all_clientcerts", &conf.rewrite_all_certs },
		      { "permit", &conf.rewrite_all } };
	struct span *v;
	size_t n;

	load_own_addresses();
	conf.rewrite_table = tables_of_list("local_header_rewrite_clients", &v, &n);
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;

		while (k < ARRAY_LEN(known) && !span_is_ci(v[i], known[k].name))
			k++;
		if (k < ARRAY_LEN(known))
			*known[k].flag = true;
		else if (!span_is_ci(v[i], "check_address_map"))
			log_warning("local_header_rewrite_clients: " SPAN_FMT " has no effect here",
				    SPAN_ARG(v[i]));
	}
}

/* ---- AUTH and TLS ---- */

/* What a mechanism must not be, and (AUTHMECH_WANTED) what it must be. */
static unsigned security_options(const char *param)
{
	static const struct {
		const char *word;
		unsigned bit;
	} options[] = { { "noanonymous", AUTHMECH_ANONYMOUS },	 { "noplaintext", AUTHMECH_PLAINTEXT },
			{ "noactive", AUTHMECH_ACTIVE },	 { "nodictionary", AUTHMECH_DICTIONARY },
			{ "forward_secrecy", AUTHMECH_SECRECY }, { "mutual_auth", AUTHMECH_MUTUAL } };
	unsigned bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		bits |= has_word(param, options[i].word) ? options[i].bit : 0;
	return bits;
}

/* "cyrus" of an old configuration is served by our own authentication service. */
static const char *auth_path(void)
{
	const char *path = str("smtpd_sasl_path");

	if (strcmp(str("smtpd_sasl_type"), "dovecot") != 0)
		return "auth";
	if (strncmp(path, "inet:", 5) == 0) { /* Dovecot's auth listens on TCP, too */
		struct err e;

		if (endpoint_parse(span_str(path), &conf.sasl_server, &e) != RC_OK)
			die("smtpd_sasl_path: %s", e.text);
		return path;
	}
	if (strncmp(path, "unix:", 5) == 0)
		path += 5;
	return strchr(path, '/') == NULL ? "auth" : path;
}

/* "!name" refuses a mechanism, "static:rest" lets the others pass; the first that matches decides. */
static void load_mech_filter(void)
{
	conf.mech_filter = exact("smtpd_sasl_mechanism_filter");
}

static void load_auth(void)
{
	conf.auth = yes("smtpd_sasl_auth_enable");
	conf.auth_tls_only = yes("smtpd_tls_auth_only");
	conf.auth_broken_clients = yes("broken_sasl_auth_clients");
	conf.auth_forbid = security_options("smtpd_sasl_security_options");
	conf.auth_forbid_tls = security_options("smtpd_sasl_tls_security_options");
	conf.sasl_service = str("smtpd_sasl_service");
	conf.sasl_path = auth_path();
	conf.sasl_limit = num("smtpd_sasl_response_limit");
	conf.sasl_header = yes("smtpd_sasl_authenticated_header");
	conf.auth_except = list("smtpd_sasl_exceptions_networks", false);
	open_own_domains();
	conf.login_maps = tables("smtpd_sender_login_maps", span_str(str("smtpd_sender_login_maps")));
	load_mech_filter();
}

static int level_of(const char *text)
{
	uint64_t v;

	return span_to_u64(span_str(text), 4, &v) == RC_OK ? (int)v : 0;
}

/* A grade and what is left out of it, in OpenSSL's words. A client that is asked for a certificate has to see one. */
static const char *cipher_list(bool mandatory)
{
	static const char *const excluded[] = { "smtpd_tls_exclude_ciphers",
						"smtpd_tls_mandatory_exclude_ciphers" };
	static struct arena a;
	const char *param = mandatory ? "smtpd_tls_mandatory_ciphers" : "smtpd_tls_ciphers",
		   *grade = tls_cipher_list(service_conf(), span_str(str(param)));
	if (grade == NULL)
		die("%s: invalid cipher grade: \"%s\"", param, str(param));
	char *list = arena_strdup(&a, grade);

	for (int i = 0; i < 1 + mandatory; i++) {
		struct span rest = span_str(str(excluded[i])), word;

		while (span_next_word(&rest, ":, \t\r\n", &word))
			list = arena_printf(&a, "%s:!" SPAN_FMT, list, SPAN_ARG(word));
	}
	return conf.tls_ask ? arena_printf(&a, "%s:!aNULL", list) : list;
}

/* smtpd_tls_security_level, and the older parameters that count when it is empty. */
static enum tls_level security_level(void)
{
	static const struct {
		const char *word;
		enum tls_level level;
		bool other; /* a level of clients: encryption is what is left of it here */
	} levels[] = { { "none", TLS_NONE, false },	  { "may", TLS_MAY, false },
		       { "encrypt", TLS_ENCRYPT, false }, { "fingerprint", TLS_ENCRYPT, true },
		       { "verify", TLS_ENCRYPT, true },	  { "secure", TLS_ENCRYPT, true } };
	const char *param = "smtpd_tls_security_level", *word = str(param);

	if (word[0] == '\0')
		return yes("smtpd_enforce_tls") ? TLS_ENCRYPT : yes("smtpd_use_tls") ? TLS_MAY : TLS_NONE;
	for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
		if (!span_is_ci(span_str(word), levels[i].word))
			continue;
		if (levels[i].other)
			log_warning("%s: unsupported TLS level \"%s\", using \"encrypt\"", param, word);
		return levels[i].level;
	}
	die("%s: unknown level \"%s\"", param, word);
}

static bool names_file(const char *param)
{
	return str(param)[0] != '\0' && strcmp(str(param), "none") != 0;
}

/* Where there is none: "none" allows the ciphers that need none, which leaves nothing to ask clients for. */
static bool certificates_fit(struct tls_server_conf *c)
{
	bool none = strcmp(str("smtpd_tls_cert_file"), "none") == 0;

	if (str("smtpd_tls_chain_files")[0] != '\0' || names_file("smtpd_tls_eccert_file") ||
	    names_file("smtpd_tls_cert_file"))
		return true;
	if (none && conf.tls_ask)
		log_warning("Need a server cert to request client certs");
	if (!none || conf.tls_ask)
		log_warning("No server certs available. TLS won't be enabled");
	c->chain = NULL;
	c->sni = false;
	return none && !conf.tls_ask;
}

static void load_tls(void)
{
	struct tls_server_conf c = { .chain = "smtpd", .ticket_service = service_name(), .alpn = "smtp" };
	struct err e;

	conf.tls_wrapper = yes("smtpd_tls_wrappermode");
	conf.tls = conf.tls_wrapper ? TLS_ENCRYPT : security_level();
	conf.auth_tls_only |= conf.tls == TLS_ENCRYPT;
	conf.tls_req = conf.tls == TLS_ENCRYPT && yes("smtpd_tls_req_ccert");
	conf.tls_ask = conf.tls_req || yes("smtpd_tls_ask_ccert");
	if (yes("smtpd_tls_req_ccert") && conf.tls == TLS_MAY)
		log_warning("Can't require client certs unless TLS is required");
	conf.relay_certs = tables("relay_clientcerts", span_str(str("relay_clientcerts")));
	conf.tls_header = yes("smtpd_tls_received_header");
	conf.tls_loglevel = level_of(str("smtpd_tls_loglevel"));
	if (conf.tls == TLS_NONE)
		return;
	c.protocols = str(conf.tls == TLS_ENCRYPT ? "smtpd_tls_mandatory_protocols" : "smtpd_tls_protocols");
	c.ciphers = cipher_list(conf.tls == TLS_ENCRYPT);
	c.ask_ccert = conf.tls_ask; /* whoever has none is judged in cmd_starttls.c */
	c.ca_file = str("smtpd_tls_CAfile");
	c.ca_path = str("smtpd_tls_CApath");
	c.verify_depth = (int)num("smtpd_tls_ccert_verifydepth");
	c.fingerprint_digest = str("smtpd_tls_fingerprint_digest");
	c.preempt = yes("tls_preempt_cipherlist");
	c.any_strength = true;
	c.use_system = yes("tls_append_default_CA");
	c.sni = str("tls_server_sni_maps")[0] != '\0';
	if (!certificates_fit(&c))
		return;
	if (tls_prepare(service_conf(), &e) != RC_OK || tls_server_new(&c, &conf.tls_server, &e) != RC_OK) {
		log_warning("%s: disabling TLS support",
			    e.text); /* mail without TLS goes on, where that is allowed */
		conf.tls_server = NULL;
	} else if (conf.tls_loglevel > 1)
		log_info("initializing the server-side TLS engine");
}

/* ---- restrictions ---- */

static void load_restrictions(void)
{
	static const char *const names[STAGES] = {
		[AT_CLIENT] = "smtpd_client_restrictions",	     [AT_HELO] = "smtpd_helo_restrictions",
		[AT_SENDER] = "smtpd_sender_restrictions",	     [AT_RELAY] = "smtpd_relay_restrictions",
		[AT_RECIPIENT] = "smtpd_recipient_restrictions",     [AT_DATA] = "smtpd_data_restrictions",
		[AT_END_OF_DATA] = "smtpd_end_of_data_restrictions", [AT_ETRN] = "smtpd_etrn_restrictions",
	};
	struct err e;

	conf.access_parents = parents("smtpd_access_maps");
	conf.null_key = str("smtpd_null_access_lookup_key");
	conf.rbl_reply = conf_raw(service_conf(), "default_rbl_reply");
	conf.rbl_reply_maps = tables("rbl_reply_maps", span_str(str("rbl_reply_maps")));
	if (dns_filter_open("smtpd_dns_reply_filter", span_str(str("smtpd_dns_reply_filter")), &e) != RC_OK)
		die("%s", e.text);
	conf.mynetworks = list("mynetworks", parents("mynetworks"));
	conf.debug_peers = list("debug_peer_list", parents("debug_peer_list"));
	conf.backup_networks = list("permit_mx_backup_networks", parents("permit_mx_backup_networks"));
	conf.log_permits = exact("smtpd_log_access_permit_actions");
	conf.show_table = yes("show_user_unknown_table_name");
	conf.delay_reject = yes("smtpd_delay_reject");
	conf.notice_classes = transcript_classes(service_conf());
	conf.history_max = conf_int(service_conf(), "smtpd_history_flush_threshold");
	conf.reject_unlisted_rcpt = !conf.takes_unlisted && yes("smtpd_reject_unlisted_recipient");
	conf.reject_unlisted_sender = !conf.takes_unlisted && yes("smtpd_reject_unlisted_sender");
	conf.relay_first = yes("smtpd_relay_before_recipient_restrictions");
	rules_read_classes();
	for (size_t i = 0; i < STAGES; i++)
		conf.restrict_at[i] = rules_read(names[i], span_str(str(names[i])));
	/* Never an open relay. */
	if (!conf.lmtp && !rules_guard(conf.restrict_at[AT_RELAY]) &&
	    !rules_guard(conf.restrict_at[AT_RECIPIENT]))
		die("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least "
		    "one working "
		    "instance of: reject_unauth_destination, defer_unauth_destination, reject, defer, "
		    "defer_if_permit or "
		    "check_relay_domains");
}

static void load_old_defaults(void)
{
	const struct conf *c = service_conf();

	conf.old_networks =
	    !conf_is_set(c, "mynetworks") && conf_is_old_default(c, "mynetworks_style", "subnet");
	conf.old_relay = conf_is_old_default(c, "relay_domains", NULL);
	conf.old_no_relay_list = conf_is_old_default(c, "smtpd_relay_restrictions", "");
	conf.old_digest = conf_is_old_default(c, "smtpd_tls_fingerprint_digest", "md5");
	conf.old_order = conf_is_old_default(c, "smtpd_relay_before_recipient_restrictions", "no");
}

void settings_load(void)
{
	map_set_remote(true);
	load_limits();
	load_codes();
	load_unverified();
	load_protocol();
	load_content();
	load_before_queue();
	load_rewriting();
	load_auth();
	load_tls();
	load_restrictions();
	load_old_defaults();
}
