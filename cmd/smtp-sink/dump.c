/* cmd/smtp-sink/dump.c - messages on disk, each in a file of its own (-d) or one after the other in a common one (-D). The common
 * file gets whole transactions: until its end each is in a file without a name beside it, so that sessions do not mix.
 * Writing blocks the process; who dumps looks at messages, not at speed. */
#include "sink.h"
#include "log/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct dump {
	FILE *out;
	char path[1024]; /* expanded template; with -d the name of the file */
};

/* The format is the option's. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void expand(const char *template, char *out, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm) == NULL || strftime(out, size, template, &tm) == 0)
		die("cannot expand the file name %s", template);
}
#pragma GCC diagnostic pop

static void make_directories(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			die("mkdir %s: %m", path);
		*slash = '/';
	}
}

static FILE *create(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 && errno == EEXIST)
		return NULL;
	FILE *f = fd >= 0 ? fdopen(fd, "w+") : NULL;
	if (f == NULL)
		die("open %s: %m", name);
	return f;
}

/* A file that nobody has, named after the template and a random number, which is also the message's id. */
static void open_file(struct dump *d, char id[9])
{
	char base[1000], name[1024];
	uint32_t number;

	expand(conf.single != NULL ? conf.single : conf.multi, base, sizeof base);
	make_directories(base);
	do {
		if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
			die("getrandom: %m");
		snprintf(id, 9, "%x", number);
		snprintf(name, sizeof name, "%s%s", base, id);
	} while ((d->out = create(name)) == NULL);
	if (conf.single == NULL && unlink(name) != 0)
		die("unlink %s: %m", name);
	snprintf(d->path, sizeof d->path, "%s", conf.single != NULL ? name : base);
}

struct dump *dump_begin(struct session *s)
{
	char id[9], date[DATE_MAX];
	struct span helo = buf_span(&s->helo);

	if (conf.single == NULL && conf.multi == NULL)
		return NULL;
	struct dump *d = xcalloc(1, sizeof *d);
	open_file(d, id);
	wall_rfc5322(wall_now(), date);
	dump_write(d, conf.start);
	fprintf(d->out, "X-Client-Addr: %s\nX-Client-Proto: %s\n", s->client, s->proto);
	if (helo.n > 0)
		fprintf(d->out, "X-Helo-Args: " SPAN_FMT "\n", SPAN_ARG(helo));
	fprintf(d->out, "X-Mail-Args: " SPAN_FMT "\n", SPAN_ARG(buf_span(&s->mail)));
	dump_write(d, buf_span(&s->rcpt));
	if (helo.n > 0)
		fprintf(d->out, "Received: from " SPAN_FMT " ([%s])\n", SPAN_ARG(helo), s->client);
	else
		fprintf(d->out, "Received: from [%s] ([%s])\n", s->client, s->client);
	fprintf(d->out, "\tby %s (smtp-sink) with %s id %s;\n\t%s\n", conf.hostname, s->proto, id, date);
	return d;
}

void dump_write(struct dump *d, struct span text)
{
	if (d != NULL && text.n > 0)
		(void)fwrite(text.p, 1, text.n, d->out); /* dump_end() asks whether all went well */
}

static void append(struct dump *d)
{
	char block[65536];
	size_t n;
	int fd = open(d->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || flock(fd, LOCK_EX) != 0) /* another sink may write here */
		die("open %s: %m", d->path);
	rewind(d->out);
	while ((n = fread(block, 1, sizeof block, d->out)) > 0)
		if (write(fd, block, n) != (ssize_t)n)
			die("write %s: %m", d->path);
	close(fd);
}

void dump_end(struct dump **d, bool keep)
{
	if (*d == NULL)
		return;
	dump_write(*d, SPAN("\n"));
	if (fflush((*d)->out) != 0 || ferror((*d)->out))
		die("write %s: %m", (*d)->path);
	if (keep && conf.single == NULL)
		append(*d);
	if (!keep && conf.single != NULL)
		(void)unlink((*d)->path);
	fclose((*d)->out);
	free(*d);
	*d = NULL;
}
