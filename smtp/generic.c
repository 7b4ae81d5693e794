/* generic.c - smtp_generic_maps: addresses that only this host knows become addresses that the world can
 * answer (generic(5)), in the envelope and in address headers. */
#include "client.h"
#include "mime/address.h"

#define LOOKUP_FORMS                                                                                         \
	(MAPS_FIND_FULL | MAPS_FIND_NOEXT | MAPS_FIND_LOCALPART_EXT | MAPS_FIND_LOCALPART |                  \
	 MAPS_FIND_AT_DOMAIN)
#define ADDRESSES_MAX 1000

static bool propagates(void)
{
	struct span rest = span_str(conf_str(service_conf(), "propagate_unmatched_extensions")), word;
	while (span_next_word(&rest, ", \t\r\n", &word))
		if (span_is_ci(word, "generic"))
			return true;
	return false;
}

enum rc generic_address(struct span addr, struct arena *a, struct span *out, struct err *e)
{
	struct span value, ext;
	*out = addr;
	if (maps_empty(settings.generic) || addr.n == 0)
		return RC_OK;
	struct address parts = address_split(addr);
	enum rc rc = own_domains_have(settings.own_domains, parts.domain, e);
	if (rc != RC_OK && rc != RC_NOTFOUND)
		return rc;
	rc = maps_find_addr(settings.generic, address_unquote(a, addr), LOOKUP_FORMS,
			    address_extensions_of(service_conf()), rc == RC_OK, false, a, &value, &ext, e);
	if (rc == RC_NOTFOUND)
		return RC_OK;
	if (rc != RC_OK)
		return rc;
	value = span_trim(value);
	struct address to = address_split(value);
	if (to.local.n == 0 && to.domain.n > 0) /* "@domain": the local part stays */
		value = span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(parts.local), SPAN_ARG(to.domain));
	else if (to.domain.n == 0)
		value = span_printf(a, SPAN_FMT "@%s", SPAN_ARG(value), conf_str(service_conf(), "myorigin"));
	if (ext.n > 0 && propagates()) {
		to = address_split(value);
		value = span_printf(a, SPAN_FMT SPAN_FMT "@" SPAN_FMT, SPAN_ARG(to.local), SPAN_ARG(ext),
				    SPAN_ARG(to.domain));
	}
	if (address_valid(value, true))
		*out = value;
	return RC_OK;
}

static bool holds_addresses(struct span name)
{
	static const char *const names[] = { "From",
					     "To",
					     "Cc",
					     "Bcc",
					     "Sender",
					     "Reply-To",
					     "Return-Path",
					     "Errors-To",
					     "Resent-From",
					     "Resent-To",
					     "Resent-Cc",
					     "Resent-Bcc",
					     "Resent-Sender",
					     "Resent-Reply-To",
					     "Disposition-Notification-To" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (span_is_ci(name, names[i]))
			return true;
	return false;
}

/* Each address is replaced where it stands; display names and comments stay. */
static enum rc rewrite(const struct header_field *f, struct arena *a, struct buf *out, struct err *e)
{
	struct mailbox *v;
	size_t n;
	const char *at = f->all.p, *end = f->all.p + f->all.n;
	struct span field = f->all;
	struct buf b;
	enum rc rc = address_list_parse(f->body, a, ADDRESSES_MAX, &v, &n);
	if (rc != RC_OK && n == 0) {
		(void)buf_append(out, f->all);
		return RC_OK;
	}
	buf_init(&b, out->max);
	for (size_t i = 0; i < n; i++) {
		struct span raw = v[i].raw, to;
		if (raw.n == 0 || v[i].malformed || raw.p < at || raw.p + raw.n > end)
			continue;
		struct span addr = address_quote(
		    a, span_printf(a, SPAN_FMT "@" SPAN_FMT, SPAN_ARG(v[i].local), SPAN_ARG(v[i].domain)));
		if ((rc = generic_address(addr, a, &to, e)) != RC_OK) {
			buf_release(&b);
			return rc;
		}
		if (span_eq(to, addr))
			continue;
		(void)buf_append(&b, span_make(at, (size_t)(raw.p - at)));
		(void)buf_append(&b, to);
		at = raw.p + raw.n;
	}
	if (at != f->all.p) {
		(void)buf_append(&b, span_make(at, (size_t)(end - at)));
		field = header_fold_list(a, buf_span(&b));
	}
	(void)buf_append(out, field);
	buf_release(&b);
	return RC_OK;
}

enum rc generic_header(struct span header, struct arena *a, struct buf *out, struct err *e)
{
	struct span rest = header;
	struct header_field f;
	enum rc rc = RC_OK;
	for (;;) {
		struct span before = rest;
		if (header_next(&rest, &f) != RC_OK) {
			(void)buf_append(out, before); /* the empty line */
			break;
		}
		if (holds_addresses(f.name))
			rc = rewrite(&f, a, out, e);
		else
			(void)buf_append(out, f.all);
		if (rc != RC_OK)
			return rc;
	}
	return buf_ok(out) ? RC_OK : err_set(e, RC_LIMIT, "header too long");
}
