/* ipc/frame.h - one outgoing record, kept in pieces: long spans are sent from where they lie. Internal to
 * lib/ipc. */
#ifndef IPC_FRAME_H
#define IPC_FRAME_H

#include "ipc/ipc.h"
#include <sys/uio.h>

#define FRAME_BORROW_BYTES 2048 /* a span longer than this is not copied */
#define FRAME_BORROW_MAX   8	/* as many spans at most; further ones are copied */
#define FRAME_IOV_MAX	   (2 * FRAME_BORROW_MAX + 1)

struct ipc_frame {
	struct buf bytes; /* all but the borrowed spans */
	struct {
		size_t at; /* stands before this offset of `bytes` */
		struct span span;
	} borrowed[FRAME_BORROW_MAX];
	size_t nborrowed, borrowed_bytes;
	int fds[IPC_FDS_MAX]; /* still the caller's */
	size_t nfds;
};

void ipc_frame_init(struct ipc_frame *f);
void ipc_frame_reset(struct ipc_frame *f);
void ipc_frame_release(struct ipc_frame *f);
/* Header and fields. Borrows from `msg` until reset. RC_LIMIT: a bound of the table or IPC_FRAME_MAX would be
 * passed. */
MUST_CHECK enum rc ipc_frame_encode(struct ipc_frame *f, const struct ipc_type *t, uint8_t flags,
				    uint32_t serial, const void *msg);
size_t ipc_frame_iov(const struct ipc_frame *f, struct iovec iov[FRAME_IOV_MAX]); /* how many */
/* Closes every descriptor in a message. */
void ipc_close_fds(const struct field *tab, const void *msg);

struct ipc_header {
	uint8_t version, flags;
	uint16_t type;
	uint32_t serial;
};
/* RC_SYNTAX: short, another version, unknown flags. */
MUST_CHECK enum rc ipc_header_decode(struct span record, struct ipc_header *out, struct err *e);

#endif
