/* asuser/private.h - between the daemon's half and the monitor's. */
#ifndef ASUSER_PRIVATE_H
#define ASUSER_PRIVATE_H

#include "asuser/ticket.h"

#define ASUSER_MAGIC	    0x41535552u
#define ASUSER_MAGIC_TICKET 0x41535554u

/* daemon -> monitor; fixed size: the first kind, or, with conf.ticket_dir, the second */
struct asuser_request {
	uint32_t magic;
	uint32_t want_status;
	struct asuser_id id;
};
struct asuser_ticket_request {
	uint32_t magic;
	struct asuser_ticket ticket;
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
/* child.c: becomes the user and runs child_main; never returns. */
/* root.c: the child for root's mailbox, on its way to conf.child_main. Returns confined, or not at all. */
void asuser_root_confine(int fd, const struct asuser_conf *c);
NORETURN void asuser_child(int fd, const struct asuser_id *id, const struct asuser_conf *c);

#endif
