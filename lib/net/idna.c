/* net/idna.c - IDNA by libidn2. */
#include "net/idna.h"
#include "base/codec.h"

#include <idn2.h>
#include <string.h>

#define NAME_MAX_BYTES 1024 /* in UTF-8; 253 in the other form are all that DNS takes */

typedef int convert_fn(const uint8_t *in, uint8_t **out);

/* The four characters that transitional mapping changes: UTS 46, section 2.3. */
static bool has_deviation(const char *in)
{
	static const char *const deviations[] = { "\u00df", "\u03c2", "\u200c", "\u200d" };

	for (size_t i = 0; i < ARRAY_LEN(deviations); i++)
		if (strstr(in, deviations[i]) != NULL)
			return true;
	return false;
}

/* libidn2 knows symbols, which IDNA 2008 disallows and registries sell, in transitional mapping alone. */
static int lookup(const uint8_t *in, uint8_t **out)
{
	int rc = idn2_lookup_u8(in, out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);

	if (rc == IDN2_DISALLOWED && !has_deviation((const char *)in))
		rc = idn2_lookup_u8(in, out, IDN2_NFC_INPUT | IDN2_TRANSITIONAL);
	return rc;
}

static int unicode(const uint8_t *in, uint8_t **out)
{
	return idn2_to_unicode_8z8z((const char *)in, (char **)out, IDN2_NONTRANSITIONAL);
}

static enum rc convert(convert_fn *how, struct span domain, struct arena *a, struct span *out)
{
	char text[NAME_MAX_BYTES + 1];
	uint8_t *result = NULL;

	if (domain.n > NAME_MAX_BYTES || span_cstr(domain, text, sizeof(text)) != RC_OK ||
	    !utf8_valid(domain) || how((const uint8_t *)text, &result) != IDN2_OK)
		return RC_SYNTAX;
	*out = span_dup(a, span_str((const char *)result));
	idn2_free(result);
	return RC_OK;
}

enum rc idna_to_ascii(struct span domain, struct arena *a, struct span *out)
{
	*out = domain;
	return span_is_ascii(domain) ? RC_OK : convert(lookup, domain, a, out);
}

enum rc idna_to_unicode(struct span domain, struct arena *a, struct span *out)
{
	*out = domain;
	return span_find_ci(domain, SPAN("xn--")) < 0 ? RC_OK : convert(unicode, domain, a, out);
}

bool idna_other_form(struct span domain, struct arena *a, struct span *out)
{
	enum rc rc = span_is_ascii(domain) ? idna_to_unicode(domain, a, out) : idna_to_ascii(domain, a, out);

	return rc == RC_OK && !span_eq_ci(domain, *out);
}
