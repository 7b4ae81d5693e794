/* A damaged postern.index, uidlist or keywords file beside a Maildir never does more than cost a rebuild. The
 * first byte chooses the file. */
#include "store/store.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];

static void put_file(const char *name, const void *data, size_t n)
{
	char p[200];
	snprintf(p, sizeof(p), "%s/%s", base, name);
	int fd = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, n) != (ssize_t)n)
		abort();
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static void remove_maildir(void)
{
	(void)nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_maildir(void)
{
	static const char *const sub[] = { "", "/cur", "/new", "/tmp" };
	char p[200];
	snprintf(base, sizeof(base), "/tmp/fuzz_index.XXXXXX");
	if (!mkdtemp(base))
		abort();
	atexit(remove_maildir);
	for (size_t i = 1; i < ARRAY_LEN(sub); i++) {
		snprintf(p, sizeof(p), "%s%s", base, sub[i]);
		if (mkdir(p, 0700) != 0)
			abort();
	}
	put_file("cur/1.a.h:2,Sab", "Subject: x\n\ny\n", 14);
	put_file("cur/2.b.h:2,", "Subject: z\n\ny\n", 14);
}

static void use(const char *name)
{
	struct store_loc l;
	struct store *s;
	struct mailbox *m;
	struct err e;
	struct span text;
	char where[100];
	(void)name;
	snprintf(where, sizeof(where), "maildir:%s", base);
	if (store_loc_parse(span_str(where), "", "", &l, &e) != RC_OK || store_open(&l, &s, &e) != RC_OK)
		abort();
	if (mailbox_open(s, SPAN("INBOX"), 0, &m, &e) == RC_OK) {
		for (size_t i = 1; i <= mailbox_count(m) && i < 10; i++)
			if (mailbox_message(m, i) && mailbox_read(m, i, &text, &e) == RC_OK &&
			    mailbox_cache_get(m, i, &text) == RC_OK)
				(void)text;
		mailbox_close(&m);
	}
	store_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "postern.index", "dovecot-uidlist", "dovecot-keywords",
					     "postern.cache" };
	char p[200];
	if (!size)
		return 0;
	if (!base[0])
		make_maildir();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(p, sizeof(p), "%s/%s", base, names[i]);
		unlink(p);
	}
	const char *name = names[data[0] % ARRAY_LEN(names)];
	put_file(name, data + 1, size - 1);
	use(name);
	return 0;
}
