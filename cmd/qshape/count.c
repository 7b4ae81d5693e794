/* cmd/qshape/count.c - one row a domain, and one for each parent domain below the top level. */
#include "qshape.h"

void shape_init(struct shape *s, const struct shape_options *opt, int64_t now_s)
{
	*s = (struct shape){
		.opt = opt, .now_s = now_s, .rows = table_new(), .all = { .name = SPAN("TOTAL") }
	};
	arena_init(&s->a);
}

void shape_release(struct shape *s)
{
	table_free(&s->rows, NULL);
	arena_release(&s->a);
}

int64_t shape_limit(const struct shape_options *opt, uint64_t i)
{
	int64_t limit = (int64_t)opt->bucket_minutes;

	if (opt->linear)
		return limit * (int64_t)(i + 1);
	for (; i > 0 && limit < INT64_MAX / 240; i--)
		limit *= 2;
	return limit;
}

static uint64_t bucket_of(const struct shape *s, int64_t arrival_s)
{
	int64_t age_s = s->now_s > arrival_s ? s->now_s - arrival_s : 0;
	uint64_t i = 0;

	while (i + 1 < s->opt->buckets && age_s >= shape_limit(s->opt, i) * 60)
		i++;
	return i;
}

/* ".example.com" of "a.example.com" and ".a.example.com"; false for what has only a top level above it, and for
 * address literals. */
static bool parent_of(struct span name, struct span *out)
{
	struct span rest = span_skip(name, 1);
	ptrdiff_t dot = span_chr(rest, '.');

	if (dot < 0 || name.p[0] == '[')
		return false;
	*out = span_skip(rest, (size_t)dot);
	return span_chr(span_skip(*out, 1), '.') >= 0;
}

static struct row *row_of(struct shape *s, struct span name, bool *made)
{
	struct row *r = table_get(s->rows, name);

	*made = r == NULL;
	if (*made) {
		r = arena_alloc(&s->a, sizeof(*r));
		r->name = span_dup(&s->a, name);
		(void)table_set(s->rows, r->name, r);
	}
	return r;
}

static void add(struct row *r, uint64_t bucket)
{
	r->total++;
	r->count[bucket]++;
}

static struct span domain_of(struct span address, char *room, size_t size)
{
	struct span d = span_skip(address, (size_t)(span_rchr(address, '@') + 1));
	size_t n = d.n < size ? d.n : size;

	if (address.n == 0)
		return SPAN("MAILER-DAEMON");
	for (size_t i = 0; i < n; i++)
		room[i] = ascii_lower(d.p[i]);
	return span_make(room, n);
}

void shape_count(struct shape *s, struct span address, int64_t arrival_s)
{
	char room[1024];
	struct span name = domain_of(address, room, sizeof(room));
	uint64_t bucket = bucket_of(s, arrival_s);
	bool made;

	add(&s->all, bucket);
	add(row_of(s, name, &made), bucket);
	for (struct span up; s->opt->parents && parent_of(name, &up); name = up) {
		bool child_is_new = made;
		struct row *r = row_of(s, up, &made);

		r->subdomains += child_is_new;
		add(r, bucket);
	}
}
