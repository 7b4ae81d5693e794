/* queue/qlog.c - the log at the end of a file of its own: why recipients were not delivered. One record:
 *   magic u32 | bytes u32 | CRC-32C of the payload u32 | payload (a qstatus, coded by its table)
 * Records stand one behind the other from log_off on; the first that is not sound ends the log, and the next
 * one to be written takes its place: what a crash tore is lost, a reason, not a message. */
#include "queue/qheader.h"
#include "base/codec.h"
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAGIC  0x474c5351u
#define RECORD_HEAD   12
#define RECORD_MAX    8192
#define LOG_BYTES_MAX (4 << 20) /* beyond, only the last record of each recipient is kept */

static const struct field qstatus_fields[] = {
	FIELD(F_U32, struct qstatus, index),
	FIELD(F_U16, struct qstatus, status),
	FIELD_SPAN(struct qstatus, dsn, 16),
	FIELD_SPAN(struct qstatus, reason, ENV_TEXT_MAX),
	FIELD_SPAN(struct qstatus, diag_type, 64),
	FIELD_SPAN(struct qstatus, diag_text, ENV_TEXT_MAX),
	FIELD_SPAN(struct qstatus, remote_mta, ENV_TEXT_MAX),
	FIELD_END,
};

static uint32_t get32(const char *p)
{
	return (unsigned char)p[0] | (uint32_t)(unsigned char)p[1] << 8 |
	       (uint32_t)(unsigned char)p[2] << 16 | (uint32_t)(unsigned char)p[3] << 24;
}

static void put32(char *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (char)(v >> 8 * i);
}

/* Takes a sound record off *rest. */
static bool next_record(struct span *rest, struct span *payload)
{
	uint32_t n;

	if (rest->n < RECORD_HEAD || get32(rest->p) != RECORD_MAGIC)
		return false;
	n = get32(rest->p + 4);
	if (n > RECORD_MAX || n > rest->n - RECORD_HEAD)
		return false;
	*payload = span_make(rest->p + RECORD_HEAD, n);
	if (crc32c(0, *payload) != get32(rest->p + 8))
		return false;
	*rest = span_skip(*rest, RECORD_HEAD + n);
	return true;
}

static enum rc load_log(int fd, int64_t off, uint64_t end, struct arena *a, struct span *out, struct err *e)
{
	size_t n = end > (uint64_t)off ? (size_t)(end - (uint64_t)off) : 0;
	char *p;

	if (n > 2 * LOG_BYTES_MAX)
		n = 2 * LOG_BYTES_MAX;
	p = arena_alloc(a, n > 0 ? n : 1);
	*out = span_make(p, n);
	return pread_all(fd, p, n, off, e);
}

static void decode_log(struct span bytes, size_t rcpts, struct arena *a, struct qstatus **v, size_t *n)
{
	size_t cap = 0, have = 0;
	struct qstatus *out = NULL;
	struct span payload;

	while (next_record(&bytes, &payload)) {
		if (have == cap)
			out = arena_grow(a, out, have, &cap, sizeof(*out));
		if (ipc_decode(qstatus_fields, payload, NULL, 0, a, &out[have], NULL) == RC_OK &&
		    out[have].index < rcpts)
			have++;
	}
	*v = out;
	*n = have;
}

enum rc qimage_read_log(int fd, int64_t base, uint64_t max_bytes, const struct qimage *im, struct arena *a,
			struct qstatus **v, size_t *n, struct err *e)
{
	struct stat st;
	struct span bytes;
	uint64_t end;
	enum rc rc;

	*v = NULL;
	*n = 0;
	if (fstat(fd, &st) != 0)
		return err_sys(e, "stat");
	end = (uint64_t)st.st_size - (uint64_t)base;
	if (end > max_bytes)
		end = max_bytes;
	if (end <= im->log_off)
		return RC_OK;
	if ((rc = load_log(fd, base + (int64_t)im->log_off, (uint64_t)base + end, a, &bytes, e)) != RC_OK)
		return rc;
	decode_log(bytes, im->env.rcpts.n, a, v, n);
	return RC_OK;
}

