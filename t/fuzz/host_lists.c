/* Any bytes as lists of hosts, domains and networks (mynetworks, mydestination, relay_domains), with exclusions and files, and as addresses and
 * networks alone: an answer or "cannot say", which what main.cf shows of them foretells. Input: a list, in which "/@" stands for a file, a line end,
 * the name of a host, a blank, its address, a line end, the words of the file. */
#include "log/log.h"
#include "map/map.h"
#include "net/addr.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct host {
	struct span name, addr;
};

static enum rc ask(struct span list, unsigned flags, const struct host *h, bool domain)
{
	struct match_list *l;
	struct err e = { .text = "" };

	INVARIANT(match_list_open("mynetworks", list, flags, &l, &e) == RC_OK);
	enum rc rc = domain ? match_domain(l, h->name, &e) : match_host(l, h->name, h->addr, &e);
	INVARIANT(rc == RC_OK || rc == RC_NOTFOUND || (rc == RC_AGAIN && e.text[0] != '\0'));
	INVARIANT(rc == RC_NOTFOUND || !match_list_empty(l));
	match_list_close(&l);
	return rc;
}

static void check_list(struct span list, const struct host *h, unsigned flags, struct arena *a)
{
	bool bare =
	    span_chr(list, '/') < 0 && span_chr(list, ':') < 0; /* neither files nor tables nor networks */
	struct err e = { .text = "" };
	enum rc at_first = match_list_check(list, true, &e), rc = ask(list, flags, h, false);

	INVARIANT(at_first == RC_OK || e.text[0] != '\0');
	INVARIANT(at_first != RC_OK || !bare || rc != RC_AGAIN);
	/* the first element that matches decides: what was there before adds nothing */
	struct span twice = span_printf(a, SPAN_FMT " " SPAN_FMT, SPAN_ARG(list), SPAN_ARG(list));
	INVARIANT(rc == RC_AGAIN || ask(twice, flags, h, false) == rc);
	(void)ask(list, flags, h, true);
}

/* "!" turns a match into none, "!!" is nothing. */
static void check_word(struct span word, const struct host *h, unsigned flags, struct arena *a)
{
	enum rc rc = ask(word, flags, h, false);

	if (word.n == 0 || word.p[0] == '!' || rc == RC_AGAIN || span_chr(word, '\v') >= 0 ||
	    span_chr(word, '\f') >= 0)
		return;
	INVARIANT(ask(span_printf(a, "!" SPAN_FMT, SPAN_ARG(word)), flags, h, false) == RC_NOTFOUND);
	INVARIANT(ask(span_printf(a, "!!" SPAN_FMT, SPAN_ARG(word)), flags, h, false) == rc);
}

static void check_net(struct span text, struct arena *a)
{
	struct inet_net n, again;
	struct inet_addr addr;
	char s[INET_TEXT_MAX], reverse[80];
	struct err e = { .text = "" };

	if (inet_addr_parse(text, &addr) == RC_OK) {
		inet_addr_text(&addr, s);
		INVARIANT(inet_addr_parse(span_str(s), &again.addr) == RC_OK &&
			  inet_addr_eq(&addr, &again.addr));
		inet_addr_reverse_name(&addr, reverse);
		INVARIANT(strlen(reverse) < sizeof reverse);
	}
	if (inet_net_parse(text, &n, &e) != RC_OK) {
		INVARIANT(e.text[0] != '\0');
		return;
	}
	INVARIANT(n.bits <= (n.addr.family == AF_INET ? 32 : 128) && inet_net_has(&n, &n.addr));
	inet_addr_text(&n.addr, s);
	INVARIANT(inet_net_parse(span_printf(a, "[%s]/%u", s, n.bits), &again, &e) == RC_OK);
	INVARIANT(again.bits == n.bits && inet_addr_eq(&again.addr, &n.addr));
}

/* A copy of `list` in which "/@" is the name of a file that holds `words`. */
static struct span with_file(struct span list, const char *file, struct arena *a)
{
	ptrdiff_t at = span_find(list, SPAN("/@"));

	if (at < 0)
		return list;
	return span_printf(a, SPAN_FMT "%s" SPAN_FMT, SPAN_ARG(span_head(list, (size_t)at)), file,
			   SPAN_ARG(span_skip(list, (size_t)at + 2)));
}

static void run(struct span list, const struct host *h, struct span words, struct arena *a)
{
	char file[64];
	unsigned flags = (unsigned)list.n & (MATCH_EXACT | MATCH_PARENT | MATCH_EMPTY);
	int fd = memfd_create("words", MFD_CLOEXEC);
	struct span rest = list, word;

	INVARIANT(fd >= 0 && write(fd, words.p, words.n) == (ssize_t)words.n);
	snprintf(file, sizeof file, "/proc/self/fd/%d", fd);
	check_list(with_file(list, file, a), h, flags, a);
	if (span_next_word(&rest, ", \t\r\n", &word) && span_chr(word, ':') < 0 && span_chr(word, '{') < 0)
		check_word(with_file(word, file, a), h, flags, a);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span rest = span_make((const char *)data, size), list, line = SPAN_NONE;
	struct host h = { 0 };
	struct arena a;

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	/* files of this host, also those that never end, are not for this target; nor are tables that are files */
	if (size > 4096 || span_chr(rest, '\0') >= 0 || !span_next(&rest, '\n', &list) ||
	    span_find(list, SPAN("/dev")) >= 0 || span_find(list, SPAN("/proc")) >= 0 ||
	    span_find(rest, SPAN("/dev")) >= 0 || span_find(rest, SPAN("/proc")) >= 0)
		return 0;
	(void)span_next(&rest, '\n', &line);
	(void)span_next(&line, ' ', &h.name);
	h.addr = line;
	arena_init(&a);
	run(list, &h, rest, &a);
	check_net(list, &a);
	check_net(h.addr, &a);
	arena_release(&a);
	return 0;
}
