/* asuser/private.h - between the daemon's half and the monitor's. */
#ifndef ASUSER_PRIVATE_H
#define ASUSER_PRIVATE_H

#include "asuser/ticket.h"
#include <sys/types.h>
#include <sys/uio.h>

#define ASUSER_MAGIC	    0x41535552u
#define ASUSER_MAGIC_TICKET 0x41535554u

/* daemon -> monitor; fixed size */
struct asuser_request {
	uint32_t magic;
	uint32_t want_status;
	struct asuser_id id;
};
/* daemon -> monitor with conf.ticket_dir; what follows, and one or two descriptors, are for the child */
struct asuser_ticket_request {
	uint32_t magic;
	struct asuser_ticket ticket;
};
/* child, or monitor for it -> daemon, on the pair that the daemon made */
struct asuser_answer {
	uint32_t magic;
	int32_t rc, pid;
};
/* monitor -> daemon; with one or two descriptors when rc is RC_OK */
struct asuser_reply {
	int32_t rc;
	char text[124];
};

/* validate.c: reads nothing but the record. */
MUST_CHECK enum rc asuser_validate(const struct asuser_request *r, const struct asuser_conf *c,
				   struct err *e);
/* Of a child with allow_exec. */
static inline const char *asuser_exec_rights(const struct asuser_conf *c)
{
	return c->exec_rights != NULL ? c->exec_rights : c->child_rights;
}
/* monitor.c: never returns. */
NORETURN void asuser_monitor(int control, const struct asuser_conf *c);

/* ---- children.c: those of the monitor that run ---- */
struct child {
	pid_t pid;
	int status_fd; /* where its end is told; -1: nobody asked */
	int channel;   /* by ticket: the monitor's end; -1: none, or it takes nothing more */
	struct asuser_id id;
};
void children_init(unsigned max);
/* Forks one, which has `fd` and nothing else of the monitor's. Descriptors in *of are the table's from then on. RC_AGAIN too many, or no memory. */
MUST_CHECK enum rc children_start(const struct child *of, int fd, const struct asuser_conf *c, struct err *e);
/* One of that very identity whose channel is open; or NULL. */
struct child *children_find(const struct asuser_id *id);
void children_close(struct child *of); /* its channel */
void children_reap(void);

/* ---- asuser.c: one task at a time has the daemon's end of the channel to the monitor ---- */
MUST_CHECK enum rc asuser_turn(int *control, deadline_t d, struct err *e);
void asuser_turn_over(void);

/* ---- byticket.c: false when the daemon is gone. ---- */
bool asuser_by_ticket(int control, const struct asuser_conf *c);

/* ---- pass.c ---- */
/* With SCM_RIGHTS. Never waits. As sendmsg(). */
ssize_t asuser_send(int fd, const struct iovec *iov, size_t parts, const int *fds, size_t n);
/* Up to ASUSER_FDS descriptors; the others of fds are -1. -1 with EBADMSG: more of anything than there is room for, and all of it is gone. */
#define ASUSER_FDS 2
ssize_t asuser_receive(int fd, const struct iovec *iov, size_t parts, int fds[ASUSER_FDS]);
void asuser_close_fds(const int *fds, size_t n);
/* child.c: becomes the user and runs child_main; never returns. */
/* root.c: the child for root's mailbox or files, on its way to conf.child_main. Returns confined, or not at all. */
void asuser_root_confine(int fd, const struct asuser_id *id, const struct asuser_conf *c);
NORETURN void asuser_child(int fd, const struct asuser_id *id, const struct asuser_conf *c);

#endif
