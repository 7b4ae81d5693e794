/* Claim: stored passwords of every scheme that auth(8) names are recognised, also as doveadm-pw(1) and
 * crypt(3) wrote them, and nothing but the very password matches. */
#include "../../auth/scheme.c" /* a daemon's file: not in the archive */

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char *const same[] = {
	/* all of them: "pass word" */
	"{PLAIN}pass word",
	"{CLEARTEXT}pass word",
	"{SHA1}2oguq15ANCGsJCWKX31fllwpyEk=",
	"{SHA}2oguq15ANCGsJCWKX31fllwpyEk=",
	"{SSHA}mEtQiiPxfYYmSqAa14WZS8Rvf9RDPDR8",
	"{SHA256}eJgOJX9BJDf7+TQ3h7wA7FsQY2QpvAALKQEHM1sIl4Y=",
	"{sha256.b64}eJgOJX9BJDf7+TQ3h7wA7FsQY2QpvAALKQEHM1sIl4Y=",
	"{SHA256.HEX}78980e257f412437fbf9343787bc00ec5b10636429bc000b290107335b089786",
	"{SSHA256}LiRbDDvMt4iwgTGjOLjnccas5EgE1wza4pFCoqYVf+PsoP7t",
	"{SHA512}Nq7XWhQpjD4VwA82iHbXmY8NSz1w7/A84XtT9npPaxW+U8Dt41vjbL2JY3A7kd5cgXmFPhhROfO9ihvprNn13A==",
	"{SSHA512}VKZNAEOYE+o40+j7T4C63d1q8N3pWiOp/"
	"Mz8VqBSuFeF9nwXLCM2d+ayHZVgzAJo4rZ7k8W5rJTQJd1fVIKWt7sfGZs=",
	"{LDAP-MD5}SsZDChfQIVswUrFch51IvA==",
	"{PLAIN-MD5}4ac6430a17d0215b3052b15c879d48bc",
	"{SMD5}y9YaRewKLdDqrZu9fs6GweIrgoA=",
	"{SHA512-CRYPT}$6$mfCZ21q2t68E0Cho$nLvHf733GKdS99oCjOlcgp1rwnPxMHzHR5MNmjgRC/"
	"1f9zXIsWlRBYmAoCD9fCMScyYmE38RBi3YJTgCjQXI60",
	"{SHA256-CRYPT}$5$yHBE49LZ28TZJLWi$jHdx0IsXBIQdvrfVyhqRpSIlkUORl6dlxa2x519Y.pA",
	"{MD5-CRYPT}$1$j4xDaXkw$roe0NgGLaDs.CKSR6408a1",
	"{BLF-CRYPT}$2y$05$TF1mw1Vkqe/JPWOob7z35.jmRtwUIRnezXK1bVeb6/2gNcJqipHbu",
	"{YESCRYPT}$y$j9T$abcdefgh$53HXNxZB2a7VoI7YjlXnuqZl44ziJZfXwvfzovUJ6J6",
	"$5$yHBE49LZ28TZJLWi$jHdx0IsXBIQdvrfVyhqRpSIlkUORl6dlxa2x519Y.pA", /* no scheme: crypt(3) */
	"{DES-CRYPT}ab3jcLo8aNLw6",
};

static void right_password(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct err e = { .text = "" };

		if (scheme_check(span_str(same[i]), SPAN("pass word"), &e) != RC_OK)
			fail_msg("%s: %s", same[i], e.text);
	}
}

static void wrong_passwords(void **state)
{
	static const struct span wrong[] = { SPAN(""), SPAN("pass"), SPAN("Pass word"), SPAN("pass word\0"),
					     SPAN("pass-word") };
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++)
		for (size_t j = 0; j < ARRAY_LEN(wrong); j++)
			assert_int_equal(scheme_check(span_str(same[i]), wrong[j], &e), RC_DENIED);
}

static void damaged_hashes(void **state)
{
	static const char *const bad[] = {
		"{NO-SUCH}x",
		"{SHA256}",
		"{SHA256}AAAA",
		"{SHA256}***",
		"{SHA256.HEX}78",
		"{PLAIN-MD5}zz",
		"{CRYPT.HEX}61",
		"{SHA512-CRYPT}$9$x",
		"{CRYPT}*",
		"{}",
		"",
		"!",
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		enum rc rc = scheme_check(span_str(bad[i]), SPAN("pass word"), &e);

		assert_true(rc == RC_SYNTAX || rc == RC_DENIED);
		assert_int_not_equal(scheme_check(span_str(bad[i]), SPAN(""), &e), RC_OK);
	}
}

static void plain_secret(void **state)
{
	struct span secret;

	(void)state;
	assert_true(scheme_plain(SPAN("{plain}a}b"), &secret));
	assert_true(span_is(secret, "a}b"));
	assert_false(scheme_plain(SPAN("{SHA1}x"), &secret));
	assert_false(scheme_plain(SPAN("secret"), &secret)); /* a crypt(3) hash, by default */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_password),
		cmocka_unit_test(wrong_passwords),
		cmocka_unit_test(damaged_hashes),
		cmocka_unit_test(plain_secret),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
