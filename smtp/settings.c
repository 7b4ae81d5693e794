/* settings.c - the parameters, read once; those of LMTP have a prefix of their own. */
#include "client.h"
#include "conf/ports.h"
#include "log/log.h"
#include "map/dns_filter.h"
#include "net/interfaces.h"
#include "queue/qid.h"

struct settings settings;
static struct arena arena;

static const char *full(const char *suffix)
{
	static char name[128];
	snprintf(name, sizeof name, "%s_%s", settings.lmtp ? "lmtp" : "smtp", suffix);
	return name;
}

const char *settings_str(const char *suffix)
{
	return conf_str(service_conf(), full(suffix));
}

int64_t settings_int(const char *suffix)
{
	return conf_int(service_conf(), full(suffix));
}

bool settings_bool(const char *suffix)
{
	return conf_bool(service_conf(), full(suffix));
}

static uint16_t read_port(const char *text)
{
	uint16_t n;
	if (port_parse(span_str(text), &n))
		return n;
	die("%s: unknown port %s", full("tcp_port"), text);
}

static void read_bind(const char *suffix, int family, struct inet_addr *out)
{
	const char *text = settings_str(suffix);
	if (text[0] == '\0')
		return;
	if (inet_addr_parse(span_str(text), out) != RC_OK || out->family != family)
		die("%s: bad address %s", full(suffix), text);
}

static struct maps *read_maps(const char *suffix, unsigned flags)
{
	struct maps *m;
	struct err e;
	if (maps_open(full(suffix), span_str(settings_str(suffix)), flags, &m, &e) != RC_OK)
		die("%s: %s", full(suffix), e.text);
	return m;
}

static struct match_list *read_list(const char *suffix)
{
	struct match_list *l;
	struct err e;
	if (match_list_open(full(suffix), span_str(settings_str(suffix)), 0, &l, &e) != RC_OK)
		die("%s: %s", full(suffix), e.text);
	return l;
}

static void open_own_domains(void)
{
	struct err e;

	if (own_domains_open(service_conf(), &settings.own_domains, &e) != RC_OK)
		die("%s", e.text);
}

static bool has_word(const char *list, const char *word)
{
	struct span rest = span_str(list), w;
	while (span_next_word(&rest, ", \t\r\n", &w))
		if (span_is_ci(w, word))
			return true;
	return false;
}

/* ---- addresses of this host ---- */

static void add_own(struct span list, size_t *cap)
{
	struct inet_addr addr;
	struct span word;
	while (span_next_word(&list, " ", &word)) {
		if (inet_addr_parse(word, &addr) != RC_OK)
			continue;
		if (settings.owns == *cap)
			settings.own =
			    arena_grow(&arena, settings.own, settings.owns, cap, sizeof *settings.own);
		settings.own[settings.owns++] = addr;
	}
}

static bool is_loopback(const struct inet_addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };
	return a->family == AF_INET ? a->b[0] == 127 : memcmp(a->b, one, sizeof one) == 0;
}

/* A host of which inet_interfaces names one address of a family is a virtual one: its mail comes from there, if nothing
 * else is said. */
static void bind_to_own(int family, struct inet_addr *out)
{
	const struct inet_addr *only = NULL;
	size_t n = 0;
	for (size_t i = 0; i < settings.owns; i++)
		if (settings.own[i].family == family && n++ == 0)
			only = &settings.own[i];
	if (n == 1 && out->family == AF_UNSPEC && !is_loopback(only))
		*out = *only;
}

static void read_own(void)
{
	size_t cap = 0;
	struct buf b;
	buf_init(&b, 1 << 20);
	own_addresses(service_conf(), &b);
	add_own(buf_span(&b), &cap);
	bind_to_own(AF_INET, &settings.bind4);
	bind_to_own(AF_INET6, &settings.bind6);
	buf_reset(&b);
	proxy_addresses(service_conf(), &b);
	add_own(buf_span(&b), &cap);
	buf_release(&b);
}

