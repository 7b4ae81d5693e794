/* cmd/qshape/qshape.c - qshape(1): which domains the mail in the queue is for (or from), and how old it is. */
#include "log/log.h"
#include "qshape.h"
#include "service/client.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WIDTH_MIN 80

struct run {
	struct shape shape;
	uint64_t messages;
	bool terminal;
};

static NORETURN void usage(FILE *to, int status)
{
	fputs("Usage: qshape [-s] [-p] [-m min_subdomains] [-l] [-b bucket_count] [-t bucket_time]\n"
	      "       [-w terminal_width] [-N batch_msg_count] [-n batch_top_domains]\n"
	      "       [-c config_directory] [queue_name ...]\n"
	      "  -s  count messages by the domain of the sender, not recipients\n"
	      "  -p  with a row for each parent domain of at least min_subdomains (5), as .example.com\n"
	      "  -l  buckets of equal length; without it each is twice as long as all before\n"
	      "Buckets are bucket_count (10), the first ends after bucket_time (5) minutes.\n"
	      "The queues incoming and active are read when none is named.\n",
	      to);
	exit(status);
}

/* 0 stands for the default, as an option that is not given. */
static void number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v;

	if (span_to_u64(span_str(text), max, &v) != RC_OK) {
		fprintf(stderr, "qshape: bad number: %s\n", text);
		usage(stderr, 255);
	}
	if (v > 0)
		*out = v;
}

static const char *parse(int argc, char **argv, struct shape_options *o)
{
	const char *dir = NULL;
	int ch;

	while ((ch = getopt(argc, argv, "b:c:hlm:n:N:pst:w:")) != -1) {
		switch (ch) {
		case 'b':
			number(optarg, BUCKETS_MAX, &o->buckets);
			break;
		case 'c':
			dir = optarg;
			break;
		case 'h':
			usage(stdout, 0);
		case 'l':
			o->linear = true;
			break;
		case 'm':
			number(optarg, UINT32_MAX, &o->min_subdomains);
			break;
		case 'n':
			number(optarg, UINT32_MAX, &o->top);
			break;
		case 'N':
			number(optarg, UINT32_MAX, &o->batch);
			break;
		case 'p':
			o->parents = true;
			break;
		case 's':
			o->senders = true;
			break;
		case 't':
			number(optarg, 1u << 30, &o->bucket_minutes);
			break;
		case 'w':
			number(optarg, 10000, &o->width);
			break;
		default:
			usage(stderr, 255);
		}
	}
	if (o->width < WIDTH_MIN)
		o->width = WIDTH_MIN;
	return dir;
}

static void clear_and_print(const struct run *r)
{
	if (r->terminal)
		fputs("\033[H\033[2J\033[3J", stdout);
	shape_print(&r->shape, r->terminal ? r->shape.opt->top : UINT64_MAX);
	fflush(stdout);
}

static void take(void *arg, const struct seen *m)
{
	struct run *r = arg;

	if (r->shape.opt->senders)
		shape_count(&r->shape, m->sender, m->arrival_s);
	else
		for (size_t i = 0; i < m->rcpts; i++)
			shape_count(&r->shape, m->rcpt[i], m->arrival_s);
	if (r->terminal && ++r->messages % r->shape.opt->batch == 0)
		clear_and_print(r);
}

int main(int argc, char **argv)
{
	static char incoming[] = "incoming", active[] = "active";
	char *standard[] = { incoming, active };
	struct shape_options o = { .min_subdomains = 5,
				   .buckets = 10,
				   .bucket_minutes = 5,
				   .width = WIDTH_MIN,
				   .batch = 1000,
				   .top = 20 };
	const char *dir = parse(argc, argv, &o);
	struct conf *c = client_conf(dir, "qshape");
	struct run r = { .terminal = isatty(STDOUT_FILENO) != 0 };
	bool named = optind < argc;

	shape_init(&r.shape, &o, (int64_t)time(NULL));
	read_queues(c, named ? argv + optind : standard,
		    named ? (size_t)(argc - optind) : ARRAY_LEN(standard), take, &r);
	clear_and_print(&r);
	shape_release(&r.shape);
	return ferror(stdout) ? 1 : 0;
}
