/* cmd/posttls-finger/main.c - posttls-finger(1): what the TLS of a mail server is like. The lines go to stdout. */
#include "finger.h"
#include "conf/ports.h"
#include "log/log.h"
#include "service/client.h"
#include <signal.h>
#include <unistd.h>

static NORETURN void usage(void)
{
	fputs("usage: posttls-finger [-cCfSvwx] [-a family] [-t conn_tmout] [-T cmd_tmout] [-L logopts]\n"
	      "\t[-h host_lookup] [-l level] [-d mdalg] [-g grade] [-p protocols] [-A tafile] [-F CAfile]\n"
	      "\t[-P CApath] [-s servername] [-H chainfile | -k certfile [-K keyfile]] [-M "
	      "insecure_mx_policy]\n"
	      "\t[-m count] [-r delay] [-o name=value] destination [match ...]\n",
	      stderr);
	exit(1);
}

static enum tls_level level_of(const char *name)
{
	static const struct {
		const char *name;
		enum tls_level level;
	} levels[] = {
		{ "none", TLS_NONE },	  { "may", TLS_MAY },	    { "encrypt", TLS_ENCRYPT },
		{ "verify", TLS_VERIFY }, { "secure", TLS_SECURE }, { "fingerprint", TLS_FINGERPRINT }
	};

	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (span_is_ci(span_str(name), levels[i].name))
			return levels[i].level;
	if (span_starts_ci(span_str(name), SPAN("dane")) || span_is_ci(span_str(name), "half-dane"))
		die("TLS level \"%s\": DANE is not supported by this program yet", name);
	die("Invalid TLS level \"%s\"", name);
}

static unsigned logs_of(const char *list)
{
	static const struct {
		const char *name;
		unsigned logs;
	} words[] = { { "none", 0 },
		      { "0", 0 },
		      { "routine", LOGS_SUMMARY },
		      { "1", LOGS_SUMMARY },
		      { "summary", LOGS_SUMMARY },
		      { "debug", LOGS_SUMMARY | LOGS_PEERCERT | LOGS_CACHE | LOGS_DEBUG },
		      { "2", LOGS_SUMMARY | LOGS_PEERCERT | LOGS_CACHE | LOGS_DEBUG },
		      { "ssl-debug", LOGS_DEBUG },
		      { "untrusted", 0 },
		      { "peercert", LOGS_PEERCERT },
		      { "certmatch", LOGS_PEERCERT },
		      { "cache", LOGS_CACHE },
		      { "verbose", LOGS_PEERCERT | LOGS_CACHE } };
	struct span rest = span_str(list), word;
	unsigned logs = 0;

	while (span_next_word(&rest, ", \t", &word)) {
		size_t i = 0;

		while (i < ARRAY_LEN(words) && !span_is_ci(word, words[i].name))
			i++;
		if (i < ARRAY_LEN(words))
			logs |= words[i].logs;
		else /* the dumps of packets among them */
			log_warning("unknown -L option value \"" SPAN_FMT "\" in \"%s\"", SPAN_ARG(word),
				    list);
	}
	return logs;
}

static int64_t seconds(const char *text)
{
	int64_t s;

	if (conf_parse_time(span_str(text), 's', &s) != RC_OK || s <= 0 || s > 86400)
		die("invalid time: %s", text);
	return s;
}

static int family_of(const char *name)
{
	return strcmp(name, "ipv4") == 0   ? AF_INET
	       : strcmp(name, "ipv6") == 0 ? AF_INET6
	       : strcmp(name, "any") == 0  ? AF_UNSPEC
					   : (die("bad '-a' option value: %s", name), 0);
}

static void host_lookup(struct finger *f, const char *list)
{
	struct span rest = span_str(list), word;

	f->dns = f->native = false;
	while (span_next_word(&rest, ", \t", &word))
		if (span_is_ci(word, "dns"))
			f->dns = true;
		else if (span_is_ci(word, "native"))
			f->native = true;
		else
			die("unknown -h option value \"" SPAN_FMT "\" in \"%s\"", SPAN_ARG(word), list);
}