/* ---- TLS ---- */

static const struct {
	const char *word;
	int level;
} levels[] = {
	{ "none", TLS_NONE },	  { "may", TLS_MAY },	    { "encrypt", TLS_ENCRYPT },
	{ "verify", TLS_VERIFY }, { "secure", TLS_SECURE }, { "fingerprint", TLS_FINGERPRINT },
};

static int read_level(void)
{
	const char *word = settings_str("tls_security_level");
	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (span_is_ci(span_str(word), levels[i].word))
			return levels[i].level;
	if (span_is_ci(span_str(word), "dane")) {
		log_warning("%s: TLSA records are not held against certificates; where there are any, level "
			    "dane is encrypt, else may",
			    full("tls_security_level"));
		return TLS_DANE;
	}
	if (word[0] != '\0')
		die("%s: unknown or unsupported level %s", full("tls_security_level"), word);
	if (settings_bool("enforce_tls"))
		return settings_bool("tls_enforce_peername") ? TLS_VERIFY : TLS_ENCRYPT;
	return settings_bool("use_tls") ? TLS_MAY : TLS_NONE;
}

static bool has_certificate(void)
{
	static const char *const files[] = { "tls_chain_files", "tls_cert_file", "tls_eccert_file" };
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		const char *value = settings_str(files[i]);
		if (value[0] != '\0' && strcmp(value, "none") != 0)
			return true;
	}
	return false;
}

static void read_tls(void)
{
	struct err e;
	settings.tls_level = read_level();
	settings.wrapper = settings_bool("tls_wrappermode");
	settings.tls_log = settings_str("tls_loglevel")[0] - '0'; /* 0 to 4 */
	settings.tls_enforce_sts = settings_bool("tls_enforce_sts_mx_patterns");
	settings.tls_block_early = settings_bool("tls_block_early_mail_reply");
	settings.tls_old_digest = conf_is_old_default(service_conf(), full("tls_fingerprint_digest"), "md5");
	settings.tls_note_offer = settings_bool("tls_note_starttls_offer");
	settings.tls_policy = read_maps("tls_policy_maps", MAP_FOLD_KEY);
	tafiles_prepare(settings.tls_policy);
	settings.tls_per_site = read_maps("tls_per_site", MAP_FOLD_KEY);
	struct tls_client_conf c = {
		.ca_file = settings_str("tls_CAfile"),
		.ca_path = settings_str("tls_CApath"),
		.use_system = conf_bool(service_conf(), "tls_append_default_CA"),
		.chain = has_certificate() ? (settings.lmtp ? "lmtp" : "smtp") : NULL,
		.fingerprint_digest = settings_str("tls_fingerprint_digest"),
		.verify_depth = (int)settings_int("tls_scert_verifydepth"),
		.sessions_s = settings_str("tls_session_cache_database")[0] != '\0'
				  ? settings_int("tls_session_cache_timeout")
				  : 0,
	};
	if (tls_prepare(service_conf(), &e) != RC_OK ||
	    tls_anchors_load(settings_str("tls_trust_anchor_file"), &settings.tls_anchors, &e) != RC_OK)
		die("%s", e.text);
	settings.tls = tls_client_new(&c);
	if (settings.tls_log > 1)
		log_info("initializing the client-side TLS engine");
}

