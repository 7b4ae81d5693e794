/* local/pipe_args.c - flags= user= argv= and the other attributes of pipe(8). */
#include "conf/conf.h"
#include "log/log.h"
#include "pipe.h"
#include "service/service.h"
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

static const struct {
	char letter;
	unsigned head, run, fold;
	bool final;
} flags[] = {
	{ 'B', 0, USER_RUN_BLANK, 0, false },	{ 'D', HEAD_DELIVERED, 0, 0, false },
	{ 'F', HEAD_FROM, 0, 0, false },	{ 'O', HEAD_ORIGINAL, 0, 0, false },
	{ 'R', HEAD_RETURN, 0, 0, false },	{ 'X', 0, 0, 0, true },
	{ 'h', 0, 0, PIPE_FOLD_DOMAIN, false }, { 'q', 0, 0, PIPE_QUOTE, false },
	{ 'u', 0, 0, PIPE_FOLD_LOCAL, false },	{ '.', 0, USER_RUN_DOT, 0, false },
	{ '>', 0, USER_RUN_QUOTE, 0, false },
};

static void read_flags(struct pipe_service *s, struct span value, struct arena *a)
{
	(void)a;
	for (size_t i = 0; i < value.n; i++) {
		size_t k = 0;
		while (k < ARRAY_LEN(flags) && flags[k].letter != value.p[i])
			k++;
		if (k == ARRAY_LEN(flags)) {
			log_warning("unknown flag: %c (ignored)", value.p[i]);
			continue;
		}
		s->head |= flags[k].head;
		s->run |= flags[k].run;
		s->fold |= flags[k].fold;
		s->final = s->final || flags[k].final;
	}
}

static void read_user(struct pipe_service *s, struct span value, struct arena *a)
{
	struct span rest = value, name = SPAN_NONE;
	char user[ASUSER_NAME_MAX], group[ASUSER_NAME_MAX];
	const char *owner = conf_str(service_conf(), "mail_owner");

	(void)a;
	(void)span_next(&rest, ':', &name);
	if (!worker_text(user, sizeof user, name) || !worker_text(group, sizeof group, rest))
		die("user=: bad value");
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL)
		die("user=: unknown user: %s", user);
	s->id.uid = pw->pw_uid;
	s->id.gid = pw->pw_gid;
	if (group[0] != '\0') {
		const struct group *gr = getgrnam(group);
		if (gr == NULL)
			die("user=: unknown group: %s", group);
		s->id.gid = gr->gr_gid;
	}
	if (s->id.uid == 0)
		die("user= command-line attribute specifies root privileges");
	if (!service_one_uid() && strcmp(user, owner) == 0)
		die("user= command-line attribute specifies mail system owner %s", owner);
	if (!service_one_uid() && s->id.gid == 0)
		die("user= command-line attribute specifies privileged group");
	memcpy(s->id.user, user, sizeof user);
}

/* \n \r \t \0octal and the like, as C has them. */
static void read_eol(struct pipe_service *s, struct span v, struct arena *a)
{
	char *p = arena_alloc(a, v.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < v.n; i++) {
		char c = v.p[i];
		if (c == '\\' && i + 1 < v.n) {
			c = v.p[++i];
			if (c >= '0' && c <= '7') {
				unsigned octal = 0;
				for (int k = 0; k < 3 && i < v.n && v.p[i] >= '0' && v.p[i] <= '7'; k++)
					octal = octal * 8 + (unsigned)(v.p[i++] - '0');
				i--;
				c = (char)octal;
			} else
				c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
		}
		p[n++] = c;
	}
	if (n == 0 || n > 16)
		die("eol=: bad value");
	s->eol = span_make(p, n);
}

static void read_argv(struct pipe_service *s, struct span first, char **rest, size_t n, struct arena *a)
{
	s->argv = arena_array(a, n + 1, sizeof *s->argv);
	s->argv[s->argc++] = first;
	for (size_t i = 0; i < n; i++)
		s->argv[s->argc++] = span_str(rest[i]);
	if (first.n == 0)
		die("argv=: no command");
}

static void read_directory(struct pipe_service *s, struct span value, struct arena *a)
{
	s->directory = arena_cstr(a, value);
}

static void read_chroot(struct pipe_service *s, struct span value, struct arena *a)
{
	if (value.n == 0 || value.p[0] != '/')
		die("chroot=: not an absolute path: " SPAN_FMT, SPAN_ARG(value));
	s->chroot = arena_cstr(a, value);
}

static void read_null_sender(struct pipe_service *s, struct span value, struct arena *a)
{
	(void)a;
	s->null_sender = value;
}

static void read_size(struct pipe_service *s, struct span value, struct arena *a)
{
	(void)a;
	if (span_to_u64(value, INT64_MAX, &s->size_limit) != RC_OK)
		die("size=: bad value");
}

static const struct {
	const char *name;
	void (*read)(struct pipe_service *s, struct span value, struct arena *a);
	bool spawn; /* spawn(8) has it, too: it knows of no mail */
} attributes[] = {
	{ "flags", read_flags, false },
	{ "user", read_user, true },
	{ "directory", read_directory, true },
	{ "chroot", read_chroot, false },
	{ "eol", read_eol, false },
	{ "null_sender", read_null_sender, false },
	{ "size", read_size, false },
};

/* False: no such attribute. */
static bool one(struct pipe_service *s, struct span name, struct span value, bool spawn, struct arena *a)
{
	for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
		if (span_is(name, attributes[i].name) && (attributes[i].spawn || !spawn)) {
			attributes[i].read(s, value, a);
			return true;
		}
	return false;
}

void pipe_read_args(struct pipe_service *s, bool spawn, struct arena *a)
{
	char **argv;
	size_t n = service_args(&argv);

	*s = (struct pipe_service){ .directory = "",
				    .chroot = "",
				    .null_sender = SPAN("MAILER-DAEMON"),
				    .id = { .tag = "pipe", .allow_exec = 1 } };
	for (size_t i = 0; i < n && s->argc == 0; i++) {
		struct span value = span_str(argv[i]), name = SPAN_NONE;
		if (!span_next(&value, '=', &name) || span_chr(span_str(argv[i]), '=') < 0)
			die("unknown attribute name: %s", argv[i]);
		if (span_is(name, "argv"))
			read_argv(s, value, argv + i + 1, n - i - 1, a);
		else if (!one(s, name, value, spawn, a))
			die("unknown attribute name: %s", argv[i]);
	}
	if (s->argc == 0)
		die("missing argv= command-line attribute");
	if (s->id.uid == 0)
		die("missing user= command-line attribute");
}
