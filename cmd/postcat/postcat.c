/* postcat.c - postcat(1): prints queue files, and messages in slots, for people. */
#include "base/arena.h"
#include "conf/conf.h"
#include "log/log.h"
#include "queue/queue.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define P_ENVELOPE 1
#define P_HEADER   2
#define P_BODY	   4

/* -d: what Postfix calls each line. The image has no such records; scripts that select lines by them find what they look for. */
enum record {
	REC_SIZE = 'C',
	REC_TIME = 'T',
	REC_ATTR = 'A',
	REC_FULL = 'F',
	REC_FROM = 'S',
	REC_DONE = 'D',
	REC_RCPT = 'R',
	REC_ORCP = 'O',
	REC_FILT = 'L',
	REC_VERP = 'V',
	REC_REDIRECT = '>',
	REC_POINTER = 'p',
	REC_MESSAGE = 'M',
	REC_TEXT = 'N',
	REC_EXTRACTED = 'X',
	REC_END = 'E',
};

struct shown {
	unsigned parts;
	bool offsets, types, names, stored, verbose;
	const char *name;
	int fd;
	int64_t base;
	uint64_t max;
	struct qimage im;
	struct arena a;
	bool header_seen, body; /* the first line that belongs to no header field was seen */
	uint64_t at;		/* how much of the message was printed */
	uint64_t skip;		/* -s: lines that begin before this offset of the file are not shown */
};

/* -f, -o, -d: what stands before each line. */
static void begin(const struct shown *s, uint64_t off, enum record type)
{
	if (s->names)
		printf("%s: ", s->name);
	if (s->offsets)
		printf("%9llu ", (unsigned long long)off);
	if (s->types)
		printf("%3d ", type);
}

/* All of the envelope is one piece of the file. */
static uint64_t envelope_off(const struct shown *s)
{
	return QFILE_CONTENT_OFF + s->im.stored_bytes;
}

static void print_span(const struct shown *s, enum record type, const char *name, struct span v)
{
	begin(s, envelope_off(s), type);
	printf("%s: " SPAN_FMT "\n", name, SPAN_ARG(v));
}

static void print_attribute(const struct shown *s, const char *name, struct span v)
{
	if (v.n == 0)
		return;
	begin(s, envelope_off(s), REC_ATTR);
	printf("named_attribute: %s=" SPAN_FMT "\n", name, SPAN_ARG(v));
}

static void print_number(const struct shown *s, const char *name, unsigned v)
{
	if (v == 0)
		return;
	begin(s, envelope_off(s), REC_ATTR);
	printf("named_attribute: %s=%u\n", name, v);
}

static void print_time(const struct shown *s, enum record type, const char *name, int64_t us)
{
	time_t t = (time_t)(us / 1000000);
	char text[64];
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%a %b %e %H:%M:%S %Y", &tm);
	begin(s, envelope_off(s), type);
	printf("%s: %s\n", name, text);
}

static void print_recipients(const struct shown *s)
{
	for (size_t i = 0; i < s->im.env.rcpts.n; i++) {
		const struct env_rcpt *r = envelope_rcpt(&s->im.env, i);
		bool done = r->state != RCPT_TODO;

		if (r->notify & NOTIFY_ALIAS)
			continue;
		print_number(s, "notify_flags", r->notify);
		print_attribute(s, "dsn_orig_rcpt", r->orcpt);
		print_span(s, REC_ORCP, "original_recipient", r->orig.n > 0 ? r->orig : r->addr);
		print_span(s, done ? REC_DONE : REC_RCPT, done ? "done_recipient" : "recipient", r->addr);
	}
}

static void print_reasons(struct shown *s)
{
	struct qstatus *v;
	size_t n;
	struct err e;

	if (s->base != 0 || qimage_read_log(s->fd, s->base, s->max, &s->im, &s->a, &v, &n, &e) != RC_OK)
		return;
	for (size_t i = 0; i < n; i++) {
		begin(s, s->im.log_off, REC_ATTR);
		printf("named_attribute: delivery_status=<" SPAN_FMT "> " SPAN_FMT " " SPAN_FMT "\n",
		       SPAN_ARG(envelope_rcpt(&s->im.env, v[i].index)->addr), SPAN_ARG(v[i].dsn),
		       SPAN_ARG(v[i].reason));
	}
}

