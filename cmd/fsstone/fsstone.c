/* cmd/fsstone/fsstone.c - fsstone(1): what a file per message costs in the current directory: made, renamed and removed (-c, -r),
 * or appended to and emptied. Each message is flushed, as a queue has to. */
#include "base/clock.h"
#include "log/log.h"
#include "service/options.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool create, renames;
static int64_t kbytes = 2, messages, entries;
static unsigned verbose;

NORETURN static void usage(void)
{
	die("usage: fsstone [-cr] [-s size] messages directory_entries");
}

static void name_of(char out[32], int64_t i, const char *suffix)
{
	snprintf(out, 32, "fsstone.%06lld%s", (long long)i, suffix);
}

static void must(bool good, const char *what, const char *name)
{
	if (!good)
		die("%s %s: %m", what, name);
}

/* One message at the end of the file; the file is there afterwards. */
static void write_message(const char *name, int flags)
{
	static char block[1024];
	int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);

	must(fd >= 0, "open", name);
	for (int64_t i = 0; i < kbytes; i++)
		must(write(fd, block, sizeof(block)) == (ssize_t)sizeof(block), "write", name);
	must(fsync(fd) == 0 && close(fd) == 0, "sync", name);
}

/* From incoming to active to deferred, say. */
static void rename_twice(int64_t i)
{
	char a[32], b[32];

	name_of(a, i, "");
	name_of(b, i, ".r");
	must(rename(a, b) == 0, "rename", a);
	must(rename(b, a) == 0, "rename", b);
}

static void end_message(int64_t i)
{
	char name[32];

	name_of(name, i, "");
	must(create ? unlink(name) == 0 : truncate(name, 0) == 0, create ? "remove" : "truncate", name);
}

/* So many messages are there at a time as the directory shall have entries. */
static void run(void)
{
	char name[32];

	for (int64_t i = 0; i < messages; i++) {
		int64_t slot = i % entries;

		if (i >= entries)
			end_message(slot);
		name_of(name, slot, "");
		write_message(name, create ? O_EXCL : 0);
		if (create && renames)
			rename_twice(slot);
	}
}

static void tidy(void)
{
	char name[32];

	for (int64_t i = 0; i < entries && i < messages; i++) {
		name_of(name, i, "");
		(void)unlink(name);
	}
}

int main(int argc, char **argv)
{
	const struct option_row rows[] = {
		{ 'c', OPT_FLAG, &create, 0, 0, NULL },
		{ 'r', OPT_FLAG, &renames, 0, 0, NULL },
		{ 's', OPT_NUMBER, &kbytes, 1, 1 << 20, "file size" },
		{ 'v', OPT_COUNT, &verbose, 0, 0, NULL },
	};
	int64_t begin, took;
	int opt;

	log_init(&(struct log_conf){ .service = "fsstone", .file_fd = -1, .to_stderr = true });
	while ((opt = getopt(argc, argv, "crs:v")) > 0)
		if (!option_take(rows, ARRAY_LEN(rows), opt, optarg))
			usage();
	if (argc != optind + 2)
		usage();
	messages = option_number(argv[optind], 1, INT32_MAX, "message count");
	entries = option_number(argv[optind + 1], 1, 999999, "number of directory entries");
	begin = mono_now().ms;
	run();
	took = mono_now().ms - begin;
	tidy();
	printf("elapsed time: %lld.%03lld\n", (long long)(took / 1000), (long long)(took % 1000));
	return 0;
}
