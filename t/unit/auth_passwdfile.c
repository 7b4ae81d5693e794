/* Claim: a line of a passwd-file is the user before its first colon and the fields behind it, also where blanks stand around the line
 * (auth(8), auth_passwd_file). */
#include "../../auth/passwdfile.c" /* a daemon's file: not in the archive */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void lines(void **state)
{
	static const char text[] =
	    "# users\n"
	    "  kim:{PLAIN}pw:1000:1001:Kim:/home/kim:/bin/sh:userdb_mail=maildir:~/Maildir x=y \n"
	    "lee:{PLAIN}pw\n"
	    "no colon\n"
	    ":{PLAIN}nobody\n"
	    "odd:{PLAIN}pw:x:4294967295::\n";
	char path[64] = "/tmp/auth_passwdfile.XXXXXX";
	struct keeper_answer out = { .uid = 7 };
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	close(fd);
	assert_int_equal(passwdfile_find(path, "kim", &out), KEEPER_FILE);
	assert_string_equal(out.stored, "{PLAIN}pw");
	assert_int_equal(out.uid, 1000);
	assert_int_equal(out.gid, 1001);
	assert_string_equal(out.home, "/home/kim");
	assert_string_equal(out.mail, "maildir:~/Maildir");
	assert_int_equal(passwdfile_find(path, "lee", &out), KEEPER_FILE);
	assert_int_equal(passwdfile_find(path, "odd", &out), KEEPER_FILE);
	assert_int_equal(out.uid, (uint32_t)-1);
	assert_int_equal(out.gid, (uint32_t)-1);
	assert_int_equal(passwdfile_find(path, "", &out), KEEPER_NOBODY);
	assert_int_equal(passwdfile_find(path, "kim:{P", &out), KEEPER_NOBODY);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
