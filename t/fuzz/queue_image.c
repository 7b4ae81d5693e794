/* t/fuzz/queue_image.c - any bytes as a queue file. Byte 0 bit 0: mend the checksums first, so that what lies
 * behind them is reached. What is accepted can be read through its extents, marked, scheduled and logged
 * without leaving the file's bounds. */
#include "base/codec.h"
#include "queue/qheader.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t get(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* Writes the right checksum for bytes off..off+n at `at`, when they lie inside. */
static void mend_sum(uint8_t *p, size_t size, uint64_t off, uint64_t n, size_t at)
{
	if (off <= size && n <= size - off)
		put32(p + at, crc32c(0, span_make((char *)p + off, (size_t)n)));
}

static void mend(uint8_t *p, size_t size)
{
	memcpy(p, "PSTRNQ1\n\1\0\0\0", 12);
	mend_sum(p, size, get(p + 48, 8), get(p + 56, 4), 60);
	mend_sum(p, size, QFILE_CONTENT_OFF, get(p + 40, 8), 64);
	mend_sum(p, size, get(p + 80, 8), get(p + 88, 4) * 16, 92);
	mend_sum(p, size, 0, 104, 104);
	memcpy(p + 452, p + 12, 4);
	mend_sum(p, size, 448, 24, 472);
}

static void use(int fd, struct qimage *im, struct arena *a)
{
	struct qstatus s = { .index = 0, .status = 2, .dsn = SPAN("4.0.0"), .reason = SPAN("r") }, *v;
	char buf[4096];
	struct err e;
	size_t n;

	for (uint64_t off = 0; off < im->content_bytes && off < 1 << 20; off += sizeof(buf))
		if (qimage_pread(fd, 0, im, off, buf, sizeof(buf), &e) == RC_SYS)
			abort();
	INVARIANT(qimage_read_log(fd, 0, INT64_MAX, im, a, &v, &n, &e) == RC_OK);
	for (size_t i = 0; i < n; i++)
		INVARIANT(v[i].index < im->env.rcpts.n);
	if (im->env.rcpts.n > 0)
		INVARIANT(qimage_mark(fd, 0, im, (uint32_t)im->env.rcpts.n - 1, RCPT_DONE, &e) == RC_OK);
	INVARIANT(qimage_schedule(fd, 0, 5, 1, 0, &e) == RC_OK);
	INVARIANT(qimage_append_log(fd, &s, 1, &e) == RC_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct qimage im;
	struct arena a;
	struct err e;
	uint8_t *copy;

	if (size < 1)
		return 0;
	if (fd < 0)
		fd = memfd_create("q", 0);
	copy = malloc(size);
	memcpy(copy, data + 1, size - 1);
	if ((data[0] & 1) && size - 1 >= QFILE_CONTENT_OFF)
		mend(copy, size - 1);
	if (ftruncate(fd, 0) != 0 || pwrite(fd, copy, size - 1, 0) < 0)
		abort();
	arena_init(&a);
	if (qimage_read(fd, 0, INT64_MAX, true, &a, &im, &e) == RC_OK)
		use(fd, &im, &a);
	arena_release(&a);
	free(copy);
	return 0;
}
