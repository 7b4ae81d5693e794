/* postern.cache: a text per message, by offset from the index.
 *   record  crc32c u32 (of what follows) | uid u32 | length u32 | bytes
 * Appended under the lock; when it grew to several times of what is live it is dropped and fills again on
 * need. */
#include "base/codec.h"
#include "store/box.h"
#include <fcntl.h>
#include <unistd.h>

#define CACHE_HEADER 12
#define CACHE_PIECE  65536
#define PENDING_MAX  (1u << 20)
#define FIRST_BYTE   8 /* offset 0 means none */

static bool cache_open(struct box *b)
{
	char path[STORE_FILE_MAX];
	struct stat st;
	if (b->cache_fd < 0) {
		if (!path_join(path, b->side, "postern.cache"))
			return false;
		b->cache_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (b->cache_fd < 0 || fstat(b->cache_fd, &st) != 0)
		return false;
	b->cache_size = (uint64_t)st.st_size < FIRST_BYTE ? FIRST_BYTE : (uint64_t)st.st_size;
	return true;
}

static uint32_t le32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;
	return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

static void put32(char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (char)(v >> (8 * i));
}

/* One read serves neighbours, too: FETCH goes through messages in order, and they were put in order. */
enum rc mailbox_cache_get(struct mailbox *m, size_t seq, struct span *blob)
{
	static char window[256 * 1024];
	static uint64_t window_off, window_ino;
	static size_t window_n;
	struct box *b = m->box;
	const struct message *msg = mailbox_message(m, seq);
	if (!msg || !msg->cache_off || (b->cache_fd < 0 && !cache_open(b)))
		return RC_NOTFOUND;
	for (int attempt = 0; attempt < 2; attempt++) {
		bool same = window_ino == (uint64_t)(uintptr_t)b && msg->cache_off >= window_off;
		uint64_t rel = same ? msg->cache_off - window_off : 0;
		if (same && rel + CACHE_HEADER <= window_n) {
			const char *p = window + rel;
			uint32_t n = le32(p + 8);
			if (n > CACHE_PIECE || le32(p + 4) != msg->uid)
				return RC_NOTFOUND;
			if (rel + CACHE_HEADER + n <= window_n) {
				if (crc32c(0, span_make(p + 4, 8 + (size_t)n)) != le32(p))
					return RC_NOTFOUND;
				*blob = span_make(p + CACHE_HEADER, n);
				return RC_OK;
			}
		}
		if (attempt)
			break;
		ssize_t got = pread(b->cache_fd, window, sizeof(window), (off_t)msg->cache_off);
		window_off = msg->cache_off;
		window_n = got > 0 ? (size_t)got : 0;
		window_ino = (uint64_t)(uintptr_t)b;
	}
	return RC_NOTFOUND;
}

void mailbox_cache_put(struct mailbox *m, size_t seq, struct span blob)
{
	struct box *b = m->box;
	char h[CACHE_HEADER];
	uint32_t uid = mailbox_uid(m, seq);
	if (!uid || blob.n > CACHE_PIECE || (m->mode & MAILBOX_READONLY && b->cache_pending.n > PENDING_MAX))
		return;
	put32(h + 4, uid);
	put32(h + 8, (uint32_t)blob.n);
	uint32_t crc = crc32c(crc32c(0, span_make(h + 4, 8)), blob);
	put32(h, crc);
	buf_append(&b->cache_pending, span_make(h, sizeof(h)));
	buf_append(&b->cache_pending, blob);
	if (b->cache_pending.n > PENDING_MAX)
		mailbox_cache_flush(m);
}

static void drop_cache(struct box *b)
{
	if (ftruncate(b->cache_fd, 0) != 0)
		return;
	b->cache_size = FIRST_BYTE;
	for (size_t i = 0; i < b->n; i++)
		b->msg[i].cache_off = 0;
	b->rewrite = true;
}

void mailbox_cache_flush(struct mailbox *m)
{
	struct box *b = m->box;
	struct err e;
	struct span s = buf_span(&b->cache_pending);
	if (!s.n || box_lock(b, &e) != RC_OK)
		return;
	if (cache_open(b) && b->cache_size > 16u * 1048576 && b->cache_size > (uint64_t)b->n * 8192)
		drop_cache(b);
	if (b->cache_fd >= 0 && pwrite(b->cache_fd, s.p, s.n, (off_t)b->cache_size) == (ssize_t)s.n) {
		uint64_t off = b->cache_size;
		while (s.n >= CACHE_HEADER) {
			uint32_t uid = le32(s.p + 4), n = le32(s.p + 8);
			struct message *msg = box_find(b, uid);
			if (msg) {
				msg->cache_off = off;
				index_log_info(b, msg);
			}
			off += CACHE_HEADER + (uint64_t)n;
			s = span_skip(s, CACHE_HEADER + (size_t)n);
		}
	}
	buf_reset(&b->cache_pending);
	if (b->cache_pending.cap > 65536)
		buf_trim_memory(&b->cache_pending);
	box_unlock(b);
}
