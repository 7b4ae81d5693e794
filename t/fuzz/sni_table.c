/* Any bytes as a table of tls_server_sni_maps and as the name that a client asks for: keys and certificates of that name or of a parent of it, none, or a
 * story. Input: the name, a line end, the table. */
#include "../../tlsmgr/sni.c" /* a daemon's file: not in the archive */
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char pem[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
static unsigned files_noted;

unsigned monitor_file(const char *path)
{
	INVARIANT(path[0] == '/');
	return files_noted++;
}

enum rc monitor_open(unsigned file, int *fd, struct err *e)
{
	if (file % 3 == 2)
		return err_set(e, RC_NOTFOUND, "no such file");
	*fd = memfd_create("pem", MFD_CLOEXEC);
	INVARIANT(*fd >= 0 && write(*fd, pem, sizeof pem - 1) == (ssize_t)sizeof pem - 1);
	return RC_OK;
}

void service_retire(void)
{
}

static void ask(struct sni *t, struct span name, struct arena *a)
{
	struct span key, text = SPAN_NONE;
	struct err e = { .text = "" };

	enum rc rc = sni_lookup(t, name, a, &key, &text, &e);
	INVARIANT(rc == RC_OK || e.text[0] != '\0');
	if (rc == RC_OK)
		INVARIANT(span_ends(name, key) && (key.n == name.n || (key.n > 0 && key.p[0] == '.')));
}

/* Keys that were noted belong to the table, and are found in it. */
static void ask_for_noted(struct sni *t, struct arena *a)
{
	struct span key, value;
	const struct sni *of;
	struct err e;

	for (size_t at = 0; sni_next(&at, a, &of, &key);)
		INVARIANT(of == t && maps_lookup(t->maps, key, a, &value, &e) != RC_NOTFOUND);
}

static void run(struct span name, struct span table, struct arena *a)
{
	struct sni t = { .service = NULL };
	struct err e;
	int fd = memfd_create("table", MFD_CLOEXEC);

	INVARIANT(fd >= 0 && write(fd, table.p, table.n) == (ssize_t)table.n);
	struct span list = span_printf(a, "texthash:/proc/self/fd/%d", fd);
	if (maps_open("tls_server_sni_maps", list, MAP_FOLD_KEY, &t.maps, &e) == RC_OK) {
		note_files(&t, maps_at(t.maps, 0));
		ask(&t, name, a);
		ask_for_noted(&t, a);
		maps_close(&t.maps);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool quiet;
	struct span table = span_make((const char *)data, size), name;
	struct arena a;

	if (!quiet)
		log_init(&(struct log_conf){ .service = "fuzz", .file_fd = -1 });
	quiet = true;
	if (size > 16384 || !span_next(&table, '\n', &name) || name.n > 255)
		return 0;
	noted_n = 0;
	files_noted = 0;
	arena_init(&names);
	arena_init(&a);
	run(name, table, &a);
	arena_release(&a);
	arena_release(&names);
	return 0;
}
