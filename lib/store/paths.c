/* Folder names, directories, small files. */
#include "store/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

uint64_t fnv1a(struct span s)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return h;
}

bool folder_is_inbox(struct span name)
{
	return span_is_ci(name, "INBOX");
}

/* A component that could be taken for something else on disk: "", ".", "..", Maildir's own directories, our
 * files. */
static bool component_valid(const struct store_loc *l, struct span c)
{
	static const char *const reserved[] = { "cur", "new", "tmp", "dovecot-uidlist", "subscriptions" };
	if (!c.n || c.p[0] == '.' || c.p[0] == '~')
		return false;
	if (l->kind == STORE_MBOX) /* these would be files of the same directory */
		for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
			if (span_is(c, reserved[i]))
				return false;
	return !(l->kind == STORE_MBOX && (span_ends(c, SPAN(".lock")) || span_starts(c, SPAN("postern."))));
}

bool folder_name_valid(const struct store_loc *l, struct span name)
{
	char sep = l->kind == STORE_MAILDIR ? '.' : '/';
	struct span rest = name, part = SPAN_NONE;
	unsigned depth = 0;
	if (!name.n || name.n > STORE_NAME_MAX || name.p[name.n - 1] == sep)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f || (sep == '.' && name.p[i] == '/'))
			return false;
	while (span_next(&rest, sep, &part))
		if (++depth > STORE_DEPTH_MAX || !component_valid(l, part))
			return false;
	return true;
}

bool path_join(char out[STORE_FILE_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, STORE_FILE_MAX, "%s/%s", dir, name);
	return n > 0 && n < STORE_FILE_MAX;
}

static enum rc bad_name(struct span name, struct err *e)
{
	return err_set(e, RC_SYNTAX, "invalid mailbox name \"" SPAN_FMT "\"", SPAN_ARG(name));
}

enum rc folder_path(const struct store_loc *l, struct span name, char out[STORE_FILE_MAX], struct err *e)
{
	if (folder_is_inbox(name)) {
		memcpy(out, l->inbox, strlen(l->inbox) + 1);
		return RC_OK;
	}
	if (!l->root[0])
		return err_set(e, RC_NOTFOUND, "this location has an INBOX only");
	if (!folder_name_valid(l, name))
		return bad_name(name, e);
	int n = snprintf(out, STORE_FILE_MAX, "%s/%s" SPAN_FMT, l->root, l->kind == STORE_MAILDIR ? "." : "",
			 SPAN_ARG(name));
	return n > 0 && n < STORE_FILE_MAX ? RC_OK : bad_name(name, e);
}

/* Maildir: beside the mailbox, or the same tree below INDEX= / CONTROL=. mbox: DIR/.imap/FOLDER as Dovecot
 * has it. */
enum rc folder_side_path(const struct store_loc *l, struct span name, bool control, char out[STORE_FILE_MAX],
			 struct err *e)
{
	const char *other = control ? l->control : l->index;
	struct span shown = folder_is_inbox(name) ? SPAN("INBOX") : name;
	char base[STORE_FILE_MAX];
	int n;
	if (!other[0] && l->kind == STORE_MAILDIR)
		return folder_path(l, name, out, e);
	if (!folder_is_inbox(name) && !folder_name_valid(l, name))
		return bad_name(name, e);
	if (other[0]) {
		n = snprintf(out, STORE_FILE_MAX, "%s/." SPAN_FMT, other, SPAN_ARG(shown));
		return n > 0 && n < STORE_FILE_MAX ? RC_OK : bad_name(name, e);
	}
	if (l->root[0]) {
		memcpy(base, l->root, strlen(l->root) + 1);
	} else {
		memcpy(base, l->inbox, strlen(l->inbox) + 1);
		char *slash = strrchr(base, '/');
		if (slash)
			*slash = '\0';
		shown = span_make(l->inbox + (slash ? slash - base + 1 : 0),
				  strlen(l->inbox) - (slash ? (size_t)(slash - base) + 1 : 0));
	}
	n = snprintf(out, STORE_FILE_MAX, "%s/.imap/" SPAN_FMT, base, SPAN_ARG(shown));
	return n > 0 && n < STORE_FILE_MAX ? RC_OK : bad_name(name, e);
}

