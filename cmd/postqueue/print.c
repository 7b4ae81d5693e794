/* cmd/postqueue/print.c - the listing as mailq shows it (whose columns scripts read), and as one JSON object
 * a line. */
#include "base/codec.h"
#include "postqueue.h"
#include <time.h>

#define REASON_END 78 /* the column at which reasons end */

static void put_safe(struct span s) /* what peers wrote: no control characters on a terminal */
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		putchar(c < 0x20 || c == 0x7f ? '?' : c);
	}
}

/* The columns of both shapes; what is longer moves the rest to the right. */
static const struct shape {
	const char *head;
	int id, size, date, before_rcpt;
} shapes[] = {
	{ "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------", 11, 7, 20, 41 },
	{ "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------", 17, 8, 19, 47 },
};

static void print_recipients(const struct shape *sh, const struct queued *m)
{
	struct span last = SPAN_NONE;

	for (size_t i = 0; i < m->rcpts; i++) {
		const struct queued_rcpt *r = &m->rcpt[i];

		if (r->reason.n && !span_eq(r->reason, last)) {
			int pad = r->reason.n < REASON_END - 2 ? REASON_END - 2 - (int)r->reason.n : 0;

			printf("%*s(", pad, "");
			put_safe(r->reason);
			puts(")");
		}
		last = r->reason;
		printf("%*s", sh->before_rcpt, "");
		put_safe(r->addr);
		putchar('\n');
	}
}

static void print_text(struct printer *p, const struct queued *m)
{
	const struct shape *sh = &shapes[p->long_ids];
	time_t t = (time_t)m->arrival_s;
	char date[64], id[40];
	const char *mark = span_is(m->queue, "active") ? "*"
			   : span_is(m->queue, "hold") ? "!"
			   : m->forced_expire	       ? "#"
						       : "";
	struct tm tm;

	if (p->count++ == 0)
		puts(sh->head);
	else
		putchar('\n');
	p->bytes += m->size;
	localtime_r(&t, &tm);
	strftime(date, sizeof(date), "%a %b %e %H:%M:%S", &tm);
	snprintf(id, sizeof(id), SPAN_FMT "%s", SPAN_ARG(span_head(m->id, 30)), mark);
	printf("%-*s %*lld %-*s ", sh->id, id, sh->size, (long long)m->size, sh->date, date);
	put_safe(m->sender);
	putchar('\n');
	print_recipients(sh, m);
}

static void json_field(const char *name, struct span value)
{
	printf("\"%s\": ", name);
	json_print(stdout, value);
	fputs(", ", stdout);
}

static void json_more(const char *name, struct span value)
{
	if (value.n == 0)
		return;
	printf(", \"%s\": ", name);
	json_print(stdout, value);
}

static void print_json(const struct queued *m)
{
	putchar('{');
	json_field("queue_name", m->queue);
	json_field("queue_id", m->id);
	printf("\"arrival_time\": %lld, \"message_size\": %lld, \"forced_expire\": %s, ",
	       (long long)m->arrival_s, (long long)m->size, m->forced_expire ? "true" : "false");
	json_field("sender", m->sender);
	fputs("\"recipients\": [", stdout);
	for (size_t i = 0; i < m->rcpts; i++) {
		fputs(i ? ", {\"address\": " : "{\"address\": ", stdout);
		json_print(stdout, m->rcpt[i].addr);
		json_more("orig_address", m->rcpt[i].orig);
		json_more(m->rcpt[i].bounced ? "bounce_reason" : "delay_reason", m->rcpt[i].reason);
		putchar('}');
	}
	puts("]}");
}

void print_message(void *arg, const struct queued *m)
{
	struct printer *p = arg;

	if (p->json)
		print_json(m);
	else
		print_text(p, m);
}

void print_end(const struct printer *p)
{
	if (p->json)
		return;
	if (p->count == 0)
		puts("Mail queue is empty");
	else
		printf("\n-- %lld Kbytes in %zu Request%s.\n", (long long)p->bytes / 1024, p->count,
		       p->count == 1 ? "" : "s");
}
