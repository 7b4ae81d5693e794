/* postcat.c - postcat(1): prints queue files, and messages in slots, for people. */
#include "base/arena.h"
#include "conf/conf.h"
#include "log/log.h"
#include "queue/queue.h"
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define P_ENVELOPE 1
#define P_HEADER   2
#define P_BODY	   4

struct shown {
	unsigned parts;
	bool offsets;
	const char *name;
	int fd;
	int64_t base;
	uint64_t max;
	struct qimage im;
	struct arena a;
	bool body; /* the empty line was seen */
	uint64_t at;
	uint64_t skip; /* lines of the message that begin before this offset are not shown */
};

static void print_span(const char *name, struct span v)
{
	if (v.n > 0)
		printf("%s: " SPAN_FMT "\n", name, SPAN_ARG(v));
}

static void print_attribute(const char *name, struct span v)
{
	if (v.n > 0)
		printf("named_attribute: %s=" SPAN_FMT "\n", name, SPAN_ARG(v));
}

static void print_time(const char *name, int64_t us)
{
	time_t t = (time_t)(us / 1000000);
	char text[64];
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%a %b %e %H:%M:%S %Y", &tm);
	printf("%s: %s\n", name, text);
}

static void print_recipients(const struct envelope *env)
{
	for (size_t i = 0; i < env->rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(env, i);

		print_attribute("dsn_orig_rcpt", r->orcpt);
		if (r->notify != 0)
			printf("named_attribute: notify_flags=%u\n", r->notify);
		print_span("original_recipient", r->orig);
		printf("%s: " SPAN_FMT "\n", r->state == RCPT_TODO ? "recipient" : "done_recipient",
		       SPAN_ARG(r->addr));
	}
}

static void print_reasons(struct shown *s)
{
	struct qstatus *v;
	size_t n;
	struct err e;

	if (s->base != 0 || qimage_read_log(s->fd, s->base, s->max, &s->im, &s->a, &v, &n, &e) != RC_OK)
		return;
	for (size_t i = 0; i < n; i++)
		printf("named_attribute: delivery_status=<" SPAN_FMT "> " SPAN_FMT " " SPAN_FMT "\n",
		       SPAN_ARG(envelope_rcpt(&s->im.env, v[i].index)->addr), SPAN_ARG(v[i].dsn),
		       SPAN_ARG(v[i].reason));
}

static void print_envelope(struct shown *s)
{
	const struct envelope *e = &s->im.env;

	printf("*** ENVELOPE RECORDS %s ***\n", s->name);
	printf("message_size: %15llu %15llu %15zu %15u %15llu %15u\n",
	       (unsigned long long)s->im.content_bytes, (unsigned long long)QFILE_CONTENT_OFF, e->rcpts.n,
	       e->flags, (unsigned long long)e->size, 0U);
	print_time("message_arrival_time", e->arrival_us);
	print_attribute("queue_id", e->qid);
	print_attribute("content_filter", e->content_filter);
	print_attribute("rewrite_context", e->flags & ENVF_LOCAL ? SPAN("local") : SPAN("remote"));
	print_attribute("envelope_id", e->envid);
	print_attribute("encoding", e->body == BODY_8BITMIME ? SPAN("8bit") : SPAN_NONE);
	print_attribute("log_client_name", e->client_name);
	print_attribute("log_client_address", e->client_addr);
	print_attribute("log_client_port", e->client_port);
	print_attribute("log_message_origin",
			e->client_name.n > 0 ? span_printf(&s->a, SPAN_FMT "[" SPAN_FMT "]",
							   SPAN_ARG(e->client_name), SPAN_ARG(e->client_addr))
					     : SPAN("local"));
	print_attribute("log_helo_name", e->helo);
	print_attribute("log_protocol_name", e->protocol);
	print_attribute("sasl_method", e->sasl_method);
	print_attribute("sasl_username", e->sasl_username);
	print_attribute("sasl_sender", e->sasl_sender);
	print_span("sender_fullname", e->full_name);
	printf("sender: " SPAN_FMT "\n", SPAN_ARG(e->sender));
	print_span("verp_delimiters", e->verp);
	if (s->im.next_try_us != 0)
		print_time("next_attempt_time", s->im.next_try_us);
	print_recipients(e);
}

static void print_line(struct shown *s, struct span line, bool end)
{
	bool wanted = s->at >= s->skip && (s->parts & (s->body ? P_BODY : P_HEADER));

	if (wanted && s->offsets)
		printf("%9llu ", (unsigned long long)s->at);
	if (wanted) {
		fwrite(line.p, 1, line.n, stdout);
		if (end)
			putchar('\n');
	}
	s->at += line.n + end;
}

/* Whole lines of a chunk; returns the bytes used. */
static size_t print_chunk(struct shown *s, struct span chunk, bool last)
{
	size_t used = 0;

	while (used < chunk.n) {
		struct span rest = span_skip(chunk, used);
		const char *lf = memchr(rest.p, '\n', rest.n);
		size_t n = lf != NULL ? (size_t)(lf - rest.p) : rest.n;

		if (lf == NULL && !last && rest.n < chunk.n)
			break;
		print_line(s, span_head(rest, n), lf != NULL || last);
		s->body |= n == 0;
		used += n + (lf != NULL);
	}
	return used;
}

static enum rc print_content(struct shown *s, struct err *e)
{
	static char chunk[65536];

	if (s->parts & P_ENVELOPE)
		printf("*** MESSAGE CONTENTS %s ***\n", s->name);
	for (uint64_t off = 0; off < s->im.content_bytes;) {
		uint64_t left = s->im.content_bytes - off;
		size_t n = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
		enum rc rc = qimage_pread(s->fd, s->base, &s->im, off, chunk, n, e);

		if (rc != RC_OK)
			return rc;
		off += print_chunk(s, span_make(chunk, n), n == left);
	}
	return RC_OK;
}