static const char *ciphers_of(const struct conf *c, const char *grade)
{
	const char *list = tls_cipher_list(c, span_str(grade));

	if (list == NULL)
		die("invalid TLS cipher grade: \"%s\"", grade);
	return list;
}

struct later { /* options that wait for main.cf */
	const char *grade, *override[64];
	size_t overrides;
};

static void push(const char **v, size_t *n, size_t max, const char *value)
{
	if (*n == max)
		die("too many options");
	v[(*n)++] = value;
}

static uint64_t count(const char *text)
{
	uint64_t n;

	if (span_to_u64(span_str(text), 1000, &n) != RC_OK)
		die("bad number: %s", text);
	return n;
}

/* Options with a value; the others are switches. */
static void take_value(struct finger *f, struct later *l, int ch, const char *value)
{
	switch (ch) {
	case 'a':
		f->family = family_of(value);
		break;
	case 'A':
		push(f->anchors, &f->n_anchors, ARRAY_LEN(f->anchors), value);
		break;
	case 'd':
		f->digest = value;
		break;
	case 'F':
		f->ca_file = value;
		break;
	case 'g':
		l->grade = value;
		break;
	case 'h':
		host_lookup(f, value);
		break;
	case 'H':
		f->cert = f->key = value;
		break;
	case 'k':
		f->cert = value;
		break;
	case 'K':
		f->key = value;
		break;
	case 'l':
		f->level = level_of(value);
		break;
	case 'L':
		f->logs = logs_of(value);
		break;
	case 'm':
		f->reconnects = (int64_t)count(value);
		break;
	case 'M':
		if (strcmp(value, "none") != 0 && strcmp(value, "may") != 0 &&
		    strcmp(value, "encrypt") != 0 && strcmp(value, "dane") != 0)
			die("bad '-M' option value: %s", value);
		break; /* counts at the dane levels only */
	case 'o':
		push(l->override, &l->overrides, ARRAY_LEN(l->override), value);
		break;
	case 'p':
		f->protocols = value;
		break;
	case 'P':
		f->ca_path = value;
		break;
	case 'r':
		f->delay_s = seconds(value);
		break;
	case 's':
		f->sni = arena_strdup(&f->a, value);
		break;
	case 't':
		f->connect_s = seconds(value);
		break;
	case 'T':
		f->command_s = seconds(value);
		break;
	default:
		usage();
	}
}

static void parse(struct finger *f, struct later *l, int argc, char **argv)
{
	int ch;

	while ((ch = getopt(argc, argv, "a:A:cCd:fF:g:h:H:k:K:l:L:m:M:o:p:P:r:s:St:T:vwxX")) != -1)
		switch (ch) {
		case 'c':
			f->quiet = true;
			break;
		case 'C':
			f->show_chain = true;
			break;
		case 'S':
			f->lmtp = true;
			break;
		case 'w':
			f->wrapper = true;
			break;
		case 'f': /* of the dane levels */
		case 'v':
			break;
		case 'x':
			log_warning("raw public keys are not supported: -x is ignored");
			break;
		case 'X':
			die("-X: there is no tlsproxy mode");
		default:
			take_value(f, l, ch, optarg);
		}
	if (optind >= argc)
		usage();
	if (f->cert == NULL)
		f->cert = f->key;
	if (f->key == NULL)
		f->key = f->cert;
}

