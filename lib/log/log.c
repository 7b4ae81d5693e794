/* log/log.c - one line, escaped once, to syslog, a file and stderr.
 *
 * The syslog socket is our own and not that of syslog(3): it is connected once and so survives chroot, it
 * never blocks, and a line that did not go out is counted. What is accepted as a line end anywhere (C0, C1,
 * U+2028, U+2029) is not let through. */
#include "log/log_int.h"
#include "log/event.h"
#include "log/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_PATH	  "/dev/log"
#define RECONNECT_MS	  1000
#define RELAY_PATIENCE_MS 5000
#define PREFIX_MAX_BYTES  128 /* date and host, or priority and date */

struct sink {
	int fd;
	bool may_block; /* no regular file: ask poll(2) first */
	bool torn;	/* the last write ended in mid-line (disk full) */
	uint64_t dropped;
};

static struct {
	bool ready, busy; /* busy: a signal handler logs while a line is on its way */
	char tag[64], service[128], host[65], syslog_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int facility;
	bool to_syslog, to_stderr, stderr_tag;
	unsigned verbose;
	struct sink syslog, file, err;
	int relay;		   /* -1, or a socket to postlogd(8) */
	int64_t relay_patience_ms; /* of this process, for all its lines together */
	bool foreign;		   /* the socket to syslog is another's, who connects it again */
	void (*ask)(void);	   /* him to do so */
	mono_t reconnect_at;
} self = { .syslog = { .fd = -1 },
	   .file = { .fd = -1 },
	   .err = { .fd = STDERR_FILENO, .may_block = true },
	   .relay = -1,
	   .relay_patience_ms = RELAY_PATIENCE_MS };

static const struct {
	int priority;
	const char *prefix, *word;
} levels[] = {
	[LOG_LEVEL_DEBUG] = { LOG_DEBUG, "", "debug" },
	[LOG_LEVEL_INFO] = { LOG_INFO, "", "info" },
	[LOG_LEVEL_WARNING] = { LOG_WARNING, "warning: ", "warning" },
	[LOG_LEVEL_ERROR] = { LOG_ERR, "error: ", "error" },
	[LOG_LEVEL_FATAL] = { LOG_CRIT, "fatal: ", "fatal" },
	[LOG_LEVEL_PANIC] = { LOG_CRIT, "panic: ", "panic" },
};

/* ---- text ---- */

size_t log_char_bytes(const unsigned char *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80   ? 1
		     : p[0] < 0xc0 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf8 ? 4
				   : 0;
	uint32_t c;

	if (len == 1)
		return p[0] >= 0x20 && p[0] < 0x7f;
	if (len == 0 || len > n)
		return 0;
	c = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	if (c < 0xa0 || c == 0x2028 || c == 0x2029) /* C1 controls; line and paragraph separator */
		return 0;
	return len;
}

/* Escapes src into dst, at most cap bytes, never ending inside a character. */
static size_t escape(char *dst, size_t cap, const char *src, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n && out < cap;) {
		size_t len = log_char_bytes((const unsigned char *)src + i, n - i);

		if (len > cap - out)
			break;
		if (len == 0) {
			dst[out++] = '?';
			i++;
			continue;
		}
		memcpy(dst + out, src + i, len);
		out += len;
		i += len;
	}
	return out;
}

/* "Nov 21 08:52:25" in the local zone; worked out once a second. localtime_r() does not look for a changed
 * /etc/localtime, so it works in a chroot once tzset() was called outside. */
static const char *timestamp(void)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	static time_t last = -1;
	static char text[40];
	time_t now = (time_t)wall_s(wall_now());
	struct tm tm;

	if (now == last)
		return text;
	localtime_r(&now, &tm);
	snprintf(text, sizeof(text), "%s %2d %02d:%02d:%02d", months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec);
	last = now;
	return text;
}

/* ---- where lines go ---- */