/* What a reply of a remote server may hold must not become more than a text. */
static struct span cut(struct span s, size_t max)
{
	return span_head(s, max);
}

static enum rc encode_record(const struct qstatus *s, struct buf *out)
{
	struct qstatus c = *s;
	size_t at = out->n, nfds;
	int fds[IPC_FDS_MAX];
	char *head;
	enum rc rc;

	c.dsn = cut(c.dsn, 16);
	c.reason = cut(c.reason, ENV_TEXT_MAX);
	c.diag_type = cut(c.diag_type, 64);
	c.diag_text = cut(c.diag_text, ENV_TEXT_MAX);
	c.remote_mta = cut(c.remote_mta, ENV_TEXT_MAX);
	if (buf_reserve(out, RECORD_HEAD) == NULL)
		return RC_LIMIT;
	out->n += RECORD_HEAD;
	if ((rc = ipc_encode(qstatus_fields, &c, out, fds, &nfds)) != RC_OK)
		return rc;
	head = out->p + at;
	put32(head, RECORD_MAGIC);
	put32(head + 4, (uint32_t)(out->n - at - RECORD_HEAD));
	put32(head + 8, crc32c(0, span_make(head + RECORD_HEAD, out->n - at - RECORD_HEAD)));
	return RC_OK;
}

/* Appends to `out` the last record of each recipient among v. */
static enum rc encode_last(const struct qstatus *v, size_t n, size_t rcpts, struct buf *out)
{
	const struct qstatus **last = xcalloc(rcpts > 0 ? rcpts : 1, sizeof(*last));
	enum rc rc = RC_OK;

	for (size_t i = 0; i < n; i++)
		last[v[i].index] = &v[i];
	for (size_t i = 0; i < rcpts && rc == RC_OK; i++)
		if (last[i] != NULL)
			rc = encode_record(last[i], out);
	free(last);
	return rc;
}

enum rc qimage_append_log(int fd, const struct qstatus *v, size_t n, struct err *e)
{
	struct arena a;
	struct qheader h;
	struct stat st;
	struct span log, rest, payload;
	struct qstatus *old;
	size_t nold;
	struct buf b;
	int64_t at;
	enum rc rc;

	arena_init(&a);
	buf_init(&b, 64 << 20);
	if ((rc = qheader_load(fd, 0, &h, e)) != RC_OK)
		goto done;
	if (h.log_off > INT64_MAX / 2) {
		rc = err_set(e, RC_SYNTAX, "an offset of the header points outside of the file");
		goto done;
	}
	if (fstat(fd, &st) != 0) {
		rc = err_sys(e, "stat");
		goto done;
	}
	if ((rc = load_log(fd, (int64_t)h.log_off, (uint64_t)st.st_size, &a, &log, e)) != RC_OK)
		goto done;
	for (rest = log; next_record(&rest, &payload);)
		;
	at = (int64_t)(h.log_off + (log.n - rest.n));
	if (log.n - rest.n > LOG_BYTES_MAX && h.rcpts <= ENV_RCPT_MAX) {
		decode_log(log, h.rcpts, &a, &old, &nold);
		at = (int64_t)h.log_off;
		rc = encode_last(old, nold, h.rcpts, &b);
	}
	for (size_t i = 0; i < n && rc == RC_OK; i++)
		rc = encode_record(&v[i], &b);
	if (rc != RC_OK) {
		err_set(e, rc, "the log is too large");
		goto done;
	}
	rc = pwrite_all(fd, b.p, b.n, at, e);
	if (rc == RC_OK && at + (int64_t)b.n < st.st_size && ftruncate(fd, at + (off_t)b.n) != 0)
		rc = err_sys(e, "truncate");
done:
	buf_release(&b);
	arena_release(&a);
	return rc;
}
