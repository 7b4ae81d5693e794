/* queue/postfix_file.c - reads one file of Postfix's queue (postfix_file.h). Whoever wrote it, nothing in it is believed before it is
 * checked: lengths and offsets stay in the file, and the octets that are read stay below twice its size, whatever pointers say. */
#include "queue/postfix_file.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX  (128 * 1024) /* lines are cut at line_length_limit, 2048 by default */
#define LENGTH_MAX  4		 /* octets of a length */
#define FLAG_VERIFY 512		 /* trace_flags: sendmail -bv */
#define FLAG_REPORT 1024	 /* sendmail -v */
#define FLAG_PROBE  256		 /* of verify(8) */
#define UTF8_WANTED 1		 /* in the last number of C */

enum segment { SEG_ENVELOPE, SEG_CONTENT, SEG_EXTRACTED, SEG_END };

struct reader {
	int fd;
	uint64_t size, at, left; /* of the file; where the next record is; octets that may still be read */
	uint64_t buf_at;
	size_t buf_n;
	char *buf; /* RECORD_MAX + 1 + LENGTH_MAX */
	enum segment segment;
	struct arena *a;
	struct envelope *env;
	struct env_rcpt next; /* what was said about the recipient that comes */
	size_t rcpts_cap;
	postfix_content_fn *fn;
	void *arg;
};

#define BUF_MAX (RECORD_MAX + 1 + LENGTH_MAX)

/* ---- records ---- */

static enum rc fill(struct reader *r, struct err *e)
{
	size_t n = 0;

	while (n < BUF_MAX) {
		ssize_t got = pread(r->fd, r->buf + n, BUF_MAX - n, (off_t)(r->at + n));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, "read");
		if (got == 0)
			break;
		n += (size_t)got;
	}
	r->buf_at = r->at;
	r->buf_n = n;
	return RC_OK;
}

/* What is buffered from `at` on; a record that is there whole needs no read. */
static struct span buffered(const struct reader *r)
{
	return r->at < r->buf_at || r->at > r->buf_at + r->buf_n
		   ? SPAN_NONE
		   : span_make(r->buf + (r->at - r->buf_at), (size_t)(r->buf_at + r->buf_n - r->at));
}

struct rec {
	char type;
	struct span data;
	size_t bytes; /* all of it */
};

static bool parse(struct span in, struct rec *out)
{
	size_t len = 0, i = 1;

	do {
		if (i >= in.n || i > LENGTH_MAX)
			return false;
		len |= (size_t)(in.p[i] & 0x7f) << 7 * (i - 1);
	} while (in.p[i++] & 0x80);
	if (len > RECORD_MAX || len > in.n - i)
		return false;
	*out = (struct rec){ in.p[0], span_make(in.p + i, len), i + len };
	return true;
}

static enum rc next_record(struct reader *r, struct rec *out, struct err *e)
{
	if (!parse(buffered(r), out)) {
		enum rc rc = fill(r, e);

		if (rc != RC_OK)
			return rc;
		if (!parse(buffered(r), out))
			return err_set(e, RC_SYNTAX, "no record at offset %llu", (unsigned long long)r->at);
	}
	if (out->bytes > r->left)
		return err_set(e, RC_SYNTAX, "its pointers run in a circle");
	r->left -= out->bytes;
	r->at += out->bytes;
	return RC_OK;
}

/* ---- what a record says ---- */

static bool number(struct span s, uint64_t max, uint64_t *v)
{
	return span_to_u64(span_trim(s), max, v) == RC_OK;
}

static enum rc bad(const char *what, struct span s, struct err *e)
{
	return err_set(e, RC_SYNTAX, "%s: \"" SPAN_FMT "\"", what, SPAN_ARG(span_head(s, 80)));
}

static enum rc keep(struct reader *r, struct span s, size_t max, struct span *out, struct err *e)
{
	if (s.n > max)
		return err_set(e, RC_LIMIT, "a record of %zu octets, %zu at most", s.n, max);
	*out = span_dup(r->a, s);
	return RC_OK;
}

/* The numbers of C: content, its offset, recipients, flags of qmgr(8), content, flags of SMTPUTF8. */
static enum rc rec_size(struct reader *r, struct span s, struct err *e)
{
	struct span w;
	uint64_t v = 0;

	for (unsigned i = 0; span_next_word(&s, " ", &w); i++) {
		if (!number(w, INT64_MAX, &v))
			return bad("size", w, e);
		if (i == 5 && (v & UTF8_WANTED))
			r->env->flags |= ENVF_SMTPUTF8;
	}
	return RC_OK;
}

static enum rc rec_time(struct reader *r, struct span s, struct err *e)
{
	struct span seconds, micro = SPAN("0");
	uint64_t sec, us;

