/* log/event.c - events as JSON lines (RFC 8259) in a file or journald. */
#include "log/event.h"
#include "base/buf.h"
#include "log/log_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define JOURNAL_PATH "/run/systemd/journal/socket"

static struct {
	int fd;
	bool journal;
	bool torn; /* the last write ended in mid-line (disk full) */
	uint64_t dropped;
} self = { .fd = -1 };

/* ---- where lines go ---- */

void event_to_file(int fd)
{
	if (self.journal && self.fd >= 0)
		close(self.fd);
	self.fd = fd;
	self.journal = false;
	self.torn = false;
}

void event_to_journal(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const char *where = path != NULL && path[0] != '\0' ? path : JOURNAL_PATH;

	event_to_file(-1);
	if (strlen(where) >= sizeof(un.sun_path))
		return;
	memcpy(un.sun_path, where, strlen(where));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (fd <= STDERR_FILENO || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		log_warning("event_log: connect to %s: %m", where);
		close(fd);
		return;
	}
	self.fd = fd;
	self.journal = true;
}

bool event_wanted(void)
{
	return self.fd >= 0;
}

static bool send_journal(const char *type, struct buf *line)
{
	struct buf b;
	bool sent;

	buf_init(&b, EVENT_LINE_MAX + 512);
	(void)buf_printf(&b, "PRIORITY=6\nSYSLOG_IDENTIFIER=%s/%s\nPOSTERN_EVENT=%s\nMESSAGE=" SPAN_FMT "\n",
			 log_tag(), log_service(), type, SPAN_ARG(buf_span(line)));
	sent = buf_ok(&b) && send(self.fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)b.n;
	buf_release(&b);
	return sent;
}

static bool append_file(struct buf *line)
{
	ssize_t n;

	(void)buf_putc(line, '\n');
	if (!buf_ok(line))
		return false;
	if (self.torn && write(self.fd, "\n", 1) != 1)
		return false;
	do
		n = write(self.fd, line->p, line->n);
	while (n < 0 && errno == EINTR);
	self.torn = n > 0 && n < (ssize_t)line->n;
	return n == (ssize_t)line->n;
}

/* ---- JSON ---- */

static void put_string(struct buf *b, struct span s)
{
	struct span cut = span_head(s, EVENT_TEXT_MAX);

	(void)buf_putc(b, '"');
	for (size_t i = 0; i < cut.n;) {
		const unsigned char *p = (const unsigned char *)cut.p + i;
		size_t n = log_char_bytes(p, cut.n - i);

		if (n == 0)
			(void)buf_printf(b, "\\u%04x", *p < 0x80 ? *p : 0xfffd);
		else if (*p == '"' || *p == '\\')
			(void)buf_printf(b, "\\%c", *p);
		else
			(void)buf_append(b, span_make(cut.p + i, n));
		i += n == 0 ? 1 : n;
	}
	(void)buf_putc(b, '"');
}

static void put_member(struct buf *b, const struct event_member *m)
{
	if ((m->kind == EVK_TEXT && m->text.n == 0) || (m->kind == EVK_TRUE && m->n == 0))
		return;
	(void)buf_printf(b, ",\"%s\":", m->name);
	switch (m->kind) {
	case EVK_TEXT:
		put_string(b, m->text);
		break;
	case EVK_NUMBER:
		(void)buf_printf(b, "%lld", (long long)m->n);
		break;
	case EVK_SECONDS:
		(void)buf_printf(b, "%lld.%06lld", (long long)(m->n < 0 ? 0 : m->n / 1000000),
				 (long long)(m->n < 0 ? 0 : m->n % 1000000));
		break;
	case EVK_TRUE:
		(void)buf_puts(b, "true");
		break;
	case EVK_END:
		break;
	}
}

static void put_head(struct buf *b, const char *type)
{
	int64_t us = wall_now().us;
	time_t s = (time_t)(us / 1000000);
	struct tm tm;
	char when[32];

	gmtime_r(&s, &tm);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)buf_printf(b, "{\"v\":%d,\"time\":\"%s.%06dZ\"", EVENT_VERSION, when, (int)(us % 1000000));
	put_member(b, &(struct event_member)EV_CSTR("host", log_host()));
	put_member(b, &(struct event_member)EV_CSTR("instance", log_tag()));
	put_member(b, &(struct event_member)EV_CSTR("service", log_service()));
	put_member(b, &(struct event_member)EV_NUMBER("pid", getpid()));
	put_member(b, &(struct event_member)EV_CSTR("event", type));
}

void event_write(const char *type, const struct event_member *members)
{
	struct buf b;
	int saved = errno;

	if (self.fd < 0)
		return;
	buf_init(&b, EVENT_LINE_MAX);
	put_head(&b, type);
	if (self.dropped > 0)
		put_member(&b, &(struct event_member)EV_NUMBER("dropped", self.dropped));
	for (const struct event_member *m = members; m->kind != EVK_END; m++)
		put_member(&b, m);
	(void)buf_putc(&b, '}');
	if (buf_ok(&b) && (self.journal ? send_journal(type, &b) : append_file(&b)))
		self.dropped = 0;
	else
		self.dropped++;
	buf_release(&b);
	errno = saved;
}