static void configure(struct finger *f, const struct later *l)
{
	struct err e;
	f->conf = client_conf(NULL, "posttls-finger");
	log_init(&(struct log_conf){ .service = "posttls-finger", .file_fd = -1, .to_stderr = true });
	for (size_t i = 0; i < l->overrides; i++) {
		struct span s = span_str(l->override[i]);
		ptrdiff_t eq = span_chr(s, '=');

		if (eq <= 0)
			die("missing '=' after attribute name: %s", l->override[i]);
		conf_override(f->conf, span_trim(span_head(s, (size_t)eq)),
			      span_trim(span_skip(s, (size_t)eq + 1)));
	}
	if (port_names_set(conf_str(f->conf, "known_tcp_ports"), &e) != RC_OK)
		die("%s", e.text);
	if (f->digest == NULL)
		f->digest = conf_str(f->conf, "smtp_tls_fingerprint_digest");
	f->ciphers = ciphers_of(f->conf, l->grade);
}

/* One connection as far as it goes; true when TLS was spoken. */
static bool probe(struct finger *f)
{
	bool tls = f->wrapper && f->level != TLS_NONE;

	if ((tls && !handshake(f)) || !dialogue_greeting(f) || !dialogue_ehlo(f))
		return false;
	if (!tls && f->starttls && f->level != TLS_NONE) {
		if (!dialogue_starttls(f) || !handshake(f) || !dialogue_ehlo(f))
			return false;
		tls = true;
	}
	dialogue_quit(f);
	return tls;
}

/* A ticket of TLS 1.3 comes after the handshake, so the session is kept at the end. */
static void hang_up(struct finger *f, bool keep)
{
	if (f->ssl != NULL && keep) {
		SSL_SESSION_free(f->session);
		f->session = SSL_get1_session(f->ssl);
	}
	if (f->ssl != NULL)
		(void)SSL_shutdown(f->ssl);
	SSL_free(f->ssl);
	f->ssl = NULL;
	close(f->fd);
	buf_reset(&f->in);
	f->in_at = 0;
}

static bool visit(struct finger *f)
{
	bool tls;

	if (!dest_connect(f))
		return false;
	tls = probe(f);
	hang_up(f, tls && f->delay_s > 0);
	return tls;
}

/* -r: until a session is used again, which a server that shares its name with others may not have. */
static void reconnect(struct finger *f)
{
	f->logs = (f->logs & ~LOGS_PEERCERT) | LOGS_SUMMARY | LOGS_CACHE;
	for (int64_t i = 0; i < f->reconnects; i++) {
		char before[sizeof(f->server)];

		memcpy(before, f->server, sizeof(before));
		log_info("Reconnecting after %lld seconds", (long long)f->delay_s);
		sleep((unsigned)f->delay_s);
		if (!visit(f))
			return;
		if (f->reused || strcmp(before, f->server) == 0) {
			log_info("Found a previously used server.  Done reconnecting.");
			return;
		}
	}
	log_info("Maximum reconnect count reached.");
}

int main(int argc, char **argv)
{
	static struct finger f = { .connect_s = 30,
				   .command_s = 30,
				   .reconnects = 5,
				   .level = TLS_SECURE,
				   .protocols = ">=TLSv1",
				   .dns = true,
				   .logs = LOGS_SUMMARY | LOGS_PEERCERT,
				   .fd = -1 };
	struct later l = { .grade = "medium" };

	log_init(&(struct log_conf){ .service = "posttls-finger", .file_fd = -1, .to_stderr = true });
	signal(SIGPIPE, SIG_IGN);
	arena_init(&f.a);
	buf_init(&f.in, 16384);
	parse(&f, &l, argc, argv);
	configure(&f, &l);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (dup2(STDOUT_FILENO, STDERR_FILENO) < 0) /* where the log of a command goes */
		return 1;
	dest_parse(&f, argv[optind]);
	f.matches = (size_t)(argc - optind - 1);
	f.match = arena_array(&f.a, f.matches + 1, sizeof(*f.match));
	for (size_t i = 0; i < f.matches; i++)
		f.match[i] = span_str(argv[optind + 1 + (int)i]);
	handshake_prepare(&f);
	if (visit(&f) && f.delay_s > 0)
		reconnect(&f);
	return 0;
}