	if (!span_next_word(&s, " ", &seconds) || !number(seconds, 1ULL << 40, &sec))
		return bad("time of arrival", s, e);
	(void)span_next_word(&s, " ", &micro);
	if (!number(micro, 999999, &us))
		return bad("time of arrival", micro, e);
	r->env->arrival_us = (int64_t)(sec * 1000000 + us);
	return RC_OK;
}

static enum rc rec_text(struct reader *r, char type, struct span s, struct err *e)
{
	struct envelope *env = r->env;

	switch (type) {
	case 'S':
		return keep(r, s, ENV_ADDR_MAX, &env->sender, e);
	case 'F':
		return keep(r, s, ENV_TEXT_MAX, &env->full_name, e);
	case 'V':
		return keep(r, s, ENV_TEXT_MAX, &env->verp, e);
	case 'L':
		return keep(r, s, ENV_TEXT_MAX, &env->content_filter, e);
	case '>':
		return keep(r, s, ENV_ADDR_MAX, &env->redirect, e);
	default:
		return keep(r, s, ENV_ADDR_MAX, &r->next.orig, e);
	}
}

static enum rc rec_recipient(struct reader *r, bool done, struct span s, struct err *e)
{
	struct ipc_list *l = &r->env->rcpts;
	struct env_rcpt *to = &r->next;
	enum rc rc = keep(r, s, ENV_ADDR_MAX, &to->addr, e);

	if (rc != RC_OK)
		return rc;
	if (l->n == ENV_RCPT_MAX)
		return err_set(e, RC_LIMIT, "more than %d recipients", ENV_RCPT_MAX);
	if (span_eq(to->orig, to->addr))
		to->orig = SPAN_NONE;
	to->state = done ? RCPT_DONE : RCPT_TODO;
	if (l->n == r->rcpts_cap)
		l->v = arena_grow(r->a, l->v, l->n, &r->rcpts_cap, sizeof(*to));
	((struct env_rcpt *)l->v)[l->n++] = *to;
	*to = (struct env_rcpt){ .notify = 0 };
	return RC_OK;
}

/* Attributes that are a text of the envelope; of two names for one the first that has a value counts: "unknown" is none. */
static struct span *text_of(struct reader *r, struct span name)
{
	struct envelope *v = r->env;
	const struct {
		const char *name;
		struct span *to;
	} texts[] = {
		{ "log_client_name", &v->client_name },
		{ "client_name", &v->client_name },
		{ "log_client_address", &v->client_addr },
		{ "client_address", &v->client_addr },
		{ "log_client_port", &v->client_port },
		{ "client_port", &v->client_port },
		{ "log_helo_name", &v->helo },
		{ "helo_name", &v->helo },
		{ "log_protocol_name", &v->protocol },
		{ "protocol_name", &v->protocol },
		{ "reverse_client_name", &v->rev_client_name },
		{ "log_ident", &v->ident },
		{ "sasl_method", &v->sasl_method },
		{ "sasl_username", &v->sasl_username },
		{ "sasl_sender", &v->sasl_sender },
		{ "envelope_id", &v->envid },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (span_is(name, texts[i].name))
			return texts[i].to;
	return NULL;
}

static void trace_flags(struct envelope *env, uint64_t v)
{
	if (v & FLAG_VERIFY)
		env->flags |= ENVF_VERIFY_ONLY | ENVF_TRACE;
	if (v & FLAG_REPORT)
		env->flags |= ENVF_TRACE;
	if (v & FLAG_PROBE)
		env->flags |= ENVF_PROBE;
}

/* The others that say something. false: the value is none. */
static bool set_attribute(struct reader *r, struct span name, struct span value)
{
	uint64_t v = 0;

	if (span_is(name, "rewrite_context")) {
		r->env->flags |= span_is(value, "local") ? ENVF_LOCAL : 0;
	} else if (span_is(name, "encoding")) {
		r->env->body = span_is(value, "7bit") ? BODY_7BIT : BODY_8BITMIME;
	} else if (span_is(name, "ret_flags")) {
		if (!number(value, RET_HDRS, &v))
			return false;
		r->env->ret = (uint16_t)v;
	} else if (span_is(name, "notify_flags")) {
		if (!number(value, 15, &v))
			return false;
		r->next.notify = (uint16_t)v;
	} else if (span_is(name, "trace_flags")) {
		if (!number(value, UINT32_MAX, &v))
			return false;
		trace_flags(r->env, v);
	}
	return true;
}

static enum rc rec_attribute(struct reader *r, struct span s, struct err *e)
{
	ptrdiff_t eq = span_chr(s, '=');
	struct span name, value, *to;

	if (eq < 0)
		return bad("attribute", s, e);
	name = span_head(s, (size_t)eq);
	value = span_skip(s, (size_t)eq + 1);
	if (span_is(name, "dsn_orig_rcpt"))
		return keep(r, value, ENV_ADDR_MAX, &r->next.orcpt, e);
	to = text_of(r, name);
	if (to == NULL)
		return set_attribute(r, name, value) ? RC_OK : bad("attribute", s, e);
	return to->n > 0 ? RC_OK : keep(r, value, ENV_TEXT_MAX, to, e);
}

static enum rc rec_pointer(struct reader *r, struct span s, struct err *e)
{
	uint64_t v;