/* -r: where the message as it is now lies in what is stored. */
static void print_pointers(const struct shown *s)
{
	bool plain = s->im.extents == 1 && s->im.extent[0].off == QFILE_CONTENT_OFF &&
		     s->im.extent[0].len == s->im.stored_bytes;

	for (size_t i = 0; s->stored && !plain && i < s->im.extents; i++) {
		begin(s, envelope_off(s), REC_POINTER);
		printf("pointer_record: %15llu %15llu\n", (unsigned long long)s->im.extent[i].off,
		       (unsigned long long)s->im.extent[i].len);
	}
}

static void print_client(struct shown *s)
{
	const struct envelope *e = &s->im.env;
	const struct {
		const char *name;
		struct span value;
	} v[] = { { "log_client_name", e->client_name },
		  { "log_client_address", e->client_addr },
		  { "log_client_port", e->client_port },
		  { "log_message_origin",
		    e->client_name.n > 0 ? span_printf(&s->a, SPAN_FMT "[" SPAN_FMT "]",
						       SPAN_ARG(e->client_name), SPAN_ARG(e->client_addr))
					 : SPAN("local") },
		  { "log_helo_name", e->helo },
		  { "log_protocol_name", e->protocol },
		  { "client_name", e->client_name },
		  { "reverse_client_name", e->rev_client_name },
		  { "client_address", e->client_addr },
		  { "client_port", e->client_port },
		  { "helo_name", e->helo },
		  { "protocol_name", e->protocol },
		  { "sasl_method", e->sasl_method },
		  { "sasl_username", e->sasl_username },
		  { "sasl_sender", e->sasl_sender } };

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		print_attribute(s, v[i].name, v[i].value);
}

static void print_optional(const struct shown *s, enum record type, const char *name, struct span v)
{
	if (v.n > 0)
		print_span(s, type, name, v);
}

static void print_envelope(struct shown *s)
{
	const struct envelope *e = &s->im.env;

	begin(s, 0, REC_SIZE);
	printf("message_size: %15llu %15llu %15zu %15u %15llu %15u\n",
	       (unsigned long long)s->im.content_bytes, (unsigned long long)QFILE_CONTENT_OFF, e->rcpts.n,
	       e->flags, (unsigned long long)e->size, 0U);
	print_time(s, REC_TIME, "message_arrival_time", e->arrival_us);
	print_optional(s, REC_FILT, "content_filter", e->content_filter);
	print_optional(s, REC_REDIRECT, "redirect_to", e->redirect);
	print_attribute(s, "queue_id", e->qid);
	print_attribute(s, "log_ident", e->ident);
	print_attribute(s, "rewrite_context", e->flags & ENVF_LOCAL ? SPAN("local") : SPAN("remote"));
	print_attribute(s, "envelope_id", e->envid);
	print_number(s, "ret_flags", e->ret);
	print_optional(s, REC_FULL, "sender_fullname", e->full_name);
	print_span(s, REC_FROM, "sender", e->sender);
	print_attribute(s, "encoding", e->body == BODY_8BITMIME ? SPAN("8bit") : SPAN_NONE);
	print_client(s);
	print_optional(s, REC_VERP, "verp_delimiters", e->verp);
	if (s->im.next_try_us != 0)
		print_time(s, REC_ATTR, "next_attempt_time", s->im.next_try_us);
	print_pointers(s);
	print_recipients(s);
}

/* ---- the message ---- */

/* Where byte `at` of the message lies in the file. */
static uint64_t file_off(const struct qimage *im, uint64_t at)
{
	for (size_t i = 0; i < im->extents; i++) {
		if (at < im->extent[i].len)
			return im->extent[i].off + at;
		at -= im->extent[i].len;
	}
	return QFILE_CONTENT_OFF + im->stored_bytes;
}

/* A header field begins, or one goes on (RFC 5322 section 2.2). */
static bool is_header(const struct shown *s, struct span line)
{
	size_t n = 0;

	if (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
		return s->header_seen;
	while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
		n++;
	return n > 0 && n < line.n && span_starts(span_trim(span_skip(line, n)), SPAN(":"));
}

static void print_line(struct shown *s, struct span line, bool end)
{
	uint64_t off = file_off(&s->im, s->at);

	if (!s->body)
		s->body = !is_header(s, line);
	s->header_seen = true;
	s->at += line.n + end;
	if (off < s->skip || !(s->parts & (s->body ? P_BODY : P_HEADER)))
		return;
	begin(s, off, REC_TEXT);
	if (s->verbose)
		fputs("regular_text: ", stdout);
	fwrite(line.p, 1, line.n, stdout);
	if (end)
		putchar('\n');
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
		used += n + (lf != NULL);
	}
	return used;
}

