/* Mailboxes: UIDs survive the loss of the index, flags live in file names, views keep their numbers until
 * told, mbox is rewritten whole. */
#include "store/store.h"
#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char base[256];
static struct store *store;

static int setup(const char *location)
{
	struct store_loc l;
	struct err e;
	snprintf(base, sizeof(base), "/tmp/store_mailbox.XXXXXX");
	assert_non_null(mkdtemp(base));
	assert_int_equal(store_loc_parse(span_str(location), base, "kim", &l, &e), RC_OK);
	assert_int_equal(store_open(&l, &store, &e), RC_OK);
	return 0;
}

static int setup_maildir(void **state)
{
	(void)state;
	return setup("maildir:~/Maildir");
}

static int setup_mbox(void **state)
{
	(void)state;
	return setup("mbox:~/mail:INBOX=~/inbox");
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	store_close(&store);
	return nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static uint32_t add(const char *folder, const char *text, uint32_t flags)
{
	struct mailbox_append *ap;
	struct mailbox_appended done;
	struct span keyword = SPAN("$Todo");
	struct err e;
	assert_int_equal(mailbox_append_open(store, span_str(folder), &ap, &e), RC_OK);
	assert_int_equal(mailbox_append_write(ap, span_str(text), &e), RC_OK);
	assert_int_equal(mailbox_append_commit(&ap, flags, &keyword, flags ? 1 : 0, INT64_MIN, &done, &e),
			 RC_OK);
	return done.uid;
}

static struct mailbox *open_box(const char *name)
{
	struct mailbox *m;
	struct err e;
	assert_int_equal(mailbox_open(store, span_str(name), 0, &m, &e), RC_OK);
	return m;
}

struct heard {
	size_t expunged[8], n, flags, exists;
};
static void on_expunge(void *arg, size_t seq, uint32_t uid)
{
	struct heard *h = arg;
	(void)uid;
	h->expunged[h->n++] = seq;
}
static void on_flags(void *arg, size_t seq)
{
	(void)seq;
	((struct heard *)arg)->flags++;
}
static void on_exists(void *arg, size_t count, size_t recent)
{
	(void)recent;
	((struct heard *)arg)->exists = count;
}
static const struct mailbox_sink sink = { on_expunge, on_flags, on_exists };

static void fill_and_change(void)
{
	struct err e;
	assert_int_equal(add("INBOX", "Subject: 1\r\n\r\none\r\n", 0), 1);
	assert_int_equal(add("INBOX", "Subject: 2\r\n\r\ntwo\r\n", MSG_FLAGGED), 2);
	assert_int_equal(add("INBOX", "Subject: 3\r\n\r\nthree\r\n", MSG_SEEN), 3);
	struct mailbox *m = open_box("INBOX"), *other = open_box("INBOX");
	assert_int_equal(mailbox_count(m), 3);
	size_t first = 1;
	struct heard h = { .n = 0 }, own = { .n = 0 };
	assert_int_equal(mailbox_flags(m, &first, 1, FLAGS_ADD, MSG_DELETED, 0, true, UINT64_MAX, NULL, &e),
			 RC_OK);
	mailbox_news(m, &sink, &own);
	mailbox_news(other, &sink, &h);
	assert_int_equal(own.flags, 0); /* silent for the one who did it */
	assert_int_equal(h.flags, 1);
	assert_int_equal(mailbox_expunge(m, NULL, 0, false, &e), RC_OK);
	assert_int_equal(mailbox_count(other), 3); /* numbers stay until told: RFC 3501 7.4.1 */
	assert_null(mailbox_message(other, 1));
	mailbox_news(other, &sink, &h);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.expunged[0], 1);
	assert_int_equal(mailbox_count(other), 2);
	mailbox_news(m, &sink, &own);
	mailbox_close(&m);
	mailbox_close(&other);
}

static void check_after(uint32_t validity)
{
	struct err e;
	struct span text;
	struct mailbox *m = open_box("INBOX");
	assert_int_equal(mailbox_uidvalidity(m), validity);
	assert_int_equal(mailbox_count(m), 2);
	assert_int_equal(mailbox_uid(m, 1), 2);
	assert_int_equal(mailbox_uid(m, 2), 3);
	assert_int_equal(mailbox_uidnext(m), 4);
	assert_int_equal(mailbox_message(m, 1)->flags, MSG_FLAGGED);
	int bit = mailbox_keyword_bit(m, SPAN("$Todo"), false);
	assert_true(bit >= 0);
	assert_true(mailbox_message(m, 1)->keywords & (1ull << bit));
	assert_int_equal(mailbox_read(m, 2, &text, &e), RC_OK);
	assert_true(span_is(text, "Subject: 3\n\nthree\n"));
	uint64_t vsize;
	assert_int_equal(mailbox_vsize(m, 2, &vsize, &e), RC_OK);
	assert_int_equal(vsize, text.n + 3);
	mailbox_close(&m);
}

static uint32_t validity_now(void)
{
	struct mailbox *m = open_box("INBOX");
	uint32_t v = mailbox_uidvalidity(m);
	mailbox_close(&m);
	return v;
}

