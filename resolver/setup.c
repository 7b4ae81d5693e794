/* setup.c - resolv.conf(5) and hosts(5), read before the sandbox closes. A change is noticed through inotify
 * descriptors opened then, too; the process retires and its successor reads the files anew. */
#include "resolver.h"
#include "base/table.h"
#include "log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1024 * 1024)
#define DNS_PORT       53
#define WATCHES	       4

struct setup setup = { .timeout_s = 5, .attempts = 2 };
static struct arena arena;
static int watch_fd = -1;
static const char *watched[WATCHES]; /* base names */
static size_t watched_n;

/* ---- files ---- */

static struct span read_file(const char *path)
{
	struct buf b;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	buf_init(&b, FILE_MAX_BYTES);
	for (ssize_t n = 1; fd >= 0 && n > 0;) {
		char *p = buf_reserve(&b, 8192);
		if (p == NULL)
			break;
		if ((n = read(fd, p, 8192)) > 0)
			b.n += (size_t)n;
	}
	if (fd < 0 && errno != ENOENT)
		log_warning("open %s: %m", path);
	if (fd >= 0)
		close(fd);
	struct span s = span_dup(&arena, buf_span(&b));
	buf_release(&b);
	return s;
}

static void watch_dir_of(const char *path)
{
	struct span s = span_str(path);
	ptrdiff_t slash = span_rchr(s, '/');
	if (slash < 0 || watched_n == WATCHES)
		return;
	const char *dir = arena_cstr(&arena, slash == 0 ? SPAN("/") : span_head(s, (size_t)slash));
	if (inotify_add_watch(watch_fd, dir, IN_CLOSE_WRITE | IN_MOVED_TO) >= 0)
		watched[watched_n++] = arena_cstr(&arena, span_skip(s, (size_t)slash + 1));
}

static void watch(const char *path)
{
	char real[PATH_MAX];
	if (watch_fd < 0)
		watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch_fd < 0)
		return;
	watch_dir_of(path);
	if (realpath(path, real) != NULL && strcmp(real, path) != 0)
		watch_dir_of(real);
}

static bool concerns_us(const char *p, ssize_t n)
{
	for (ssize_t at = 0; at < n;) {
		struct inotify_event ev;
		memcpy(&ev, p + at, sizeof ev);
		for (size_t i = 0; ev.len > 0 && i < watched_n; i++)
			if (strcmp(p + at + sizeof ev, watched[i]) == 0)
				return true;
		at += (ssize_t)(sizeof ev + ev.len);
	}
	return false;
}