enum rc path_sync_dir(const char *dir, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", dir);
	enum rc rc = fsync(fd) == 0 ? RC_OK : err_sys(e, "fsync %s", dir);
	close(fd);
	return rc;
}

void path_try_sync(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

static enum rc make_one(const char *path, struct err *e)
{
	char parent[STORE_FILE_MAX];
	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? RC_OK : err_sys(e, "mkdir %s", path);
	size_t n = strlen(path);
	if (n >= sizeof(parent))
		return RC_OK;
	memcpy(parent, path, n + 1);
	char *slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return RC_OK;
	*slash = '\0';
	/* A parent that we may search but not read (/home, 0711) cannot be synced; the mailbox's own file
	 * system commits the new name with the first fsync below it. */
	path_try_sync(parent);
	return RC_OK;
}

enum rc path_mkdirs(const char *path, struct err *e)
{
	char p[STORE_FILE_MAX];
	struct stat st;
	size_t n = strlen(path);
	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode) ? RC_OK : err_set(e, RC_SYS, "%s is not a directory", path);
	if (n >= sizeof(p))
		return err_set(e, RC_LIMIT, "path too long");
	memcpy(p, path, n + 1);
	for (size_t i = 1; i < n; i++) {
		if (p[i] != '/')
			continue;
		p[i] = '\0';
		if (stat(p, &st) != 0) {
			enum rc rc = make_one(p, e);
			if (rc != RC_OK)
				return rc;
		}
		p[i] = '/';
	}
	return make_one(p, e);
}

enum rc maildir_make(const char *dir, struct err *e)
{
	static const char *const sub[] = { "tmp", "new", "cur" }; /* cur last: its presence means complete */
	char p[STORE_FILE_MAX];
	struct stat st;
	enum rc rc;
	if (path_join(p, dir, "cur") && stat(p, &st) == 0 && path_join(p, dir, "new") && stat(p, &st) == 0)
		return RC_OK;
	if ((rc = path_mkdirs(dir, e)) != RC_OK)
		return rc;
	for (size_t i = 0; i < ARRAY_LEN(sub); i++) {
		if (!path_join(p, dir, sub[i]))
			return err_set(e, RC_LIMIT, "path too long");
		if ((rc = make_one(p, e)) != RC_OK)
			return rc;
	}
	return RC_OK;
}

enum rc fd_write_all(int fd, struct span data, struct err *e)
{
	while (data.n) {
		ssize_t n = write(fd, data.p, data.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(e, "write");
		data = span_skip(data, (size_t)n);
	}
	return RC_OK;
}

enum rc file_read_all(const char *path, size_t max, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? err_set(e, RC_NOTFOUND, "%s does not exist", path)
				       : err_sys(e, "open %s", path);
	enum rc rc = RC_OK;
	for (;;) {
		size_t want = max - out->n < 65536 ? max - out->n : 65536;
		char *room = want ? buf_reserve(out, want) : NULL;
		if (!room) {
			rc = err_set(e, RC_LIMIT, "%s is too large", path);
			break;
		}
		ssize_t n = read(fd, room, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = err_sys(e, "read %s", path);
		if (n <= 0)
			break;
		out->n += (size_t)n;
	}
	close(fd);
	return rc;
}

enum rc file_replace(const char *path, struct span data, bool sync, struct err *e)
{
	char tmp[STORE_FILE_MAX + 32], dir[STORE_FILE_MAX];
	snprintf(tmp, sizeof(tmp), "%s.tmp%ld", path, (long)getpid());
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", tmp);
	enum rc rc = fd_write_all(fd, data, e);
	if (rc == RC_OK && sync && fdatasync(fd) != 0)
		rc = err_sys(e, "sync %s", tmp);
	close(fd);
	if (rc == RC_OK && rename(tmp, path) != 0)
		rc = err_sys(e, "rename %s", tmp);
	if (rc != RC_OK) {
		unlink(tmp);
		return rc;
	}
	size_t n = strlen(path);
	if (!sync || n >= sizeof(dir))
		return RC_OK;
	memcpy(dir, path, n + 1);
	char *slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	return path_sync_dir(slash ? dir : ".", e);
}
