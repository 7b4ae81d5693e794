/* ipc/ask.c - the way from a library up to the frame. */
#include "ipc/ask.h"

static ipc_ask_fn *asker;

void ipc_set_ask(ipc_ask_fn *fn)
{
	asker = fn;
}

enum rc ipc_ask(const char *service, bool again, uint16_t type, const void *request, void *reply,
		struct arena *a, deadline_t d, struct err *e)
{
	if (asker == NULL)
		return err_set(e, RC_DENIED, "%s cannot be asked here", service);
	return asker(service, again, type, request, reply, a, d, e);
}
