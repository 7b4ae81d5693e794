/* Any bytes as what resolver(8) reads: answers of DNS servers, resolv.conf(5) and hosts(5). Answers have a status and a time to live within its bound,
 * servers and options are within theirs, and what the hosts file says of a name comes out as an answer that says the same. The first byte selects;
 * of an answer a line with the name that was asked for comes first. */
#include "../../resolver/message.c" /* files of a daemon: not in the archive */
#include "../../resolver/setup.c"
#include "net/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct type {
	enum dns_type type;
	int family;
} types[] = { { DNS_A, AF_INET }, { DNS_AAAA, AF_INET6 }, { DNS_PTR, 0 }, { DNS_MX, 0 }, { DNS_TXT, 0 } };

static void as_answer(struct span text, const struct type *t)
{
	struct question q;
	struct span name;
	uint32_t ttl;

	if (!span_next(&text, '\n', &name) || question_make(name, (uint16_t)t->type, true, &q) != RC_OK)
		return;
	INVARIANT(q.n <= sizeof q.p && q.name_end + 4 <= q.n && q.name_end > HEADER_BYTES);
	INVARIANT(answer_fits(&q, span_make((const char *)q.p, q.n)) ==
		  false); /* no question is its answer */
	if (!answer_fits(&q, text))
		return;
	unsigned status = answer_status(text, (uint16_t)t->type, &ttl);
	(void)answer_truncated(text);
	(void)answer_secure(text);
	INVARIANT(status <= 4 && ttl <= (status == 0   ? TTL_POSITIVE_MAX
					 : status <= 2 ? TTL_NEGATIVE_MAX
						       : 0));
}

static void as_resolv_conf(struct span text)
{
	setup = (struct setup){ .timeout_s = 5, .attempts = 2 };
	parse_resolv_conf(text);
	INVARIANT(setup.servers <= SERVERS_MAX && setup.timeout_s >= 1 && setup.timeout_s <= 30 &&
		  setup.attempts >= 1 && setup.attempts <= 5);
	for (size_t i = 0; i < setup.servers; i++)
		INVARIANT(setup.server[i].port != 0 && (setup.server[i].addr.family == AF_INET ||
							setup.server[i].addr.family == AF_INET6));
}

static void check_addresses(struct span name, const struct type *t, struct arena *a)
{
	struct span answer = answer_from_hosts(name, (uint16_t)t->type, a);
	struct inet_addr addr;
	struct dns_answer out;
	struct err e;

	if (answer.n == 0) /* no address, or no name that DNS could have */
		return;
	INVARIANT(dns_parse(answer, t->type, a, &out, &e) == RC_OK && out.n <= HOSTS_ANSWERS);
	for (size_t i = 0; i < out.n; i++)
		INVARIANT(setup_host(name, t->family, i, &addr) && memcmp(addr.b, out.rr[i].addr.b, 16) == 0);
}

static void check_name(struct span name, struct arena *a)
{
	char reverse[80];
	struct inet_addr addr;

	check_addresses(name, &types[0], a);
	check_addresses(name, &types[1], a);
	if (!setup_host(name, AF_INET, 0, &addr))
		return;
	inet_addr_reverse_name(&addr, reverse);
	INVARIANT(setup_host_name(span_str(reverse)).n > 0);
	struct span answer = answer_from_hosts(span_str(reverse), (uint16_t)DNS_PTR, a),
		    first = setup_host_name(span_str(reverse));
	struct dns_answer out;
	struct err e;
	if (first.p[first.n - 1] == '.')
		first.n--;
	if (answer.n > 0 && dns_parse(answer, DNS_PTR, a, &out, &e) == RC_OK)
		INVARIANT(out.n == 1 && span_eq_ci(out.rr[0].target, first));
}

static void as_hosts(struct span text, struct arena *a)
{
	struct span rest = text, word;

	hosts = table_new();
	host_names = table_new();
	parse_hosts(text);
	for (int i = 0; i < 50 && span_next_word(&rest, " \t\r\n", &word); i++)
		check_name(word, a);
	table_free(&hosts, NULL);
	table_free(&host_names, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span text = span_skip(span_make((const char *)data, size), 1);
	struct arena a;

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (size < 1 || size > 16384)
		return 0;
	arena_init(&arena);
	arena_init(&a);
	switch (*data % 4) {
	case 0:
		as_resolv_conf(text);
		break;
	case 1:
		as_hosts(text, &a);
		break;
	default:
		as_answer(text, &types[(*data >> 2) % ARRAY_LEN(types)]);
	}
	arena_release(&a);
	arena_release(&arena);
	return 0;
}