static void maildir_keeps_uids_without_index(void **state)
{
	char p[300];
	(void)state;
	fill_and_change();
	uint32_t v = validity_now();
	check_after(v);
	snprintf(p, sizeof(p), "%s/Maildir/postern.index", base);
	assert_int_equal(unlink(p), 0);
	check_after(v);
	FILE *f = fopen(p, "r+"); /* damage in the middle */
	assert_non_null(f);
	fseek(f, 60, SEEK_SET);
	fputs("garbage", f);
	fclose(f);
	check_after(v);
}

static void mbox_keeps_uids_in_the_file(void **state)
{
	char p[300];
	(void)state;
	fill_and_change();
	uint32_t v = validity_now();
	check_after(v);
	for (int i = 0; i < 2; i++) { /* the directory beside the mbox holds the index */
		snprintf(p, sizeof(p), "%s/mail/.imap/INBOX/postern.index", base);
		unlink(p);
	}
	check_after(v);
}

/* The fields with UID and flags stand behind them, not before, where they would swallow them. */
static void mbox_keeps_lines_that_begin_with_blanks(void **state)
{
	static const char message[] = " begins with a blank\nSubject: x\nStatus: O\n\nbody\n";
	struct span text;
	struct err e;
	char p[300];
	size_t seq = 1;
	(void)state;
	snprintf(p, sizeof(p), "%s/inbox", base);
	FILE *f = fopen(p, "w");
	assert_non_null(f);
	fprintf(f, "From a  Mon Jan  1 10:00:00 2024\n%s\n", message);
	fclose(f);
	for (int i = 0; i < 2; i++) {
		struct mailbox *m = open_box("INBOX");
		assert_int_equal(mailbox_count(m), 1);
		assert_int_equal(mailbox_uid(m, 1), 1);
		assert_int_equal(mailbox_read(m, 1, &text, &e), RC_OK);
		assert_true(span_is(text, " begins with a blank\nSubject: x\n\nbody\n"));
		mailbox_read_done(m);
		assert_int_equal(mailbox_flags(m, &seq, 1, i == 0 ? FLAGS_ADD : FLAGS_REMOVE,
					       MSG_SEEN | MSG_FLAGGED, 0, true, UINT64_MAX, NULL, &e),
				 RC_OK);
		mailbox_close(&m);
	}
	f = fopen(p, "r");
	assert_non_null(f);
	char all[1000] = "";
	assert_true(fread(all, 1, sizeof(all) - 1, f) > 0);
	fclose(f);
	assert_non_null(strstr(all, " begins with a blank\nX-IMAPbase: "));
}

static void folders_and_copy(void **state)
{
	struct err e;
	struct arena a;
	struct store_folder *v;
	size_t n, seq[2] = { 1, 2 };
	uint32_t to[2], validity;
	(void)state;
	char sep[2] = { store_separator(store), '\0' };
	char name[16];
	snprintf(name, sizeof(name), "a%sb", sep);
	fill_and_change();
	assert_int_equal(store_create(store, span_str(name), &e), RC_OK);
	assert_int_equal(store_create(store, span_str(name), &e), RC_DENIED);
	assert_int_equal(store_create(store, SPAN("../x"), &e), RC_SYNTAX);
	struct mailbox *m = open_box("INBOX");
	assert_int_equal(mailbox_copy(m, seq, 2, span_str(name), false, to, &validity, &e), RC_OK);
	assert_int_equal(to[0], 1);
	assert_int_equal(to[1], 2);
	assert_int_equal(mailbox_copy(m, seq, 1, SPAN("none"), false, to, &validity, &e), RC_NOTFOUND);
	mailbox_close(&m);
	assert_int_equal(store_rename(store, SPAN("a"), SPAN("c"), &e), RC_OK);
	arena_init(&a);
	assert_int_equal(store_folders(store, &a, &v, &n, &e), RC_OK);
	assert_int_equal(n, 3);
	assert_true(span_is(v[1].name, "c") && (v[1].flags & FOLDER_NOSELECT));
	snprintf(name, sizeof(name), "c%sb", sep);
	assert_true(span_is(v[2].name, name));
	arena_release(&a);
	struct store_status st;
	assert_int_equal(store_status(store, span_str(name), &st, &e), RC_OK);
	assert_int_equal(st.messages, 2);
	assert_int_equal(store_delete(store, span_str(name), &e), RC_OK);
	assert_int_equal(store_status(store, span_str(name), &st, &e), RC_NOTFOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(maildir_keeps_uids_without_index, setup_maildir, teardown),
		cmocka_unit_test_setup_teardown(mbox_keeps_uids_in_the_file, setup_mbox, teardown),
		cmocka_unit_test_setup_teardown(mbox_keeps_lines_that_begin_with_blanks, setup_mbox,
						teardown),
		cmocka_unit_test_setup_teardown(folders_and_copy, setup_maildir, teardown),
		cmocka_unit_test_setup_teardown(folders_and_copy, setup_mbox, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
