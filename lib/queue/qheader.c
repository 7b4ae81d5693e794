/* queue/qheader.c - coding of the first sector (qheader.h), and reads and writes that finish. */
#include "queue/qheader.h"
#include "base/codec.h"
#include <errno.h>
#include <unistd.h>

static const char magic[8] = { 'P', 'S', 'T', 'R', 'N', 'Q', '1', '\n' };

static void put32(char *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (char)(v >> 8 * i);
}

static void put64(char *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (char)(v >> 8 * i);
}

static uint32_t get32(const char *p)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 4; i++)
		v |= (uint32_t)(unsigned char)p[i] << 8 * i;
	return v;
}

static uint64_t get64(const char *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void qheader_write_mutable(const struct qheader *h, char out[QHEADER_MUTABLE_BYTES])
{
	put32(out, h->state);
	put32(out + 4, h->generation);
	put64(out + 8, (uint64_t)h->next_try_us);
	put32(out + 16, h->attempts);
	put32(out + 20, h->env_flags);
	put32(out + 24, crc32c(0, span_make(out, QHEADER_MUTABLE_BYTES - 4)));
}

void qheader_write(const struct qheader *h, char out[QHEADER_BYTES])
{
	memset(out, 0, QHEADER_BYTES);
	memcpy(out, magic, sizeof(magic));
	put32(out + 8, 1);
	put32(out + 12, h->generation);
	memcpy(out + 16, h->qid.s, sizeof(h->qid.s));
	put64(out + 40, h->content_bytes);
	put64(out + 48, h->env_off);
	put32(out + 56, h->env_bytes);
	put32(out + 60, h->env_crc);
	put32(out + 64, h->content_crc);
	put32(out + 68, h->rcpts);
	put64(out + 72, h->status_off);
	put64(out + 80, h->extents_off);
	put32(out + 88, h->extents);
	put32(out + 92, h->extents_crc);
	put64(out + 96, h->log_off);
	put32(out + QHEADER_FIXED, crc32c(0, span_make(out, QHEADER_FIXED)));
	qheader_write_mutable(h, out + QHEADER_MUTABLE);
}

static bool all_zero(const char *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void read_mutable(const char *in, struct qheader *h)
{
	bool sound = get32(in + 24) == crc32c(0, span_make(in, QHEADER_MUTABLE_BYTES - 4)) &&
		     get32(in + 4) == h->generation;

	h->state = sound && get32(in) == QSTATE_DONE ? QSTATE_DONE : QSTATE_LIVE;
	h->next_try_us = sound ? (int64_t)get64(in + 8) : 0;
	h->attempts = sound ? get32(in + 16) : 0;
	h->env_flags = sound ? get32(in + 20) : UINT32_MAX;
}

enum rc qheader_read(const char in[QHEADER_BYTES], struct qheader *h, struct err *e)
{
	size_t n;

	*h = (struct qheader){ 0 };
	if (all_zero(in, QHEADER_BYTES))
		return err_set(e, RC_NOTFOUND, "no message");
	if (memcmp(in, magic, sizeof(magic)) != 0 || get32(in + 8) != 1)
		return err_set(e, RC_SYNTAX, "not a queue file");
	if (get32(in + QHEADER_FIXED) != crc32c(0, span_make(in, QHEADER_FIXED)))
		return err_set(e, RC_SYNTAX, "the header's checksum is wrong");
	n = strnlen(in + 16, QID_MAX + 1);
	if (!qid_parse(span_make(in + 16, n), &h->qid))
		return err_set(e, RC_SYNTAX, "the header's queue id is none");
	h->generation = get32(in + 12);
	h->content_bytes = get64(in + 40);
	h->env_off = get64(in + 48);
	h->env_bytes = get32(in + 56);
	h->env_crc = get32(in + 60);
	h->content_crc = get32(in + 64);
	h->rcpts = get32(in + 68);
	h->status_off = get64(in + 72);
	h->extents_off = get64(in + 80);
	h->extents = get32(in + 88);
	h->extents_crc = get32(in + 92);
	h->log_off = get64(in + 96);
	read_mutable(in + QHEADER_MUTABLE, h);
	return RC_OK;
}

enum rc qheader_load(int fd, int64_t base, struct qheader *h, struct err *e)
{
	char sector[QHEADER_BYTES];
	enum rc rc = pread_all(fd, sector, sizeof(sector), base, e);

	*h = (struct qheader){ 0 };
	return rc == RC_OK ? qheader_read(sector, h, e) : rc;
}

enum rc pread_all(int fd, void *p, size_t n, int64_t off, struct err *e)
{
	for (size_t done = 0; done < n;) {
		ssize_t r = pread(fd, (char *)p + done, n - done, off + (int64_t)done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "read");
		if (r == 0)
			return err_set(e, RC_SYNTAX, "the file ends early");
		done += (size_t)r;
	}
	return RC_OK;
}

enum rc pwrite_all(int fd, const void *p, size_t n, int64_t off, struct err *e)
{
	struct iovec one = { (void *)(uintptr_t)p, n };

	return pwritev_all(fd, &one, 1, off, e);
}

/* Changes iov when a write came out short. */
enum rc pwritev_all(int fd, struct iovec *iov, int n, int64_t off, struct err *e)
{
	while (n > 0) {
		ssize_t w = pwritev(fd, iov, n, off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_sys(e, "write");
		off += w;
		for (; n > 0 && (size_t)w >= iov->iov_len; iov++, n--)
			w -= (ssize_t)iov->iov_len;
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + w;
			iov->iov_len -= (size_t)w;
		}
	}
	return RC_OK;
}
