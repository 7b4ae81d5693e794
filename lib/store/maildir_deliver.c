/* Delivery into a Maildir. What a crash leaves at each step:
 *   unnamed file written              nothing (tmp/ file where O_TMPFILE is missing: swept by readers after
 * 36 hours) linked into new/, not synced      perhaps the name, perhaps with all, some or none of its bytes;
 * the queue still has the message, and the next attempt finds the name, compares, and replaces what is torn
 *   file and new/ synced              the message; the next attempt finds it equal and reports it as
 * delivered */
#include "store/paths.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <unistd.h>

void maildir_host(char out[72])
{
	char host[64] = "";
	size_t n = 0;
	gethostname(host, sizeof(host) - 1);
	for (const char *p = host; *p && n < 64; p++)
		out[n++] = ascii_isalnum(*p) || *p == '.' || *p == '-' || *p == '_' ? *p : '_';
	if (!n)
		memcpy(out, "localhost", n = 9);
	out[n] = '\0';
}

static enum rc open_named(const char *dir, struct maildir_file *f, struct err *e)
{
	static atomic_uint serial;
	char host[72], name[256];
	maildir_host(host);
	wall_t now = wall_now();
	snprintf(name, sizeof(name), "tmp/%lld.M%06lldP%ldQ%u.%s", (long long)wall_s(now),
		 (long long)(now.us % 1000000), (long)getpid(), atomic_fetch_add(&serial, 1), host);
	if (!path_join(f->tmp, dir, name))
		return err_set(e, RC_LIMIT, "path too long");
	f->fd = open(f->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->fd < 0) {
		err_sys(e, "create %s", f->tmp);
		f->tmp[0] = '\0';
		return RC_SYS;
	}
	return RC_OK;
}

