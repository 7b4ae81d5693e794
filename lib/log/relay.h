/* log/relay.h - a line on its way from a command to postlogd(8), as one datagram:
 *
 *   "L1" LEVEL TAG NUL TEXT
 *
 * LEVEL is a digit (enum log_level), TAG what stands before the process id ("postfix/sendmail"), TEXT what follows the level's
 * word. Time, host and process id are not the sender's to say. */
#ifndef LOG_RELAY_H
#define LOG_RELAY_H

#include "base/rc.h"
#include "log/log.h"

#define RELAY_TAG_MAX 192
#define RELAY_MAX     (3 + RELAY_TAG_MAX + 1 + LOG_LINE_MAX)

struct relay_line {
	enum log_level level;
	struct span tag, text; /* any bytes, from outside: log_relayed() escapes them */
};

/* Writes at most RELAY_MAX bytes to dst; what is longer is cut. */
size_t relay_encode(char *dst, const struct relay_line *l);
/* Pure; the spans point into `datagram`. RC_SYNTAX: no such line. */
MUST_CHECK enum rc relay_decode(struct span datagram, struct relay_line *out);
/* What an ordinary user may say of where a line comes from. Letters, digits and "-_./" stay, other bytes become '?', so that no
 * tag holds a process id or a text. One that begins as those of the suite (`suite`, which is syslog_name, or "postfix") stays when it is that of
 * a command that users run; else *tag becomes "SUITE/postlog". Writes the claim to claim[RELAY_TAG_MAX + 1], and *tag points there
 * or into `own`, where "SUITE/postlog" stands. True: *tag is what was claimed. */
bool relay_user_tag(struct span *tag, const char *suite, char *claim, char *own);
/* Writes the line to where log_init() said: "TAG[pid]: warning: NOTEtext". */
void log_relayed(const struct relay_line *l, long pid, const char *note);

#endif
