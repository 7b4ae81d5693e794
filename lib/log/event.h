/* log/event.h - the same events as JSON lines (event_log, event_log(5)): one object a line, one event each, members and
 * their meaning stable. Nothing is done unless event_to_file() or event_to_journal() was called. Like the log it never
 * blocks: what finds no room is dropped and counted (the next line's "dropped").
 *
 *   EVENT("removed", EV_TEXT("queue_id", qid));
 *
 * writes {"v":1,"time":"2026-11-28T16:20:01.123456Z","host":"mx","instance":"postfix","service":"qmgr","pid":42,
 * "event":"removed","queue_id":"..."}. Members whose text is empty are left out; bytes that are no UTF-8 become U+FFFD. */
#ifndef LOG_EVENT_H
#define LOG_EVENT_H

#include "base/span.h"

#define EVENT_VERSION  1
#define EVENT_TEXT_MAX 2048 /* bytes of one text; what is beyond is cut */
#define EVENT_LINE_MAX 16384

enum event_kind { EVK_END, EVK_TEXT, EVK_NUMBER, EVK_SECONDS, EVK_TRUE };
struct event_member {
	const char *name;
	enum event_kind kind;
	struct span text;
	int64_t n;
};
#define EV_TEXT(name, span)                                                                                  \
	{                                                                                                    \
		(name), EVK_TEXT, (span), 0                                                                  \
	}
#define EV_CSTR(name, cstr)                                                                                  \
	{                                                                                                    \
		(name), EVK_TEXT, span_str(cstr), 0                                                          \
	}
#define EV_NUMBER(name, number)                                                                              \
	{                                                                                                    \
		(name), EVK_NUMBER, { NULL, 0 }, (int64_t)(number)                                           \
	}
#define EV_SECONDS(name, micros)                                                                             \
	{                                                                                                    \
		(name), EVK_SECONDS, { NULL, 0 }, (micros)                                                   \
	} /* as 1.234567 */
#define EV_FLAG(name, yes)                                                                                   \
	{                                                                                                    \
		(name), EVK_TRUE, { NULL, 0 }, (yes)                                                         \
	} /* true, or left out */

/* `fd` O_APPEND; stays the caller's. -1: none any more. */
void event_to_file(int fd);
/* journald's native protocol on this UNIX socket; NULL or "": /run/systemd/journal/socket. Connected now, so that chroot
 * and sandbox may follow. The line is MESSAGE, its type POSTERN_EVENT. */
void event_to_journal(const char *path);
/* True when somebody reads events: for callers whose members are costly to gather. */
bool event_wanted(void);
void event_write(const char *type, const struct event_member *members);
#define EVENT(type, ...)                                                                                     \
	do {                                                                                                 \
		if (event_wanted())                                                                          \
			event_write((type), (const struct event_member[]){                                   \
						__VA_ARGS__, { NULL, EVK_END, { NULL, 0 }, 0 } });           \
	} while (0)

#endif
