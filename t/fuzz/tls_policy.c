/* Any bytes as entries of smtp_tls_policy_maps, and as the lists of TLS protocols and fingerprints that stand in them and in main.cf: an entry whose
 * attributes fit its level and are the same when it is written and read again, or a story. Input: an entry, a line end, the name of a host. */
#include "../../lib/net/tls_common.c"
#include "../../smtp/policy_entry.c" /* a daemon's file: not in the archive */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_attribute(struct buf *b, const char *name, struct span value)
{
	if (value.n > 0)
		(void)buf_printf(b, " { %s = " SPAN_FMT " }", name, SPAN_ARG(value));
}

static void written_again(const struct policy_entry *p, struct arena *a)
{
	struct policy_entry again;
	struct buf b;
	struct err e;

	buf_init(&b, 1 << 20);
	(void)buf_puts(&b, policy_level_name(p->level));
	put_attribute(&b, "match", p->match);
	put_attribute(&b, "mx_host_pattern", p->mx_pattern);
	put_attribute(&b, "tafile", p->tafile);
	put_attribute(&b, "protocols", p->protocols);
	put_attribute(&b, "ciphers", p->ciphers);
	put_attribute(&b, "exclude", p->exclude);
	put_attribute(&b, "servername", p->servername);
	put_attribute(&b, "policy_type", p->policy_type);
	put_attribute(&b, "policy_string", p->told);
	INVARIANT(buf_ok(&b) && policy_entry_parse(buf_span(&b), a, &again, &e) == RC_OK);
	INVARIANT(again.level == p->level && span_eq(again.match, p->match) &&
		  span_eq(again.mx_pattern, p->mx_pattern) && span_eq(again.tafile, p->tafile) &&
		  span_eq(again.protocols, p->protocols) && span_eq(again.ciphers, p->ciphers) &&
		  span_eq(again.exclude, p->exclude) && span_eq(again.servername, p->servername) &&
		  span_eq(again.policy_type, p->policy_type) && span_eq(again.told, p->told));
	buf_release(&b);
}

/* RFC 8461 section 4.1: a wildcard is one label, which is not empty. */
static void check_pattern(struct span pattern, struct span host)
{
	struct policy_entry p = { .mx_pattern = pattern };

	if (pattern.n == 0 || span_chr(pattern, '|') >= 0 || !policy_entry_fits(&p, host))
		return;
	ptrdiff_t dot = span_chr(host, '.');
	INVARIANT(span_eq_ci(pattern, host) ||
		  (dot > 0 && span_ends_ci(pattern, span_skip(host, (size_t)dot)) &&
		   pattern.n <= host.n - (size_t)dot + 1));
}

static void check_words(struct span text, struct arena *a)
{
	for (int fingerprints = 0; fingerprints < 2; fingerprints++) {
		struct span *v;
		size_t n = policy_words(text, fingerprints, a, &v), bytes = 0;

		for (size_t i = 0; i < n; i++) {
			INVARIANT(v[i].n > 0 && span_chr(v[i], '|') < 0 && span_chr(v[i], ',') < 0 &&
				  (fingerprints || span_chr(v[i], ':') < 0));
			bytes += v[i].n + 1;
		}
		INVARIANT(bytes <= text.n + 1);
	}
}

static void check_entry(struct span text, struct span host, struct arena *a)
{
	struct policy_entry p;
	struct err e = { .text = "" };

	if (policy_entry_parse(text, a, &p, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return;
	}
	INVARIANT(p.level >= TLS_NONE && p.level <= TLS_DANE);
	INVARIANT(p.level == TLS_NONE || p.ignored_n == 0);
	INVARIANT(p.match.n == 0 || p.level >= TLS_VERIFY);
	INVARIANT(p.tafile.n == 0 || p.level == TLS_VERIFY || p.level == TLS_SECURE);
	if (p.level == TLS_NONE)
		INVARIANT(p.protocols.n + p.ciphers.n + p.exclude.n + p.servername.n + p.policy_type.n +
			      p.told.n ==
			  0);
	else if (span_chr(text, '}') < 0) /* what is one word alone may be none within braces */
		written_again(&p, a);
	check_words(p.match, a);
	(void)policy_entry_fits(&p, host);
}

/* What a list excludes stays excluded when more words follow; a list of two is understood when both are. */
static void check_protocols(const char *list, struct arena *a)
{
	struct protocols p, more;
	struct err e = { .text = "" };

	if (read_protocols(list, &p, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return;
	}
	INVARIANT(p.least >= 0 && p.least <= 0xffff && p.most >= 0 && p.most <= 0xffff);
	INVARIANT(read_protocols(arena_printf(a, "%s !TLSv1.1", list), &more, &e) == RC_OK);
	INVARIANT((p.excluded & ~more.excluded) == 0 && (more.excluded & SSL_OP_NO_TLSv1_1) != 0);
	INVARIANT(more.least == p.least && more.most == p.most);
}

/* With colons or without, in either case. */
static void check_fingerprint(struct span want)
{
	static const char have[] = "0A:1B:2C:3D";
	char bare[16];
	size_t n = 0;

	if (!tls_fingerprint_eq(have, want))
		return;
	for (size_t i = 0; i < want.n; i++)
		if (want.p[i] != ':' && n < sizeof bare)
			bare[n++] = want.p[i];
	INVARIANT(n == 8 && span_is_ci(span_make(bare, n), "0A1B2C3D"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_make((const char *)data, size), entry = text, host = SPAN("mx.example.com");
	ptrdiff_t nl = span_chr(text, '\n');
	struct arena a;

	if (size > 16384 || span_chr(text, '\0') >= 0) /* no table has such a value */
		return 0;
	if (nl >= 0) {
		entry = span_head(text, (size_t)nl);
		host = span_skip(text, (size_t)nl + 1);
	}
	arena_init(&a);
	check_entry(entry, host, &a);
	check_pattern(entry, host);
	check_words(text, &a);
	check_fingerprint(entry);
	check_protocols(arena_cstr(&a, text), &a);
	arena_release(&a);
	return 0;
}
