/* queue/qfile.h - one message on disk: the image that stands in a slot of the pool or in a file of its own.
 *
 *   0      header, 512 bytes: magic, version, generation, queue id, offsets and lengths, checksums (CRC-32C)
 *   512    status area: one byte per recipient (enum rcpt_state, and six bits of the generation, so that what an earlier
 *          message left there counts for nothing), overwritten in place, not covered by a checksum;
 *          3584 recipients fit; further ones have theirs behind the envelope (status_off in the header says where)
 *   4096   QFILE_CONTENT_OFF: content as received, LF line ends
 *   ...    envelope (queue/envelope.h), then extents (when the message as it is now differs from the bytes as received)
 *   ...    log: records appended later, each with length and checksum: why a recipient was deferred or bounced. A torn
 *          last record is ignored.
 * A message exists when the header's checksum holds and content and envelope match theirs. Header state tells
 * LIVE from DONE; state, next attempt and flags stand apart in the same sector with a checksum of their own, since they change in
 * place. All integers little endian.
 *
 * States on disk (queue/queue.h):  an acknowledged message is in exactly one of  a LIVE slot, incoming/, active/, deferred/, hold/;
 * a copy in two places after a crash has the same queue id and is settled at start (the one with the later place wins). */
#ifndef QUEUE_QFILE_H
#define QUEUE_QFILE_H

#include "queue/envelope.h"
#include "queue/qid.h"
#include <sys/uio.h>

#define QFILE_CONTENT_OFF     4096
#define QFILE_STATUS_OFF      512
#define QFILE_STATUS_IN_PLACE 3584

struct qextent {
	uint64_t off, len; /* bytes of the file */
};

/* A decoded image. */
struct qimage {
	struct qid qid;
	uint32_t generation;
	struct envelope env;	/* states of recipients taken from the status area */
	struct span envelope;	/* as encoded on disk */
	struct qextent *extent; /* the message as it is now */
	size_t extents;
	uint64_t content_bytes; /* sum of the extents */
	int64_t next_try_us;	/* wall clock; 0: at once */
	uint32_t attempts;
	bool done;
	uint64_t stored_bytes; /* content area in the file, inserts included */
	uint64_t status_off;   /* states of recipients beyond QFILE_STATUS_IN_PLACE; 0: none */
	uint64_t log_off;      /* where the log starts */
};
/* Why a recipient is not delivered (the last record of each counts). */
struct qstatus {
	uint32_t index;
	uint16_t status; /* enum deliver_status */
	struct span dsn, reason, diag_type, diag_text, remote_mta;
};

/* Builds header, status area, content (at most two pieces, one behind the other) and envelope of a message whose content is
 * in memory, as `iov` (at most 4 pieces; memory from `a`, the content not copied). *total is the number of bytes, a multiple of
 * 4096, so that no page has to be read before it is written. RC_LIMIT: the envelope is too large. */
MUST_CHECK enum rc qimage_build(const struct envelope *env, const struct span *content, size_t pieces,
				uint32_t generation, struct arena *a, struct iovec iov[4], int *iovcnt,
				uint64_t *total);
/* The same for content that is already in file `fd` at QFILE_CONTENT_OFF: appends `inserts` as new bytes (extents count them from
 * QFILE_CONTENT_OFF + content_bytes on), envelope and extents, writes the header last. No extents: the content as it stands.
 * stray_cr: each CR found in the content becomes a space on the way. Blocking I/O: call through task_offload(). Does not sync.
 * count: the size in the envelope is counted, of the message as it is now (msgsize.h); extents of the content ascend then. */
MUST_CHECK enum rc qimage_complete(int fd, const struct envelope *env, uint64_t content_bytes,
				   struct span inserts, const struct qextent *extent, size_t extents,
				   bool stray_cr, bool count, struct err *e);
/* Reads and checks everything except the content's checksum when !check_content. Blocking. base: offset of the image in fd.
 * RC_NOTFOUND: no message here (free slot, all zero); RC_GONE: header says done; RC_SYNTAX: damaged; out->qid is not "" then
 * when at least the header was sound. */
MUST_CHECK enum rc qimage_read(int fd, int64_t base, uint64_t max_bytes, bool check_content, struct arena *a,
			       struct qimage *out, struct err *e);
/* The log's records, oldest first. */
MUST_CHECK enum rc qimage_read_log(int fd, int64_t base, uint64_t max_bytes, const struct qimage *im,
				   struct arena *a, struct qstatus **v, size_t *n, struct err *e);
/* In-place marks and log records: pwrite only, no sync. */
MUST_CHECK enum rc qimage_mark(int fd, int64_t base, const struct qimage *im, uint32_t rcpt,
			       enum rcpt_state st, struct err *e);
MUST_CHECK enum rc qimage_mark_done(int fd, int64_t base, struct err *e); /* the whole message */
MUST_CHECK enum rc qimage_append_log(int fd, const struct qstatus *v, size_t n,
				     struct err *e); /* own files only */
/* Bytes of the image at a place of the message as it is now (offset counted over the extents). RC_EOF past the end. */
MUST_CHECK enum rc qimage_pread(int fd, int64_t base, const struct qimage *im, uint64_t off, void *dst,
				size_t n, struct err *e);
MUST_CHECK enum rc qimage_schedule(int fd, int64_t base, int64_t next_try_us, uint32_t attempts,
				   uint32_t env_flags, struct err *e);

#endif