	if (!number(s, INT64_MAX, &v) || v >= r->size)
		return bad("pointer", s, e);
	if (v > 0)
		r->at = v;
	return RC_OK;
}

/* ---- the order of things ---- */

static enum rc envelope_record(struct reader *r, const struct rec *rec, struct err *e)
{
	uint64_t v;

	switch (rec->type) {
	case 'C':
		return rec_size(r, rec->data, e);
	case 'T':
		return rec_time(r, rec->data, e);
	case 'A':
		return rec_attribute(r, rec->data, e);
	case 'R':
	case 'D':
		return rec_recipient(r, rec->type == 'D', rec->data, e);
	case 'K': /* the time of a warning that was sent */
		if (number(rec->data, INT64_MAX, &v))
			r->env->flags |= ENVF_WARNED;
		return RC_OK;
	case 'S':
	case 'F':
	case 'V':
	case 'L':
	case '>':
	case 'O':
		return rec_text(r, rec->type, rec->data, e);
	default:
		return RC_OK;
	}
}

static enum rc content_record(struct reader *r, const struct rec *rec, struct err *e)
{
	enum rc rc = RC_OK;

	if (rec->type != 'N' && rec->type != 'L')
		return RC_OK;
	if (rec->data.n > 0)
		rc = r->fn(r->arg, rec->data, e);
	return rc == RC_OK && rec->type == 'N' ? r->fn(r->arg, SPAN("\n"), e) : rc;
}

/* M, X and E in this order, each once. */
static enum rc marker(struct reader *r, char type, struct err *e)
{
	enum segment to = type == 'M' ? SEG_CONTENT : type == 'X' ? SEG_EXTRACTED : SEG_END;

	if (to != r->segment + 1)
		return err_set(e, RC_SYNTAX, "a record of type %c at offset %llu", type,
			       (unsigned long long)r->at);
	r->segment = to;
	return RC_OK;
}

static enum rc one_record(struct reader *r, const struct rec *rec, struct err *e)
{
	if (rec->type == 'M' || rec->type == 'X' || rec->type == 'E')
		return marker(r, rec->type, e);
	if (rec->type == 'p')
		return rec_pointer(r, rec->data, e);
	return r->segment == SEG_CONTENT ? content_record(r, rec, e) : envelope_record(r, rec, e);
}

static enum rc read_all(struct reader *r, struct err *e)
{
	enum rc rc = RC_OK;

	while (rc == RC_OK && r->segment != SEG_END) {
		struct rec rec;

		if ((rc = next_record(r, &rec, e)) == RC_OK)
			rc = one_record(r, &rec, e);
	}
	return rc;
}

/* One recipient in the place of those that are left. */
static void redirect(struct envelope *env)
{
	struct env_rcpt *v = env->rcpts.v;
	size_t n = 0;

	if (env->redirect.n == 0)
		return;
	for (size_t i = 0; i < env->rcpts.n; i++)
		if (v[i].state == RCPT_DONE)
			v[n++] = v[i];
	if (n < env->rcpts.n)
		v[n++] = (struct env_rcpt){ .addr = env->redirect };
	env->rcpts.n = n;
}

/* The numbers of C are right-aligned in 15 columns, the one of T has ten digits since 2001. */
bool postfix_file_is(int fd)
{
	char p[2 + 10];

	if (pread(fd, p, sizeof(p), 0) != (ssize_t)sizeof(p) || (p[0] != 'C' && p[0] != 'T') || (p[1] & 0x80))
		return false;
	for (size_t i = 2; i < sizeof(p); i++)
		if (p[i] != ' ' && (p[i] < '0' || p[i] > '9'))
			return false;
	return true;
}

enum rc postfix_file_read(int fd, uint64_t max_bytes, struct arena *a, struct envelope *env,
			  postfix_content_fn *fn, void *arg, struct err *e)
{
	struct reader r = { .fd = fd, .a = a, .env = env, .fn = fn, .arg = arg };
	struct stat st;
	enum rc rc;

	*env = (struct envelope){ .arrival_us = 0 };
	if (fstat(fd, &st) != 0)
		return err_sys(e, "fstat");
	if ((uint64_t)st.st_size > max_bytes)
		return err_set(e, RC_LIMIT, "%llu bytes, %llu at most", (unsigned long long)st.st_size,
			       (unsigned long long)max_bytes);
	r.size = (uint64_t)st.st_size;
	r.left = 2 * r.size;
	r.buf = xmalloc(BUF_MAX);
	rc = read_all(&r, e);
	free(r.buf);
	if (rc == RC_OK && env->arrival_us == 0)
		rc = err_set(e, RC_SYNTAX, "no time of arrival");
	redirect(env);
	return rc;
}