static void read_limits(void)
{
	settings.address_limit = settings_int("mx_address_limit");
	settings.session_limit = settings_int("mx_session_limit");
	settings.line_limit = settings_int("line_length_limit");
	settings.reply_limit = conf_int(service_conf(), "line_length_limit");
	settings.connect_s = settings_int("connect_timeout");
	settings.helo_s = settings_int(settings.lmtp ? "lhlo_timeout" : "helo_timeout");
	settings.mail_s = settings_int("mail_timeout");
	settings.rcpt_s = settings_int("rcpt_timeout");
	settings.data_init_s = settings_int("data_init_timeout");
	settings.data_xfer_s = settings_int("data_xfer_timeout");
	settings.data_done_s = settings_int("data_done_timeout");
	settings.rset_s = settings_int("rset_timeout");
	settings.quit_s = settings_int("quit_timeout");
	settings.starttls_s = settings_int("starttls_timeout");
	settings.xforward_s = settings_int("xforward_timeout");
	settings.cache_s = settings_int("connection_cache_time_limit");
	settings.reuse_s = settings_int("connection_reuse_time_limit");
	settings.reuse_count = settings_int("connection_reuse_count_limit");
	settings.min_backoff_s = conf_int(service_conf(), "minimal_backoff_time");
}

static bool dns_enabled(void)
{
	const char *level = settings_str("dns_support_level");
	if (level[0] == '\0')
		return !conf_bool(service_conf(), "disable_dns_lookups"); /* the older parameter */
	return !span_is_ci(span_str(level), "disabled");
}

static void read_names(void)
{
	const struct conf *c = service_conf();
	const char *prefer = settings_str("address_preference"), *protocols = conf_str(c, "inet_protocols");
	const char *lookup = settings_str("host_lookup");
	settings.myhostname = conf_str(c, "myhostname");
	settings.helo_name = settings_str(settings.lmtp ? "lhlo_name" : "helo_name");
	settings.port = read_port(settings_str("tcp_port"));
	settings.want4 = has_word(protocols, "all") || has_word(protocols, "ipv4");
	settings.want6 = has_word(protocols, "all") || has_word(protocols, "ipv6");
	settings.prefer = strcmp(prefer, "ipv4") == 0	? AF_INET
			  : strcmp(prefer, "ipv6") == 0 ? AF_INET6
							: AF_UNSPEC;
	settings.mx = dns_enabled();
	settings.dns = settings.mx && has_word(lookup, "dns");
	settings.hosts = !settings.mx || has_word(lookup, "native");
	settings.fallback_relay = settings_str("fallback_relay");
	read_bind("bind_address", AF_INET, &settings.bind4);
	read_bind("bind_address6", AF_INET6, &settings.bind6);
	settings.randomize = settings_bool("randomize_addresses");
	settings.skip_5xx_greeting = settings_bool("skip_5xx_greeting");
	settings.skip_quit_reply = settings_bool("skip_quit_response");
	settings.send_xforward = settings_bool("send_xforward_command");
	settings.dummy_auth = settings_bool("send_dummy_mail_auth");
	settings.no_convert = conf_bool(c, "disable_mime_output_conversion");
	settings.smtputf8 = conf_bool(c, "smtputf8_enable");
	settings.always_ehlo = settings.lmtp || settings_bool("always_send_ehlo");
	const char *target = settings_str("address_verify_target");
	settings.probe_data = strcmp(target, "data") == 0;
	if (!settings.probe_data && strcmp(target, "rcpt") != 0)
		die("%s: must be rcpt or data, not %s", full("address_verify_target"), target);
	settings.never_ehlo = !settings.lmtp && settings_bool("never_send_ehlo");
	settings.assume_final = settings.lmtp && settings_bool("assume_final");
}

