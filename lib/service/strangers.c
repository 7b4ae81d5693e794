/* service/strangers.c - connections that somebody made by himself to a UNIX socket: each uid may have so many
 * at a time, so that no local user takes the descriptors or sessions of all. Beyond that a connection is
 * closed at once: sendmail(1) then leaves its message in maildrop, and the others say that the service does
 * not answer. Root and master are not counted. */
#include "service/frame.h"
#include "base/table.h"
#include "log/log.h"
#include <sys/socket.h>

#define PER_UID_MAX 200

struct stranger {
	unsigned open;
	bool told; /* until half of the connections are gone */
};
static struct table *strangers;

static struct span key_of(const uid_t *uid)
{
	return span_make((const char *)uid, sizeof *uid);
}

/* Of a process with few sessions one uid gets at most half. */
static unsigned limit(void)
{
	bool few = frame.session_limit > 0 && frame.session_limit < 2 * (int64_t)PER_UID_MAX;
	unsigned half = few ? (unsigned)((frame.session_limit + 1) / 2) : PER_UID_MAX;
	return half < PER_UID_MAX ? half : PER_UID_MAX;
}

static bool is_counted(int fd, uid_t *uid)
{
	struct ucred c;
	socklen_t len = sizeof c;
	if (frame.type == NULL || strcmp(frame.type, "unix") != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
		return false;
	*uid = c.uid;
	return c.uid != 0 && c.pid != frame.master;
}

bool stranger_enter(int fd, uid_t *uid)
{
	*uid = STRANGER_NONE;
	if (!is_counted(fd, uid)) {
		*uid = STRANGER_NONE;
		return true;
	}
	if (strangers == NULL)
		strangers = table_new();
	struct stranger *s = table_get(strangers, key_of(uid));
	if (s == NULL) {
		s = xcalloc(1, sizeof *s);
		table_set(strangers, key_of(uid), s);
	}
	if (s->open < limit()) {
		s->open++;
		return true;
	}
	if (!s->told)
		log_warning("uid %lu has %u connections to service %s: more are refused", (unsigned long)*uid,
			    s->open, frame.name);
	s->told = true;
	return false;
}

void stranger_leave(uid_t uid)
{
	struct stranger *s = uid == STRANGER_NONE ? NULL : table_get(strangers, key_of(&uid));
	if (s == NULL)
		return;
	s->open--;
	if (s->open <= limit() / 2)
		s->told = false;
	if (s->open == 0)
		free(table_del(strangers, key_of(&uid)));
}
