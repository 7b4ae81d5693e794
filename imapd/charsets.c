/* Charset modules and the time zone are files that the user's process cannot open any more: loaded before,
 * they stay. */
#include "imapd.h"
#include <iconv.h>
#include <time.h>

static const char *const charsets[] = {
	"ISO-8859-1",  "ISO-8859-2",   "ISO-8859-5",   "ISO-8859-7",   "ISO-8859-9",
	"ISO-8859-15", "WINDOWS-1250", "WINDOWS-1251", "WINDOWS-1252", "KOI8-R",
	"KOI8-U",      "GB18030",      "GBK",	       "BIG5",	       "SHIFT_JIS",
	"EUC-JP",      "ISO-2022-JP",  "EUC-KR",       "UTF-16",       "UTF-7",
};

void charsets_load(void)
{
	tzset();
	for (size_t i = 0; i < ARRAY_LEN(charsets); i++) /* open for good: that keeps the module */
		(void)!(iconv_open("UTF-8", charsets[i]) == (iconv_t)-1);
}
