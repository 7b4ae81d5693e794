/* bounce.c - -b and -t: the texts at the beginning of delivery status notifications. */
#include "postconf.h"
#include "conf/bounce_template.h"

/* "failure_template" is the text of "expanded_failure_text". */
static struct span kind_of(const struct bounce_template *t)
{
	struct span name = span_str(t->name);

	return span_head(name, name.n - strlen("_template"));
}

static void print_body(struct span body)
{
	(void)fwrite(body.p, 1, body.n, stdout);
	if (body.n > 0 && body.p[body.n - 1] != '\n')
		(void)putchar('\n');
	(void)puts("EOF");
}

static void print_template(const struct bounce_template *t)
{
	printf("%s = <<EOF\nCharset: " SPAN_FMT "\nFrom: " SPAN_FMT "\nSubject: " SPAN_FMT "\n", t->name,
	       SPAN_ARG(t->charset), SPAN_ARG(t->from), SPAN_ARG(t->subject));
	if (t->postmaster_subject.n > 0)
		printf("Postmaster-Subject: " SPAN_FMT "\n", SPAN_ARG(t->postmaster_subject));
	(void)putchar('\n');
	print_body(t->body);
}

static void print_expanded(const struct conf *c, const struct bounce_template *t, struct arena *a,
			   const char *path)
{
	struct span kind = kind_of(t), body;
	struct err e = { 0 };

	if (bounce_template_body(c, t, a, &body, &e) != RC_OK)
		fatal("%s: %s: %s", path[0] ? path : "built-in text", t->name, e.text);
	printf("expanded_" SPAN_FMT "_text = <<EOF\n", SPAN_ARG(kind));
	print_body(body);
}

static void read_templates(const char *path, struct arena *a, struct bounce_template t[BT_COUNT])
{
	struct err e = { 0 };
	char *bytes;
	size_t n;

	memcpy(t, bounce_templates, sizeof(bounce_templates));
	if (path[0] == '\0')
		return;
	if (conf_read_file(path, &bytes, &n, &e) != RC_OK)
		fatal("%s", e.text);
	if (bounce_template_parse(span_make(bytes, n), a, t, &e) != RC_OK)
		fatal("%s: %s", path, e.text);
	free(bytes); /* the parser made a copy */
}

void show_bounce_texts(const struct options *o)
{
	struct conf *c = load_conf(o);
	const char *path = o->args > 0 ? o->arg[0] : conf_str(c, "bounce_template_file");
	struct bounce_template t[BT_COUNT];
	struct arena a;

	if (o->args > 1)
		fatal("options -b and -t require at most one template file");
	arena_init(&a);
	read_templates(path, &a, t);
	for (size_t i = 0; i < BT_COUNT; i++) {
		if (i > 0)
			(void)putchar('\n');
		if (o->action == A_BOUNCE_TEXT)
			print_expanded(c, &t[i], &a, path);
		else
			print_template(&t[i]);
	}
	arena_release(&a);
	conf_free(&c);
}