static void watcher(void *arg)
{
	char events[4096];
	(void)arg;
	while (task_wait_fd(watch_fd, TASK_READ, DEADLINE_NEVER) == RC_OK) {
		ssize_t n = read(watch_fd, events, sizeof events);
		if (n > 0 && concerns_us(events, n)) {
			log_info("configuration of the resolver changed, starting anew");
			service_retire();
			return;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
	}
}

void setup_watch(void)
{
	if (watch_fd >= 0)
		task_spawn(watcher, NULL);
}

/* ---- resolv.conf ---- */

static void add_server(struct span addr, uint16_t port)
{
	struct server s = { .port = port };
	if (setup.servers < SERVERS_MAX && inet_addr_parse(addr, &s.addr) == RC_OK)
		setup.server[setup.servers++] = s;
	else
		log_warning("bad name server address: " SPAN_FMT, SPAN_ARG(addr));
}

static uint64_t option_number(struct span word, uint64_t least, uint64_t most, uint64_t value)
{
	uint64_t n;
	ptrdiff_t colon = span_chr(word, ':');
	if (colon < 0 || span_to_u64(span_skip(word, (size_t)colon + 1), 1000000, &n) != RC_OK)
		return value;
	return n < least ? least : n > most ? most : n;
}

/* "options ..."; "port:" is not in resolv.conf(5), but lets a server run without root. */
static void option(struct span word, uint16_t *port)
{
	if (span_starts(word, SPAN("timeout:")))
		setup.timeout_s = (int64_t)option_number(word, 1, 30, 5);
	else if (span_starts(word, SPAN("attempts:")))
		setup.attempts = (unsigned)option_number(word, 1, 5, 2);
	else if (span_starts(word, SPAN("port:")))
		*port = (uint16_t)option_number(word, 1, 65535, DNS_PORT);
	else if (span_is(word, "trust-ad"))
		setup.trust_ad = true;
}

static void parse_resolv_conf(struct span text)
{
	struct span line, word, addr[SERVERS_MAX];
	size_t n = 0;
	uint16_t port = DNS_PORT;
	while (span_next(&text, '\n', &line)) {
		if (!span_next_word(&line, " \t\r", &word) || word.p[0] == '#' || word.p[0] == ';')
			continue;
		if (span_is(word, "nameserver") && span_next_word(&line, " \t\r", &word) && n < SERVERS_MAX)
			addr[n++] = word;
		else if (span_is(word, "options"))
			while (span_next_word(&line, " \t\r", &word))
				option(word, &port);
	}
	for (size_t i = 0; i < n; i++)
		add_server(addr[i], port);
}

/* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53" */
static void add_named(struct span word)
{
	uint64_t port = DNS_PORT;
	ptrdiff_t colon = span_rchr(word, ':');
	bool has_port = colon > 0 && (word.p[colon - 1] == ']' || span_chr(word, ':') == colon);
	if (has_port && span_to_u64(span_skip(word, (size_t)colon + 1), 65535, &port) != RC_OK)
		die("resolver_nameservers: bad port in " SPAN_FMT, SPAN_ARG(word));
	add_server(has_port ? span_head(word, (size_t)colon) : word, (uint16_t)port);
}

/* ---- hosts ---- */

struct host {
	struct inet_addr addr;
	struct host *next;
};
static struct table *hosts;
static struct table *host_names; /* by the address's name below arpa: struct span */

static void add_host(struct span name, const struct inet_addr *addr)
{
	char lower[256];
	struct host *h = arena_alloc(&arena, sizeof *h), **at;
	if (name.n >= sizeof lower)
		return;
	for (size_t i = 0; i < name.n; i++)
		lower[i] = ascii_lower(name.p[i]);
	struct span key = span_make(lower, name.n);
	h->addr = *addr;
	struct host *first = table_get(hosts, key);
	if (first == NULL) {
		table_set(hosts, key, h);
		return;
	}
	for (at = &first->next; *at != NULL; at = &(*at)->next)
		;
	*at = h;
}

static void name_address(const struct inet_addr *addr, struct span name)
{
	char reverse[80];
	struct span *first = arena_alloc(&arena, sizeof *first);
	inet_addr_reverse_name(addr, reverse);
	*first = name;
	if (table_get(host_names, span_str(reverse)) == NULL)
		table_set(host_names, span_str(reverse), first);
}

static void parse_hosts(struct span text)
{
	struct span line, word;
	struct inet_addr addr;
	while (span_next(&text, '\n', &line)) {
		ptrdiff_t comment = span_chr(line, '#');
		if (comment >= 0)
			line = span_head(line, (size_t)comment);
		if (!span_next_word(&line, " \t\r", &word) || inet_addr_parse(word, &addr) != RC_OK)
			continue;
		while (span_next_word(&line, " \t\r", &word)) {
			add_host(word, &addr);
			name_address(&addr, word);
		}
	}
}

bool setup_host(struct span name, int family, size_t i, struct inet_addr *out)
{
	char lower[256];
	if (name.n >= sizeof lower)
		return false;
	for (size_t k = 0; k < name.n; k++)
		lower[k] = ascii_lower(name.p[k]);
	for (const struct host *h = table_get(hosts, span_make(lower, name.n)); h != NULL; h = h->next)
		if (h->addr.family == family && i-- == 0) {
			*out = h->addr;
			return true;
		}
	return false;
}

struct span setup_host_name(struct span reverse)
{
	const struct span *name = table_get(host_names, reverse);
	return name != NULL ? *name : SPAN_NONE;
}

void setup_read(void)
{
	const struct conf *c = service_conf();
	const char *file = conf_str(c, "resolver_conf");
	struct span *words;
	size_t n;
	struct err e;
	arena_init(&arena);
	hosts = table_new();
	host_names = table_new();
	parse_resolv_conf(read_file(file));
	watch(file);
	if (conf_words(span_str(conf_str(c, "resolver_nameservers")), false, &arena, &words, &n, &e) != RC_OK)
		die("resolver_nameservers: %s", e.text);
	if (n > 0)
		setup.servers = 0;
	for (size_t i = 0; i < n; i++)
		add_named(words[i]);
	if (setup.servers == 0) /* resolv.conf(5): the server of this host */
		add_server(SPAN("127.0.0.1"), DNS_PORT);
	parse_hosts(read_file("/etc/hosts"));
	watch("/etc/hosts");
}
