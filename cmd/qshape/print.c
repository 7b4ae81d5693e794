/* cmd/qshape/print.c - names end at one column, counts at the right edge. */
#include "qshape.h"
#include <stdio.h>
#include <string.h>

#define NAME_MIN    18 /* columns of a name, however many buckets there are */
#define COUNT_MIN   2
#define LABEL_BYTES 24

struct columns {
	int name, total, count[BUCKETS_MAX];
	char label[BUCKETS_MAX][LABEL_BYTES];
};

static int wide(const char *label, uint64_t largest)
{
	int n = snprintf(NULL, 0, "%llu", (unsigned long long)largest), l = (int)strlen(label);

	n = n > l ? n : l;
	return n > COUNT_MIN ? n : COUNT_MIN;
}

/* No row has more than "TOTAL" in any column. */
static void measure(const struct shape *s, struct columns *c)
{
	uint64_t n = s->opt->buckets;
	int used;

	c->total = wide("T", s->all.total);
	used = c->total + 1;
	for (uint64_t i = 0; i < n; i++) {
		bool last = i + 1 == n;
		int64_t limit = !last ? shape_limit(s->opt, i) : i > 0 ? shape_limit(s->opt, i - 1) : 0;

		snprintf(c->label[i], LABEL_BYTES, "%lld%s", (long long)limit, last ? "+" : "");
		c->count[i] = wide(c->label[i], s->all.count[i]);
		used += c->count[i] + 1;
	}
	c->name = (int)s->opt->width - used;
	if (c->name < NAME_MIN)
		c->name = NAME_MIN;
}

/* Names come from addresses: nothing of them may move a terminal's cursor. */
static void print_name(struct span name, int width)
{
	const char *mark = "";
	size_t room = (size_t)width;

	if (name.n > room) {
		mark = name.p[0] == '.' ? ".+" : "+";
		room -= strlen(mark);
		name = span_skip(name, name.n - room);
	}
	printf("%*s%s", (int)(room - name.n), "", mark);
	for (size_t i = 0; i < name.n; i++)
		putchar((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f ? '?' : name.p[i]);
}

static void print_row(const struct shape *s, const struct columns *c, const struct row *r)
{
	print_name(r->name, c->name);
	printf(" %*llu", c->total, (unsigned long long)r->total);
	for (uint64_t i = 0; i < s->opt->buckets; i++)
		printf(" %*llu", c->count[i], (unsigned long long)r->count[i]);
	putchar('\n');
}

static int larger_first(const void *x, const void *y)
{
	const struct row *a = *(struct row *const *)x, *b = *(struct row *const *)y;

	if (a->total != b->total)
		return a->total > b->total ? -1 : 1;
	if (a->name.n != b->name.n)
		return a->name.n < b->name.n ? -1 : 1;
	return span_cmp(a->name, b->name);
}

static size_t shown_rows(const struct shape *s, const struct row **out)
{
	size_t pos = 0, n = 0;
	struct span key;
	void *value;

	while (table_next(s->rows, &pos, &key, &value)) {
		const struct row *r = value;

		if (r->name.n == 0 || r->name.p[0] != '.' || r->subdomains >= s->opt->min_subdomains)
			out[n++] = r;
	}
	qsort(out, n, sizeof(*out), larger_first);
	return n;
}

void shape_print(const struct shape *s, uint64_t rows_max)
{
	const struct row **rows = xcalloc(table_count(s->rows) + 1, sizeof(const struct row *));
	size_t n = shown_rows(s, rows);
	struct columns *c = xcalloc(1, sizeof(*c));

	measure(s, c);
	printf("%*s %*s", c->name, "", c->total, "T");
	for (uint64_t i = 0; i < s->opt->buckets; i++)
		printf(" %*s", c->count[i], c->label[i]);
	putchar('\n');
	print_row(s, c, &s->all);
	for (size_t i = 0; i < n && i < rows_max; i++)
		print_row(s, c, rows[i]);
	free(c);
	free(rows);
}