static enum rc show(struct shown *s, struct err *e)
{
	enum rc rc;

	arena_init(&s->a);
	rc = qimage_read(s->fd, s->base, s->max, true, &s->a, &s->im, e);
	if (rc == RC_OK) {
		if (s->parts & P_ENVELOPE)
			print_envelope(s);
		if (s->parts & (P_HEADER | P_BODY))
			rc = print_content(s, e);
		if (rc == RC_OK && (s->parts & P_ENVELOPE)) {
			printf("*** HEADER EXTRACTED %s ***\n", s->name);
			print_reasons(s);
			printf("*** MESSAGE FILE END %s ***\n", s->name);
		}
	}
	arena_release(&s->a);
	return rc;
}

static void show_file(struct shown s)
{
	struct err e;

	s.fd = s.name[0] == '-' && s.name[1] == '\0' ? STDIN_FILENO : open(s.name, O_RDONLY | O_CLOEXEC);
	if (s.fd < 0)
		die_status(1, "open %s: %s", s.name, strerror(errno));
	s.max = INT64_MAX;
	switch (show(&s, &e)) {
	case RC_OK:
		break;
	case RC_SYNTAX: /* the next file may be one */
	case RC_NOTFOUND:
	case RC_GONE:
		log_warning("%s: input is not a valid queue file", s.name);
		break;
	default:
		die_status(1, "%s: %s", s.name, e.text);
	}
	close(s.fd);
}

static bool show_slot(struct queue *q, struct shown *s, const struct qid *id)
{
	char name[64];
	struct err e;

	for (uint32_t i = 0; i < queue_slots(q); i++) {
		struct slot_pos at = queue_slot(q, i);
		struct qimage im;
		struct arena a;
		bool found;

		if (at.bytes == 0)
			continue;
		arena_init(&a);
		found = qimage_read(at.fd, at.base, at.bytes, false, &a, &im, &e) == RC_OK &&
			span_eq(qid_span(&im.qid), qid_span(id));
		arena_release(&a);
		if (!found)
			continue;
		snprintf(name, sizeof(name), "pool/%u/%s", i, id->s);
		s->name = name;
		s->fd = at.fd;
		s->base = at.base;
		s->max = at.bytes;
		return show(s, &e) == RC_OK;
	}
	return false;
}

static void show_id(struct queue *q, struct shown s)
{
	static const struct {
		enum queue_where where;
		const char *name;
	} places[] = { { QW_INCOMING, "incoming" },
		       { QW_ACTIVE, "active" },
		       { QW_DEFERRED, "deferred" },
		       { QW_HOLD, "hold" },
		       { QW_MAILDROP, "maildrop" } };
	const char *want = s.name;
	char name[64];
	struct qid id;
	struct err e;

	if (!qid_plausible(span_str(want)))
		die_status(1, "bad mail queue ID: %s", want);
	if (!qid_parse(span_str(want), &id))
		die_status(1, "open queue file %s: No such file or directory", want);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (queue_file_open(q, &id, places[i].where, false, &s.fd, &e) != RC_OK)
			continue;
		snprintf(name, sizeof(name), "%s/%s", places[i].name, id.s);
		s.name = name;
		s.max = INT64_MAX;
		if (show(&s, &e) != RC_OK)
			die_status(1, "%s: %s", name, e.text);
		close(s.fd);
		return;
	}
	if (!show_slot(q, &s, &id))
		die_status(1, "open queue file %s: No such file or directory", want);
}

static void usage(void)
{
	die_status(1, "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e "
		      "(envelope records)] [-h (header text)] [-q (access queue)] [-v] [file(s)...]");
}

int main(int argc, char **argv)
{
	struct shown s = { .parts = 0 };
	const char *dir = NULL;
	struct queue *q = NULL;
	struct conf *conf;
	bool by_id = false;
	struct err e;
	int c;

	log_init(&(struct log_conf){ .service = "postcat", .file_fd = -1, .to_stderr = true });
	while ((c = getopt(argc, argv, "bc:defhoqrs:v")) > 0)
		switch (c) {
		case 'b':
			s.parts |= P_BODY;
			break;
		case 'c':
			dir = optarg;
			break;
		case 'e':
			s.parts |= P_ENVELOPE;
			break;
		case 'h':
			s.parts |= P_HEADER;
			break;
		case 'o':
			s.offsets = true;
			break;
		case 'q':
			by_id = true;
			break;
		case 's':
			if (span_to_u64(span_str(optarg), INT64_MAX, &s.skip) != RC_OK)
				die_status(1, "bad offset: %s", optarg);
			break;
		case 'd': /* -d, -r: types and order of records; the image has neither */
		case 'f': /* no name in the image has to be looked up */
		case 'r':
		case 'v':
			break;
		default:
			usage();
		}
	if (s.parts == 0)
		s.parts = P_ENVELOPE | P_HEADER | P_BODY;
	if (by_id) {
		if (conf_load(dir != NULL ? dir : conf_default_dir(), &conf, &e) != RC_OK ||
		    queue_open(conf_str(conf, "queue_directory"), false, &q, &e) != RC_OK)
			die_status(1, "%s", e.text);
	}
	if (optind >= argc && !by_id) {
		s.name = "-";
		show_file(s);
	}
	for (; optind < argc; optind++) {
		s.name = argv[optind];
		if (by_id)
			show_id(q, s);
		else
			show_file(s);
	}
	queue_close(&q);
	return 0;
}
