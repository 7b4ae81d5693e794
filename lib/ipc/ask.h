/* ipc/ask.h - questions to another service by its name in master.cf, for libraries that lie below the frame
 * of a daemon (net asks the resolver and tlsmgr, map asks proxymap). The frame says how such a question
 * travels; a test may answer it itself. */
#ifndef IPC_ASK_H
#define IPC_ASK_H

#include "ipc/ipc.h"

/* As service_request() (service/service.h): waits; `again`: the request may be repeated when the channel
 * died. */
typedef enum rc ipc_ask_fn(const char *service, bool again, uint16_t type, const void *request, void *reply,
			   struct arena *a, deadline_t d, struct err *e);
void ipc_set_ask(ipc_ask_fn *fn);
/* RC_DENIED until ipc_set_ask() was called. */
MUST_CHECK enum rc ipc_ask(const char *service, bool again, uint16_t type, const void *request, void *reply,
			   struct arena *a, deadline_t d, struct err *e);

#endif
