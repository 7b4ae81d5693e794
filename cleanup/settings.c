/* settings.c - parameters of cleanup(8), read once; tables of checks opened while files can be. */
#include "cleanup.h"

struct settings settings;

static struct maps *open_maps(const char *param, unsigned flags)
{
	struct maps *m;
	struct err e;

	if (maps_open(param, span_str(conf_str(service_conf(), param)), flags, &m, &e) != RC_OK)
		die("%s: %s", param, e.text);
	return m;
}

static bool is_set(const char *param)
{
	return conf_str(service_conf(), param)[0] != '\0';
}

/* A set of characters with the escapes of C: \\a \\b \\f \\n \\r \\t \\v, \\ddd in octal, \\\\. */
static struct span characters(const char *param)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	const char *s = conf_str(service_conf(), param);
	char *out = xcalloc(1, strlen(s) + 1);
	size_t n = 0;

	for (; *s != '\0'; s++) {
		const char *known;

		if (*s != '\\' || s[1] == '\0') {
			out[n++] = *s;
			continue;
		}
		s++;
		if (*s >= '0' && *s <= '7') {
			unsigned v = 0;

			for (int i = 0; i < 3 && *s >= '0' && *s <= '7'; i++, s++)
				v = 8 * v + (unsigned)(*s - '0');
			s--;
			out[n++] = (char)(v & 0xff);
		} else {
			known = strchr(from, *s);
			out[n++] = known ? to[known - from] : *s;
		}
	}
	return span_make(out, n);
}

static enum unended unended_action(void)
{
	static const struct {
		const char *name;
		enum unended action;
	} actions[] = { { "fix_quietly", UNENDED_FIX },
			{ "add_header", UNENDED_TELL },
			{ "reject", UNENDED_REFUSE } };
	const char *value = conf_str(service_conf(), "non_empty_end_of_header_action");

	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(value, actions[i].name) == 0)
			return actions[i].action;
	die("non_empty_end_of_header_action: unknown action \"%s\"", value);
}

void settings_load(void)
{
	const struct conf *c = service_conf();
	struct err e;

	settings = (struct settings){
		.myhostname = conf_str(c, "myhostname"),
		.myorigin = conf_str(c, "myorigin"),
		.always_bcc = conf_str(c, "always_bcc"),
		.drop = span_str(conf_str(c, "message_drop_headers")),
		.undisclosed = conf_str(c, "undisclosed_recipients_header"),
		.extensions = address_extensions_of(c),
		.message_size_limit = conf_int(c, "message_size_limit"),
		.header_size_limit = conf_int(c, "header_size_limit"),
		.hopcount_limit = conf_int(c, "hopcount_limit"),
		.body_checks_limit = conf_int(c, "body_checks_size_limit"),
		.nesting_limit = conf_int(c, "mime_nesting_limit"),
		.boundary_limit = conf_int(c, "mime_boundary_length_limit"),
		.token_limit = conf_int(c, "header_address_token_limit"),
		.duplicate_limit = conf_int(c, "duplicate_filter_limit"),
		.full_name_charset = span_str(conf_str(c, "full_name_encoding_charset")),
		.from_obsolete = strcmp(conf_str(c, "header_from_format"), "obsolete") == 0,
		.unended = unended_action(),
		.mime = !conf_bool(c, "disable_mime_input_processing"),
		.force_7bit = conf_bool(c, "force_mime_input_conversion") &&
			      !conf_bool(c, "disable_mime_input_processing"),
		.detect_8bit = conf_bool(c, "detect_8bit_encoding_header"),
		.strict_headers = conf_bool(c, "strict_7bit_headers") || conf_bool(c, "strict_8bitmime"),
		.strict_body = conf_bool(c, "strict_8bitmime_body") || conf_bool(c, "strict_8bitmime"),
		.strict_domain = conf_bool(c, "strict_mime_encoding_domain"),
		.remote_rewrite = is_set("remote_header_rewrite_domain"),
		.smtputf8 = conf_bool(c, "smtputf8_enable"),
		.autodetect = span_str(conf_str(c, "smtputf8_autodetect_classes")),
		.reject_chars = characters("message_reject_characters"),
		.strip_chars = characters("message_strip_characters"),
		.queue_minfree = conf_int(c, "queue_minfree"),
		.in_flow_delay_s = conf_int(c, "in_flow_delay"),
		.add_missing = conf_bool(c, "always_add_missing_headers"),
		.long_ids = conf_bool(c, "enable_long_queue_ids"),
		.original_recipient = conf_bool(c, "enable_original_recipient"),
		.replace_cr = conf_bool(c, "cleanup_replace_stray_cr_lf"),
		.soft_bounce = conf_bool(c, "soft_bounce"),
	};
	settings.header_rewrite = is_set("canonical_maps") || is_set("sender_canonical_maps") ||
				  is_set("recipient_canonical_maps") || is_set("masquerade_domains");
	settings.mappings = settings.header_rewrite || is_set("virtual_alias_maps");
	settings.header_checks = open_maps("header_checks", 0);
	settings.mime_header_checks = open_maps("mime_header_checks", 0);
	settings.nested_header_checks = open_maps("nested_header_checks", 0);
	settings.body_checks = open_maps("body_checks", 0);
	settings.sender_bcc = open_maps("sender_bcc_maps", MAP_FOLD_KEY | MAP_PARTIAL);
	settings.recipient_bcc = open_maps("recipient_bcc_maps", MAP_FOLD_KEY | MAP_PARTIAL);
	if (own_domains_open(c, &settings.own, &e) != RC_OK)
		die("%s", e.text);
}
