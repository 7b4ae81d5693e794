/* auth/tickets.h - one-time tickets: what a monitor of imapd or pop3d hands in to learn whose process to start
 * (asuser/ticket.h). They are kept in memory, for TICKET_LIFE_S seconds, and each is answered once. */
#ifndef AUTH_TICKETS_H
#define AUTH_TICKETS_H

#include "asuser/ticket.h"

void tickets_prepare(void); /* as root: binds private/ticket.<pid>; die() on trouble */
void tickets_start(void);   /* in the loop: serves it */
/* A ticket for id; id->tag is the service it is good for. */
void ticket_issue(const struct asuser_id *id, char text[TICKET_TEXT_MAX]);

#endif
