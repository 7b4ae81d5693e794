/* smtp/results.h - the answer of a delivery agent. */
#ifndef SMTP_RESULTS_H
#define SMTP_RESULTS_H

#include "ipc/proto.h"

/* Replies, with texts cut where all of them together would not fit a record: an answer that cannot be sent is mail that
 * is delivered once more. Logs have had them whole. */
void results_reply(struct ipc_call *call, struct deliver_reply *r);

#endif
