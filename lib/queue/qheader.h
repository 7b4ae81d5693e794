/* queue/qheader.h - the first sector of an image. Internal to lib/queue.
 *
 *   0    magic "PSTRNQ1\n"          64   CRC of the content area
 *   8    version u32                68   recipients u32
 *   12   generation u32             72   offset of further states u64, 0: none
 *   16   queue id, 24 bytes         80   offset of extents u64
 *   40   bytes of content area u64  88   extents u32
 *   48   offset of envelope u64     92   CRC of the extents
 *   56   bytes of envelope u32      96   offset of the log u64
 *   60   CRC of the envelope        104  CRC of bytes 0 to 103
 *
 *   448  state u32 (1 LIVE, 2 DONE) 464  attempts u32
 *   452  generation u32             468  envelope flags u32
 *   456  next attempt i64           472  CRC of bytes 448 to 471
 *
 * The second group changes in place. It lies in the same 512 bytes as the first, which disks write as a
 * whole; when its checksum fails all the same (or a reader meets a writer half way) the message counts as
 * LIVE: rather twice than never. */
#ifndef QUEUE_QHEADER_H
#define QUEUE_QHEADER_H

#include "queue/qfile.h"

#define QHEADER_BYTES	      512
#define QHEADER_FIXED	      104
#define QHEADER_MUTABLE	      448
#define QHEADER_MUTABLE_BYTES 28
#define QSTATE_LIVE	      1
#define QSTATE_DONE	      2

#define QENVELOPE_MAX                                                                                        \
	((uint64_t)32 << 20) /* bytes of an envelope on disk: more than ENV_RCPT_MAX ordinary recipients */
#define QEXTENTS_MAX 4096

struct qheader {
	uint32_t generation;
	struct qid qid;
	uint64_t content_bytes, env_off;
	uint32_t env_bytes, env_crc, content_crc, rcpts;
	uint64_t status_off, extents_off;
	uint32_t extents, extents_crc;
	uint64_t log_off;
	/* mutable */
	uint32_t state, attempts, env_flags;
	int64_t next_try_us;
};

void qheader_write(const struct qheader *h, char out[QHEADER_BYTES]); /* all 512 bytes */
void qheader_write_mutable(const struct qheader *h, char out[QHEADER_MUTABLE_BYTES]);
/* RC_NOTFOUND all zero, RC_SYNTAX not a header. Checks no offsets. */
MUST_CHECK enum rc qheader_read(const char in[QHEADER_BYTES], struct qheader *h, struct err *e);
/* pread of the sector, then as above. Blocking. */
MUST_CHECK enum rc qheader_load(int fd, int64_t base, struct qheader *h, struct err *e);

/* Whole reads and writes; RC_SYS, and RC_SYNTAX for a file that ends early. */
MUST_CHECK enum rc pread_all(int fd, void *p, size_t n, int64_t off, struct err *e);
MUST_CHECK enum rc pwrite_all(int fd, const void *p, size_t n, int64_t off, struct err *e);
MUST_CHECK enum rc pwritev_all(int fd, struct iovec *iov, int n, int64_t off, struct err *e);

#endif