static bool syslog_connect(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (self.syslog.fd < 0) {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return false;
		if (fd <= STDERR_FILENO) { /* started with 0, 1 or 2 closed: those numbers are for others */
			self.syslog.fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
			close(fd);
			if (self.syslog.fd < 0)
				return false;
		} else {
			self.syslog.fd = fd;
		}
	}
	memcpy(un.sun_path, self.syslog_path, sizeof(un.sun_path));
	return connect(self.syslog.fd, (struct sockaddr *)&un, sizeof(un)) == 0;
}

/* The syslog daemon went away; perhaps there is a new one. */
static bool syslog_again(void)
{
	if (mono_diff_ms(mono_now(), self.reconnect_at) < 0)
		return false;
	if (!self.foreign && syslog_connect())
		return true;
	if (self.foreign && self.ask)
		self.ask();
	self.reconnect_at = mono_after(mono_now(), RECONNECT_MS);
	return false;
}

static bool syslog_send(const char *line, size_t n)
{
	for (bool again = true;; again = false) {
		if (self.syslog.fd >= 0 && send(self.syslog.fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		if (self.syslog.fd >= 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR))
			return false;
		if (!again || !syslog_again())
			return false;
	}
}

static bool file_write(struct sink *s, const char *line, size_t n)
{
	char newline = '\n';
	struct iovec iov[2] = { { &newline, 1 }, { (void *)(uintptr_t)line, n } };
	struct iovec *v = s->torn ? iov : iov + 1;
	ssize_t want = (ssize_t)(n + (s->torn ? 1 : 0)), r;

	if (s->may_block) {
		struct pollfd p = { .fd = s->fd, .events = POLLOUT };

		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			return false;
	}
	do
		r = writev(s->fd, v, s->torn ? 2 : 1);
	while (r < 0 && errno == EINTR);
	if (r > 0)
		s->torn = r < want;
	return r == want;
}

/* Sends prefix, body and, but for syslog, a newline, after a word about lines lost before. */
static void emit(struct sink *s, const char *prefix, struct span body, const char *ident)
{
	bool datagram = s == &self.syslog;
	char line[PREFIX_MAX_BYTES + LOG_LINE_MAX + 1];
	size_t room = LOG_LINE_MAX - 1; /* the line without its end */

	for (bool note = s->dropped > 0;; note = false) {
		int head = snprintf(line, PREFIX_MAX_BYTES, "%s", prefix);
		size_t n = (size_t)head;

		if (note) {
			int k = snprintf(line + n, room - n, "%swarning: %llu log lines dropped", ident,
					 (unsigned long long)s->dropped);
			n += k < 0 ? 0 : (size_t)k;
		} else {
			size_t k = escape(line + n, room - n, body.p, body.n);
			n += k;
		}
		if (!datagram)
			line[n++] = '\n';
		if (datagram ? !syslog_send(line, n) : !file_write(s, line, n)) {
			s->dropped++;
			return;
		}
		if (!note)
			return;
		s->dropped = 0;
	}
}

static void to_log(enum log_level level, struct span line, const char *ident)
{
	char prefix[PREFIX_MAX_BYTES];

	if (self.to_syslog) {
		snprintf(prefix, sizeof(prefix), "<%d>%s ", self.facility | levels[level].priority,
			 timestamp());
		emit(&self.syslog, prefix, line, ident);
	}
	if (self.file.fd >= 0) {
		snprintf(prefix, sizeof(prefix), "%s %s ", timestamp(), self.host);
		emit(&self.file, prefix, line, ident);
	}
}

/* False: there is a relay, and the line is not on its way. */
static bool to_relay(enum log_level level, struct span text)
{
	char tag[sizeof(self.tag) + sizeof(self.service)], datagram[RELAY_MAX];
	size_t n;

	if (self.relay < 0)
		return true;
	snprintf(tag, sizeof(tag), "%s%s%s", self.tag, self.service[0] ? "/" : "", self.service);
	n = relay_encode(datagram, &(struct relay_line){ level, span_str(tag), text });
	while (send(self.relay, datagram, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		struct pollfd p = { .fd = self.relay, .events = POLLOUT };
		mono_t since = mono_now();

		if (errno == EINTR)
			continue;
		if ((errno != EAGAIN && errno != ENOBUFS) || self.relay_patience_ms <= 0)
			return false;
		(void)poll(&p, 1, (int)self.relay_patience_ms);
		self.relay_patience_ms -= 1 + mono_diff_ms(mono_now(), since);
	}
	return true;
}

/* One system call a process instead of one a line. */
static long own_pid;

static void after_fork(void)
{
	own_pid = 0;
	self.ask = NULL; /* the way to master is not the child's */
}

static bool fork_watched(void)
{
	static bool hooked;

	if (!hooked)
		hooked = pthread_atfork(NULL, NULL, after_fork) == 0;
	return hooked;
}

static long pid_of_line(void)
{
	if (own_pid != 0)
		return own_pid;
	if (!fork_watched())
		return (long)getpid();
	return own_pid = (long)getpid();
}

static void log_vline(enum log_level level, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
static void log_vline(enum log_level level, const char *fmt, va_list ap)
{
	char text[2 * LOG_LINE_MAX], ident[sizeof(self.tag) + sizeof(self.service) + 32],
	    prefix[PREFIX_MAX_BYTES];
	int saved = errno, n, head;
	bool taken = true;

	if (self.busy)
		return;
	self.busy = true;
	snprintf(ident, sizeof(ident), "%s%s%s[%ld]: ", self.tag, self.service[0] ? "/" : "", self.service,
		 pid_of_line());
	head = snprintf(text, sizeof(text), "%s%s", ident, levels[level].prefix);
	n = vsnprintf(text + head, sizeof(text) - (size_t)head, fmt, ap);
	if (n < 0)
		n = snprintf(text + head, sizeof(text) - (size_t)head, "(a line that could not be written)");
	n += head;
	if ((size_t)n > sizeof(text) - 1)
		n = sizeof(text) - 1;
	if (self.ready) {
		to_log(level, span_make(text, (size_t)n), ident);
		taken = to_relay(level, span_make(text + head, (size_t)(n - head)));
	}
	if (!self.ready || self.to_stderr || !taken) {
		/* As commands speak to those who typed them: "postmap: fatal: ..." */
		size_t skip = strlen(ident);

		snprintf(prefix, sizeof(prefix), "%.100s: ", log_service());
		if (self.stderr_tag) /* up to "[pid]: " */
			snprintf(prefix, sizeof(prefix), "%.*s: ",
				 (int)(strrchr(ident, '[') - ident < 120 ? strrchr(ident, '[') - ident : 120),
				 ident);
		emit(&self.err, prefix, span_make(text + skip, (size_t)n - skip), "");
	}
	if (self.ready && level >= LOG_LEVEL_WARNING)
		EVENT("problem", EV_CSTR("level", levels[level].word),
		      EV_TEXT("text", span_make(text + head, (size_t)(n - head))));
	self.busy = false;
	errno = saved;
}

void log_relayed(const struct relay_line *l, long pid, const char *note)
{
	char text[2 * LOG_LINE_MAX], ident[RELAY_TAG_MAX + 32];
	int n;

	snprintf(ident, sizeof(ident), SPAN_FMT "[%ld]: ", SPAN_ARG(span_head(l->tag, RELAY_TAG_MAX)), pid);
	n = snprintf(text, sizeof(text), "%s%s%s" SPAN_FMT, ident, levels[l->level].prefix, note,
		     SPAN_ARG(span_head(l->text, LOG_LINE_MAX)));
	if (n > 0)
		to_log(l->level, span_make(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1),
		       ident);
}

/* ---- interface ---- */

static void copy(char *dst, size_t size, const char *src)
{
	size_t n = escape(dst, size - 1, src, strlen(src));

	dst[n] = '\0';
}

void log_set_file(int fd)
{
	struct stat st;

	if (fd != self.file.fd && self.file.fd > STDERR_FILENO)
		close(self.file.fd);
	if (fd != self.file.fd)
		self.file = (struct sink){ .fd = fd, .dropped = self.file.dropped };
	self.file.may_block = fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode));
}

int log_syslog_fd(void)
{
	return self.to_syslog ? self.syslog.fd : -1;
}

void log_on_lost_syslog(void (*ask)(void))
{
	self.ask = fork_watched() ? ask : NULL;
}

void log_reconnect_syslog(void)
{
	if (self.to_syslog)
		(void)syslog_connect();
}

static bool addresses_internal;

bool log_address_format(const char *name)
{
	bool in = strcmp(name, "internal") == 0;

	if (!in && strcmp(name, "external") != 0)
		return false;
	addresses_internal = in;
	return true;
}

bool log_addresses_internal(void)
{
	return addresses_internal;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

void log_init(const struct log_conf *c)
{
	const char *path = c->syslog_path && c->syslog_path[0] ? c->syslog_path : SYSLOG_PATH;
	char *dot;

	tzset();
	copy(self.tag, sizeof(self.tag), c->tag ? c->tag : "postfix");
	copy(self.service, sizeof(self.service), c->service ? c->service : "");
	if (c->host != NULL && c->host[0] != '\0')
		copy(self.host, sizeof(self.host), c->host);
	else if (gethostname(self.host, sizeof(self.host) - 1) != 0)
		snprintf(self.host, sizeof(self.host), "localhost");
	if ((dot = strchr(self.host, '.')) && dot != self.host) /* as syslogd writes it */
		*dot = '\0';
	self.facility = c->facility ? c->facility : LOG_MAIL;
	self.to_stderr = c->to_stderr;
	self.stderr_tag = c->stderr_tag;
	self.verbose = c->verbose;
	log_set_file(c->file_fd);
	self.ready = true;

	if (self.relay >= 0 && self.relay != c->relay_fd)
		close(self.relay);
	self.relay = c->relay_fd > STDERR_FILENO ? c->relay_fd : -1;
	self.to_syslog = c->to_syslog;
	if (self.syslog.fd >= 0 && !self.foreign && (!c->to_syslog || strcmp(path, self.syslog_path) != 0)) {
		close(self.syslog.fd);
		self.syslog.fd = -1;
	}
	snprintf(self.syslog_path, sizeof(self.syslog_path), "%s", path);
	self.foreign = c->to_syslog && is_socket(c->syslog_fd);
	if (self.foreign)
		self.syslog.fd = c->syslog_fd;
	else if (c->to_syslog && self.syslog.fd < 0)
		syslog_connect();
}

const char *log_tag(void)
{
	return self.tag;
}

const char *log_host(void)
{
	return self.host;
}

const char *log_service(void)
{
	return self.ready && self.service[0] ? self.service : program_invocation_short_name;
}

unsigned log_verbose(void)
{
	return self.verbose;
}

#define LOG_VA(level)                                                                                        \
	do {                                                                                                 \
		va_list ap;                                                                                  \
		va_start(ap, fmt);                                                                           \
		log_vline(level, fmt, ap);                                                                   \
		va_end(ap);                                                                                  \
	} while (0)

void log_debug(const char *fmt, ...)
{
	if (self.verbose > 0)
		LOG_VA(LOG_LEVEL_DEBUG);
}

void log_info(const char *fmt, ...)
{
	LOG_VA(LOG_LEVEL_INFO);
}

void log_warning(const char *fmt, ...)
{
	LOG_VA(LOG_LEVEL_WARNING);
}

void log_error(const char *fmt, ...)
{
	LOG_VA(LOG_LEVEL_ERROR);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	LOG_VA(level);
}

void die(const char *fmt, ...)
{
	LOG_VA(LOG_LEVEL_FATAL);
	exit(1);
}

void die_status(int status, const char *fmt, ...)
{
	LOG_VA(LOG_LEVEL_FATAL);
	exit(status);
}