static enum rc print_content(struct shown *s, struct err *e)
{
	static char chunk[65536];

	if (s->stored) { /* -r */
		s->im.extent = arena_alloc(&s->a, sizeof(*s->im.extent));
		s->im.extent[0] = (struct qextent){ QFILE_CONTENT_OFF, s->im.stored_bytes };
		s->im.extents = 1;
		s->im.content_bytes = s->im.stored_bytes;
	}
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

static void print_marker(const struct shown *s, uint64_t off, enum record type, const char *what)
{
	if (off < s->skip)
		return;
	if (type != REC_SIZE)
		begin(s, off, type);
	printf("*** %s %s ***\n", what, s->name);
}

/* Everything that is no part of the message, around it. */
static enum rc print_all(struct shown *s, struct err *e)
{
	enum rc rc = RC_OK;

	if (s->skip == 0) {
		print_marker(s, 0, REC_SIZE, "ENVELOPE RECORDS");
		print_envelope(s);
	}
	print_marker(s, QFILE_CONTENT_OFF, REC_MESSAGE, "MESSAGE CONTENTS");
	if (s->parts & (P_HEADER | P_BODY))
		rc = print_content(s, e);
	if (rc != RC_OK)
		return rc;
	print_marker(s, s->im.log_off, REC_EXTRACTED, "HEADER EXTRACTED");
	if (s->im.log_off >= s->skip)
		print_reasons(s);
	print_marker(s, s->im.log_off, REC_END, "MESSAGE FILE END");
	return rc;
}

static enum rc show(struct shown *s, struct err *e)
{
	enum rc rc;

	arena_init(&s->a);
	rc = qimage_read(s->fd, s->base, s->max, true, &s->a, &s->im, e);
	if (rc == RC_OK)
		rc = s->parts & P_ENVELOPE ? print_all(s, e) : print_content(s, e);
	arena_release(&s->a);
	return rc;
}

/* Standard input may be a pipe, in which one cannot go back. */
static int copy_of_stdin(void)
{
	static char chunk[65536];
	struct stat st;
	int fd = -1;
	ssize_t n;

	if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode))
		return STDIN_FILENO;
	if ((fd = memfd_create("input", MFD_CLOEXEC)) < 0)
		return -1;
	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0)
		if (write(fd, chunk, (size_t)n) != n)
			break;
	if (n != 0)
		die_status(1, "standard input: %s", strerror(errno));
	return fd;
}

static void show_file(struct shown s)
{
	struct err e;

	s.fd = s.name[0] == '-' && s.name[1] == '\0' ? copy_of_stdin() : open(s.name, O_RDONLY | O_CLOEXEC);
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

static bool show_option(struct shown *s, int option)
{
	const struct {
		char option;
		bool *set;
		unsigned part;
	} options[] = { { 'b', NULL, P_BODY },	{ 'e', NULL, P_ENVELOPE }, { 'h', NULL, P_HEADER },
			{ 'd', &s->types, 0 },	{ 'f', &s->names, 0 },	   { 'o', &s->offsets, 0 },
			{ 'r', &s->stored, 0 }, { 'v', &s->verbose, 0 } };

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].option == option) {
			s->parts |= options[i].part;
			if (options[i].set != NULL)
				*options[i].set = true;
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	struct shown s = { .parts = 0 };
	const char *dir = NULL;
	struct queue *q = NULL;
	static struct conf *conf; /* for the life of the process */
	bool by_id = false;
	struct err e;
	int c;

	log_init(&(struct log_conf){ .service = "postcat", .file_fd = -1, .to_stderr = true });
	while ((c = getopt(argc, argv, "bc:defhoqrs:v")) > 0)
		if (c == 'c')
			dir = optarg;
		else if (c == 'q')
			by_id = true;
		else if (c == 's' && span_to_u64(span_str(optarg), INT64_MAX, &s.skip) != RC_OK)
			die_status(1, "bad offset: %s", optarg);
		else if (c != 's' && !show_option(&s, c))
			usage();
	if (s.parts == 0)
		s.parts = P_ENVELOPE | P_HEADER | P_BODY;
	if ((by_id || dir != NULL) && conf_load(dir != NULL ? dir : conf_default_dir(), &conf, &e) != RC_OK)
		die_status(1, "%s", e.text);
	if (by_id && queue_open(conf_str(conf, "queue_directory"), false, &q, &e) != RC_OK)
		die_status(1, "%s", e.text);
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