enum rc maildir_file_open(const char *dir, struct maildir_file *f, struct err *e)
{
	char tmp[STORE_FILE_MAX];
	memset(f, 0, sizeof(*f));
	f->fd = -1;
	if (!path_join(tmp, dir, "tmp"))
		return err_set(e, RC_LIMIT, "path too long");
	f->fd = open(tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return f->fd >= 0 ? RC_OK : open_named(dir, f, e);
}

enum rc maildir_file_write(struct maildir_file *f, struct span data, struct err *e)
{
	const char *p = data.p, *end = data.p + data.n, *lf;
	if (!data.n)
		return RC_OK;
	while ((lf = memchr(p, '\n', (size_t)(end - p)))) {
		char before = lf == data.p ? f->last : lf[-1];
		if (before != '\r')
			f->lone_lf++;
		p = lf + 1;
	}
	f->last = end[-1];
	f->size += data.n;
	return fd_write_all(f->fd, data, e);
}

/* An unnamed file gets its name by descriptor (allowed to the one who opened it since Linux 6.10), else
 * through /proc. */
static int link_unnamed(int fd, const char *path)
{
	char proc[48];
	if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0 || errno == EEXIST)
		return errno == EEXIST ? -1 : 0;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* Neither way is open (old kernel, no /proc in the sandbox): the bytes are copied into a file with a name. */
static enum rc rename_by_copy(struct maildir_file *f, const char *path, struct err *e)
{
	char dir[STORE_FILE_MAX], proc_buf[16384];
	size_t n = strlen(path);
	struct maildir_file g = { .fd = -1 };
	if (n >= sizeof(dir))
		return err_set(e, RC_LIMIT, "path too long");
	memcpy(dir, path, n + 1);
	for (int i = 0; i < 2; i++) { /* DIR/new/NAME -> DIR */
		char *slash = strrchr(dir, '/');
		if (slash)
			*slash = '\0';
	}
	enum rc rc = open_named(dir, &g, e);
	off_t off = 0;
	ssize_t got = 1;
	int in = f->fd;
	while (rc == RC_OK && (got = pread(in, proc_buf, sizeof(proc_buf), off)) > 0) {
		off += got;
		rc = fd_write_all(g.fd, span_make(proc_buf, (size_t)got), e);
	}
	if (rc == RC_OK && got < 0)
		rc = err_sys(e, "read back");
	if (rc != RC_OK) {
		maildir_file_close(&g);
		return rc;
	}
	close(f->fd);
	f->fd = g.fd;
	memcpy(f->tmp, g.tmp, sizeof(f->tmp));
	return RC_OK;
}

enum rc maildir_file_link(struct maildir_file *f, const char *path, struct err *e)
{
	errno = 0;
	if (!f->tmp[0]) {
		if (link_unnamed(f->fd, path) == 0)
			return RC_OK;
		if (errno == EEXIST)
			return err_set(e, RC_DENIED, "%s exists", path);
		enum rc rc = rename_by_copy(f, path, e);
		if (rc != RC_OK)
			return rc;
	}
	if (link(f->tmp, path) != 0)
		return errno == EEXIST ? err_set(e, RC_DENIED, "%s exists", path)
				       : err_sys(e, "link %s", path);
	unlink(f->tmp);
	f->tmp[0] = '\0';
	return RC_OK;
}

void maildir_file_close(struct maildir_file *f)
{
	if (f->tmp[0])
		unlink(f->tmp);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->tmp[0] = '\0';
}

/* What every attempt at this delivery shares: "<seconds>.P<qid>R<hash>." */
static bool identity(const struct store_delivery *m, char *out, size_t size)
{
	for (size_t i = 0; i < m->qid.n; i++)
		if (!ascii_isalnum(m->qid.p[i]))
			return false;
	int n = snprintf(out, size, "%lld.P" SPAN_FMT "R%016llx.", (long long)(m->arrival_us / 1000000),
			 SPAN_ARG(m->qid), (unsigned long long)fnv1a(m->recipient));
	return m->qid.n && m->qid.n < 64 && n > 0 && (size_t)n < size;
}

static void fresh_identity(char *out, size_t size)
{
	static atomic_uint serial;
	uint32_t r = 0;
	wall_t now = wall_now();
	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = 0;
	snprintf(out, size, "%lld.M%06lldP%ldQ%uR%08x.", (long long)wall_s(now),
		 (long long)(now.us % 1000000), (long)getpid(), atomic_fetch_add(&serial, 1), r);
}

/* A reader may have moved the message to cur/ and added flags. cur/ is read only when it changed after the
 * message arrived: before that the message cannot have come there. (Two seconds of grace for coarse time
 * stamps.) */
static enum rc find_in_cur(const char *dir, const char *id, int64_t arrival_us, char found[STORE_FILE_MAX],
			   struct err *e)
{
	char cur[STORE_FILE_MAX];
	struct stat st;
	struct span prefix = span_str(id);
	found[0] = '\0';
	if (!path_join(cur, dir, "cur") || stat(cur, &st) != 0)
		return RC_OK;
	if (st.st_mtime + 2 < arrival_us / 1000000)
		return RC_OK;
	DIR *d = opendir(cur);
	if (!d)
		return err_sys(e, "open %s", cur);
	for (struct dirent *de; !found[0] && (de = readdir(d));)
		if (span_starts(span_str(de->d_name), prefix) && !path_join(found, cur, de->d_name))
			found[0] = '\0';
	closedir(d);
	return RC_OK;
}

/* A name that an earlier attempt made may not be durable yet. */
static enum rc sync_found(const char *dir, const char *path, struct err *e)
{
	char sub[STORE_FILE_MAX];
	int fd = path[0] ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	enum rc rc = RC_OK;
	if (fd >= 0) {
		if (fsync(fd) != 0)
			rc = err_sys(e, "fsync %s", path);
		close(fd);
	}
	for (int i = 0; rc == RC_OK && i < 2; i++)
		rc = path_join(sub, dir, i ? "cur" : "new") ? path_sync_dir(sub, e) : RC_LIMIT;
	return rc;
}

/* Whether the file that an earlier attempt named holds this message: after a crash its name may be there
 * without its bytes. */
static bool same_bytes(int fd, uint64_t size, const char *path)
{
	char a[16384], b[16384];
	struct stat st;
	uint64_t off = 0;
	int in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool same = in >= 0 && fstat(in, &st) == 0 && (uint64_t)st.st_size == size;
	while (same && off < size) {
		ssize_t n = pread(fd, a, sizeof(a), (off_t)off);
		same = n > 0 && pread(in, b, (size_t)n, (off_t)off) == n && memcmp(a, b, (size_t)n) == 0;
		off += n > 0 ? (uint64_t)n : 0;
	}
	if (in >= 0)
		close(in);
	return same;
}

/* The torn file makes room for the whole one under the same name. */
static enum rc replace_torn(struct maildir_file *f, const char *dir, const char *name, const char *path,
			    struct err *e)
{
	char tmp[STORE_FILE_MAX], sub[STORE_FILE_MAX];
	enum rc rc;
	if (!path_join(sub, dir, "tmp") || !path_join(tmp, sub, name) || !path_join(sub, dir, "new"))
		return err_set(e, RC_LIMIT, "path too long");
	(void)unlink(tmp);
	if ((rc = maildir_file_link(f, tmp, e)) != RC_OK)
		return rc;
	if (fsync(f->fd) != 0 || rename(tmp, path) != 0) {
		rc = err_sys(e, "replace %s", path);
		(void)unlink(tmp);
		return rc;
	}
	return path_sync_dir(sub, e);
}

static enum rc write_content(struct maildir_file *f, const struct store_delivery *m, struct err *e)
{
	struct content c;
	struct span chunk;
	enum rc rc;
	content_start(&c, m);
	while ((rc = content_next(&c, &chunk, e)) == RC_OK) {
		if (m->max_bytes && f->size + chunk.n > m->max_bytes)
			rc = err_set(e, RC_LIMIT, "message exceeds the mailbox size limit");
		else
			rc = maildir_file_write(f, chunk, e);
		if (rc != RC_OK)
			break;
	}
	content_end(&c);
	return rc == RC_EOF ? RC_OK : rc;
}

static enum rc publish(struct maildir_file *f, const char *dir, const char *name, const char *path,
		       bool *existed, struct err *e)
{
	enum rc rc = maildir_commit(f, dir, path, e);
	*existed = rc == RC_DENIED;
	if (!*existed)
		return rc;
	if (same_bytes(f->fd, f->size, path))
		return sync_found(dir, path, e);
	*existed = false;
	return replace_torn(f, dir, name, path, e);
}

/* In cur/, where a reader put it: true when it is there whole; a torn one goes. */
static bool whole_in_cur(struct maildir_file *f, const char *found)
{
	if (!found[0])
		return false;
	if (same_bytes(f->fd, f->size, found))
		return true;
	(void)unlink(found);
	return false;
}

enum rc maildir_deliver(const char *dir, const struct store_delivery *m, struct store_delivered *out,
			struct err *e)
{
	struct maildir_file f = { .fd = -1 };
	char id[160], host[72], name[320], path[STORE_FILE_MAX], found[STORE_FILE_MAX] = "";
	bool known = identity(m, id, sizeof(id));
	enum rc rc;
	if (!known)
		fresh_identity(id, sizeof(id));
	maildir_host(host);
	if ((rc = maildir_file_open(dir, &f, e)) != RC_OK || (rc = write_content(&f, m, e)) != RC_OK)
		goto done;
	snprintf(name, sizeof(name), "%s%s,S=%llu,W=%llu", id, host, (unsigned long long)f.size,
		 (unsigned long long)f.size + f.lone_lf);
	if (strlen(name) + 4 >= sizeof(out->name) ||
	    (size_t)snprintf(path, sizeof(path), "%s/new/%s", dir, name) >= sizeof(path)) {
		rc = err_set(e, RC_LIMIT, "path too long");
		goto done;
	}
	/* Messages move from new/ to cur/ only; publish() sees what is in new/. */
	if (known && access(path, F_OK) != 0 && (rc = find_in_cur(dir, id, m->arrival_us, found, e)) != RC_OK)
		goto done;
	out->repeated = whole_in_cur(&f, found);
	rc = out->repeated ? sync_found(dir, found, e) : publish(&f, dir, name, path, &out->repeated, e);
	if (rc != RC_OK)
		goto done;
	memcpy(out->name, name, strlen(name) + 1);
	out->bytes = out->repeated ? 0 : f.size;
done:
	maildir_file_close(&f);
	return rc;
}