static void read_routing(void)
{
	const char *options = settings_str("dns_resolver_options");
	settings.dns_defnames = has_word(options, "res_defnames");
	settings.dns_search = has_word(options, "res_dnsrch");
	settings.cname_names = settings_bool("cname_overrides_servername");
	settings.quote_envelope = settings_bool("quote_rfc821_envelope");
	settings.per_request = settings_bool("per_request_deadline");
	settings.min_rate = settings_int("min_data_rate");
	settings.log_tls_status = settings_bool("log_tls_feature_status");
	lookup_prepare();
	settings.pix_workarounds = settings_str("pix_workarounds");
	settings.pix_maps = read_maps("pix_workaround_maps", 0);
	settings.pix_threshold_s = settings_int("pix_workaround_threshold_time");
	settings.pix_delay_s = settings_int("pix_workaround_delay_time");
	qid_configure(service_conf()); /* of these notices */
	settings.notice_classes = transcript_classes(service_conf()) & ~NOTICE_BOUNCE;
	settings.service = settings_str("tcp_port");
	settings.use_srv = conf_str(service_conf(), "use_srv_lookup");
	settings.srv_fallback = conf_bool(service_conf(), "allow_srv_lookup_fallback");
	settings.srv_ignore_error = conf_bool(service_conf(), "ignore_srv_lookup_error");
	settings.balance = settings_bool("balance_inet_protocols");
	settings.bind_enforce = settings_bool("bind_address_enforce");
	settings.ignore_mx_error = conf_bool(service_conf(), "ignore_mx_lookup_error");
	settings.defer_no_mx_address = settings_bool("defer_if_no_mx_address_found");
}

static void read_login(void)
{
	settings.auth = settings_bool("sasl_auth_enable");
	settings.auth_by_sender = settings_bool("sender_dependent_authentication");
	settings.auth_soft_bounce = settings_bool("sasl_auth_soft_bounce");
	settings.auth_send_authzid = conf_bool(service_conf(), "send_cyrus_sasl_authzid");
	settings.auth_mechanisms = read_list("sasl_mechanism_filter");
	settings.auth_security = settings_str("sasl_security_options");
	settings.auth_security_tls = settings_str("sasl_tls_security_options");
	settings.auth_security_verified = settings_str("sasl_tls_verified_security_options");
	settings.auth_delimiter = settings_str("sasl_password_result_delimiter")[0];
	if (settings.auth_delimiter == '\0')
		die("%s: must not be empty", full("sasl_password_result_delimiter"));
	settings.passwords = read_maps("sasl_password_maps", MAP_FOLD_KEY);
	if (settings.auth && strcmp(settings_str("sasl_type"), "cyrus") != 0)
		die("%s: only cyrus is supported", full("sasl_type"));
	if (settings.auth)
		login_cache_prepare();
	if (settings.auth && maps_empty(settings.passwords))
		log_warning("%s is set, but no password tables are", full("sasl_auth_enable"));
}

static void read_debug_peers(void)
{
	const struct conf *c = service_conf();
	struct span rest = span_str(conf_str(c, "parent_domain_matches_subdomains")), word;
	bool parents = false;
	struct err e;
	while (span_next_word(&rest, ", \t\r\n", &word))
		parents |= span_is_ci(word, "debug_peer_list");
	if (match_list_open("debug_peer_list", span_str(conf_str(c, "debug_peer_list")),
			    parents ? MATCH_PARENT : 0, &settings.debug_peers, &e) != RC_OK)
		die("%s", e.text);
}

void settings_read(bool lmtp)
{
	struct err e;
	settings.lmtp = lmtp;
	arena_init(&arena);
	map_set_remote(true);
	dlog_settings(service_conf());
	port_load_services(); /* next hops name ports, too */
	read_names();
	read_limits();
	read_routing();
	read_own();
	read_tls();
	read_login();
	open_own_domains();
	checks_read();
	settings.generic = read_maps("generic_maps", MAP_FOLD_KEY);
	settings.status_filter = read_maps("delivery_status_filter", 0);
	settings.reply_filter = read_maps("reply_filter", 0);
	if (dns_filter_open(full("dns_reply_filter"), span_str(settings_str("dns_reply_filter")), &e) !=
	    RC_OK)
		die("%s", e.text);
	settings.ehlo_by_address =
	    read_maps(lmtp ? "discard_lhlo_keyword_address_maps" : "discard_ehlo_keyword_address_maps", 0);
	settings.ehlo_discard = settings_str(lmtp ? "discard_lhlo_keywords" : "discard_ehlo_keywords");
	settings.cache_on_demand = settings_bool("connection_cache_on_demand");
	read_debug_peers();
	settings.cache_destinations = read_list("connection_cache_destinations");
}
